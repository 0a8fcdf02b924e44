//! OPAQUE (RFC 9807): ristretto255-SHA512 OPRF, 3DH, SHA-512, Argon2id.
//!
//! A fixed-size surface over opaque-ke, which accepts trailing bytes in every message: the array
//! types here make that impossible. Each record has an OPRF seed of its own, given as key material
//! (`DeriveKeyPair(seed, "OPAQUE-DeriveKeyPair")`), so a destroyed record's OPRF key is gone with
//! it.
//!
//! An identity or non-canonical element is refused at registration and at recovery, on both sides;
//! the client refuses a reflected element.

use crate::random::{DrawOpaque, Entropy};
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::scalar::Scalar;
use opaque_ke::generic_array::GenericArray;
use opaque_ke::generic_array::typenum::U32;
use opaque_ke::key_exchange::group::Group;
use opaque_ke::keypair::{KeyPair, PrivateKey};
use opaque_ke::{
    CipherSuite, CredentialFinalization, CredentialRequest, Identifiers as OpaqueIdentifiers,
    RegistrationRequest, RegistrationUpload, Ristretto255, ServerLogin, ServerLoginParameters,
    ServerRegistration, ServerSetup, TripleDh,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The suite. Its key stretching runs on the client only.
pub(crate) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = Stretch;
}

/// A message that is none, or a proof that does not hold. Which one is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpaqueError;

impl core::fmt::Display for OpaqueError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an OPAQUE message is invalid or does not prove the code")
    }
}

impl core::error::Error for OpaqueError {}

/// Who talks to whom, and in which context (RFC 9807 §6.1).
#[derive(Clone, Copy)]
pub struct Identities<'a> {
    /// Client identity.
    pub client: &'a [u8],
    /// Server identity.
    pub server: &'a [u8],
    /// Context.
    pub context: &'a [u8],
}

impl<'a> Identities<'a> {
    fn identifiers(&self) -> OpaqueIdentifiers<'a> {
        OpaqueIdentifiers {
            client: Some(self.client),
            server: Some(self.server),
        }
    }

    fn parameters(&self) -> ServerLoginParameters<'a, 'a> {
        ServerLoginParameters {
            context: Some(self.context),
            identifiers: self.identifiers(),
        }
    }
}

/// The fleet's half: one key pair for all records, made once.
pub struct OpaqueServer {
    setup: ServerSetup<Suite>,
    scalar: Zeroizing<Scalar>,
    public: [u8; 32],
}

/// The server's state between KE2 and KE3: session key and expected MAC, 128 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LoginState([u8; LoginState::SIZE]);

impl LoginState {
    /// Size in bytes.
    pub const SIZE: usize = 128;

