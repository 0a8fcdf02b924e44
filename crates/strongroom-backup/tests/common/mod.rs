//! A rich directory, and the comparison of two directories entry by entry.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strongroom_backup::{
    Backup, Error, Identity, Progress, Restored, Store, Which, backup, restore,
};

/// A directory to work in, with a store beside the sources.
pub struct Desk {
    pub root: tempfile::TempDir,
    pub identity: Identity,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Desk {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        Self {
            root: tempfile::tempdir().unwrap(),
            identity: Identity::from_secret(&[7; 32]),
            runtime: Some(runtime.unwrap()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn store(&self) -> Store {
        Store::create(self.path("store").to_str().unwrap()).unwrap()
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// Waits for every thread of the runtime, and has none afterwards.
    pub fn without_runtime(mut self) -> Self {
        drop(self.runtime.take());
        self
    }

    pub fn backup(&self, directory: &str) -> Result<Backup, Error> {
        self.backup_to(directory, &self.store())
    }

    pub fn backup_to(&self, directory: &str, store: &Store) -> Result<Backup, Error> {
        let (directory, recipient) = (self.path(directory), self.identity.recipient());
        self.run(backup(&directory, store, &recipient, Arc::new(())))
    }

    pub fn restore(&self, target: &str) -> Result<Restored, Error> {
        self.restore_with(&self.identity, target)
    }

    pub fn restore_with(&self, identity: &Identity, target: &str) -> Result<Restored, Error> {
        let (store, target) = (self.store(), self.path(target));
        self.run(restore(
            &store,
            &Which::Latest,
            identity,
            &target,
            Arc::new(()),
        ))
    }

    /// The object of the newest snapshot.
    pub fn newest_file(&self) -> PathBuf {
        let newest = self.run(self.store().find(&Which::Latest)).unwrap();
        self.path("store/snapshots")
            .join(format!("{}.tar.zst.age", newest.name))
    }

    /// What lies beside the store, hidden or not: nothing may be left behind.
    pub fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.root.path()).unwrap();
        let name = |it: std::io::Result<fs::DirEntry>| it.unwrap().file_name();
        let mut names: Vec<_> = names
            .map(|it| name(it).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Desk {
    /// Opens what a test closed, so that the temporary directory can be removed by any user.
    fn drop(&mut self) {
        let mut chmod = std::process::Command::new("chmod");
        chmod.args(["-R", "u+rwX"]).arg(self.root.path());
        chmod.status().unwrap();
    }
}

/// Calls a function once, at the first progress of at least so many bytes, or at an entry.
pub struct Hook<F> {
    at_bytes: u64,
    at_entry: Option<PathBuf>,
    seen: AtomicU64,
    action: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> Hook<F> {
    pub fn at_bytes(at_bytes: u64, action: F) -> Arc<Self> {
        Arc::new(Self {
            at_bytes,
            at_entry: None,
            seen: AtomicU64::new(0),
            action: Mutex::new(Some(action)),
        })
    }

    pub fn at_entry(path: &str, action: F) -> Arc<Self> {
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

/// What must be equal after a restore.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: &'static str,
    pub mode: u32,
    pub modified: (i64, i64),
    pub content: Vec<u8>,
    pub links: u64,
}

/// The whole tree, the top directory (as the empty path) included.
pub fn tree(top: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    collect(top, Path::new(""), &mut entries);
    entries
}

fn collect(top: &Path, relative: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    let path = if relative.as_os_str().is_empty() {
        top.to_owned()
    } else {
        top.join(relative)
    };
    let metadata = fs::symlink_metadata(&path).unwrap();
    let (kind, content) = if metadata.is_dir() {
        ("directory", Vec::new())
    } else if metadata.is_symlink() {
        let target = fs::read_link(&path).unwrap();
        ("symlink", target.as_os_str().as_bytes().to_vec())
    } else if metadata.is_file() {
        ("file", fs::read(&path).unwrap())
    } else {
        ("special", Vec::new())
    };
    entries.insert(
        relative.to_owned(),
        Entry {
            kind,
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content,
            // Directories count differently on different file systems.
            links: if metadata.is_file() {
                metadata.nlink()
            } else {
                1
            },
        },
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            collect(top, &relative.join(entry.unwrap().file_name()), entries);
        }
    }
}

/// Bytes that do not compress and are the same every time (xorshift64*).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn set_time(path: &Path, seconds: i64, nanos: u32) {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time: SystemTime = if seconds < 0 {
        UNIX_EPOCH - whole
    } else {
        UNIX_EPOCH + whole
    };
    let time = time + Duration::from_nanos(nanos.into());
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// A directory with one of everything that a backup keeps.
pub fn rich(top: &Path) {
    fs::create_dir_all(top.join("photos/empty")).unwrap();
    fs::write(top.join("photos/noise.jpg"), noise(1, 300_000)).unwrap();
    fs::write(top.join("text.txt"), "to be or not to be\n".repeat(5000)).unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    for size in [1, 511, 512, 513, 131_072, 131_073] {
        fs::write(top.join(format!("size-{size}")), noise(size as u64, size)).unwrap();
    }
    let deep = top.join(format!("deep/{}/{}", "d".repeat(120), "e".repeat(200)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f".repeat(255)), "long").unwrap();
    fs::write(top.join("n".repeat(100)), "a name of 100 bytes").unwrap();
    fs::write(top.join("n".repeat(101)), "a name of 101 bytes").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"not \xff\xfe text\n")), "bytes").unwrap();
    fs::write(top.join(" leading, ünïcode & 'quotes'"), "x").unwrap();
    symlink("text.txt", top.join("link")).unwrap();
    symlink("/nowhere/../at//all/", top.join("dangling")).unwrap();
    symlink("t".repeat(3000), top.join("far")).unwrap();
    fs::hard_link(top.join("text.txt"), top.join("photos/second-name")).unwrap();
    let executable = top.join("run.sh");
    fs::File::create(&executable)
        .unwrap()
        .write_all(b"#!/bin/sh\n")
        .unwrap();
    for (name, mode) in [("run.sh", 0o4755), ("nothing", 0o400), ("text.txt", 0o640)] {
        fs::set_permissions(top.join(name), Permissions::from_mode(mode)).unwrap();
    }
    set_time(&top.join("run.sh"), -86_400, 250_000_000);
    set_time(&top.join("size-511"), 1_000_000_000, 0);
    set_time(&top.join("size-512"), 1_000_000_000, 123_456_789);
    set_time(&top.join("photos/empty"), 1, 1);
    set_time(&top.join("deep"), 5_000_000_000, 999_999_999);
    fs::set_permissions(top.join("deep"), Permissions::from_mode(0o1555)).unwrap();
    fs::set_permissions(top, Permissions::from_mode(0o750)).unwrap();
    set_time(top, 1_234_567_890, 987_654_321);
}
