//! What takes longer than a commit should wait for.

use crate::Options;
use crate::command::{command, run, succeeds};
use crate::steps::{Outcome, Settings, Step, left_out, passed};
use crate::workspace::INSIDE;
use crate::{bench, fuzz, mutants};
use anyhow::Result;

const STEPS: &[Step] = &[
    Step {
        name: "ignored",
        about: "tests that are too long for every run, optimised",
        run: |_| ignored_tests(),
    },
    Step {
        name: "release",
        about: "all tests once more, as they ship: optimised, overflow checks on",
        run: |_| release_tests(),
    },
    Step {
        name: "fuzz",
        about: "every fuzzer, long",
        run: |it| fuzz::run_all(it.fuzz_seconds),
    },
    Step {
        name: "mutants",
        about: "rules broken by hand: do the tests notice?",
        run: |_| mutants::run_all(None).map(Outcome::Passed),
    },
    Step {
        name: "more-mutants",
        about: "code broken by a tool: do the tests notice?",
        run: |_| more_mutants(),
    },
    Step {
        name: "bench",
        about: "all figures, large sizes as well",
        run: |_| bench::run_big().and_then(|()| passed()),
    },
];

/// `cargo xtask nightly`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    let fuzz_seconds = options.seconds("--fuzz-seconds", 1800)?;
    options.done()?;
    crate::steps::run(
        STEPS,
        &Settings {
            fuzz_seconds,
            install: true,
        },
    );
    Ok(())
}

fn ignored_tests() -> Result<Outcome> {
    run(&mut command(
        "cargo test --workspace --locked --release -- --ignored",
    ))?;
    passed()
}

fn release_tests() -> Result<Outcome> {
    run(&mut command("cargo test --workspace --locked --release"))?;
    passed()
}

fn more_mutants() -> Result<Outcome> {
    if !succeeds("cargo mutants --version") {
        return left_out("cargo install cargo-mutants --locked");
    }
    let mut mutants = command("cargo mutants --output target --timeout 300");
    for name in INSIDE {
        mutants.args(["--package", name]);
    }
    run(&mut mutants)?;
    passed()
}
