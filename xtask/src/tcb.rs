//! The trusted computing base: how much code stands inside the boundary, and whose.
//!
//! `docs/tcb.txt` is the committed answer. A new dependency, another version or feature of one, or
//! code that outgrows its budget makes the check fail, so that growth is a decision somebody sees
//! in a diff and not an accident.

use crate::Options;
use crate::command::{command, output};
use crate::steps::{Outcome, alone, passed};
use crate::tidy::shipped_lines;
use crate::workspace::{BOUNDARY, HOST_TARGET, INSIDE, root};
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const COMMITTED: &str = "docs/tcb.txt";
/// Budgets are whole multiples of this many lines: small edits pass, growth shows.
const BUDGET_STEP: usize = 250;

/// `cargo xtask tcb`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    let (write, compare) = (options.flag("--write"), options.flag("--check"));
    alone("tcb", options, |options| {
        options.done()?;
        print_sizes()?;
        let measured = listing()?;
        println!("\n{measured}");
        if write {
            std::fs::write(root().join(COMMITTED), &measured)?;
            return Ok(Outcome::Passed(format!("wrote {COMMITTED}")));
        }
        if compare {
            compare_with_committed(&measured)
        } else {
            passed()
        }
    })
}

/// Compares what is there with what was committed.
pub(crate) fn check() -> Result<Outcome> {
    print_sizes()?;
    compare_with_committed(&listing()?)
}

fn compare_with_committed(measured: &str) -> Result<Outcome> {
    let committed = std::fs::read_to_string(root().join(COMMITTED))
        .with_context(|| format!("{COMMITTED}: `cargo xtask tcb --write` makes it"))?;
    let changes = changes(&committed, measured);
    if changes.is_empty() {
        return passed();
    }
    for change in &changes {
        println!("{change}");
    }
    bail!(
        "{} lines differ from {COMMITTED}; if they are meant: `cargo xtask tcb --write`",
        changes.len()
    );
}

/// Lines that came or went, budgets that are exceeded. A budget that is not used up is no change.
fn changes(committed: &str, measured: &str) -> Vec<String> {
    let budgets: BTreeMap<&str, usize> = committed.lines().filter_map(budget).collect();
    let within = |line: &str| {
        budget(line).is_some_and(|(name, lines)| budgets.get(name).is_some_and(|max| lines <= *max))
    };
    let old: BTreeSet<&str> = committed.lines().collect();
    let new: BTreeSet<&str> = measured.lines().collect();
    let names: BTreeSet<&str> = measured.lines().filter_map(budget).map(|it| it.0).collect();
    let gone = |line: &str| !budget(line).is_some_and(|(name, _)| names.contains(name));
    let came = new
        .difference(&old)
        .filter(|line| !within(line))
        .map(|line| format!("+ {line}"));
    let went = old
        .difference(&new)
        .filter(|line| gone(line))
        .map(|line| format!("- {line}"));
    went.chain(came).collect()
}

/// Reads `NAME at most N lines`.
fn budget(line: &str) -> Option<(&str, usize)> {
    let (name, rest) = line.split_once(" at most ")?;
    Some((name.trim(), rest.strip_suffix(" lines")?.parse().ok()?))
}

fn print_sizes() -> Result<()> {
    let mut all = 0;
    for name in INSIDE.iter().chain([&BOUNDARY]) {
        let files = shipped_lines(&format!("crates/{name}/src/"))?;
        let lines: usize = files.iter().map(|(_, lines)| lines).sum();
        all += lines;
        println!(
            "{name:<20} {:>3} files {lines:>6} lines of code",
            files.len()
        );
        for (path, lines) in &files {
            let short = path.rsplit("/src/").next().unwrap_or(path);
            println!("    {short:<28} {lines:>6}");
        }
    }
    println!(
        "{:<20} {:>9} {all:>6} lines of code, without blanks, comments and tests",
        "all", ""
    );
    Ok(())
}

