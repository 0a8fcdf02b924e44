//! The Debian packages that tests use, in one table, and their installation.

use crate::command::{command, exists, run, succeeds};
use crate::steps::{Outcome, left_out, passed};
use anyhow::Result;

/// A program from Debian that some test starts.
struct Package {
    /// The name in Debian.
    package: &'static str,
    /// The program whose presence shows that the package is there.
    program: &'static str,
    /// What needs it.
    needed_by: &'static str,
}

const fn package(package: &'static str, program: &'static str, needed_by: &'static str) -> Package {
    Package {
        package,
        program,
        needed_by,
    }
}

const PACKAGES: &[Package] = &[
    package("gcc", "cc", "linking, and the C in aws-lc-sys and zstd-sys"),
    package("g++", "c++", "fuzz: libFuzzer is C++"),
    package("git", "git", "tidy: the list of tracked files"),
    package(
        "age",
        "age",
        "strongroom-backup: the stock tool opens our backups",
    ),
    package(
        "restic",
        "restic",
        "strongroom: a recovered secret opens a restic repository",
    ),
    package(
        "faketime",
        "faketime",
        "strongroom: HSMs whose clocks jump to 2036",
    ),
    package(
        "socat",
        "socat",
        "strongroom: lines between sites in network namespaces",
    ),
    package(
        "strace",
        "strace",
        "strongroom: makes one member's syncs slow",
    ),
    package(
        "zstd",
        "zstd",
        "deny: unpacks the snapshot of the advisory database",
    ),
];

/// Parts of the toolchain that `rustup` adds, and the command that shows them.
const COMPONENTS: &[(&str, &str)] = &[
    ("rustfmt", "cargo fmt --version"),
    ("clippy", "cargo clippy --version"),
];

/// Installs what is missing. Says what it does; does nothing when nothing is missing.
pub(crate) fn install() -> Result<Outcome> {
    for (component, probe) in COMPONENTS {
        if !succeeds(probe) && exists("rustup") {
            run(&mut command(&format!("rustup component add {component}")))?;
        }
    }
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| !exists(package.program))
        .collect();
    if missing.is_empty() {
        println!("all {} are here", PACKAGES.len());
        return passed();
    }
    for package in &missing {
        println!(
            "{} is missing, needed by {}",
            package.package, package.needed_by
        );
    }
    let names: Vec<&str> = missing.iter().map(|package| package.package).collect();
    let names = names.join(" ");
    if !exists("apt-get") {
        return left_out(format!("not a Debian machine; install by hand: {names}"));
    }
    let Some(prefix) = privilege() else {
        return left_out(format!(
            "neither root nor sudo; run: apt-get install {names}"
        ));
    };
    // An old package list is the usual reason for a failed installation, a broken mirror the next:
    // so the update may fail, the installation may not.
    let update = run(&mut command(&format!("{prefix}apt-get -q update")));
    if let Err(error) = update {
        println!("going on with the package list that is here: {error:#}");
    }
    let mut install = command(&format!(
        "{prefix}apt-get -q install --yes --no-install-recommends {names}"
    ));
    run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(Outcome::Passed(format!("installed {names}")))
}

/// What to write before `apt-get`; nothing as root, `None` where we may not install.
fn privilege() -> Option<&'static str> {
    if crate::command::output(&mut command("id -u")).is_ok_and(|id| id.trim() == "0") {
        return Some("");
    }
    succeeds("sudo --non-interactive true").then_some("sudo --non-interactive ")
}
