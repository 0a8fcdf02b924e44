//! Rules broken on purpose, one at a time: the named test must notice, or it checks nothing.
//!
//! A copy of the sources stands in `target/mutants`; in it one line of one file is changed, the
//! tests are built (a mutant that does not compile shows nothing) and must then fail. The list is
//! in [`list`]: the rules of DESIGN §4 to §8 and the attacks of the review that one member can
//! show; and in [`log`]: those of the transparency log (§10).

mod list;
mod log;
mod members;

use crate::command::{output, run};
use crate::workspace::root;
use crate::{Options, command::command};
use anyhow::{Context as _, Result, bail};
use list::MUTANTS;
use log::LOG;
use members::MEMBERS;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One broken rule.
pub(crate) struct Mutant {
    /// The rule, as a sentence that is no longer true.
    name: &'static str,
    /// Below `crates/`.
    file: &'static str,
    /// Stands there once.
    from: &'static str,
    to: &'static str,
    /// Package, test binary (or `lib`), and the tests that must fail: a part of their names.
    caught_by: (&'static str, &'static str, &'static str),
}

const PLACE: &str = "target/mutants";

/// `cargo xtask mutants [NAME]`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    if options.flag("--list") {
        options.done()?;
        all().for_each(|mutant| println!("{}", mutant.name));
        return Ok(());
    }
    let wanted = options.positional();
    options.done()?;
    println!("{}", run_all(wanted.as_deref())?);
    Ok(())
}

/// The fleet's, those of its members, then the transparency log's.
fn all() -> impl Iterator<Item = &'static Mutant> {
    MUTANTS.iter().chain(MEMBERS).chain(LOG)
}

/// Runs those whose name holds `wanted`; the summary, or an error that names the survivors.
pub(crate) fn run_all(wanted: Option<&str>) -> Result<String> {
    let chosen: Vec<&Mutant> = all()
        .filter(|mutant| wanted.is_none_or(|wanted| mutant.name.contains(wanted)))
        .collect();
    if chosen.is_empty() {
        bail!("no mutant of that name; `cargo xtask mutants --list`");
    }
    let copy = copy_sources()?;
    let mut survivors = Vec::new();
    for mutant in &chosen {
        let caught = caught(mutant, &copy).with_context(|| mutant.name.to_owned())?;
        let verdict = if caught { "caught" } else { "SURVIVED" };
        println!("{verdict:<9} {}", mutant.name);
        if !caught {
            survivors.push(mutant.name);
        }
    }
    if !survivors.is_empty() {
        bail!("nothing noticed: {}", survivors.join("; "));
    }
    Ok(format!("{} of {} caught", chosen.len(), chosen.len()))
}

/// Builds must not see each other's changes, and nobody's working tree may hold a broken rule.
fn copy_sources() -> Result<PathBuf> {
    let place = root().join(PLACE);
    fs::create_dir_all(&place)?;
    for folder in ["crates", "vectors", "xtask"] {
        let _ = fs::remove_dir_all(place.join(folder));
    }
    // With their times, so that what did not change is not built again.
    let mut copy = Command::new("cp");
    copy.args([
        "-rp",
        "Cargo.toml",
        "Cargo.lock",
        "crates",
        "vectors",
        "xtask",
    ]);
    run(copy.arg(&place).current_dir(root()))?;
    Ok(place)
}

fn caught(mutant: &Mutant, copy: &Path) -> Result<bool> {
    let path = copy.join("crates").join(mutant.file);
    let good = fs::read_to_string(root().join("crates").join(mutant.file))?;
    if good.matches(mutant.from).count() != 1 {
        bail!("{} does not stand once in {}", mutant.from, mutant.file);
    }
    fs::write(&path, good.replacen(mutant.from, mutant.to, 1))?;
    let result = judge(mutant, copy);
    fs::write(&path, good)?;
    result
}

fn judge(mutant: &Mutant, copy: &Path) -> Result<bool> {
    let (package, binary, filter) = mutant.caught_by;
    output(&mut test(copy, package, binary, &["--no-run"]))?;
    let mut tests = test(copy, package, binary, &[filter]);
    let ran = tests.stdout(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&ran.stdout);
    if text.contains("running 0 tests") && !text.contains("test result: FAILED") {
        bail!("no test of {package} {binary} is called {filter:?}");
    }
    Ok(!ran.status.success())
}

fn test(copy: &Path, package: &str, binary: &str, more: &[&str]) -> Command {
    let mut test = command("cargo test --quiet --locked --all-features --package");
    test.arg(package);
    match binary {
        "lib" => test.arg("--lib"),
        name => test.args(["--test", name]),
    };
    test.args(more)
        .current_dir(copy)
        .env("RUST_BACKTRACE", "0")
        .env("CARGO_TARGET_DIR", root().join("target/mutants/target"))
        .stderr(Stdio::null());
    test
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::workspace::root;

    #[test]
    fn every_mutant_finds_its_place_in_the_sources() {
        for mutant in all() {
            let path = root().join("crates").join(mutant.file);
            let text = std::fs::read_to_string(path).unwrap();
            let found = text.matches(mutant.from).count();
            assert_eq!(found, 1, "{}: {}", mutant.name, mutant.from);
            assert_ne!(mutant.from, mutant.to);
        }
    }
}
