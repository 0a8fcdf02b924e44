//! The one canonical CBOR codec (RFC 8949 §4.2.1, core deterministic encoding).
//!
//! Decoding is strict by construction: a value is accepted only if encoding it again gives the very
//! same bytes. That one rule refuses trailing bytes, long integer forms, indefinite lengths,
//! unknown fields and duplicate or unordered keys, whoever sent them.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

/// Bytes that are not the canonical encoding of what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not CBOR, or CBOR of another shape.
    Encoding,
    /// The right shape, but not in the one canonical form (or with trailing bytes).
    NotCanonical,
    /// A length, count or number is outside its limit (see [`crate::limits`]).
    OutOfBounds,
    /// Padding holds something else than its length and zeros.
    Padding,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Encoding => "not the CBOR structure that was expected",
            Self::NotCanonical => "not in canonical form, or trailing bytes",
            Self::OutOfBounds => "a length or number is outside its limit",
            Self::Padding => "padding is malformed",
        })
    }
}

impl core::error::Error for Malformed {}

/// Encodes a value in its one canonical form.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_length(value));
    append(value, &mut out);
    out
}

/// Encodes a value and pads it to `size` bytes, as [`pad`] does.
///
/// # Errors
/// [`Malformed::OutOfBounds`] if it does not fit.
pub fn encode_padded<T: Encode<()>>(value: &T, size: usize) -> Result<Vec<u8>, Malformed> {
    let length = encoded_length(value);
    let prefix = u32::try_from(length).map_err(|_| Malformed::OutOfBounds)?;
    if length + 4 > size {
        return Err(Malformed::OutOfBounds);
    }
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&prefix.to_be_bytes());
    append(value, &mut out);
    out.resize(size, 0);
    Ok(out)
}

/// Allocated once, at its length: a buffer that grows leaves copies of what may be a secret.
fn append<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    let capacity = out.capacity();
    match minicbor::encode(value, &mut *out) {
        Ok(()) => {}
        Err(_) => unreachable!("writing to a Vec does not fail, and no encoder here refuses"),
    }
    assert_eq!(out.capacity(), capacity, "its length was counted before");
}

fn encoded_length<T: Encode<()>>(value: &T) -> usize {
    let mut length = Counting(0);
    match minicbor::encode(value, &mut length) {
        Ok(()) => length.0,
        Err(_) => unreachable!("counting does not fail, and no encoder here refuses"),
    }
}

/// Counts what is written.
struct Counting(usize);

impl minicbor::encode::Write for Counting {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Decodes a value from exactly `bytes`.
///
/// # Errors
/// [`Malformed::Encoding`] if the structure is another; [`Malformed::NotCanonical`] if the bytes
/// are not what [`encode`] gives for the decoded value, or go on after it.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, Malformed> {
    let value: T = minicbor::decode(bytes).map_err(|_| Malformed::Encoding)?;
    // Compared as it is encoded: no second copy of what may be a secret, and none to erase.
    let mut rest = Rest(bytes);
    match minicbor::encode(&value, &mut rest) {
        Ok(()) if rest.0.is_empty() => Ok(value),
        _ => Err(Malformed::NotCanonical),
    }
}

/// Takes only the bytes that stand there.
struct Rest<'b>(&'b [u8]);

/// Other bytes than those that were given.
struct Differs;

impl minicbor::encode::Write for Rest<'_> {
    type Error = Differs;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(bytes).ok_or(Differs)?;
        Ok(())
    }
}

/// Hashes what is written.
struct Hashing(Sha256);

impl minicbor::encode::Write for Hashing {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.update(bytes);
        Ok(())
    }
}

/// SHA-256 of a label and the canonical encoding of `value`: `H(len(label) ‖ label ‖ cbor)`, where
/// the length is one byte, so that no label can run into the bytes behind it.
pub fn digest<T: Encode<()>>(label: &str, value: &T) -> crate::Digest {
    let mut hash = Hashing(labelled(label));
    match minicbor::encode(value, &mut hash) {
        Ok(()) => crate::Digest(hash.0.finalize().into()),
        Err(_) => unreachable!("hashing does not fail, and no encoder here refuses"),
    }
}

/// [`digest`] of bytes that are canonical already.
pub fn digest_bytes(label: &str, bytes: &[u8]) -> crate::Digest {
    let mut hash = labelled(label);
    hash.update(bytes);
    crate::Digest(hash.finalize().into())
}

fn labelled(label: &str) -> Sha256 {
    let length = u8::try_from(label.len()).expect("labels are short constants of ours");
    let mut hash = Sha256::new();
    hash.update([length]);
    hash.update(label.as_bytes());
    hash
}

/// Pads a message to `size` bytes: 4 bytes of length (big endian), the message, zeros.
///
/// # Errors
/// [`Malformed::OutOfBounds`] if the message and its length do not fit.
pub fn pad(message: &[u8], size: usize) -> Result<Vec<u8>, Malformed> {
    let length = u32::try_from(message.len()).map_err(|_| Malformed::OutOfBounds)?;
    if message.len() + 4 > size {
        return Err(Malformed::OutOfBounds);
    }
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    out.resize(size, 0);
    Ok(out)
}

/// Takes the message out of its padding; the inverse of [`pad`].
///
/// # Errors
/// [`Malformed::Padding`] if the length is wrong or a padding byte is not zero.
pub fn unpad(padded: &[u8]) -> Result<&[u8], Malformed> {
    let (length, rest) = padded.split_first_chunk::<4>().ok_or(Malformed::Padding)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Malformed::Padding)?;
    let (message, zeros) = rest.split_at_checked(length).ok_or(Malformed::Padding)?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(Malformed::Padding);
    }
    Ok(message)
}