    /// From bytes of a ticket; none of another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For a ticket.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// No randomness: for making a setup whose random parts (seed, dummy key) are never used, because
/// every call brings its own key material and a real record.
struct Unused;

impl Entropy for Unused {
    fn fill(&self, out: &mut [u8]) {
        out.fill(7);
    }
}

impl OpaqueServer {
    /// Derives the key pair: `DeriveDiffieHellmanKeyPair(seed)` of RFC 9807 §6.4.1.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let scalar = Ristretto255::derive_scalar(GenericArray::clone_from_slice(seed))
            .expect("deriving a scalar fails with probability 2^-252 only");
        let bytes = Ristretto255::serialize_sk(&scalar);
        let mut canonical = Zeroizing::new([0; 32]);
        canonical.copy_from_slice(&bytes);
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*canonical));
        let private = PrivateKey::<Ristretto255>::deserialize(&bytes)
            .expect("a scalar just serialised deserialises");
        let public = private.public_key();
        let keys = KeyPair::new(private, public.clone());
        let setup = ServerSetup::<Suite>::new_with_key_pair(&mut DrawOpaque(&Unused), keys);
        Self {
            setup,
            scalar,
            public: public.serialize().into(),
        }
    }

    /// The public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// Answers a registration request.
    ///
    /// # Errors
    /// [`OpaqueError`] if the request is no valid element.
    pub fn register_start(
        &self,
        oprf_seed: &[u8; 32],
        request: &[u8; 32],
    ) -> Result<[u8; 64], OpaqueError> {
        let request = RegistrationRequest::deserialize(request).map_err(|_| OpaqueError)?;
        let started = ServerRegistration::<Suite>::start_with_key_material(
            &self.setup,
            GenericArray::clone_from_slice(oprf_seed),
            request,
        )
        .map_err(|_| OpaqueError)?;
        Ok(started.message.serialize().into())
    }

    /// Checks that an upload is a valid record.
    ///
    /// # Errors
    /// [`OpaqueError`].
    pub fn check_upload(&self, upload: &[u8; 192]) -> Result<(), OpaqueError> {
        RegistrationUpload::<Suite>::deserialize(upload)
            .map(|_| ())
            .map_err(|_| OpaqueError)
    }

    /// Answers KE1: evaluates the blinded element and begins the key exchange. The same KE1 gives
    /// the same evaluated element with fresh key exchange: no new guess.
    ///
    /// # Errors
    /// [`OpaqueError`] if KE1 or the record is invalid.
    pub fn login_start<E: Entropy + ?Sized>(
        &self,
        oprf_seed: &[u8; 32],
        upload: &[u8; 192],
        ke1: &[u8; 96],
        identities: &Identities<'_>,
        entropy: &E,
    ) -> Result<([u8; 320], LoginState), OpaqueError> {
        let record = ServerRegistration::<Suite>::deserialize(upload).map_err(|_| OpaqueError)?;
        let request = CredentialRequest::deserialize(ke1).map_err(|_| OpaqueError)?;
        let mut rng = DrawOpaque(entropy);
        let builder = ServerLogin::<Suite>::builder_with_key_material(
            &mut rng,
            &self.setup,
            GenericArray::clone_from_slice(oprf_seed),
            Some(record),
            request,
            identities.parameters(),
        )
        .map_err(|_| OpaqueError)?;
        let input = self.diffie_hellman(&builder.data().serialize())?;
        let started = builder.build(input).map_err(|_| OpaqueError)?;
        let ke2 = started
            .message
            .serialize()
            .as_slice()
            .try_into()
            .map_err(|_| OpaqueError)?;
        let state = LoginState::from_slice(&started.state.serialize()).ok_or(OpaqueError)?;
        Ok((ke2, state))
    }

    /// The static half of 3DH. opaque-ke keeps its own behind a builder for keys held elsewhere.
    fn diffie_hellman(&self, public: &[u8]) -> Result<GenericArray<u8, U32>, OpaqueError> {
        let point = CompressedRistretto::from_slice(public)
            .ok()
            .and_then(|point| point.decompress())
            .ok_or(OpaqueError)?;
        Ok((point * *self.scalar).compress().to_bytes().into())
    }

    /// Checks KE3 against the state of its KE2, in constant time.
    ///
    /// # Errors
    /// [`OpaqueError`] if it does not prove the code.
    pub fn login_finish(&self, state: &LoginState, ke3: &[u8; 64]) -> Result<(), OpaqueError> {
        let login = ServerLogin::<Suite>::deserialize(&state.0).map_err(|_| OpaqueError)?;
        let message = CredentialFinalization::deserialize(ke3).map_err(|_| OpaqueError)?;
        login
            .finish(message, ServerLoginParameters::default())
            .map_err(|_| OpaqueError)?;
        Ok(())
    }
}

/// The key stretching that a named set stands for.
#[derive(Default)]
pub struct Stretch {
    #[cfg(feature = "client")]
    ksf: Option<crate::ksf::Ksf>,
}

impl opaque_ke::ksf::Ksf for Stretch {
    fn hash<L: opaque_ke::generic_array::ArrayLength<u8>>(
        &self,
        input: GenericArray<u8, L>,
    ) -> Result<GenericArray<u8, L>, opaque_ke::errors::InternalError> {
        #[cfg(feature = "client")]
        if let Some((memory_kib, passes)) = self.ksf.and_then(crate::ksf::Ksf::cost) {
            use opaque_ke::errors::InternalError;
            let parameters = argon2::Params::new(memory_kib, passes, 1, Some(input.len()))
                .map_err(|_| InternalError::KsfError)?;
            let argon2 = argon2::Argon2::new(
                argon2::Algorithm::Argon2id,
                argon2::Version::V0x13,
                parameters,
            );
            // A salt of zeros, as RFC 9807 §10.8 has it: the input is already unique to the record.
            let mut output = GenericArray::default();
            argon2
                .hash_password_into(&input, &[0; 16], &mut output)
                .map_err(|_| InternalError::KsfError)?;
            return Ok(output);
        }
        Ok(input)
    }
}

#[cfg(feature = "client")]
pub use client::{ClientLogin, ClientRegistration};

#[cfg(feature = "client")]
mod client {
    //! The client's half.

    use super::{Identities, OpaqueError, Stretch, Suite};
    use crate::ksf::Ksf;
    use crate::random::{DrawOpaque, Entropy};
    use alloc::vec::Vec;
    use opaque_ke::{
        ClientLoginFinishParameters, ClientRegistrationFinishParameters, CredentialResponse,
        RegistrationResponse,
    };
    use zeroize::Zeroizing;

