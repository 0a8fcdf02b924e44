//! Every message of the crate: round trips, the one canonical form, limits, policy, vectors.
#![allow(clippy::unwrap_used, missing_docs)]

mod canonical;
mod cbor;
mod limits;
mod policy;
mod round_trip;
mod sample;
mod samples;
mod vectors;
