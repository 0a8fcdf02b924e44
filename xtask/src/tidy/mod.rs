//! House rules that neither the compiler nor clippy checks.
//!
//! Every rule is a pure function from text to findings with tests of its own; this module only
//! reads the tracked files and prints. Rules are few, and each refusal says what to do instead.

mod items;
mod lexer;
mod manifest;
mod prose;
mod rewrap;
mod rust;

use crate::Options;
use crate::command::{command, output};
use crate::steps::Outcome;
use anyhow::{Result, bail};
use rust::Gates;
use std::fmt;

/// What a rule has to say about a place.
struct Finding {
    path: String,
    line: usize,
    level: Level,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Error,
    Note,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.level == Level::Error {
            "error"
        } else {
            "note"
        };
        write!(f, "{level}: {}:{}: {}", self.path, self.line, self.message)
    }
}

/// `cargo xtask tidy`.
pub(crate) fn main(options: &mut Options) -> Result<()> {
    if options.flag("--fix") {
        let folder = options.positional().unwrap_or_default();
        return crate::steps::alone("tidy", options, |_| mend(&folder));
    }
    crate::steps::alone("tidy", options, |_| check())
}

/// Reads all tracked files and applies every rule.
pub(crate) fn check() -> Result<Outcome> {
    let texts = tracked_texts()?;
    let mut findings = prose::check(&texts);
    let sources: Vec<(&str, &str)> = texts
        .iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let gates = Gates::new(&sources);
    for (path, text) in &sources {
        findings.extend(rust::Source::new(path, text, &gates).check());
    }
    findings.extend(dead_files(&sources));
    for (path, text) in texts
        .iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"))
    {
        findings.extend(manifest::check(path, text));
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .count();
    if errors > 0 {
        bail!("{errors} places break a rule of the house");
    }
    Ok(Outcome::Passed(format!(
        "{} files, {} notes",
        texts.len(),
        findings.len()
    )))
}

/// Files of this folder and the lines of code in each that ship when no feature is on.
pub(crate) fn shipped_lines(folder: &str) -> Result<Vec<(String, usize)>> {
    let texts = tracked_texts()?;
    let sources: Vec<(&str, &str)> = texts
        .iter()
        .filter(|(path, _)| path.starts_with(folder) && path.ends_with(".rs"))
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let gates = Gates::new(&sources);
    let counted = sources.iter().map(|(path, text)| {
        let source = rust::Source::new(path, text, &gates);
        ((*path).to_owned(), source.shipped_lines())
    });
    Ok(counted.filter(|(_, lines)| *lines > 0).collect())
}

/// Breaks the long comment lines of all sources below a folder.
fn mend(folder: &str) -> Result<Outcome> {
    let mut mended = 0;
    for (path, text) in tracked_texts()? {
        if !path.starts_with(folder) || !path.ends_with(".rs") {
            continue;
        }
        let new = rewrap::rewrap(&text);
        if new != text {
            std::fs::write(&path, new)?;
            println!("mended {path}");
            mended += 1;
        }
    }
    Ok(Outcome::Passed(format!("{mended} files mended")))
}

/// Files below a `src` folder that no `mod` declares are compiled by nobody.
fn dead_files(sources: &[(&str, &str)]) -> Vec<Finding> {
    let crate_of = |path: &str| path.split_once("/src/").map(|(name, _)| name.to_owned());
    let mut findings = Vec::new();
    for (path, _) in sources {
        let Some(name) = crate_of(path) else { continue };
        let inside = &path[name.len() + "/src/".len()..];
        let root = ["lib.rs", "main.rs"].contains(&inside) || inside.starts_with("bin/");
        let module = inside.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let module = module.rsplit('/').next().unwrap_or_default();
        let declared = || {
            sources
                .iter()
                .filter(|(other, _)| crate_of(other).as_deref() == Some(&name))
                .any(|(_, text)| {
                    rust::declared_modules(text)
                        .iter()
                        .any(|found| found == module)
                })
        };
        if !root && !declared() {
            let message = format!("dead file: nothing says `mod {module}`");
            let path = (*path).to_owned();
            findings.push(Finding {
                path,
                line: 1,
                level: Level::Error,
                message,
            });
        }
    }
    findings
}

/// All files that git tracks or would add, as far as they are text.
fn tracked_texts() -> Result<prose::Texts> {
    let list = output(&mut command(
        "git ls-files --cached --others --exclude-standard -z",
    ))?;
    let mut texts = prose::Texts::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // A file that was deleted and not yet committed is listed and absent.
        let Ok(bytes) = std::fs::read(path) else {
            continue;
        };
        // What is not UTF-8 still counts as the target of a link.
        texts.insert(
            path.to_owned(),
            String::from_utf8(bytes).unwrap_or_default(),
        );
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::dead_files;

    #[test]
    fn files_that_no_module_declares_are_dead() {
        let sources = [
            ("crates/a/src/lib.rs", "mod b;\n"),
            ("crates/a/src/b.rs", "mod c;\n"),
            ("crates/a/src/b/c.rs", ""),
            ("crates/a/src/bin/tool.rs", ""),
            ("crates/a/tests/d.rs", ""),
            ("crates/a/src/e.rs", ""),
        ];
        let dead: Vec<String> = dead_files(&sources).into_iter().map(|it| it.path).collect();
        assert_eq!(dead, ["crates/a/src/e.rs"]);
    }
}
