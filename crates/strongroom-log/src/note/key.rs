//! Keys of notes: their names, ids, text forms, and what they sign.
//!
//! | type | signs | signature |
//! | --- | --- | --- |
//! | 0x01 Ed25519 | the text | 64 bytes |
//! | 0x04 cosignature/v1 | `cosignature/v1\ntime SECONDS\n` ‖ the text | 8 bytes time ‖ 64 bytes |
//!
//! Key id: first 4 bytes of SHA-256(name ‖ newline ‖ type ‖ 32-byte public key). It is an
//! identifier, not a commitment: two keys may share it, and then a signature of one is a bad one of
//! the other. ECDSA (0x02) and ML-DSA-44 (0x06) are not spoken; their lines are ignored.

use super::SignatureLine;
use crate::base64;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What begins the text of a signing key.
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// Longest key name, bytes. The specification has no bound; a note has.
const NAME_BYTES_MAX: usize = 1024;
/// Greatest timestamp of a cosignature (tlog-cosignature).
const TIMESTAMP_MAX: u64 = (1 << 63) - 1;

/// How a key signs: the signature type of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyType {
    /// 0x01: the text.
    Ed25519 = 0x01,
    /// 0x04: time and text of a checkpoint.
    Cosignature = 0x04,
}

/// Why a key's text or name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not `NAME+ID+BASE64`, ID in 8 lower-case hexadecimal digits.
    Form,
    /// The id is not that of name and key: one of the three was mistyped.
    Id,
    /// A name is 1 to 1,024 bytes without spaces, control characters and `+`.
    Name,
    /// A key is 32 bytes and a point that is not of small order.
    Public,
    /// Not of the type that this use needs, or of one that is not spoken here.
    Type,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "a key is NAME+ID+BASE64",
            Self::Id => "the id does not belong to this name and key; was one of them mistyped?",
            Self::Name => "a key's name is 1 to 1,024 bytes without spaces and plus signs",
            Self::Public => "not an Ed25519 public key",
            Self::Type => "a log's key has type 0x01 (Ed25519), a witness's 0x04 (cosignature)",
        })
    }
}

impl core::error::Error for KeyError {}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed)
}

/// A public key with its name and type: a *vkey*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    kind: KeyType,
    public: [u8; 32],
}

