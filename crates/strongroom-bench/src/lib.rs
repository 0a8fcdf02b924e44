//! Nothing: the measurements are in `benches`, run by `cargo xtask bench`.
#![forbid(unsafe_code)]
