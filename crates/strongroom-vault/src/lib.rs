//! The state machine inside the HSM boundary: records, attempt policy, notary chain.
//!
//! One seam, [`Vault::handle`]: one request of the host at a time, a whole response before the
//! next. Work that needs no decision is [`Preparer`]'s, on any thread. Spec: DESIGN §3 to §7,
//! `docs/protocol.md`.
//!
//! Trusted for: P1 (guess bound), P5 (a lost answer costs nothing), P6 (no silent replacement), P7
//! (the user can see). Everything it is given comes from a host that lies.
//!
//! No IO, clock, randomness or threads but through [`Platform`].
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod clock;
mod desk;
mod handover;
mod keys;
mod member;
mod members;
mod notary;
mod pace;
mod platform;
pub mod policy;
mod prepare;
mod propose;
mod quorum;
pub mod record;
mod standing;
mod tenants;
mod ticket;
pub mod token;
mod vault;

pub use desk::{Desk, Stage, Table};
pub use platform::{Blob, Platform, PlatformFault};
pub use prepare::Preparer;
pub use vault::Vault;