/// What is committed: budgets, then every dependency with version, licence and features.
fn listing() -> Result<String> {
    let mut text = String::from(
        "# What stands inside the HSM boundary. Written by `cargo xtask tcb --write`, compared in\n\
         # CI. Lines of code are without blanks, comments and tests, rounded up to a budget.\n\n",
    );
    for name in INSIDE.iter().chain([&BOUNDARY]) {
        let lines: usize = shipped_lines(&format!("crates/{name}/src/"))?
            .iter()
            .map(|(_, lines)| lines)
            .sum();
        let budget = lines.div_ceil(BUDGET_STEP).max(1) * BUDGET_STEP;
        writeln!(text, "{name:<20} at most {budget} lines")?;
    }
    let features = own_features()?;
    writeln!(
        text,
        "\nFeatures of these crates that are on in the image: {features}"
    )?;
    let linked = dependencies(&INSIDE, "normal,no-proc-macro")?;
    let built = dependencies(&INSIDE, "normal")?;
    let image = dependencies(&[BOUNDARY], "normal,no-proc-macro")?;
    // The image decides which features are on: it may add some to what the inside crates ask for.
    let with_features = linked
        .iter()
        .map(|(name, rest)| (name, image.get(name).unwrap_or(rest)));
    section(&mut text, "Linked into the inside crates", with_features)?;
    section(
        &mut text,
        "Run while they are compiled (macros)",
        named_only_in(&built, &linked),
    )?;
    section(
        &mut text,
        "Linked into strongroom-hsm besides",
        named_only_in(&image, &linked),
    )?;
    Ok(text)
}

/// `NAME VERSION`, then licence and features.
type Dependencies = BTreeMap<String, String>;

fn section<'a>(
    text: &mut String,
    title: &str,
    list: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    let lines: Vec<String> = list
        .map(|(name, rest)| format!("{name:<32} {rest}"))
        .collect();
    writeln!(text, "\n## {title}: {}", lines.len())?;
    for line in lines {
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

fn named_only_in<'a>(
    all: &'a Dependencies,
    without: &'a Dependencies,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    all.iter().filter(|(name, _)| !without.contains_key(*name))
}

/// Features of inside crates in the image. Code behind a feature is not counted above, so none
/// should be on.
fn own_features() -> Result<String> {
    let text = tree(&[BOUNDARY], "normal")?;
    let ours = text.lines().filter(|line| line.starts_with("strongroom"));
    let on: BTreeSet<String> = ours
        .filter_map(|line| {
            let mut fields = line.trim_end_matches(" (*)").split('\t');
            let name = fields.next()?.split(' ').next()?;
            let features = fields.nth(1).filter(|features| !features.is_empty())?;
            Some(format!("{name} [{features}]"))
        })
        .collect();
    let list = on.into_iter().collect::<Vec<_>>().join(", ");
    Ok(if list.is_empty() {
        "none".to_owned()
    } else {
        list
    })
}

/// External packages below these crates, with the features that they have there.
fn dependencies(crates: &[&str], edges: &str) -> Result<Dependencies> {
    Ok(tree(crates, edges)?
        .lines()
        .filter_map(dependency)
        .collect())
}

/// Lines of package, licence and features, with tabs between.
fn tree(crates: &[&str], edges: &str) -> Result<String> {
    let mut tree = command("cargo tree --locked --prefix none --target");
    tree.args([HOST_TARGET, "--edges", edges, "--format", "{p}\t{l}\t{f}"]);
    for name in crates {
        tree.args(["-p", name]);
    }
    output(&mut tree)
}

/// One line of `cargo tree`; our own crates are left out.
fn dependency(line: &str) -> Option<(String, String)> {
    let mut fields = line.trim_end_matches(" (*)").split('\t');
    let (package, licence) = (fields.next()?, fields.next()?);
    let features = fields.next().unwrap_or_default();
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    if name.starts_with("strongroom") {
        return None;
    }
    let features = if features.is_empty() {
        String::new()
    } else {
        format!(" [{features}]")
    };
    Some((format!("{name} {version}"), format!("{licence}{features}")))
}

#[cfg(test)]
mod tests {
    use super::{changes, dependency};

    #[test]
    fn cargo_trees_lines_are_read() {
        let line = "sha2 v0.11.0\tMIT OR Apache-2.0\talloc,oid (*)";
        let (name, rest) = dependency(line).unwrap();
        assert_eq!(
            (name.as_str(), rest.as_str()),
            ("sha2 0.11.0", "MIT OR Apache-2.0 [alloc,oid]")
        );
        assert!(dependency("strongroom-wire v0.1.0 (/x)\tMIT\t").is_none());
    }

    #[test]
    fn new_dependencies_and_exceeded_budgets_are_changes() {
        let committed = "a at most 500 lines\nsha2 0.11.0 MIT\n";
        assert!(changes(committed, committed).is_empty());
        assert!(changes(committed, "a at most 250 lines\nsha2 0.11.0 MIT\n").is_empty());
        assert_eq!(
            changes(committed, "a at most 750 lines\nsha2 0.11.0 MIT\n").len(),
            1
        );
        assert_eq!(
            changes(committed, "a at most 500 lines\nsha2 0.11.1 MIT\n").len(),
            2
        );
        assert_eq!(changes(committed, "sha2 0.11.0 MIT\n").len(), 1);
    }
}
