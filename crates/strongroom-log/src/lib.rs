//! The transparency log (DESIGN §10): what a verifier needs; with the feature `auditor` the log
//! itself, with `server` its service.
//!
//! Formats are C2SP's, so that anybody's tools read ours: [`note`] (signed-note), [`checkpoint`]
//! (tlog-checkpoint), [`tiles`] (tlog-tiles), [`proof`] (tlog-proof), [`witness`] (tlog-witness)
//! with cosignatures (tlog-cosignature). Hashes are RFC 6962's ([`merkle`]).
//!
//! Who may be lying: the log, its host, every witness but a quorum, and whoever hands over a proof.
//! Everything parsed here is text or bytes of theirs. Invariants:
//!
//! 1. A checkpoint counts only as [`policy::VerifiedCheckpoint`], which nothing but the log's
//!    signature and a quorum of cosignatures makes.
//! 2. An entry is in the log only as [`proof::Inclusion`], which nothing but an inclusion proof
//!    under such a checkpoint makes.
//! 3. What parses formats again to the same bytes.
//!
//! Without features this is `no_std`, decides nothing about what an entry says, and reads no clock:
//! HSM and client verify with it. All data here is public; no comparison has to be constant-time.
#![cfg_attr(not(feature = "auditor"), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;

#[cfg(feature = "auditor")]
pub mod auditor;
mod base64;
pub mod checkpoint;
#[cfg(feature = "server")]
pub mod client;
pub mod entry;
#[cfg(feature = "auditor")]
pub mod files;
#[cfg(feature = "auditor")]
pub mod log;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
#[cfg(feature = "auditor")]
pub mod registry;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod settings;
#[cfg(feature = "auditor")]
pub mod submission;
pub mod tiles;
pub mod witness;
