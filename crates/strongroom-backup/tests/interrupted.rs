//! Uploads and downloads that do not reach their end, and directories that change meanwhile.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use common::{Desk, noise, rich, tree};
use faulty::{Fault, Faulty};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strongroom_backup::{Error, Progress, Reason, Store, Which, backup, restore};

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

/// Calls a function once, at the first progress of at least so many bytes, or at an entry.
struct Hook<F> {
    at_bytes: u64,
    at_entry: Option<PathBuf>,
    seen: AtomicU64,
    action: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> Hook<F> {
    fn at_bytes(at_bytes: u64, action: F) -> Arc<Self> {
        Arc::new(Self {
            at_bytes,
            at_entry: None,
            seen: AtomicU64::new(0),
            action: Mutex::new(Some(action)),
        })
    }

    fn at_entry(path: &str, action: F) -> Arc<Self> {
        Arc::new(Self {
            at_bytes: u64::MAX,
            at_entry: Some(path.into()),
            seen: AtomicU64::new(0),
            action: Mutex::new(Some(action)),
        })
    }

    fn act(&self) {
        if let Some(action) = self.action.lock().unwrap().take() {
            action();
        }
    }
}

impl<F: FnOnce() + Send> Progress for Hook<F> {
    fn bytes(&self, more: u64) {
        if self.seen.fetch_add(more, Ordering::SeqCst) + more >= self.at_bytes {
            self.act();
        }
    }

    fn entry(&self, path: &Path) {
        if self.at_entry.as_deref() == Some(path) {
            self.act();
        }
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