impl VerifierKey {
    /// From its parts.
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::Public`].
    pub fn new(name: &str, kind: KeyType, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let point = VerifyingKey::from_bytes(&public).map_err(|_| KeyError::Public)?;
        if point.is_weak() {
            return Err(KeyError::Public);
        }
        Ok(Self {
            name: name.to_string(),
            id: key_id(name, kind, &public),
            kind,
            public,
        })
    }

    /// Reads `NAME+ID+BASE64(type ‖ public key)`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = parts(text)?;
        let (kind, public) = typed(&key)?;
        let key = Self::new(name, kind, public)?;
        if key.id != id {
            return Err(KeyError::Id);
        }
        Ok(key)
    }

    /// The name: of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it signs.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Verifies what stands behind the key id in a signature line; gives a cosignature's time.
    pub(super) fn check(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, KeyError> {
        match self.kind {
            KeyType::Ed25519 => {
                self.check_bytes(text.as_bytes(), signature)?;
                Ok(None)
            }
            KeyType::Cosignature => {
                let (time, signature) = signature.split_first_chunk().ok_or(KeyError::Form)?;
                let time = u64::from_be_bytes(*time);
                if time > TIMESTAMP_MAX {
                    return Err(KeyError::Form);
                }
                self.check_bytes(&cosigned_bytes(text, time), signature)?;
                Ok(Some(time))
            }
        }
    }

    fn check_bytes(&self, bytes: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let signature = Signature::from_slice(signature).map_err(|_| KeyError::Form)?;
        let key = VerifyingKey::from_bytes(&self.public).map_err(|_| KeyError::Public)?;
        let verified = key.verify_strict(bytes, &signature);
        verified.map_err(|_| KeyError::Public)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = Vec::from([self.kind as u8]);
        key.extend_from_slice(&self.public);
        let encoded = base64::encode(&key);
        write!(f, "{}+{:08x}+{encoded}", self.name, self.id)
    }
}

fn key_id(name: &str, kind: KeyType, public: &[u8; 32]) -> u32 {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', kind as u8]);
    hash.update(public);
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    u32::from_be_bytes([a, b, c, d])
}

/// Splits `NAME+ID+BASE64`. Base64 has plus signs of its own.
fn parts(text: &str) -> Result<(&str, u32, Zeroizing<Vec<u8>>), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Form);
    };
    let number = u32::from_str_radix(id, 16).map_err(|_| KeyError::Form)?;
    if format!("{number:08x}") != id {
        return Err(KeyError::Form);
    }
    let key = base64::decode(key).ok_or(KeyError::Form)?;
    Ok((name, number, Zeroizing::new(key)))
}

fn typed(key: &[u8]) -> Result<(KeyType, [u8; 32]), KeyError> {
    let (kind, key) = key.split_first().ok_or(KeyError::Form)?;
    let kind = match kind {
        0x01 => KeyType::Ed25519,
        0x04 => KeyType::Cosignature,
        _ => return Err(KeyError::Type),
    };
    Ok((kind, key.try_into().map_err(|_| KeyError::Public)?))
}

/// The message of a version 1 cosignature.
fn cosigned_bytes(text: &str, timestamp_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {timestamp_s}\n{text}").into_bytes()
}

/// Name, type and secret of a key that signs.
#[derive(Clone)]
struct Secret {
    key: SigningKey,
    verifier: VerifierKey,
}

/// The public half only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verifier)
    }
}

impl Secret {
    fn new(name: &str, kind: KeyType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, kind, key.verifying_key().to_bytes())?;
        Ok(Self { key, verifier })
    }

    fn parse(text: &str, wanted: KeyType) -> Result<Self, KeyError> {
        let text = text.strip_prefix(PRIVATE_PREFIX).ok_or(KeyError::Form)?;
        let (name, id, key) = parts(text)?;
        let (kind, seed) = typed(&key)?;
        let seed = Zeroizing::new(seed);
        if kind != wanted {
            return Err(KeyError::Type);
        }
        let secret = Self::new(name, kind, &seed)?;
        if secret.verifier.id != id {
            return Err(KeyError::Id);
        }
        Ok(secret)
    }

    fn text(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new([0; 33]);
        let (kind, seed) = key.split_at_mut(1);
        kind.fill(self.verifier.kind as u8);
        seed.copy_from_slice(self.key.as_bytes());
        let encoded = Zeroizing::new(base64::encode(key.as_slice()));
        let VerifierKey { name, id, .. } = &self.verifier;
        let encoded = encoded.as_str();
        Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id:08x}+{encoded}"))
    }

    fn line(&self, signature: Vec<u8>) -> SignatureLine {
        SignatureLine {
            name: self.verifier.name.clone(),
            id: self.verifier.id,
            signature,
        }
    }
}

/// A key that signs notes (0x01): a log's. Erased on drop.
#[derive(Clone, Debug)]
pub struct Signer(Secret);

impl Signer {
    /// From its name and a seed of 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Secret::new(name, KeyType::Ed25519, seed).map(Self)
    }

    /// Reads `PRIVATE+KEY+NAME+ID+BASE64(type ‖ seed)`, as Go's tools write it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Secret::parse(text, KeyType::Ed25519).map(Self)
    }

    /// The secret text that [`Self::parse`] reads.
    pub fn private_text(&self) -> Zeroizing<String> {
        self.0.text()
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.0.verifier
    }

    /// Signs a text, which ends in a newline.
    pub fn sign(&self, text: &str) -> SignatureLine {
        let signature = self.0.key.sign(text.as_bytes());
        self.0.line(signature.to_bytes().to_vec())
    }
}

/// A key that cosigns checkpoints (0x04): a witness's. Erased on drop.
#[derive(Clone, Debug)]
pub struct Cosigner(Secret);

impl Cosigner {
    /// From its name and a seed of 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Secret::new(name, KeyType::Cosignature, seed).map(Self)
    }

    /// As [`Signer::parse`].
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Secret::parse(text, KeyType::Cosignature).map(Self)
    }

    /// The secret text that [`Self::parse`] reads.
    pub fn private_text(&self) -> Zeroizing<String> {
        self.0.text()
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.0.verifier
    }

    /// Cosigns a checkpoint's text at a time in seconds since 1970, at most 2⁶³ − 1 (a later one is
    /// taken for that).
    pub fn cosign(&self, text: &str, timestamp_s: u64) -> SignatureLine {
        let time = timestamp_s.min(TIMESTAMP_MAX);
        let signature = self.0.key.sign(&cosigned_bytes(text, time));
        let mut bytes = time.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signature.to_bytes());
        self.0.line(bytes)
    }
}
