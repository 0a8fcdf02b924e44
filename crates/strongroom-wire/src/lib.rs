//! Identifiers, limits, messages and the one canonical CBOR codec.
//!
//! Everything that crosses a boundary is defined here once: what a client seals to the fleet
//! ([`request`], [`answer`]), what carries it ([`envelope`]), what the host and the HSM say to each
//! other ([`frame`]), what the HSMs seal as history ([`entry`]), and what a fleet is
//! ([`manifest`]). `docs/protocol.md` has the same in CDDL and byte tables.
//!
//! Spec: deterministic CBOR, RFC 8949 §4.2.1. Invariant: a byte string that decodes is the only
//! encoding of its value ([`codec::decode`] refuses all others), so a digest of bytes is a digest
//! of meaning. Every decoder here is fed by an attacker; none allocates more than it was given.
//!
//! This crate does no cryptography but SHA-256 digests of canonical bytes, and decides nothing.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod answer;
pub mod binding;
pub mod codec;
pub mod entry;
pub mod envelope;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod request;
pub mod tenant;

pub use codec::{Malformed, decode, encode};
pub use ids::*;
