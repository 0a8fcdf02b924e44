//! Rules for Rust sources.

use super::items::{Function, Gate, functions, gated_modules, gated_regions, line, words};
use super::lexer::Masked;
use super::{Finding, Level};
use crate::workspace::INSIDE;
use std::collections::BTreeSet;

pub(super) const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const FILE_LINES_LONG: usize = 400;

/// Words that must not be names here: what they are called instead, and why.
const NAMES: &[(&str, &str)] = &[
    ("blacklist", "denylist, or what the list refuses"),
    ("whitelist", "allowlist, or what the list admits"),
    ("max_attempts", "attempts_max: units and bounds stand last"),
    (
        "passcode",
        "recovery code, password or PIN: they differ in strength",
    ),
    ("pin_code", "pin: the field's word"),
    (
        "remaining_attempts",
        "attempts_left: one word for one thing",
    ),
    ("retries_left", "attempts_left: one word for one thing"),
    ("tries_left", "attempts_left: one word for one thing"),
];

/// Functions that are longer than the limit and may only shrink: path, name, lines.
const RATCHET: &[(&str, &str, usize)] = &[];

/// One source with what the rules need to know about it.
pub(super) struct Source<'a> {
    path: &'a str,
    text: &'a str,
    masked: Masked,
    tests: Vec<(usize, usize)>,
    all_test: bool,
    all_optional: bool,
}

impl<'a> Source<'a> {
    /// Reads one source; `gates` tell what its parents say about it.
    pub(super) fn new(path: &'a str, text: &'a str, gates: &Gates) -> Self {
        let masked = Masked::new(text);
        let tests = gated_regions(&masked.code, Gate::Test);
        let all_test = is_test_path(path) || gates.tests.contain(path);
        Self {
            path,
            text,
            masked,
            tests,
            all_test,
            all_optional: gates.optional.contain(path),
        }
    }

    /// Runs all rules of this file.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.sizes(&mut findings);
        self.functions(&mut findings);
        self.unfinished(&mut findings);
        self.names(&mut findings);
        self.ignored_tests(&mut findings);
        self.temporary_paths(&mut findings);
        if INSIDE
            .iter()
            .any(|name| self.path.starts_with(&format!("crates/{name}/")))
        {
            self.inside(&mut findings);
        }
        findings
    }

    /// Lines of code that ship when no feature is on: no blanks, comments or tests.
    pub(super) fn shipped_lines(&self) -> usize {
        if self.all_test || self.all_optional {
            return 0;
        }
        let optional = gated_regions(&self.masked.code, Gate::Feature);
        let ships = |line: &usize| {
            let mut left_out = self.tests.iter().chain(&optional);
            !left_out.any(|(first, last)| (*first..=*last).contains(line))
        };
        self.masked.code_lines().filter(ships).count()
    }

    fn in_test(&self, line: usize) -> bool {
        self.all_test
            || self
                .tests
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&line))
    }

    fn finding(&self, line: usize, level: Level, message: String) -> Finding {
        Finding {
            path: self.path.to_owned(),
            line: line + 1,
            level,
            message,
        }
    }

    fn error(&self, line: usize, message: impl Into<String>) -> Finding {
        self.finding(line, Level::Error, message.into())
    }

    fn sizes(&self, findings: &mut Vec<Finding>) {
        for (number, line) in self.text.lines().enumerate() {
            let columns = line.chars().count();
            // An address cannot be broken.
            if columns > COLUMNS_MAX && !line.contains("://") {
                findings.push(self.error(number, format!("{columns} columns, at most 100")));
            }
        }
        let lines = self.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(self.error(0, format!("{lines} lines: split by role or phase")));
        } else if lines > FILE_LINES_LONG {
            findings.push(self.finding(0, Level::Note, format!("{lines} lines, aim for 400")));
        }
    }

    fn functions(&self, findings: &mut Vec<Finding>) {
        for function in functions(&self.masked.code) {
            if let Some(message) = too_long(self.path, &function, RATCHET) {
                findings.push(self.error(function.first, message));
            }
            if let Some(rest) = function.name.strip_prefix("get_") {
                let message = format!("{}: say `{rest}`; no get_ prefix", function.name);
                findings.push(self.error(function.first, message));
            }
        }
    }

    fn unfinished(&self, findings: &mut Vec<Finding>) {
        // Spelled in pieces, so that this file passes its own check.
        let markers = [
            concat!("FIX", "ME"),
            concat!("XX", "X"),
            concat!("TO", "DO"),
        ];
        for (at, word) in words(&self.masked.comments) {
            if markers.contains(&word) {
                let line = line(&self.masked.comments, at);
                findings.push(self.error(line, format!("{word}: finish it, or say what is so")));
            }
        }
        for macro_name in [concat!("to", "do"), concat!("unimple", "mented")] {
            for (at, word) in words(&self.masked.code) {
                if word == macro_name && self.masked.code[at + word.len()..].starts_with('!') {
                    let line = line(&self.masked.code, at);
                    findings.push(self.error(line, format!("{macro_name}! must not be merged")));
                }
            }
        }
    }

    fn names(&self, findings: &mut Vec<Finding>) {
        for (at, word) in words(&self.masked.code) {
            let lower = word.to_lowercase();
            if let Some((_, instead)) = NAMES.iter().find(|(name, _)| *name == lower) {
                let line = line(&self.masked.code, at);
                findings.push(self.error(line, format!("{word}: say {instead}")));
            }
        }
        let stem = self.path.rsplit('/').next().unwrap_or_default();
        if ["util.rs", "utils.rs", "misc.rs", "helpers.rs"].contains(&stem) && !self.all_test {
            findings.push(self.error(0, "name the file after what it does"));
        }
    }

    fn ignored_tests(&self, findings: &mut Vec<Finding>) {
        for (at, _) in self.masked.code.match_indices("#[ignore") {
            let number = line(&self.masked.code, at);
            let text = self.text.lines().nth(number).unwrap_or_default();
            if !text.contains("cargo xtask") {
                let rule = "an ignored test says why, and which command runs it";
                findings.push(self.error(number, rule));
            }
        }
    }

    /// Shipped code asks the system for a temporary directory.
    fn temporary_paths(&self, findings: &mut Vec<Finding>) {
        for (number, line) in self.text.lines().enumerate() {
            if line.contains(concat!("\"/t", "mp/")) && !self.in_test(number) {
                findings.push(self.error(number, "a fixed temporary path"));
            }
        }
    }

    /// What only the crates inside the boundary must obey.
    fn inside(&self, findings: &mut Vec<Finding>) {
        let code = &self.masked.code;
        if self.path.ends_with("/src/lib.rs") {
            // A feature may add the host's half, with `std`; the boundary never turns it on.
            let no_std = code.contains("#![no_std]")
                || code.lines().any(|line| {
                    line.starts_with("#![cfg_attr(not(feature") && line.contains("no_std)]")
                });
            if !no_std {
                findings.push(self.error(0, "inside crates have #![no_std]"));
            }
            if !code.contains("#![forbid(unsafe_code)]") {
                findings.push(self.error(0, "inside crates have #![forbid(unsafe_code)]"));
            }
        }
        let optional = gated_regions(code, Gate::Feature);
        for (at, word) in words(code) {
            let line = line(code, at);
            let for_hosts = self.all_optional
                || optional
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&line));
            if self.in_test(line) {
                continue;
            }
            match word {
                "unsafe" => findings.push(self.error(line, "no unsafe inside the boundary")),
                "std" if !for_hosts => {
                    findings.push(self.error(line, "no std inside the boundary"));
                }
                _ => {}
            }
        }
    }
}

