//! Memory does not grow with the size of files.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::noise;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use strongroom_backup::{Identity, Store, Which, backup, restore};

const MIB: u64 = 1 << 20;
/// Five parts of 8 MiB, the compressor, the program itself, and as much again as a margin.
const PEAK_MAX: u64 = 128 * MIB;
const CHILD: &str = "STRONGROOM_TEST_MEMORY_CHILD";

/// The whole way in a process of its own, whose peak is printed at the end. `work` says which.
fn child(root: &Path, work: &str) {
    let identity = Identity::from_secret(&[7; 32]);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let store = Store::create(root.join("store").to_str().unwrap()).unwrap();
    let start = Instant::now();
    if work == "backup" {
        let recipient = identity.recipient();
        let source = root.join("source");
        runtime
            .block_on(backup(&source, &store, &recipient, Arc::new(())))
            .unwrap();
    } else {
        let target = root.join("target");
        let restored = restore(&store, &Which::Latest, &identity, &target, Arc::new(()));
        runtime.block_on(restored).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{work}: {seconds:.2} s, peak {} MiB", kilobytes / 1024);
    assert!(kilobytes * 1024 < PEAK_MAX, "{work}: {kilobytes} kB");
}

/// Bytes that do not compress, so that every layer has as much to carry as can be; and a hole of
/// the same size, so that the compressed stream starves as well.
fn bounded(test: &str, bytes: u64) {
    if let Some(root) = std::env::var_os(CHILD) {
        let work = std::env::var("STRONGROOM_TEST_MEMORY_WORK").unwrap();
        return child(Path::new(&root), &work);
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("source")).unwrap();
    let mut file = fs::File::create(root.path().join("source/noise")).unwrap();
    for seed in 0..bytes / MIB {
        file.write_all(&noise(seed, MIB as usize)).unwrap();
    }
    let hole = fs::File::create(root.path().join("source/hole")).unwrap();
    hole.set_len(bytes).unwrap();
    for work in ["backup", "restore"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(CHILD, root.path())
            .env("STRONGROOM_TEST_MEMORY_WORK", work)
            .status()
            .unwrap();
        assert!(status.success(), "{work}");
    }
    let same = |name: &str| {
        let [before, after] =
            ["source", "target"].map(|top| fs::metadata(root.path().join(top).join(name)).unwrap());
        before.len() == after.len()
    };
    assert!(same("noise") && same("hole"));
}

#[test]
fn memory_is_bounded_for_512_mib() {
    bounded("memory_is_bounded_for_512_mib", 256 * MIB);
}

#[test]
#[ignore = "writes 8 GiB to the disk; cargo xtask nightly"]
fn memory_is_bounded_for_4_gib() {
    bounded("memory_is_bounded_for_4_gib", 2048 * MIB);
}
