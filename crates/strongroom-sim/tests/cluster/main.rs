//! The fleet under virtual time: the real vaults with the real replication, faults, and liars
//! (DESIGN §14.2). What must hold is looked at after every event; at the end all is mended, and the
//! fleet must be whole again before long.
//!
//! `STRONGROOM_CLUSTER_SEEDS` raises the number of long runs, `STRONGROOM_CLUSTER_SEED` runs one.
#![allow(clippy::unwrap_used, missing_docs)]

mod lies;
mod members;
mod runs;
mod scenarios;
