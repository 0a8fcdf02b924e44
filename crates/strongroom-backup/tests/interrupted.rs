//! Uploads and downloads that do not reach their end.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use common::{Desk, Hook, noise, rich, tree};
use faulty::{Fault, Faulty};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strongroom_backup::{Error, Store, Which, backup, restore};

/// Compressed and encrypted, three parts of 8 MiB.
const LARGE: usize = 20 << 20;

fn large(desk: &Desk) -> PathBuf {
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("large"), noise(5, LARGE)).unwrap();
    source
}

#[test]
fn an_object_store_under_a_path_takes_several_parts_and_gives_them_back() {
    let desk = Desk::new();
    let source = large(&desk);
    let store = Store::object_store(Faulty::new(Fault::None), "of/anna", "faulty");
    let taken = desk.backup_to("source", &store).unwrap();
    assert_eq!(desk.run(store.list()).unwrap(), [taken.snapshot]);
    let target = desk.path("target");
    let restored = restore(
        &store,
        &Which::Latest,
        &desk.identity,
        &target,
        Arc::new(()),
    );
    desk.run(restored).unwrap();
    assert_eq!(tree(&target), tree(&source));
}

#[test]
fn an_upload_that_fails_anywhere_leaves_nothing_listed_and_is_aborted() {
    let desk = Desk::new();
    large(&desk);
    for fault in [
        Fault::Part(0),
        Fault::Part(1),
        Fault::Part(2),
        Fault::Complete,
    ] {
        let inner = Faulty::new(fault);
        let store = Store::object_store(inner.clone(), "", "faulty");
        let error = desk.backup_to("source", &store).unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{fault:?}: {error}");
        assert!(error.to_string().contains("the line is cut"), "{error}");
        assert_eq!(desk.run(store.list()).unwrap(), [], "{fault:?}");
        assert!(inner.aborted.load(Ordering::SeqCst), "{fault:?}");
    }
}

#[test]
fn a_store_that_keeps_less_than_it_was_sent_is_noticed() {
    let desk = Desk::new();
    large(&desk);
    let store = Store::object_store(Faulty::new(Fault::Lose(1)), "", "faulty");
    match desk.backup_to("source", &store).unwrap_err() {
        Error::StoreLost { sent, kept, .. } => assert_eq!(sent - kept, 8 << 20),
        other => panic!("{other}"),
    }
    assert_eq!(desk.run(store.list()).unwrap(), []);
}

#[test]
fn a_download_that_fails_is_the_stores_fault_and_leaves_nothing() {
    let desk = Desk::new();
    large(&desk);
    for number in 0..3 {
        let store = Store::object_store(Faulty::new(Fault::Download(number)), "", "faulty");
        desk.backup_to("source", &store).unwrap();
        let target = desk.path("target");
        let restored = restore(
            &store,
            &Which::Latest,
            &desk.identity,
            &target,
            Arc::new(()),
        );
        let error = desk.run(restored).unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{error}");
        assert_eq!(desk.names(), ["source"]);
    }
}

#[test]
fn a_store_that_sends_without_end_is_stopped() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    for sizes in 0..2 {
        let store = Store::object_store(Faulty::new(Fault::Flood), "", "faulty");
        desk.backup_to("source", &store).unwrap();
        let target = desk.path("target");
        let restored = restore(
            &store,
            &Which::Latest,
            &desk.identity,
            &target,
            Arc::new(()),
        );
        let error = desk.run(restored).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
        assert_eq!(desk.names(), ["source"], "{sizes}");
        // Once as a whole, once in ranges.
        fs::write(desk.path("source/large"), noise(5, LARGE)).unwrap();
    }
}

