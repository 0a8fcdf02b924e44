//! Fuzzers: one file each in `fuzz/src/bin/`, built with coverage instrumentation, run in parallel.
//!
//! `cargo fuzz` works on that folder too, and adds sanitizers. This module does without it: the
//! code under test has no `unsafe`, the instrumentation is a stable compiler option, and so a plain
//! stable toolchain is enough and nothing has to be installed.

use crate::Options;
use crate::command::{command, run};
use crate::steps::{Outcome, alone};
use crate::workspace::{HOST_TARGET, root};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What libFuzzer needs from the compiler: what `cargo fuzz` sets without sanitizers, and that
/// short comparisons of bytes stay calls, which libFuzzer watches (else it has to guess `b"HEY!"`).
const INSTRUMENTATION: &str = "--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Cllvm-args=-max-loads-per-memcmp=0";

const TARGET_DIR: &str = "target/fuzz";
/// A single input that takes longer is a finding.
const INPUT_SECONDS_MAX: u64 = 10;
/// Memory that a decoder has no business to use.
const MEMORY_MIB_MAX: u64 = 1024;

/// `cargo xtask fuzz`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    if options.flag("--list") {
        for name in targets()? {
            println!("{name}");
        }
        return options.done();
    }
    let seconds = options.seconds("--seconds", 60)?;
    match (options.positional(), options.positional()) {
        (None, _) => alone("fuzz", options, |_| run_all(seconds)),
        (Some(name), None) => alone("fuzz", options, |_| run_targets(&[known(name)?], seconds)),
        (Some(name), Some(input)) => {
            build()?;
            run(Command::new(binary(&known(name)?)).arg(input))
        }
    }
}

/// Runs every fuzzer for so many seconds.
pub(crate) fn run_all(seconds: u64) -> Result<Outcome> {
    run_targets(&targets()?, seconds)
}

fn run_targets(names: &[String], seconds: u64) -> Result<Outcome> {
    build()?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{} fuzzers, {at_once} at a time, {seconds} s each",
        names.len()
    );
    let mut broken = Vec::new();
    for group in names.chunks(at_once) {
        let running: Vec<Fuzzer> = group
            .iter()
            .map(|name| Fuzzer::start(name, seconds))
            .collect::<Result<_>>()?;
        for fuzzer in running {
            let name = fuzzer.name.clone();
            if !fuzzer.finish()? {
                broken.push(name);
            }
        }
    }
    if !broken.is_empty() {
        bail!("found something: {}", broken.join(", "));
    }
    Ok(Outcome::Passed(format!(
        "{} fuzzers, {seconds} s each",
        names.len()
    )))
}

/// All targets, in order of their names.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/src/bin");
    let entries = folder
        .read_dir()
        .with_context(|| folder.display().to_string())?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

fn known(name: String) -> Result<String> {
    let targets = targets()?;
    if !targets.contains(&name) {
        bail!("no fuzzer {name:?}; there are: {}", targets.join(", "));
    }
    Ok(name)
}

fn build() -> Result<()> {
    let mut build = command("cargo build --release --manifest-path fuzz/Cargo.toml");
    // An explicit target keeps the instrumentation out of build scripts and macros.
    build.args(["--target-dir", TARGET_DIR, "--target", HOST_TARGET]);
    run(build.env("RUSTFLAGS", INSTRUMENTATION))
}

fn binary(name: &str) -> PathBuf {
    root()
        .join(TARGET_DIR)
        .join(HOST_TARGET)
        .join("release")
        .join(name)
}

/// A fuzzer at work.
struct Fuzzer {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Fuzzer {
    fn start(name: &str, seconds: u64) -> Result<Self> {
        // The corpus is kept between runs: what was reached once is where the next run starts.
        let [corpus, artifacts, logs] = ["corpus", "artifacts", "logs"]
            .map(|kind| root().join(TARGET_DIR).join(kind).join(name));
        for folder in [&corpus, &artifacts, &logs] {
            fs::create_dir_all(folder)?;
        }
        let log = logs.join("last.txt");
        let file = File::create(&log)?;
        let mut fuzzer = Command::new(binary(name));
        fuzzer.arg(&corpus);
        let seeds = root().join("fuzz/seeds").join(name);
        if seeds.is_dir() {
            fuzzer.arg(seeds);
        }
        fuzzer
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-max_len=16384"])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = fuzzer
            .spawn()
            .with_context(|| format!("cannot start fuzzer {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child,
        })
    }

    /// Waits, prints one line or what went wrong; true if nothing was found.
    fn finish(mut self) -> Result<bool> {
        let status = self.child.wait()?;
        let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        if status.success() {
            let inputs = last_after(&text, "stat::number_of_executed_units:").unwrap_or("?");
            let edges = last_after(&text, " cov:").unwrap_or("?");
            println!(
                "{:<16} {inputs:>12} inputs, {edges} edges covered",
                self.name
            );
            return Ok(true);
        }
        println!("{} ended with {status}:", self.name);
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    {line}");
        }
        if let Some(input) = last_after(&text, "Test unit written to ") {
            let input = input.trim_start_matches(&format!("{}/", root().display()));
            println!("replay: cargo xtask fuzz {} {input}", self.name);
        }
        Ok(false)
    }
}

/// The word behind the last `key`.
fn last_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.rsplit(key)
        .next()
        .filter(|_| text.contains(key))?
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::last_after;

    #[test]
    fn the_last_number_is_read() {
        let text = "#1 cov: 3 ft: 4\n#2 cov: 12 ft: 9\nstat::number_of_executed_units: 77\n";
        assert_eq!(last_after(text, " cov:"), Some("12"));
        assert_eq!(
            last_after(text, "stat::number_of_executed_units:"),
            Some("77")
        );
        assert_eq!(last_after(text, "absent:"), None);
    }
}
