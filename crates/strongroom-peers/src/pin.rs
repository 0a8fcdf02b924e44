//! Who is let in: exactly the keys that the manifest pins.
//!
//! A key is pinned, and the manifest is the authority. So names, dates and issuers in a certificate
//! are not looked at: its holder wrote them, and they add nothing to the digest of the key. That
//! the other end holds the key is proved by its signature over the handshake, which is verified as
//! in any other TLS 1.3.

use crate::counts::{Counts, Event};
use crate::key::KeyDigest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use strongroom_wire::MemberId;

/// The digest of a certificate's key.
pub(crate) fn digest_of(certificate: &CertificateDer<'_>) -> Result<KeyDigest, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// A key that is not pinned here.
#[derive(thiserror::Error)]
#[error("the manifest does not pin the key {}", hex::encode(.0))]
struct UnknownKey(KeyDigest);

// rustls puts this into its message. It is to be compared with a manifest.
impl fmt::Debug for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn unknown(digest: KeyDigest) -> Error {
    CertificateError::Other(OtherError(Arc::new(UnknownKey(digest)))).into()
}

/// The members' keys.
#[derive(Debug)]
pub(crate) struct Pins {
    members: RwLock<HashMap<KeyDigest, MemberId>>,
    counts: Arc<Counts>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pins {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self {
            members: RwLock::default(),
            counts,
            algorithms: default_provider().signature_verification_algorithms,
        }
    }

    pub(crate) fn set(&self, members: HashMap<KeyDigest, MemberId>) {
        let place = self.members.write();
        *place.unwrap_or_else(PoisonError::into_inner) = members;
    }

    pub(crate) fn member(&self, digest: &KeyDigest) -> Option<MemberId> {
        let members = self.members.read();
        let members = members.unwrap_or_else(PoisonError::into_inner);
        members.get(digest).copied()
    }
}

impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let digest = digest_of(end_entity)?;
        if self.member(&digest).is_none() {
            self.counts.count(Event::Refused);
            return Err(unknown(digest));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The one key that a dialled peer must have. Another member's will not do.
#[derive(Debug)]
pub(crate) struct PinnedServer {
    digest: KeyDigest,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedServer {
    pub(crate) fn new(digest: KeyDigest) -> Self {
        Self {
            digest,
            algorithms: default_provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = digest_of(end_entity)?;
        if digest != self.digest {
            return Err(unknown(digest));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Neither end offers TLS 1.2; were it to come to it all the same, nothing is valid.
fn only_tls13() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}
