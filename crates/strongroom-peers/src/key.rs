//! A host's own key: made once, kept in a file, named in the manifest by its digest.
//!
//! Only the key is kept. The certificate is a wrapper that TLS wants; nobody reads its names or
//! dates, and it is made anew at each start.

use crate::pin::{PinnedServer, digest_of};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// SHA-256 of a SubjectPublicKeyInfo in DER.
pub type KeyDigest = [u8; 32];

/// The name of the protocol, with its version: ends that differ in it part in the handshake.
const ALPN: &[u8] = b"strongroom-peer/1";

/// The file that the key is in.
const FILE: &str = "peer.key";

/// A host's key and certificate.
pub struct HostKey {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    digest: KeyDigest,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", hex::encode(self.digest))
    }
}

impl Clone for HostKey {
    fn clone(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            digest: self.digest,
        }
    }
}

impl HostKey {
    /// Reads the key in a directory; makes it (P-256, file mode 0600) if there is none.
    ///
    /// # Errors
    /// In words, with the file's name.
    pub fn load_or_make(dir: &Path) -> Result<Self, String> {
        let path = dir.join(FILE);
        let said = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = KeyPair::generate().map_err(|e| said(&e))?.serialize_pem();
                fs::create_dir_all(dir).map_err(|e| said(&e))?;
                write_private(dir, &path, &pem).map_err(|e| said(&e))?;
                pem
            }
            Err(error) => return Err(said(&error)),
        };
        let pair = KeyPair::from_pem(&pem).map_err(|e| said(&e))?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| said(&e))?;
        let made = CertificateParams::new(Vec::new()).and_then(|made| made.self_signed(&pair));
        let certificate = made.map_err(|e| said(&e))?.der().clone();
        let digest = digest_of(&certificate).map_err(|e| said(&e))?;
        Ok(Self {
            certificate,
            key,
            digest,
        })
    }

    /// What the manifest names this host by.
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// To dial the host that has this key, and no other.
    ///
    /// # Errors
    /// In words, if TLS will not have the key.
    pub fn client_config(&self, peer: KeyDigest) -> Result<Arc<ClientConfig>, String> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedServer::new(peer)))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        // A resumed session would not prove the key again; connections are long and few.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    pub(crate) fn server_config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, String> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

fn write_private(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    // One left over from a crash may have another mode.
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(dir)?.sync_all()
}
