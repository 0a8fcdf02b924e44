//! Benches, and one table of what they measured.
//!
//! A bench is any program that prints, among whatever else it likes, rows for the table:
//!
//! ```text
//! bench | what was measured | value with unit | target, or - | verdict, or -
//! ```
//!
//! Rows that miss their target are counted and shown; they do not fail the run, because a figure
//! depends on the machine and its other guests. Figures that are claimed go into commits.

use crate::Options;
use crate::command::{command, tee};
use crate::workspace::root;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Benches that are subcommands of the program: name, command, what `--big` adds.
const COMMANDS: &[(&str, &str, &str)] = &[];

/// Something to measure.
struct Bench {
    name: String,
    command: Command,
}

/// `cargo xtask bench`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    let (list, big) = (options.flag("--list"), options.flag("--big"));
    let wanted = options.positional();
    options.done()?;
    let mut benches = benches(big)?;
    if let Some(wanted) = &wanted {
        benches.retain(|bench| bench.name.contains(wanted.as_str()));
    }
    if benches.is_empty() {
        bail!("no bench of that name; `cargo xtask bench --list`");
    }
    if list {
        benches.iter().for_each(|bench| println!("{}", bench.name));
        return Ok(());
    }
    run(benches)
}

/// Runs everything, the sizes that take long as well.
pub(crate) fn run_big() -> Result<()> {
    run(benches(true)?)
}

fn run(benches: Vec<Bench>) -> Result<()> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for mut bench in benches {
        println!("\n=== bench {}", bench.name);
        match tee(&mut bench.command) {
            Ok(text) => rows.extend(text.lines().filter_map(|line| row(&bench.name, line))),
            Err(error) => {
                println!("FAILED: {error:#}");
                failed.push(bench.name);
            }
        }
    }
    println!("\n=== all figures\n{}", table(&rows));
    if !failed.is_empty() {
        bail!("did not run to their end: {}", failed.join(", "));
    }
    Ok(())
}

/// Every `benches/*.rs` of every crate, then the commands.
fn benches(big: bool) -> Result<Vec<Bench>> {
    let mut files = Vec::new();
    for package in root().join("crates").read_dir()?.flatten() {
        let Ok(entries) = package.path().join("benches").read_dir() else {
            continue;
        };
        let package = package.file_name().to_string_lossy().into_owned();
        files.extend(entries.flatten().filter_map(|entry| {
            let name = bench_name(&entry.path())?;
            Some((package.clone(), name))
        }));
    }
    files.sort();
    let mut benches: Vec<Bench> = files
        .iter()
        .map(|(package, name)| of_crate(package, name, big))
        .collect();
    for (name, line, more) in COMMANDS {
        let mut command = command(line);
        if big {
            command.args(more.split_whitespace());
        }
        benches.push(Bench {
            name: (*name).to_owned(),
            command,
        });
    }
    Ok(benches)
}

/// `name.rs`, or a folder with a `main.rs`.
fn bench_name(path: &Path) -> Option<String> {
    let is_source = path.extension().is_some_and(|ending| ending == "rs");
    let is_bench = is_source || path.join("main.rs").is_file();
    is_bench.then(|| path.file_stem()?.to_str().map(str::to_owned))?
}

/// Cargo adds `--bench` to the arguments; a bench ignores it, and reads `--big`.
fn of_crate(package: &str, name: &str, big: bool) -> Bench {
    let mut command = command("cargo bench --quiet --locked --all-features --package");
    command.args([package, "--bench", name]);
    if big {
        command.args(["--", "--big"]);
    }
    Bench {
        name: format!("{package}/{name}"),
        command,
    }
}

/// Cells of one row of the table, the bench's name first.
fn row(bench: &str, line: &str) -> Option<Vec<String>> {
    let rest = line.trim().strip_prefix("bench |")?;
    let mut cells = vec![bench.to_owned()];
    cells.extend(rest.split('|').map(|cell| cell.trim().to_owned()));
    cells.resize(5, "-".to_owned());
    Some(cells)
}

fn table(rows: &[Vec<String>]) -> String {
    let head = ["bench", "what", "measured", "target", "verdict"]
        .map(str::to_owned)
        .to_vec();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        all.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{row, table};

    #[test]
    fn rows_are_read_and_everything_else_is_passed_over() {
        let cells = row("tree", "bench | update | 9.1 µs | ≤ 15 µs | met").unwrap();
        assert_eq!(cells, ["tree", "update", "9.1 µs", "≤ 15 µs", "met"]);
        assert_eq!(row("tree", "bench | update | 9.1 µs").unwrap()[3], "-");
        assert!(row("tree", "benchmark started").is_none());
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            row("t", "bench | a | 1").unwrap(),
            row("t", "bench | bbbbbb | 2").unwrap(),
        ];
        let text = table(&rows);
        let places: Vec<_> = text
            .lines()
            .skip(1)
            .map(|line| line.find(['1', '2']))
            .collect();
        assert_eq!(places[0], places[1]);
    }
}
