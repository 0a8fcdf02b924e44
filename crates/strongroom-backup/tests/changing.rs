//! Directories that change while they are read.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Desk, Hook, noise, rich};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_backup::{Reason, backup};

/// Backs `source` up while `hook` changes it, and restores; gives the gaps.
fn changing<F: FnOnce() + Send + 'static>(
    desk: &Desk,
    hook: Arc<Hook<F>>,
) -> Vec<(String, Reason)> {
    let (store, recipient) = (desk.store(), desk.identity.recipient());
    let source = desk.path("source");
    let taken = desk.run(backup(&source, &store, &recipient, hook)).unwrap();
    desk.restore("target").unwrap();
    let gaps = taken.contents.gaps.into_iter();
    gaps.map(|gap| (gap.path, gap.reason)).collect()
}

fn three_files(desk: &Desk) -> PathBuf {
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(source.join(name), noise(2, 500_001)).unwrap();
    }
    source
}

fn restored(desk: &Desk, name: &str) -> Vec<u8> {
    fs::read(desk.path("target").join(name)).unwrap()
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_filled_and_reported() {
    let desk = Desk::new();
    let file = three_files(&desk).join("b");
    let shrink = move || {
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(9)
            .unwrap()
    };
    let gaps = changing(&desk, Hook::at_bytes(600_000, shrink));
    assert_eq!(gaps, [("b".to_owned(), Reason::Changed)]);
    let whole = noise(2, 500_001);
    assert_eq!(restored(&desk, "b").len(), whole.len());
    assert_eq!(restored(&desk, "b")[..100_000], whole[..100_000]);
    assert!(restored(&desk, "b").ends_with(&[0; 100_000]));
    assert_eq!(restored(&desk, "c"), whole);
}

#[test]
fn a_file_that_grows_while_it_is_read_keeps_its_announced_size_and_is_reported() {
    let desk = Desk::new();
    let file = three_files(&desk).join("b");
    let grow = move || {
        let mut file = fs::File::options().append(true).open(file).unwrap();
        file.write_all(&[1; 100_000]).unwrap();
    };
    let gaps = changing(&desk, Hook::at_bytes(600_000, grow));
    assert_eq!(gaps, [("b".to_owned(), Reason::Changed)]);
    for name in ["a", "b", "c"] {
        assert_eq!(restored(&desk, name), noise(2, 500_001));
    }
}

#[test]
fn what_vanishes_or_becomes_something_else_is_left_out_and_reported() {
    for (reason, change) in [
        (
            Reason::Vanished,
            (|path| fs::remove_file(path).unwrap()) as fn(&Path),
        ),
        (Reason::Changed, |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("a", path).unwrap();
        }),
        (Reason::Changed, |path| {
            fs::remove_file(path).unwrap();
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }),
    ] {
        let desk = Desk::new();
        let file = three_files(&desk).join("b");
        let gaps = changing(&desk, Hook::at_entry("b", move || change(&file)));
        assert_eq!(gaps, [("b".to_owned(), reason)]);
        assert!(!desk.path("target/b").exists());
        assert_eq!(restored(&desk, "c"), noise(2, 500_001));
    }
}

/// Root may read everything, so what cannot be read is a path too long for the kernel.
#[test]
fn what_cannot_be_read_is_left_out_and_reported() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    let half = format!("{}/", "h".repeat(200)).repeat(12);
    let (upper, lower) = (
        desk.path("source/x").join(&half),
        desk.path("lower").join(&half),
    );
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&lower).unwrap();
    fs::rename(desk.path("lower"), upper.join("y")).unwrap();
    let taken = desk.backup("source").unwrap();
    assert!(!taken.contents.gaps.is_empty());
    assert!(
        taken
            .contents
            .gaps
            .iter()
            .all(|gap| gap.reason == Reason::Unreadable)
    );
    desk.restore("target").unwrap();
    assert_eq!(
        fs::read(desk.path("target/text.txt")).unwrap().len(),
        95_000
    );
}
