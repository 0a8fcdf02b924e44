//! Where things are, and which crates stand inside the HSM boundary.

use std::path::Path;

/// The crates that see secrets in the clear and therefore obey the strictest rules: no `std`, no
/// `unsafe`, few dependencies. Order: lowest layer first.
pub(crate) const INSIDE: [&str; 4] = [
    "strongroom-wire",
    "strongroom-crypto",
    "strongroom-tree",
    "strongroom-vault",
];

/// The image around them: the boundary itself, with IO.
pub(crate) const BOUNDARY: &str = "strongroom-hsm";

/// The target that has no operating system, and so no `std`.
pub(crate) const BARE_TARGET: &str = "x86_64-unknown-none";

/// The platform whose dependency set counts; fixed, so that the committed lists do not depend on
/// who prints them.
pub(crate) const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The top of the repository. `cargo xtask` runs from anywhere below it.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the manifest of xtask stands one level below the root")
}

/// Tools that this program builds for itself, kept between runs.
pub(crate) const TOOLS: &str = "target/tools";
