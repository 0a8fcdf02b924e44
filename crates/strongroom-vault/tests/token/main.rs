//! The strict JWT profile of vault tokens, rule by rule (DESIGN §4 identity; REVIEW M3, C7).
#![allow(clippy::unwrap_used, missing_docs)]

mod changed;
mod claims;
mod header;
mod json;
mod made;
mod signature;
mod vectors;
