//! Where things are, and which crates stand inside the HSM boundary.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The crates that see secrets in the clear and therefore obey the strictest rules: no `std`, no
/// `unsafe`, few dependencies. Order: lowest layer first.
pub(crate) const INSIDE: [&str; 4] = [
    "strongroom-wire",
    "strongroom-crypto",
    "strongroom-tree",
    "strongroom-vault",
];

/// What verifies the transparency log. Not linked into the image yet; it must stay fit for it.
pub(crate) const LOG: &str = "strongroom-log";

/// The image around them: the boundary itself, with IO.
pub(crate) const BOUNDARY: &str = "strongroom-hsm";

/// The target that has no operating system, and so no `std`.
pub(crate) const BARE_TARGET: &str = "x86_64-unknown-none";

/// The platform whose dependency set counts; fixed, so that the committed lists do not depend on
/// who prints them.
pub(crate) const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The top of the repository that `cargo xtask` was run in, from anywhere below it. Cargo says
/// which: where several copies share one target folder, the program may have been built in another
/// one.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let run = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
        let root = run.parent();
        root.expect("the manifest of xtask stands one level below the root")
            .to_owned()
    })
}

/// Tools that this program builds for itself, kept between runs.
pub(crate) const TOOLS: &str = "target/tools";
