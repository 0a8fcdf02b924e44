//! The inside crates build without an operating system, and therefore without `std`.
//!
//! `#![no_std]` alone does not show it: a dependency that quietly enables `std` still builds on a
//! desktop. A target that has no `std` cannot be fooled. Its `core` and `alloc` come from the first
//! of these that works:
//!
//! 1. the target as installed in this toolchain;
//! 2. the target, added by `rustup`;
//! 3. the library's source in this toolchain, compiled here (`-Zbuild-std`);
//! 4. the library's source from a Debian package of the same compiler version, compiled here.

use crate::command::{command, exists, output, run, status};
use crate::steps::{Outcome, left_out};
use crate::workspace::{BARE_TARGET, INSIDE, LOG, TOOLS, root};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bare target has no vector registers: cryptography takes its portable code. Without these the
/// compiler is asked for instructions that the target does not have, and stops.
const PORTABLE: &str = "--cfg curve25519_dalek_backend=\"serial\" \
    --cfg aes_backend=\"soft\" --cfg chacha20_backend=\"soft\" --cfg keccak_backend=\"soft\" \
    --cfg poly1305_backend=\"soft\" --cfg polyval_backend=\"soft\" --cfg sha2_backend=\"soft\"";

/// Builds the inside crates for the bare target.
pub(crate) fn check() -> Result<Outcome> {
    if target_installed()? {
        return build(&mut cargo_build(), "with the installed target");
    }
    if exists("rustup") {
        let added = status(&mut command(&format!("rustup target add {BARE_TARGET}")));
        if added.is_ok_and(|status| status.success()) && target_installed()? {
            return build(&mut cargo_build(), "with the target rustup added");
        }
    }
    let own = sysroot()?.join("lib/rustlib/src/rust/library");
    if own.join("core").is_dir() {
        return build(
            &mut build_std(None),
            "with the library's source in the toolchain",
        );
    }
    match debian_source()? {
        Some(library) => build(
            &mut build_std(Some(&library)),
            "with the library from Debian",
        ),
        None => left_out(format!(
            "no core library for {BARE_TARGET}: rustup cannot add the target, the toolchain has \
             no rust-src, and Debian has no source of the same version"
        )),
    }
}

fn build(command: &mut Command, how: &str) -> Result<Outcome> {
    run(command)?;
    Ok(Outcome::Passed(format!("{BARE_TARGET}, {how}")))
}

/// Its own target directory, so that no other build waits for it or is evicted by it.
fn cargo_build() -> Command {
    let mut build = command("cargo build --locked --target-dir target/bare --target");
    build
        .arg(BARE_TARGET)
        .env("RUSTFLAGS", PORTABLE)
        // The same for libcrux, whose build script decides.
        .env("LIBCRUX_DISABLE_SIMD256", "1");
    for name in INSIDE.iter().chain([&LOG]) {
        build.args(["-p", name]);
    }
    build
}

/// Compiles `core` and `alloc` as well. Unstable, hence `RUSTC_BOOTSTRAP`: it proves a property of
/// our source and ships nothing.
fn build_std(library: Option<&Path>) -> Command {
    let mut build = cargo_build();
    build
        .arg("-Zbuild-std=core,alloc")
        .env("RUSTC_BOOTSTRAP", "1");
    if let Some(library) = library {
        build.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    }
    build
}

fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(
        output(&mut command("rustc --print sysroot"))?.trim(),
    ))
}

fn target_installed() -> Result<bool> {
    let folder = sysroot()?.join("lib/rustlib").join(BARE_TARGET).join("lib");
    let Ok(entries) = folder.read_dir() else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// Where Debian keeps newer compilers. Read through package lists of our own, so that the machine's
/// sources stay as they are.
const NEWER: &str = "deb http://deb.debian.org/debian trixie-backports main\n";

/// The library folder of a Debian source package of this compiler's version, unpacked under
/// `target/tools`. The library only compiles with its own compiler, so other versions are no help.
fn debian_source() -> Result<Option<PathBuf>> {
    let version = rustc_version()?;
    let folder = root().join(TOOLS).join(format!("rust-src-{version}"));
    if let Some(library) = library_below(&folder) {
        return Ok(Some(library));
    }
    let apt = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apt.join(part))?;
    }
    std::fs::write(apt.join("sources.list"), NEWER)?;
    let updated = status(with_lists("apt-get", &apt).args(["-q", "update"]));
    if !updated.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let list = output(with_lists("apt-cache", &apt).args(["madison", "rust-src"]))?;
    let Some(found) = matching_version(&list, &version) else {
        return Ok(None);
    };
    let package = format!("rust-src={found}");
    let mut download = with_lists("apt-get", &apt);
    run(download
        .args(["-q", "download", &package])
        .current_dir(&folder))?;
    for entry in folder.read_dir()?.flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "deb")
        {
            let mut unpack = Command::new("dpkg");
            run(unpack.arg("-x").arg(entry.path()).arg(&folder))?;
        }
    }
    Ok(library_below(&folder))
}

/// An apt program that knows our package lists only.
fn with_lists(program: &str, folder: &Path) -> Command {
    let mut apt = Command::new(program);
    for (option, value) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::Cache", "cache"),
    ] {
        let path = folder.join(value);
        apt.arg("-o").arg(format!("{option}={}", path.display()));
    }
    // The unprivileged user that apt would become cannot write below the repository.
    apt.args([
        "-o",
        "Dir::Etc::sourceparts=-",
        "-o",
        "APT::Sandbox::User=root",
    ]);
    apt
}

/// Reads `name | version | where` lines.
fn matching_version<'a>(list: &'a str, version: &str) -> Option<&'a str> {
    let wanted = format!("{version}+");
    list.lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|found| found.starts_with(&wanted))
}

fn library_below(folder: &Path) -> Option<PathBuf> {
    let sources = folder.join("usr/src").read_dir().ok()?;
    sources
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| library.join("core").is_dir())
}

fn rustc_version() -> Result<String> {
    let text = output(&mut command("rustc --version"))?;
    text.split_whitespace()
        .nth(1)
        .map(str::to_owned)
        .context("rustc --version has no version")
}

#[cfg(test)]
mod tests {
    use super::matching_version;

    #[test]
    fn only_the_same_compiler_version_matches() {
        let list = " rust-src | 1.63.0+dfsg1-2 | http://deb.debian.org/debian main\n \
                    rust-src | 1.95.0+dfsg1-1~bpo13+1 | http://deb.debian.org/debian main\n";
        assert_eq!(
            matching_version(list, "1.95.0"),
            Some("1.95.0+dfsg1-1~bpo13+1")
        );
        assert_eq!(matching_version(list, "1.96.0"), None);
    }
}
