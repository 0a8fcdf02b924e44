//! What is backed up comes back: bytes, modes, times, names, links.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Desk, noise, rich, tree};
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_backup::{Error, Progress, Reason, Store, Which, backup, restore};

#[test]
fn a_rich_directory_comes_back_exactly() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    let before = tree(&desk.path("source"));
    let taken = desk.backup("source").unwrap();
    assert!(taken.contents.gaps.is_empty(), "{:?}", taken.contents.gaps);
    let restored = desk.restore("target").unwrap();
    assert_eq!(tree(&desk.path("target")), before);
    assert_eq!(restored.contents, taken.contents);
    assert_eq!(restored.snapshot, taken.snapshot);
    assert_eq!(taken.contents.symlinks, 3);
    assert_eq!(taken.contents.hard_links, 1);
    assert_eq!(desk.names(), ["source", "store", "target"]);
    assert_eq!(
        tree(&desk.path("source")),
        before,
        "reading changes nothing"
    );
}

#[test]
fn sockets_are_left_out_and_reported() {
    let desk = Desk::new();
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("kept"), "x").unwrap();
    let _socket = UnixListener::bind(source.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let taken = desk.backup("source").unwrap();
    let gaps: Vec<_> = taken
        .contents
        .gaps
        .iter()
        .map(|it| (&*it.path, it.reason))
        .collect();
    assert_eq!(
        gaps,
        [("fifo", Reason::Special), ("socket", Reason::Special)]
    );
    desk.restore("target").unwrap();
    let names: Vec<_> = tree(&desk.path("target")).into_keys().collect();
    assert_eq!(names, [PathBuf::new(), PathBuf::from("kept")]);
}

#[test]
fn an_empty_directory_is_a_backup_too() {
    let desk = Desk::new();
    fs::create_dir(desk.path("source")).unwrap();
    let before = tree(&desk.path("source"));
    desk.backup("source").unwrap();
    // An empty target is taken, and one that is there keeps its name.
    fs::create_dir(desk.path("target")).unwrap();
    desk.restore("target").unwrap();
    assert_eq!(tree(&desk.path("target")), before);
}

#[test]
fn the_latest_snapshot_is_restored_and_an_older_one_on_demand() {
    let desk = Desk::new();
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "one").unwrap();
    let first = desk.backup("source").unwrap().snapshot;
    fs::write(source.join("file"), "two").unwrap();
    let second = desk.backup("source").unwrap().snapshot;
    let store = desk.store();
    assert_eq!(
        desk.run(store.list()).unwrap(),
        [first.clone(), second.clone()]
    );
    desk.restore("latest").unwrap();
    assert_eq!(fs::read(desk.path("latest/file")).unwrap(), b"two");
    let which = Which::Named(first.name.clone());
    let target = desk.path("older");
    desk.run(restore(
        &store,
        &which,
        &desk.identity,
        &target,
        Arc::new(()),
    ))
    .unwrap();
    assert_eq!(fs::read(desk.path("older/file")).unwrap(), b"one");
    desk.run(store.forget(&first.name)).unwrap();
    assert_eq!(desk.run(store.list()).unwrap(), [second]);
    assert!(matches!(
        desk.run(restore(
            &store,
            &which,
            &desk.identity,
            &target,
            Arc::new(())
        )),
        Err(Error::NoSuchSnapshot { .. })
    ));
}

#[test]
fn misuse_is_refused_with_the_place_named() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    assert!(matches!(
        Store::open("nowhere/at/all"),
        Err(Error::NoFolder(_))
    ));
    assert!(matches!(Store::open("ftp://host/x"), Err(Error::UnknownStore(it)) if it == "ftp"));
    assert!(matches!(desk.restore("target"), Err(Error::NoSnapshots(_))));
    assert!(matches!(desk.backup("missing"), Err(Error::Read { .. })));
    assert!(matches!(
        desk.backup("source/nothing"),
        Err(Error::NotADirectory(_))
    ));
    assert!(matches!(
        desk.backup("store"),
        Err(Error::StoreInside { .. })
    ));
    assert!(matches!(desk.backup("."), Err(Error::StoreInside { .. })));
    desk.backup("source").unwrap();
    assert!(matches!(desk.restore("source"), Err(Error::TargetInUse(_))));
    assert!(matches!(
        desk.restore("source/text.txt"),
        Err(Error::TargetInUse(_))
    ));
    assert!(matches!(
        desk.restore("missing/target"),
        Err(Error::Write { .. })
    ));
    assert!(matches!(desk.restore("/"), Err(Error::TargetUnnamed(_))));
    assert_eq!(desk.names(), ["source", "store"]);
}

