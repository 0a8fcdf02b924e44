//! Without this program: the stock `age`, `zstd` and `tar` open a snapshot, and we open theirs.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Desk, rich, tree};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a pipe of Debian's programs; every program of it must succeed.
#[track_caller]
fn shell(directory: &Path, script: &str) -> Vec<u8> {
    for program in ["age", "zstd", "tar", "bash"] {
        let found = Command::new(program).arg("--version").output();
        assert!(
            found.is_ok_and(|it| it.status.success()),
            "{program} is missing: `cargo xtask test` installs it, or `apt-get install {program}`"
        );
    }
    let output = Command::new("bash")
        .args(["-c", &format!("set -euo pipefail; {script}")])
        .current_dir(directory)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {told}");
    output.stdout
}

fn write_identity(desk: &Desk) {
    let line = format!("{}\n", *desk.identity.to_secret_string());
    fs::write(desk.path("key.txt"), line).unwrap();
}

#[test]
fn the_stock_age_opens_a_snapshot_and_stock_tar_restores_it() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    let taken = desk.backup("source").unwrap();
    write_identity(&desk);
    let open = "age --decrypt --identity key.txt store/snapshots/*.age | zstd --decompress";
    let names = shell(
        desk.root.path(),
        &format!("{open} | tar --list --quoting-style=literal"),
    );
    let names: Vec<&[u8]> = names.split(|byte| *byte == b'\n').collect();
    for name in [
        &b"./"[..],
        b"text.txt",
        b"photos/empty/",
        b"not \xff\xfe text",
    ] {
        assert!(names.contains(&name), "{}", String::from_utf8_lossy(name));
    }
    let contents = taken.contents;
    let entries = 1 + contents.files + contents.directories + contents.symlinks;
    // One name has a line break.
    assert_eq!(names.len() as u64, entries + contents.hard_links + 1 + 1);

    let extract = "mkdir stock && umask 0 && tar --extract --preserve-permissions -C stock";
    shell(desk.root.path(), &format!("{extract} < <({open})"));
    let (stock, source) = (tree(&desk.path("stock")), tree(&desk.path("source")));
    assert_eq!(
        stock.keys().collect::<Vec<_>>(),
        source.keys().collect::<Vec<_>>()
    );
    for (path, entry) in &source {
        assert_eq!(stock[path], *entry, "{}", path.display());
    }
}

#[test]
fn the_recipient_is_the_one_that_the_stock_age_computes() {
    let desk = Desk::new();
    write_identity(&desk);
    let told = shell(desk.root.path(), "age-keygen -y key.txt");
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told.trim(), desk.identity.recipient().to_string());
}

#[test]
fn an_archive_of_stock_tar_and_age_is_restored() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    // Whole seconds: GNU tar's own format has no others.
    shell(
        &desk.path("source"),
        "find . -depth -exec touch -h -d @1234567890 {} +",
    );
    fs::create_dir_all(desk.path("store/snapshots")).unwrap();
    let recipient = desk.identity.recipient();
    let pack = format!(
        "tar --create --format=gnu -C source . | zstd | age --recipient {recipient} \
         > store/snapshots/2026-11-24T01-02-03.004Z-0a1b2c3d.tar.zst.age"
    );
    shell(desk.root.path(), &pack);
    desk.restore("target").unwrap();
    assert_eq!(tree(&desk.path("target")), tree(&desk.path("source")));
}

#[test]
fn the_store_sees_no_name_and_no_content() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    desk.backup("source").unwrap();
    let object = fs::read(desk.newest_file()).unwrap();
    for secret in ["to be or not", "text.txt", "photos", "source"] {
        let seen = object
            .windows(secret.len())
            .any(|it| it == secret.as_bytes());
        assert!(!seen, "{secret}");
    }
}
