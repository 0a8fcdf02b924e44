//! What takes longer than a commit should wait for.

use crate::Options;
use crate::command::{command, output, run, succeeds};
use crate::steps::{Outcome, Settings, Step, left_out, passed, selected};
use crate::workspace::{INSIDE, root};
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
        name: "fleets",
        about: "real processes, with ten times the faults",
        run: |_| fleets(),
    },
    Step {
        name: "upgrade",
        about: "a fleet of the commit before, upgraded under load",
        run: |_| upgrade(),
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
    let only = options.value("--only")?;
    options.done()?;
    crate::steps::run(
        &selected(STEPS, only.as_deref())?,
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

fn fleets() -> Result<Outcome> {
    let mut tests = command(
        "cargo test --release --locked -p strongroom --test fleet --test histories --test durable",
    );
    tests.args(["--", "--nocapture"]);
    run(tests
        .env("STRONGROOM_FAULTS", "60")
        .env("STRONGROOM_KILLS", "140"))?;
    passed()
}

/// Builds the program of an older commit beside this one's, from what git has of it, and rolls a
/// fleet from one to the other and back.
fn upgrade() -> Result<Outcome> {
    let commit = std::env::var("STRONGROOM_OLD_COMMIT").unwrap_or_else(|_| "HEAD~1".to_owned());
    let commit = format!("{commit}^{{commit}}");
    let mut found = command("git rev-parse --verify --quiet");
    let Ok(commit) = output(found.arg(&commit)) else {
        return left_out(format!("git has no {commit}: fetch more of the history"));
    };
    let (commit, place) = (commit.trim(), root().join(OLD));
    let sources = place.join("source");
    if sources.exists() {
        std::fs::remove_dir_all(&sources)?;
    }
    std::fs::create_dir_all(&sources)?;
    let archive = place.join("source.tar");
    let mut git = command("git archive --output");
    run(git.arg(&archive).arg(commit))?;
    // As of now: by the commit's time cargo would take an earlier build for this one's.
    let mut tar = command("tar --extract --touch --file");
    run(tar.arg(&archive).arg("--directory").arg(&sources))?;
    // Not locked: some commits change the lock file apart from what it is for.
    let mut build = command("cargo build -p strongroom --target-dir");
    run(build.arg(place.join("target")).current_dir(&sources))?;
    let mut tests = command("cargo test --locked -p strongroom --test rolling");
    tests.args(["--", "--nocapture"]);
    let program = place.join("target/debug/strongroom");
    run(tests.env("STRONGROOM_OLD_BINARY", program))?;
    Ok(Outcome::Passed(format!("from {}", &commit[..12])))
}

/// Where the older program is built.
const OLD: &str = "target/old";

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
