//! All cryptography of the boundary, behind a small surface of bytes and labelled keys.
//!
//! Nothing here is of our own design but the labels: OPAQUE (RFC 9807), HPKE (RFC 9180) with
//! X-Wing, XChaCha20-Poly1305, HKDF and HMAC with SHA-256, Ed25519, ES256. `docs/protocol.md` has
//! every label and byte.
//!
//! Invariants: no key leaves its type; no secret has `Debug` or `PartialEq`; every comparison with
//! a secret is constant time; every nonce under a shared key is random and hedged. Failures are
//! coarse on purpose: a caller learns *that* something did not open, never why.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod channel;
pub mod hash;
pub mod kdf;
pub mod ksf;
pub mod opaque;
pub mod random;
pub mod seal;
pub mod statement;
#[cfg(feature = "client")]
pub mod wrap;
pub mod xwing;

pub use subtle;