#[test]
fn a_dropped_backup_leaves_nothing_not_even_its_unfinished_file() {
    let desk = Desk::new();
    let source = large(&desk);
    let (store, recipient) = (desk.store(), desk.identity.recipient());
    let (here, stop) = tokio::sync::oneshot::channel();
    let (resume, wait) = std::sync::mpsc::channel::<()>();
    let hook = Hook::at_bytes(10 << 20, move || {
        here.send(()).unwrap();
        // The thread is in the middle until the future is gone.
        let _ = wait.recv();
    });
    desk.run(async {
        tokio::select! {
            done = backup(&source, &store, &recipient, hook) => panic!("{done:?}"),
            stopped = stop => stopped.unwrap(),
        }
    });
    drop(resume);
    assert_eq!(desk.run(store.list()).unwrap(), []);
    // Another thread removes the file; as many turns as it takes.
    let unfinished = || fs::read_dir(desk.path("store/snapshots")).unwrap().count();
    while unfinished() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_dropped_restore_leaves_nothing() {
    let desk = Desk::new();
    large(&desk);
    desk.backup("source").unwrap();
    let (store, target) = (desk.store(), desk.path("target"));
    let (here, stop) = tokio::sync::oneshot::channel();
    let (resume, wait) = std::sync::mpsc::channel::<()>();
    // Called by the extractor: its directory is there already.
    let hook = Hook::at_entry("large", move || {
        here.send(()).unwrap();
        let _ = wait.recv();
    });
    desk.run(async {
        tokio::select! {
            done = restore(&store, &Which::Latest, &desk.identity, &target, hook) => {
                panic!("{done:?}")
            }
            stopped = stop => stopped.unwrap(),
        }
    });
    assert_eq!(desk.names().len(), 3, "the directory under construction");
    drop(resume);
    let desk = desk.without_runtime();
    assert_eq!(desk.names(), ["source", "store"]);
}

const CHILD: &str = "STRONGROOM_TEST_KILLED_CHILD";

/// What the killed process does: it reaches the middle of an upload, says so, and waits.
fn killed_child(root: &Path) {
    let store = Store::create(root.join("store").to_str().unwrap()).unwrap();
    let recipient = strongroom_backup::Identity::from_secret(&[7; 32]).recipient();
    let hook = Hook::at_bytes(18 << 20, || {
        let mut out = std::io::stdout();
        out.write_all(b"here\n").and_then(|()| out.flush()).unwrap();
        loop {
            std::thread::park();
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let source = root.join("source");
    runtime
        .block_on(backup(&source, &store, &recipient, hook))
        .unwrap();
}

#[test]
fn a_killed_backup_leaves_nothing_listed_and_the_next_one_works() {
    if let Some(root) = std::env::var_os(CHILD) {
        return killed_child(Path::new(&root));
    }
    let desk = Desk::new();
    let source = large(&desk);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_killed_backup_leaves_nothing_listed_and_the_next_one_works",
        ])
        .arg("--nocapture")
        .env(CHILD, desk.root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.ends_with("here")));
    child.kill().unwrap();
    child.wait().unwrap();
    let left = fs::read_dir(desk.path("store/snapshots")).unwrap().count();
    assert_eq!(left, 1, "the child was in the middle of an upload");
    assert_eq!(desk.run(desk.store().list()).unwrap(), []);
    assert!(matches!(desk.restore("target"), Err(Error::NoSnapshots(_))));
    desk.backup("source").unwrap();
    desk.restore("target").unwrap();
    assert_eq!(tree(&desk.path("target")), tree(&source));
}

#[test]
fn what_killed_processes_left_is_removed_when_it_is_old_and_ours() {
    let desk = Desk::new();
    rich(&desk.path("source"));
    let folder = desk.path("store/snapshots");
    fs::create_dir_all(&folder).unwrap();
    let ours = "2026-11-24T01-02-03.004Z-0a1b2c3d.tar.zst.age#1";
    let fresh = "2026-11-24T01-02-03.004Z-0a1b2c3d.tar.zst.age#2";
    let foreign = [
        "notes.txt#1",
        "2026-11-24T01-02-03.004Z-0a1b2c3d.tar.zst.age#mine",
    ];
    for name in [ours, fresh, foreign[0], foreign[1]] {
        fs::write(folder.join(name), "x").unwrap();
        if name != fresh {
            common::set_time(&folder.join(name), 1_000_000_000, 0);
        }
    }
    desk.backup("source").unwrap();
    assert!(!folder.join(ours).exists());
    for name in [fresh, foreign[0], foreign[1]] {
        assert!(folder.join(name).exists(), "{name}");
    }
    // And none of it is a snapshot.
    assert_eq!(desk.run(desk.store().list()).unwrap().len(), 1);
}
