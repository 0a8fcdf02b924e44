//! What several fuzzers share: choices made from the fuzzer's bytes, and a whole small world around
//! the vault (an honest host that can be told to lie, a phone, a platform in memory).

pub mod choices;
pub mod host;
pub mod phone;
pub mod platform;
pub mod rehearsal;
pub mod store;