/// Files that exist for tests only, as far as the path tells.
fn is_test_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| ["tests", "benches", "examples", "fuzz", "tests.rs"].contains(&part))
}

/// Files that some parent compiles only now and then.
#[derive(Default)]
pub(super) struct Gates {
    tests: GatedFiles,
    optional: GatedFiles,
}

impl Gates {
    /// Reads what all sources declare.
    pub(super) fn new(sources: &[(&str, &str)]) -> Self {
        Self {
            tests: GatedFiles::new(sources, Gate::Test),
            optional: GatedFiles::new(sources, Gate::Feature),
        }
    }
}

/// Files of modules that are declared behind a gate, and of the modules below them.
#[derive(Default)]
struct GatedFiles {
    /// Paths without the ending: `a/b` stands for `a/b.rs` and everything in `a/b/`.
    modules: BTreeSet<String>,
}

impl GatedFiles {
    /// Collects them from all sources.
    fn new(sources: &[(&str, &str)], gate: Gate) -> Self {
        let mut modules = BTreeSet::new();
        for (path, text) in sources {
            let Some((folder, name)) = path.rsplit_once('/') else {
                continue;
            };
            let folder = match name {
                "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
                _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
            };
            let names = gated_modules(&Masked::new(text).code, gate);
            modules.extend(names.iter().map(|name| format!("{folder}/{name}")));
        }
        Self { modules }
    }

    /// Whether this file is one of them.
    fn contain(&self, path: &str) -> bool {
        self.modules.iter().any(|module| {
            path.strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }
}

/// Modules declared in this file; a file that nobody declares is dead.
pub(super) fn declared_modules(text: &str) -> Vec<String> {
    let code = Masked::new(text).code;
    let all: Vec<&str> = words(&code).map(|(_, word)| word).collect();
    all.windows(2)
        .filter(|pair| pair[0] == "mod")
        .map(|pair| pair[1].to_owned())
        .collect()
}

fn too_long(path: &str, function: &Function, ratchet: &[(&str, &str, usize)]) -> Option<String> {
    let known = ratchet
        .iter()
        .find(|(file, name, _)| *file == path && *name == function.name);
    let limit = known.map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines);
    let (name, length) = (&function.name, function.length());
    if length > limit {
        return Some(format!("fn {name} has {length} lines, at most {limit}"));
    }
    (known.is_some() && length < limit)
        .then(|| format!("fn {name} has shrunk to {length}: say so in tidy's RATCHET"))
}

#[cfg(test)]
mod tests;
