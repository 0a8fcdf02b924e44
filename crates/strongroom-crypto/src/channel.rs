//! The channel to the fleet: HPKE base mode (RFC 9180) with X-Wing (KEM 0x647a, ML-KEM-768 and
//! X25519), HKDF-SHA-256 and ChaCha20-Poly1305, and answers as RFC 9458 §4.4 seals them.
//!
//! An answer's key and nonce come from the context's exported secret, the encapsulation, and a
//! fresh response nonce of 32 bytes. The same request may be answered many times, by several
//! members, with different plaintexts, so the response nonce is random *and* hedged with the secret
//! and the plaintext's hash (REVIEW C10): equal nonces then mean equal answers.

use crate::hash::sha256;
use crate::kdf::prf;
use crate::random::{Draw, Entropy};
use crate::xwing::Resident;
use alloc::vec::Vec;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use sha2::Sha256;
use zeroize::Zeroizing;

type HpkeAead = hpke::aead::ChaCha20Poly1305;
type HpkeKdf = hpke::kdf::HkdfSha256;

/// Size of an encapsulation, bytes.
pub const ENC_BYTES: usize = 1120;
/// Size of a public key, bytes.
pub const PUBLIC_BYTES: usize = 1216;
/// Size of a response nonce, bytes.
const RESPONSE_NONCE_BYTES: usize = 32;

/// It does not open, or is no valid key. Which one is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelError;

impl core::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the sealed message does not open")
    }
}

impl core::error::Error for ChannelError {}

/// The fleet's half of the channel.
pub struct FleetKem {
    private: <Resident as hpke::Kem>::PrivateKey,
    public: [u8; PUBLIC_BYTES],
}

impl FleetKem {
    /// Derives the key pair from a seed (X-Wing's own private key is a 32-byte seed).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let private = <Resident as hpke::Kem>::PrivateKey::from_bytes(seed)
            .expect("every 32 bytes are an X-Wing private key");
        let bytes = Resident::sk_to_pk(&private).to_bytes();
        let mut public = [0; PUBLIC_BYTES];
        public.copy_from_slice(&bytes);
        Self { private, public }
    }

    /// The public key.
    pub fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.public
    }

    /// Opens a sealed request.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        enc: &[u8],
        ciphertext: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, ResponseKey), ChannelError> {
        let encapped =
            <Resident as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| ChannelError)?;
        let mut context = hpke::setup_receiver::<HpkeAead, HpkeKdf, Resident>(
            &OpModeR::Base,
            &self.private,
            &encapped,
            info,
        )
        .map_err(|_| ChannelError)?;
        let plaintext = context.open(ciphertext, aad).map_err(|_| ChannelError)?;
        let mut secret = Zeroizing::new([0; 32]);
        context
            .export(EXPORT, &mut *secret)
            .map_err(|_| ChannelError)?;
        Ok((Zeroizing::new(plaintext), ResponseKey::new(secret, enc)))
    }
}

/// Exporter context of the response secret.
const EXPORT: &[u8] = b"strongroom/v1 response";

/// The client's half: one encapsulation, for one request. The encapsulation is known before the
/// request is sealed, because proofs inside the request are bound to it.
pub struct Sender {
    enc: Vec<u8>,
    context: hpke::aead::AeadCtxS<HpkeAead, HpkeKdf, XWing>,
}

impl Sender {
    /// Encapsulates to the fleet.
    ///
    /// # Errors
    /// [`ChannelError`] if `public` is no valid key.
    pub fn new<E: Entropy + ?Sized>(
        public: &[u8],
        info: &[u8],
        entropy: &E,
    ) -> Result<Self, ChannelError> {
        let public =
            <XWing as hpke::Kem>::PublicKey::from_bytes(public).map_err(|_| ChannelError)?;
        let (encapped, context) = hpke::setup_sender_with_rng::<HpkeAead, HpkeKdf, XWing>(
            &OpModeS::Base,
            &public,
            info,
            &mut Draw(entropy),
        )
        .map_err(|_| ChannelError)?;
        Ok(Self {
            enc: encapped.to_bytes().to_vec(),
            context,
        })
    }

    /// The encapsulation, [`ENC_BYTES`].
    pub fn enc(&self) -> &[u8] {
        &self.enc
    }

    /// Seals the request; gives the ciphertext and the key for its answers.
    ///
    /// # Errors
    /// [`ChannelError`], for a message longer than HPKE allows.
    pub fn seal(
        mut self,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<(Vec<u8>, ResponseKey), ChannelError> {
        let ciphertext = self
            .context
            .seal(plaintext, aad)
            .map_err(|_| ChannelError)?;
        let mut secret = Zeroizing::new([0; 32]);
        self.context
            .export(EXPORT, &mut *secret)
            .map_err(|_| ChannelError)?;
        Ok((ciphertext, ResponseKey::new(secret, &self.enc)))
    }
}

/// Seals and opens the answers to one request.
pub struct ResponseKey {
    secret: Zeroizing<[u8; 32]>,
    /// The salt of RFC 9458 begins with `enc`; its digest stands in for the 1,120 bytes.
    enc: [u8; 32],
}

impl ResponseKey {
    fn new(secret: Zeroizing<[u8; 32]>, enc: &[u8]) -> Self {
        Self {
            secret,
            enc: sha256(&[enc]),
        }
    }

    /// Seals one answer: response nonce (32) ‖ ciphertext ‖ tag (16).
    pub fn seal<E: Entropy + ?Sized>(&self, plaintext: &[u8], entropy: &E) -> Vec<u8> {
        let mut hedge = [0; 64];
        entropy.fill(&mut hedge[..32]);
        hedge[32..].copy_from_slice(&sha256(&[plaintext]));
        let nonce = prf(&self.secret, "strongroom/v1 response nonce", &hedge);
        let (cipher, aead_nonce) = self.cipher(&nonce);
        let ciphertext = cipher
            .encrypt(&aead_nonce, plaintext)
            .expect("answers are far below ChaCha20's limit of 256 GiB");
        let mut out = Vec::with_capacity(nonce.len() + ciphertext.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&ciphertext);
        out
    }

    /// Opens an answer.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let (nonce, ciphertext) = sealed
            .split_first_chunk::<RESPONSE_NONCE_BYTES>()
            .ok_or(ChannelError)?;
        let (cipher, aead_nonce) = self.cipher(nonce);
        cipher
            .decrypt(&aead_nonce, ciphertext)
            .map(Zeroizing::new)
            .map_err(|_| ChannelError)
    }

    fn cipher(&self, response_nonce: &[u8; RESPONSE_NONCE_BYTES]) -> (ChaCha20Poly1305, Nonce) {
        let mut salt = [0; 64];
        salt[..32].copy_from_slice(&self.enc);
        salt[32..].copy_from_slice(response_nonce);
        let hkdf = Hkdf::<Sha256>::new(Some(&salt), &*self.secret);
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = [0; 12];
        hkdf.expand(b"key", &mut *key)
            .expect("32 bytes are within HKDF's limit");
        hkdf.expand(b"nonce", &mut nonce)
            .expect("12 bytes are within HKDF's limit");
        (ChaCha20Poly1305::new(&Key::from(*key)), Nonce::from(nonce))
    }
}
