//! A run is a list of steps. Each passes, fails, or is left out with a reason; no step is silent,
//! a failure does not stop the others, and the last line is one that a machine can read.

use crate::Options;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How a step that did not fail ended.
pub(crate) enum Outcome {
    /// Done; the note goes into the summary.
    Passed(String),
    /// Could not run here, and why.
    LeftOut(String),
}

/// Done, with nothing to add.
pub(crate) fn passed() -> Result<Outcome> {
    Ok(Outcome::Passed(String::new()))
}

/// Could not run here, and why.
pub(crate) fn left_out(why: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::LeftOut(why.into()))
}

/// What the steps of one run share.
pub(crate) struct Settings {
    pub(crate) fuzz_seconds: u64,
    pub(crate) install: bool,
}

/// One named step.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Settings) -> Result<Outcome>,
}

enum State {
    Passed,
    Failed,
    LeftOut,
}

struct Row {
    name: &'static str,
    state: State,
    time: Duration,
    note: String,
}

/// Runs the steps in order, prints the summary, and ends the program if any step failed: the
/// summary's last line is the last thing that is said.
pub(crate) fn run(steps: &[Step], settings: &Settings) {
    let mut rows = Vec::new();
    for step in steps {
        println!("\n=== {} · {}", step.name, step.about);
        let started = Instant::now();
        let result = (step.run)(settings);
        rows.push(row(step.name, result, started.elapsed()));
    }
    if summary(&rows) > 0 {
        std::process::exit(1);
    }
}

/// The steps of these names, separated by commas; all without any.
pub(crate) fn selected(steps: &[Step], only: Option<&str>) -> Result<Vec<Step>> {
    let wanted: Vec<&str> = only
        .map(|names| names.split(',').collect())
        .unwrap_or_default();
    for name in &wanted {
        if !steps.iter().any(|step| step.name == *name) {
            let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
            bail!("no step {name:?}; there are {}", names.join(", "));
        }
    }
    let chosen = steps
        .iter()
        .filter(|step| only.is_none() || wanted.contains(&step.name));
    Ok(chosen.copied().collect())
}

/// Runs one step as a command of its own.
pub(crate) fn alone(
    name: &'static str,
    options: &mut Options,
    run: impl FnOnce(&mut Options) -> Result<Outcome>,
) -> Result<()> {
    let outcome = run(options)?;
    options.done()?;
    match outcome {
        Outcome::Passed(note) if note.is_empty() => println!("{name}: passed"),
        Outcome::Passed(note) => println!("{name}: {note}"),
        Outcome::LeftOut(why) => println!("{name}: LEFT OUT: {why}"),
    }
    Ok(())
}

fn row(name: &'static str, result: Result<Outcome>, time: Duration) -> Row {
    let (state, note) = match result {
        Ok(Outcome::Passed(note)) => (State::Passed, note),
        Ok(Outcome::LeftOut(why)) => {
            println!("LEFT OUT: {why}");
            (State::LeftOut, why)
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            (State::Failed, format!("{error:#}"))
        }
    };
    Row {
        name,
        state,
        time,
        note,
    }
}

/// Prints one line for each step and gives the number of failures.
fn summary(rows: &[Row]) -> usize {
    println!("\n=== summary");
    let mut total = Duration::ZERO;
    for row in rows {
        let state = match row.state {
            State::Passed => "passed",
            State::Failed => "FAILED",
            State::LeftOut => "LEFT OUT",
        };
        let note = row.note.lines().next().unwrap_or_default();
        println!(
            "{:<12} {state:<9} {:>7.1} s  {note}",
            row.name,
            row.time.as_secs_f64()
        );
        total += row.time;
    }
    let count = |wanted: fn(&State) -> bool| rows.iter().filter(|row| wanted(&row.state)).count();
    let failed = count(|state| matches!(state, State::Failed));
    let left_out = count(|state| matches!(state, State::LeftOut));
    println!("{left_out} left out, {:.0} s in all", total.as_secs_f64());
    println!(
        "{} passed, {failed} failed",
        count(|state| matches!(state, State::Passed))
    );
    failed
}