    /// A registration under way.
    pub struct ClientRegistration {
        state: opaque_ke::ClientRegistration<Suite>,
        password: Zeroizing<Vec<u8>>,
    }

    impl ClientRegistration {
        /// Blinds the code; gives the registration request.
        ///
        /// # Errors
        /// [`OpaqueError`] for a code that maps to no element (never in practice).
        pub fn start<E: Entropy + ?Sized>(
            password: &[u8],
            entropy: &E,
        ) -> Result<(Self, [u8; 32]), OpaqueError> {
            let mut rng = DrawOpaque(entropy);
            let started = opaque_ke::ClientRegistration::<Suite>::start(&mut rng, password)
                .map_err(|_| OpaqueError)?;
            let request = started.message.serialize().into();
            let password = Zeroizing::new(password.to_vec());
            Ok((
                Self {
                    state: started.state,
                    password,
                },
                request,
            ))
        }

        /// Ends the registration: the upload and the export key. The server's public key must be
        /// the one that the manifest shows.
        ///
        /// # Errors
        /// [`OpaqueError`] for an invalid or reflected element, or another server key.
        pub fn finish<E: Entropy + ?Sized>(
            self,
            response: &[u8; 64],
            server_key: &[u8; 32],
            identities: &Identities<'_>,
            ksf: Ksf,
            entropy: &E,
        ) -> Result<([u8; 192], Zeroizing<[u8; 64]>), OpaqueError> {
            let response = RegistrationResponse::deserialize(response).map_err(|_| OpaqueError)?;
            let stretch = Stretch { ksf: Some(ksf) };
            let parameters =
                ClientRegistrationFinishParameters::new(identities.identifiers(), Some(&stretch));
            let finished = self
                .state
                .finish(
                    &mut DrawOpaque(entropy),
                    &self.password,
                    response,
                    parameters,
                )
                .map_err(|_| OpaqueError)?;
            if finished.server_s_pk.serialize().as_slice() != server_key {
                return Err(OpaqueError);
            }
            let upload = finished
                .message
                .serialize()
                .as_slice()
                .try_into()
                .map_err(|_| OpaqueError)?;
            Ok((upload, Zeroizing::new(finished.export_key.into())))
        }
    }

    /// A recovery under way.
    pub struct ClientLogin {
        state: opaque_ke::ClientLogin<Suite>,
        password: Zeroizing<Vec<u8>>,
        ke1: [u8; 96],
    }

    impl ClientLogin {
        /// Blinds the code and begins the key exchange; gives KE1.
        ///
        /// # Errors
        /// [`OpaqueError`] for a code that maps to no element (never in practice).
        pub fn start<E: Entropy + ?Sized>(
            password: &[u8],
            entropy: &E,
        ) -> Result<(Self, [u8; 96]), OpaqueError> {
            let mut rng = DrawOpaque(entropy);
            let started = opaque_ke::ClientLogin::<Suite>::start(&mut rng, password)
                .map_err(|_| OpaqueError)?;
            let ke1: [u8; 96] = started
                .message
                .serialize()
                .as_slice()
                .try_into()
                .map_err(|_| OpaqueError)?;
            let password = Zeroizing::new(password.to_vec());
            Ok((
                Self {
                    state: started.state,
                    password,
                    ke1,
                },
                ke1,
            ))
        }

        /// KE1 again, for a retry.
        pub fn ke1(&self) -> [u8; 96] {
            self.ke1
        }

        /// Ends the recovery: KE3 and the export key.
        ///
        /// # Errors
        /// [`OpaqueError`] if the code is wrong or the answer is not by this fleet.
        pub fn finish<E: Entropy + ?Sized>(
            &self,
            ke2: &[u8; 320],
            server_key: &[u8; 32],
            identities: &Identities<'_>,
            ksf: Ksf,
            entropy: &E,
        ) -> Result<([u8; 64], Zeroizing<[u8; 64]>), OpaqueError> {
            let response = CredentialResponse::deserialize(ke2).map_err(|_| OpaqueError)?;
            let stretch = Stretch { ksf: Some(ksf) };
            let parameters = ClientLoginFinishParameters::new(
                Some(identities.context),
                identities.identifiers(),
                Some(&stretch),
            );
            let finished = self
                .state
                .clone()
                .finish(
                    &mut DrawOpaque(entropy),
                    &self.password,
                    response,
                    parameters,
                )
                .map_err(|_| OpaqueError)?;
            if finished.server_s_pk.serialize().as_slice() != server_key {
                return Err(OpaqueError);
            }
            let ke3 = finished
                .message
                .serialize()
                .as_slice()
                .try_into()
                .map_err(|_| OpaqueError)?;
            Ok((ke3, Zeroizing::new(finished.export_key.into())))
        }
    }
}
