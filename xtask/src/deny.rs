//! Licences, banned crates, sources and known vulnerabilities of all dependencies (`deny.toml`).

use crate::command::{command, exists, run, status, succeeds};
use crate::steps::{Outcome, left_out, passed};
use crate::workspace::{TOOLS, root};
use anyhow::{Result, bail};
use std::process::Command;

/// Where `deny.toml` says that the advisory database lies.
const DATABASE: &str = "target/advisory-db";
/// A snapshot of the database for machines without network, beside the repository.
const SNAPSHOT: &str = "../shared/advisory-db.sh";

/// Licences, banned crates and sources.
pub(crate) fn licences() -> Result<Outcome> {
    let tool = tool()?;
    run(&mut command("cargo fetch --locked"))?;
    run(deny(&tool).args(["--offline", "check", "licenses", "bans", "sources"]))?;
    passed()
}

/// Known vulnerabilities and unmaintained crates, from the RustSec database.
pub(crate) fn advisories() -> Result<Outcome> {
    let tool = tool()?;
    run(&mut command("cargo fetch --locked"))?;
    if root().join(SNAPSHOT).is_file() {
        run(Command::new("bash").args([SNAPSHOT, DATABASE]))?;
    } else if !status(deny(&tool).args(["fetch", "db"]))?.success() {
        return left_out("the RustSec database cannot be fetched, so advisories were NOT checked");
    }
    run(deny(&tool).args(["--offline", "check", "advisories"]))?;
    passed()
}

fn deny(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command.args(["--workspace", "--locked"]);
    command
}

/// The program, from the path or built once into `target/tools` (some minutes).
fn tool() -> Result<String> {
    if exists("cargo-deny") {
        return Ok("cargo-deny".to_owned());
    }
    let built = root().join(TOOLS).join("bin/cargo-deny");
    let built = built.to_string_lossy().into_owned();
    if !succeeds(&format!("{built} --version")) {
        println!("building cargo-deny once, into {TOOLS}");
        // Unoptimised: it builds in half the time and checks this project in a few seconds.
        let mut install = command("cargo install cargo-deny --version ^0.20 --locked --debug");
        run(install.args(["--root", TOOLS, "--target-dir", &format!("{TOOLS}/build")]))?;
    }
    if !succeeds(&format!("{built} --version")) {
        bail!("{built} does not run");
    }
    Ok(built)
}
