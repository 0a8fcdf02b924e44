//! Platforms. One here: `software`.

pub mod software;
