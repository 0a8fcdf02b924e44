//! Rules for the manifests of inside crates: each dependency says why it is there.

use super::{Finding, Level};
use crate::workspace::INSIDE;

/// Checks one manifest; those of other crates pass.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let inside = INSIDE
        .iter()
        .any(|name| path == format!("crates/{name}/Cargo.toml"));
    if inside {
        unexplained(path, text)
    } else {
        Vec::new()
    }
}

/// Dependencies that ship and have no comment directly above.
fn unexplained(path: &str, text: &str) -> Vec<Finding> {
    let mut section = "";
    let mut before = "";
    let mut findings = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let ships = section == "[dependencies]" || section.ends_with(".dependencies]");
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let entry = line.contains('=') && !line.starts_with('#');
        // Our own crates explain themselves.
        if ships && entry && !name.starts_with("strongroom-") && !before.starts_with('#') {
            let message = format!("{name}: the line above says why, and names the RFC");
            findings.push(Finding {
                path: path.to_owned(),
                line: number + 1,
                level: Level::Error,
                message,
            });
        }
        before = line;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check;

    const PATH: &str = "crates/strongroom-tree/Cargo.toml";

    #[test]
    fn dependencies_inside_need_a_comment_above() {
        assert_eq!(
            check(PATH, "[dependencies]\nsha2 = { workspace = true }\n").len(),
            1
        );
        let explained = "[dependencies]\n# FIPS 180-4: node hashes.\nsha2.workspace = true\n";
        assert!(check(PATH, explained).is_empty());
    }

    #[test]
    fn own_crates_test_dependencies_and_other_crates_need_none() {
        assert!(check(PATH, "[dependencies]\nstrongroom-wire.workspace = true\n").is_empty());
        assert!(check(PATH, "[dev-dependencies]\nproptest = \"1\"\n").is_empty());
        let other = "crates/strongroom-node/Cargo.toml";
        assert!(check(other, "[dependencies]\naxum = \"0.8\"\n").is_empty());
    }
}
