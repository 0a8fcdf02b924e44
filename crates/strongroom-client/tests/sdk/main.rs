//! The SDK against a fleet in this process: an HSM of one record per slot, behind a TLS server that
//! loses, delays and forges answers by script (DESIGN §4, §12; REVIEW C12, H1, H3).
#![allow(clippy::unwrap_used, missing_docs)]

mod bundle;
mod codes;
mod crash;
mod cuts;
mod fleet;
mod hsm;
mod journal;
mod lost;
mod operations;
mod secrecy;
mod server;
mod session;
mod transport;
