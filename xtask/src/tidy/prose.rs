//! Rules for documents and for every tracked text: links, decisions, paths of one machine.

use super::{Finding, Level};
use std::collections::BTreeMap;

const DECISION_LINES_MAX: usize = 60;

/// Documents that must exist.
const REQUIRED: &[&str] = &["CHANGELOG.md", "README.md", "docs/glossary.md"];

/// Where an absolute path starts that exists on one machine only. Spelled in pieces, so that this
/// file passes its own check.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// All tracked texts, by path.
pub(super) type Texts = BTreeMap<String, String>;

pub(super) fn check(texts: &Texts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in REQUIRED.iter().filter(|path| !texts.contains_key(**path)) {
        findings.push(error(path, 0, "this document must exist"));
    }
    decisions(texts, &mut findings);
    for (path, text) in texts {
        if path.ends_with(".md") {
            links(path, text, texts, &mut findings);
        }
        machine_paths(path, text, &mut findings);
    }
    findings
}

fn error(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding {
        path: path.to_owned(),
        line: line + 1,
        level: Level::Error,
        message: message.into(),
    }
}

fn decisions(texts: &Texts, findings: &mut Vec<Finding>) {
    let mut numbers = BTreeMap::new();
    for (path, text) in texts {
        let Some(name) = path.strip_prefix("docs/decisions/") else {
            continue;
        };
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        if number.len() != 4 || !name[4..].starts_with('-') || !name.ends_with(".md") {
            findings.push(error(
                path,
                0,
                "decisions are named NNNN-what-was-decided.md",
            ));
        } else if let Some(other) = numbers.insert(number, name) {
            findings.push(error(path, 0, format!("has the number of {other}")));
        }
        let lines = text.lines().count();
        if lines > DECISION_LINES_MAX {
            findings.push(error(
                path,
                0,
                format!("{lines} lines: a decision is half a page"),
            ));
        }
    }
}

/// Relative links lead to tracked files, and fragments to headings.
fn links(path: &str, text: &str, texts: &Texts, findings: &mut Vec<Finding>) {
    for (line, target) in link_targets(text) {
        let outside = target.contains("://") || target.starts_with("mailto:");
        if outside || target.is_empty() {
            continue;
        }
        let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
        let resolved = if file.is_empty() {
            path.to_owned()
        } else {
            resolve(path, file)
        };
        let folder = format!("{}/", resolved.trim_end_matches('/'));
        let known =
            texts.contains_key(&resolved) || texts.keys().any(|other| other.starts_with(&folder));
        if !known {
            findings.push(error(path, line, format!("link to {target}: no such file")));
            continue;
        }
        let Some(document) = texts.get(&resolved).filter(|_| resolved.ends_with(".md")) else {
            continue;
        };
        if !fragment.is_empty() && !anchors(document).any(|anchor| anchor == fragment) {
            findings.push(error(
                path,
                line,
                format!("link to {target}: no such heading"),
            ));
        }
    }
}

/// Targets of `[text](target)` with their line, outside of code.
fn link_targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose_lines(text) {
        for (at, _) in line.match_indices("](") {
            let inside_code = line[..at].matches('`').count() % 2 == 1;
            let Some(length) = line[at + 2..].find(')') else {
                continue;
            };
            let target = line[at + 2..at + 2 + length].trim();
            if !inside_code {
                found.push((number, target.split(' ').next().unwrap_or_default()));
            }
        }
    }
    found
}

/// Lines outside of fenced code, numbered from 0.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// `folder/of/path` + `target`, with `.` and `..` taken out.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The names that a web view gives to headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = prose_lines(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn machine_paths(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        for machine_path in MACHINE_PATHS {
            let starts = |(at, _): (usize, &str)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_.-}>)*".contains(c))
            };
            if line.match_indices(machine_path).any(starts) {
                findings.push(error(
                    path,
                    number,
                    format!("{machine_path} is one machine's path"),
                ));
            }
        }
        let mirror = line.contains("source = \"registry+")
            && !line.contains("https://github.com/rust-lang/crates.io-index");
        if mirror && path.ends_with(".lock") {
            findings.push(error(
                path,
                number,
                "names a registry that not everybody has",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Texts, anchors, check};

    /// Messages of a tree that has the required documents and these.
    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let required = [
            ("CHANGELOG.md", ""),
            ("README.md", ""),
            ("docs/glossary.md", ""),
        ];
        let all = required.iter().chain(files);
        let texts: Texts = all
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        check(&texts)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn required_documents_are_missed() {
        assert_eq!(check(&Texts::new()).len(), 3);
        assert!(messages(&[]).is_empty());
    }

    #[test]
    fn dead_links_and_dead_fragments_are_found() {
        let target = ("docs/b.md", "# One, two\n");
        assert!(messages(&[target, ("docs/a.md", "[x](b.md#one-two)")]).is_empty());
        assert!(messages(&[target, ("docs/a.md", "[x](../docs/)")]).is_empty());
        assert!(messages(&[("docs/a.md", "[x](https://example.org/b.md)")]).is_empty());
        assert!(messages(&[("docs/a.md", "```\n[x](c.md)\n```\n`[x](c.md)`")]).is_empty());
        assert_eq!(messages(&[target, ("docs/a.md", "[x](c.md)")]).len(), 1);
        assert_eq!(
            messages(&[target, ("docs/a.md", "[x](b.md#three)")]).len(),
            1
        );
    }

    #[test]
    fn decisions_are_short_numbered_once_and_named() {
        assert!(messages(&[("docs/decisions/0001-a.md", "")]).is_empty());
        assert_eq!(messages(&[("docs/decisions/1-a.md", "")]).len(), 1);
        assert_eq!(
            messages(&[("docs/decisions/0001-a.md", &"x\n".repeat(61))]).len(),
            1
        );
        let twice = [
            ("docs/decisions/0001-a.md", ""),
            ("docs/decisions/0001-b.md", ""),
        ];
        assert_eq!(messages(&twice).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_parts_of_names_are_not() {
        assert_eq!(
            messages(&[("a.toml", concat!("path = \"/wo", "rk/x\""))]).len(),
            1
        );
        assert!(messages(&[("a.toml", concat!("home", "/wo", "rk/x"))]).is_empty());
    }

    #[test]
    fn mirrors_in_lock_files_are_found() {
        assert_eq!(
            messages(&[("Cargo.lock", "source = \"registry+https://m/i\"")]).len(),
            1
        );
    }

    #[test]
    fn anchors_are_made_as_web_views_make_them() {
        let found: Vec<String> = anchors("## 6 Notarised `replication`\n").collect();
        assert_eq!(found, ["6-notarised-replication"]);
    }
}
