//! One run of the simulated cluster, from its seed: what a failing test prints to be replayed.

use crate::Options;
use crate::command::{command, run};
use anyhow::Result;

/// `cargo xtask sim`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    let line = "cargo run --quiet --package strongroom-sim --all-features --example cluster --";
    let mut cluster = command(line);
    for name in ["--seed", "--members"] {
        if let Some(value) = options.value(name)? {
            cluster.args([name, &value]);
        }
    }
    if options.flag("--replay") {
        cluster.arg("--replay");
    }
    options.done()?;
    run(&mut cluster)
}
