//! Sealing under shared keys: XChaCha20-Poly1305 with random, hedged 24-byte nonces.
//!
//! Several HSMs share these keys and speculate on forks, so no index or counter is ever a nonce
//! (REVIEW C10). A machine snapshot repeats randomness, so the nonce also depends on the key and
//! the plaintext: `nonce = HMAC-SHA-256(key, "strongroom/v1 nonce" ‖ random(32) ‖ SHA-256(aad ‖
//! …))[..24]`. Equal nonces then mean equal plaintexts.
//!
//! Sealed form: nonce (24) ‖ ciphertext ‖ tag (16).

use crate::hash::sha256;
use crate::kdf::prf;
use crate::random::Entropy;
use alloc::vec::Vec;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What sealing adds, in bytes: nonce and tag.
pub const OVERHEAD: usize = 24 + 16;

/// A 32-byte key for one type of object.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; 32]);

impl SealingKey {
    /// From derived bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// It does not open: another key, another AAD, or damaged. Which one is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealError;

impl core::fmt::Display for SealError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sealed bytes do not open")
    }
}

impl core::error::Error for SealError {}

/// Seals `plaintext`, bound to `aad`.
pub fn seal<E: Entropy + ?Sized>(
    key: &SealingKey,
    aad: &[u8],
    plaintext: &[u8],
    entropy: &E,
) -> Vec<u8> {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let content = sha256(&[&sha256(&[aad]), plaintext]);
    let mut hedge = [0; 64];
    hedge[..32].copy_from_slice(&random);
    hedge[32..].copy_from_slice(&content);
    let full = prf(&key.0, "strongroom/v1 nonce", &hedge);
    let mut nonce = XNonce::default();
    nonce.copy_from_slice(&full[..24]);
    let ciphertext = XChaCha20Poly1305::new((&key.0).into())
        .encrypt(
            &nonce,
            Payload {
                msg: plaintext,
                aad,
            },
        )
        .expect("messages here are far below ChaCha20's limit of 256 GiB");
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&ciphertext);
    out
}

/// Opens what [`seal`] made under the same key and `aad`.
///
/// # Errors
/// [`SealError`] for anything else.
pub fn open(key: &SealingKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<24>().ok_or(SealError)?;
    XChaCha20Poly1305::new((&key.0).into())
        .decrypt(
            &XNonce::from(*nonce),
            Payload {
                msg: ciphertext,
                aad,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError)
}
