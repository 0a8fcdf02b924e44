//! `cargo xtask test`: everything that must hold before a commit is merged.

use crate::command::{command, output, run, run_within, succeeds};
use crate::steps::{Outcome, Settings, Step, left_out, passed, selected};
use crate::workspace::root;
use crate::{Options, bare, deny, fuzz, packages, tcb, tidy};
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// Cheap steps first: what fails soon is seen soon.
const STEPS: &[Step] = &[
    Step {
        name: "packages",
        about: "Debian packages that tests use",
        run: install,
    },
    Step {
        name: "fmt",
        about: "formatting",
        run: |_| fmt(),
    },
    Step {
        name: "tidy",
        about: "rules of the house",
        run: |_| tidy::check(),
    },
    Step {
        name: "tcb",
        about: "what stands inside the boundary",
        run: |_| tcb::check(),
    },
    Step {
        name: "bare",
        about: "inside crates without std",
        run: |_| bare::check(),
    },
    Step {
        name: "clippy",
        about: "lints, warnings denied",
        run: |_| clippy(),
    },
    Step {
        name: "docs",
        about: "documentation, warnings denied",
        run: |_| docs(),
    },
    Step {
        name: "tests",
        about: "all tests",
        run: |_| tests(),
    },
    Step {
        name: "doctests",
        about: "examples in the documentation",
        run: |_| doctests(),
    },
    Step {
        name: "fuzz",
        about: "every fuzzer",
        run: |it| fuzz::run_all(it.fuzz_seconds),
    },
    Step {
        name: "demo",
        about: "a phone is lost and the backup comes back",
        run: |_| demo(),
    },
    Step {
        name: "licences",
        about: "cargo deny: licences and origins",
        run: |_| deny::licences(),
    },
    Step {
        name: "advisories",
        about: "cargo deny: RustSec",
        run: |_| deny::advisories(),
    },
];

/// The demo takes a minute; one that takes ten hangs.
const DEMO_LIMIT: Duration = Duration::from_secs(600);
/// So do tests that take longer than this.
const TESTS_LIMIT: Duration = Duration::from_secs(2700);

/// `cargo xtask test`, which is also `cargo xtask ci`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    if options.flag("--list") {
        STEPS
            .iter()
            .for_each(|step| println!("{:<12} {}", step.name, step.about));
        return options.done();
    }
    let only = options.value("--only")?;
    let settings = Settings {
        fuzz_seconds: options.seconds("--fuzz-seconds", 60)?,
        install: !options.flag("--no-install"),
    };
    options.done()?;
    crate::steps::run(&selected(STEPS, only.as_deref())?, &settings);
    Ok(())
}

fn install(settings: &Settings) -> Result<Outcome> {
    if settings.install {
        packages::install()
    } else {
        left_out("--no-install was given")
    }
}

fn fmt() -> Result<Outcome> {
    run(&mut command("cargo fmt --all --check"))?;
    run(&mut command(
        "cargo fmt --manifest-path fuzz/Cargo.toml --check",
    ))?;
    passed()
}

fn clippy() -> Result<Outcome> {
    run(&mut command(
        "cargo clippy --workspace --all-targets --locked -- -D warnings",
    ))?;
    passed()
}

fn docs() -> Result<Outcome> {
    let mut docs = command("cargo doc --workspace --no-deps --locked");
    run(docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    passed()
}

/// `nextest` runs tests of all crates at once; plain `cargo test` is the same, more slowly.
fn tests() -> Result<Outcome> {
    let line = if succeeds("cargo nextest --version") {
        "cargo nextest run --workspace --locked --no-fail-fast"
    } else {
        "cargo test --workspace --locked --no-fail-fast --lib --bins --tests"
    };
    run_within(&mut command(line), TESTS_LIMIT)?;
    passed()
}

fn doctests() -> Result<Outcome> {
    run(&mut command("cargo test --workspace --locked --doc"))?;
    passed()
}

fn demo() -> Result<Outcome> {
    run(&mut command("cargo build --release --locked"))?;
    let program = root().join("target/release/strongroom");
    let known = output(Command::new(&program).args(["demo", "--help"]))
        .is_ok_and(|help| help.contains("Usage"));
    if !known {
        return left_out("this build of strongroom has no `demo` command");
    }
    run_within(
        &mut command("cargo run --release --locked -- demo"),
        DEMO_LIMIT,
    )?;
    passed()
}

#[cfg(test)]
mod tests {
    use super::{STEPS, selected};

    #[test]
    fn steps_are_chosen_by_name_and_unknown_names_are_refused() {
        assert_eq!(selected(STEPS, None).unwrap().len(), STEPS.len());
        assert_eq!(selected(STEPS, Some("tidy,fmt")).unwrap().len(), 2);
        assert!(selected(STEPS, Some("nothing")).is_err());
    }
}
