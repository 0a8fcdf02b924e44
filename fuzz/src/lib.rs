//! What the fuzzer of the vault adds to `strongroom-sim`: choices made from the fuzzer's bytes, and
//! a host and a phone that they steer.

pub mod choices;
pub mod host;
pub mod phone;
pub mod rehearsal;
