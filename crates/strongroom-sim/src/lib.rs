//! A fleet in one thread: a vault, the host around it, phones, and checkers (DESIGN §14.2).
//!
//! | part | what it is, and who may lie there |
//! | --- | --- |
//! | `platform` | the machine; its operator rolls back, repeats, sets clocks, lets it fail |
//! | `host` | keeps what a host keeps; lies at any one step that a test likes |
//! | `phone` | a user's device, or a thief's with another's token or ticket |
//! | `glass` | opens every seal, for checkers only |
//! | `checkers` | the promises, asserted over what left the vault and what it committed |
//! | `world` | all of it put together |
//! | `fleet` | several members, one secret, and the steps of their ballots |
//! | `cluster` | several members with the replication of the node, under virtual time |
//!
//! Everything is repeatable from a seed. A world has one member; a fleet has several, which seal
//! empty batches.
//!
//! Trusted for nothing; it ships in no program.
#![forbid(unsafe_code)]
#![cfg(feature = "danger_world")]

pub mod checkers;
pub mod cluster;
pub mod entropy;
pub mod fleet;
pub mod glass;
pub mod host;
pub mod phone;
pub mod platform;
pub mod store;
pub mod world;