/// Counts what it is told.
#[derive(Default)]
struct Counter {
    total: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Progress for Counter {
    fn total(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    fn entry(&self, _path: &Path) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn progress_reaches_the_announced_total() {
    let desk = Desk::new();
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    for number in 0..5 {
        fs::write(source.join(number.to_string()), noise(number, 100_000)).unwrap();
    }
    let (store, recipient) = (desk.store(), desk.identity.recipient());
    let counter = Arc::new(Counter::default());
    let taken = desk
        .run(backup(&source, &store, &recipient, counter.clone()))
        .unwrap();
    assert_eq!(counter.total.load(Ordering::Relaxed), 500_000);
    assert_eq!(counter.bytes.load(Ordering::Relaxed), 500_000);
    assert_eq!(counter.entries.load(Ordering::Relaxed), 5);
    let counter = Arc::new(Counter::default());
    let target = desk.path("target");
    let restoring = restore(
        &store,
        &Which::Latest,
        &desk.identity,
        &target,
        counter.clone(),
    );
    desk.run(restoring).unwrap();
    let stored = taken.snapshot.stored_bytes;
    assert_eq!(counter.total.load(Ordering::Relaxed), stored);
    assert_eq!(counter.bytes.load(Ordering::Relaxed), stored);
}

/// An entry of any name, content, mode and time.
#[derive(Debug)]
struct Drawn {
    name: Vec<u8>,
    content: Vec<u8>,
    mode: u32,
    modified: (i64, u32),
    directory: bool,
}

fn entries() -> impl Strategy<Value = Vec<Drawn>> {
    let name = proptest::collection::vec(1..=255_u8, 1..120);
    let content = proptest::collection::vec(any::<u8>(), 0..2000);
    let modified = (-10_000_000_000..10_000_000_000_i64, 0..1_000_000_000_u32);
    let entry = (name, content, 0..0o10000_u32, modified, any::<bool>());
    let entry = entry.prop_map(|(name, content, mode, modified, directory)| Drawn {
        name: name.into_iter().filter(|byte| *byte != b'/').collect(),
        content,
        // Only root reads what its owner may not read; tests run as anyone.
        mode: mode | if directory { 0o700 } else { 0o400 },
        modified,
        directory,
    });
    proptest::collection::vec(entry, 0..12)
}

/// Makes the entries, each in the directory made last.
fn plant(top: &Path, entries: &[Drawn]) {
    let mut parent = top.to_owned();
    let mut made = Vec::new();
    for entry in entries {
        let path = parent.join(OsString::from_vec(entry.name.clone()));
        // An empty name, `.`, `..` and one that is there already.
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if entry.directory {
            fs::create_dir(&path).unwrap();
            parent.clone_from(&path);
        } else {
            fs::write(&path, &entry.content).unwrap();
        }
        made.push((path, entry));
    }
    for (path, entry) in made.iter().rev() {
        common::set_time(path, entry.modified.0, entry.modified.1);
        fs::set_permissions(path, Permissions::from_mode(entry.mode)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_small_tree_comes_back_exactly(entries in entries()) {
        let desk = Desk::new();
        let top = desk.path("source");
        fs::create_dir(&top).unwrap();
        plant(&top, &entries);
        let before = tree(&top);
        desk.backup("source").unwrap();
        desk.restore("target").unwrap();
        prop_assert_eq!(tree(&desk.path("target")), before);
    }
}
