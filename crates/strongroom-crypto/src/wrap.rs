//! What the vault keeps for the user: `root` and an optional payload, wrapped under OPAQUE's export
//! key with a key-committing AEAD; and the children of root. Client side only.
//!
//! Construction (HKDF key commitment over XChaCha20-Poly1305): from the export key and the AAD's
//! digest, HKDF-SHA-256 expands `key` (32) and `commitment` (32). Wrapped = commitment ‖ nonce (24)
//! ‖ ciphertext ‖ tag (16). A wrapped secret opens under one key only: the commitment, compared in
//! constant time, binds it (a collision would be one of HKDF-SHA-256).
//!
//! Plaintext: 4 bytes of length ‖ root (32) ‖ payload, padded to 136 bytes (payload ≤ 64) or 1,064
//! (payload ≤ 1,024). Root itself is handed to nobody: callers get labelled children.

use crate::kdf::derive;
use crate::ksf::Ksf;
use crate::random::Entropy;
use crate::seal::{self, SealingKey};
use crate::statement::SigningKey;
use alloc::vec::Vec;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Greatest payload, bytes.
pub const PAYLOAD_MAX: usize = 1024;
const SMALL: usize = 4 + 32 + 64 + 36;
const LARGE: usize = 4 + 32 + PAYLOAD_MAX + 4;

/// The secret root of everything a user's backup needs.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Root([u8; 32]);

impl Root {
    /// Draws a new root.
    pub fn generate<E: Entropy + ?Sized>(entropy: &E) -> Self {
        let mut root = Self([0; 32]);
        entropy.fill(&mut root.0);
        root
    }

    /// For an SDK's own sealed storage of an unfinished registration.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The root under a 64-digit key; each byte is one digit, 0 to 9.
    pub fn from_digits(digits: &[u8; 64]) -> Self {
        Self(*derive(digits, "64-digit key", &[]))
    }

    /// For an SDK's own sealed storage of an unfinished registration, and nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Proves the root to the fleet. Bound to fleet and record, so that two slots are not linked.
    pub fn owner_key(&self, fleet: &[u8; 32], record: &[u8; 32]) -> SigningKey {
        SigningKey::from_seed(&derive(&self.0, "owner", &[fleet, record]))
    }

    /// The age identity's secret.
    pub fn age_secret(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.0, "age", &[])
    }

    /// A password for restic and the like, to be printed in hexadecimal.
    pub fn repository_password(&self) -> Zeroizing<[u8; 32]> {
        derive(&self.0, "repository", &[])
    }

    /// Seals the code in the device's own store, where the user allows it.
    pub fn device_cache_key(&self) -> SealingKey {
        SealingKey::from_bytes(*derive(&self.0, "device cache", &[]))
    }
}

/// Too long a payload, or wrapped bytes that do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapError;

impl core::fmt::Display for WrapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the wrapped secret does not open, or the payload is over 1,024 bytes")
    }
}

impl core::error::Error for WrapError {}

fn keys(export_key: &[u8; 64], aad: &[u8]) -> (SealingKey, Zeroizing<[u8; 32]>) {
    let context = crate::hash::sha256(&[aad]);
    let key = derive(export_key, "wrap key", &[&context]);
    (
        SealingKey::from_bytes(*key),
        derive(export_key, "wrap commitment", &[&context]),
    )
}

/// The AAD: ksf name, fleet and client identity, each behind its length.
fn aad(ksf: Ksf, fleet: &[u8; 32], client: &[u8; 32]) -> Vec<u8> {
    let name = ksf.name().as_bytes();
    let mut out = Vec::from(b"strongroom/v1 wrap".as_slice());
    out.push(u8::try_from(name.len()).expect("names are short constants of ours"));
    out.extend_from_slice(name);
    out.extend_from_slice(fleet);
    out.extend_from_slice(client);
    out
}

/// Wraps root and payload.
///
/// # Errors
/// [`WrapError`] if the payload is over [`PAYLOAD_MAX`] bytes.
pub fn wrap<E: Entropy + ?Sized>(
    export_key: &[u8; 64],
    (ksf, fleet, client): (Ksf, &[u8; 32], &[u8; 32]),
    root: &Root,
    payload: &[u8],
    entropy: &E,
) -> Result<Vec<u8>, WrapError> {
    let size = if payload.len() <= 64 { SMALL } else { LARGE };
    if payload.len() > PAYLOAD_MAX {
        return Err(WrapError);
    }
    let length = u32::try_from(payload.len()).map_err(|_| WrapError)?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(size));
    plaintext.extend_from_slice(&length.to_be_bytes());
    plaintext.extend_from_slice(&root.0);
    plaintext.extend_from_slice(payload);
    plaintext.resize(size, 0);
    let aad = aad(ksf, fleet, client);
    let (key, commitment) = keys(export_key, &aad);
    let mut out = commitment.to_vec();
    out.extend_from_slice(&seal::seal(&key, &aad, &plaintext, entropy));
    Ok(out)
}

/// Unwraps root and payload.
///
/// # Errors
/// [`WrapError`] if they were wrapped under another key, set, fleet or identity, or are damaged.
pub fn unwrap(
    export_key: &[u8; 64],
    (ksf, fleet, client): (Ksf, &[u8; 32], &[u8; 32]),
    wrapped: &[u8],
) -> Result<(Root, Zeroizing<Vec<u8>>), WrapError> {
    let aad = aad(ksf, fleet, client);
    let (key, commitment) = keys(export_key, &aad);
    let (claimed, sealed) = wrapped.split_first_chunk::<32>().ok_or(WrapError)?;
    if !bool::from(claimed.ct_eq(&*commitment)) {
        return Err(WrapError);
    }
    let plaintext = seal::open(&key, &aad, sealed).map_err(|_| WrapError)?;
    let (length, rest) = plaintext.split_first_chunk::<4>().ok_or(WrapError)?;
    let (root, rest) = rest.split_first_chunk::<32>().ok_or(WrapError)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| WrapError)?;
    let payload = rest.get(..length).ok_or(WrapError)?;
    Ok((Root(*root), Zeroizing::new(payload.to_vec())))
}
