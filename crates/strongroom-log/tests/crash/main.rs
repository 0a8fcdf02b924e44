//! The log under crashes: killed or cut off between every two system calls, again while it
//! recovers, and restored from older copies. No two signed checkpoints ever disagree, and nothing
//! acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod restored;

use common::root;
use disk::{Disk, End};
use proptest::prelude::*;
use std::path::Path;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::files::Files as _;
use strongroom_log::log::{APPEND_MAX, Log, LogError};
use strongroom_log::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use strongroom_log::note::{Note, Signer};

const DIR: &str = "/log";
const STATE: &str = "/state/signed";

fn signer() -> Signer {
    Signer::new("log.example/strongroom", &[1; 32]).unwrap()
}

fn create(disk: &Disk) -> Result<Log<Disk>, LogError> {
    Log::create(disk.clone(), Path::new(DIR), Path::new(STATE), signer())
}

fn open(disk: &Disk) -> Result<Log<Disk>, LogError> {
    Log::open(disk.clone(), Path::new(DIR), Path::new(STATE), signer())
}

fn some(count: usize, what: &str) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("{what} {n}").into_bytes())
        .collect()
}

/// Entries that were acknowledged, in order; what the log has beyond them was not.
fn check(disk: &Disk, log: &Log<Disk>, acknowledged: &[Vec<u8>]) {
    let size = log.size();
    let entries: Vec<Vec<u8>> = (0..size)
        .map(|at| log.entry(at).unwrap().unwrap())
        .collect();
    assert!(
        entries.starts_with(acknowledged),
        "an acknowledged entry is lost"
    );
    // All signed trees are parts of this one history, so no two of them disagree.
    let own = [signer().verifier().clone()];
    for bytes in disk.signed() {
        let note = Note::parse(&bytes).unwrap();
        note.verify(&own).unwrap();
        let signed = Checkpoint::parse(note.text()).unwrap();
        assert!(signed.size() <= size, "the log is behind what it signed");
        let part = &entries[..signed.size() as usize];
        assert_eq!(
            *signed.root(),
            root(part),
            "two signed checkpoints disagree"
        );
    }
    let published = Note::parse(log.checkpoint().as_bytes()).unwrap();
    let published = Checkpoint::parse(published.text()).unwrap();
    assert_eq!(
        (published.size(), *published.root()),
        (size, root(&entries))
    );
    assert_eq!(
        disk.read(Path::new("/log/checkpoint")).unwrap().unwrap(),
        log.checkpoint().as_bytes()
    );
}

/// A log with entries before the interesting part: just below a full tile, so that the next append
/// fills it and makes new folders.
fn grown(disk: &Disk) -> Vec<Vec<u8>> {
    let mut log = create(disk).unwrap();
    let before = some(254, "before");
    log.append(&before).unwrap();
    before
}

/// Creates or opens, appends; gives what was acknowledged.
fn work(disk: &Disk, batches: &[usize], what: &str) -> Vec<Vec<u8>> {
    let mut acknowledged = Vec::new();
    let Ok(mut log) = open(disk).or_else(|_| create(disk)) else {
        return acknowledged;
    };
    for (number, count) in batches.iter().enumerate() {
        let batch = some(*count, &format!("{what} {number}"));
        match log.append(&batch) {
            Ok(first) => {
                assert_eq!(first + *count as u64, log.size());
                acknowledged.extend(batch);
            }
            Err(_) => break,
        }
    }
    acknowledged
}

fn ends() -> impl Iterator<Item = End> {
    std::iter::once(End::Kill).chain((1..=6).map(|seed| End::Power(seed * 0x9e37_79b9)))
}

#[test]
fn a_new_log_survives_a_crash_at_every_step() {
    let disk = Disk::new();
    disk.start(None);
    work(&disk, &[1, 3], "first");
    let steps = disk.steps();
    assert!(steps > 40, "only {steps} steps");
    for at in 0..=steps {
        for end in ends() {
            let disk = Disk::new();
            disk.start(Some(at));
            let mut acknowledged = work(&disk, &[1, 3], "first");
            disk.end(end);
            disk.start(None);
            // Whatever comes next differs, so that a fork would show.
            let Ok(log) = open(&disk).or_else(|_| create(&disk)) else {
                panic!("step {at}, {end:?}: does not come back");
            };
            check(&disk, &log, &acknowledged);
            let carried = log.size() as usize;
            drop(log);
            acknowledged.extend((acknowledged.len()..carried).map(|at| {
                let log = open(&disk).unwrap();
                log.entry(at as u64).unwrap().unwrap()
            }));
            acknowledged.extend(work(&disk, &[2, 1], "second"));
            assert_eq!(acknowledged.len(), carried + 3);
            check(&disk, &open(&disk).unwrap(), &acknowledged);
        }
    }
}

/// What a killed process left may look whole and not be durable.
#[test]
fn a_kill_and_a_power_cut_while_the_log_recovers_lose_nothing() {
    let whole = Disk::new();
    whole.start(None);
    create(&whole).unwrap().append(&some(2, "before")).unwrap();
    let copy = whole.copy_of("/");
    whole.start(None);
    work(&whole, &[1], "first");
    let steps = whole.steps();
    for at in 0..=steps {
        for again in 0..=steps {
            for seed in [0x9e37_79b9, 0x51_7cc1, 0xb727_2202] {
                let disk = Disk::new();
                disk.restore("/", &copy);
                disk.start(Some(at));
                work(&disk, &[1], "first");
                disk.end(End::Kill);
                disk.start(Some(again));
                let mut acknowledged = some(2, "before");
                if let Ok(log) = open(&disk) {
                    acknowledged = (0..log.size())
                        .map(|n| log.entry(n).unwrap().unwrap())
                        .collect();
                }
                disk.end(End::Power(seed * (1 + at * 64 + again)));
                disk.start(None);
                let second = work(&disk, &[1], "second");
                assert_eq!(
                    second.len(),
                    1,
                    "killed at {at}, cut at {again}: no further append"
                );
                check(&disk, &open(&disk).unwrap(), &acknowledged);
            }
        }
    }
}

#[test]
fn a_grown_log_survives_a_crash_at_every_step_and_another_in_its_recovery() {
    let whole = Disk::new();
    whole.start(None);
    let before = grown(&whole);
    let copy = whole.copy_of("/");
    whole.start(None);
    work(&whole, &[1, 3], "first");
    let steps = whole.steps();
    for at in 0..=steps {
        for (end, again) in ends().zip([3, 1, 4, 9, 14, 22, 40]) {
            let disk = Disk::new();
            disk.restore("/", &copy);
            disk.start(Some(at));
            let mut acknowledged = before.clone();
            acknowledged.extend(work(&disk, &[1, 3], "first"));
            disk.end(end);
            disk.start(Some(again));
            let reopened = open(&disk).map(drop);
            disk.end(end);
            disk.start(None);
            let log = open(&disk).unwrap_or_else(|error| {
                panic!("step {at}, {end:?}, {reopened:?}: {error}");
            });
            check(&disk, &log, &acknowledged);
            drop(log);
            work(&disk, &[2], "second");
            check(&disk, &open(&disk).unwrap(), &acknowledged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn many_crashes_in_a_row_lose_nothing(
        crashes in prop::collection::vec((0u64..90, any::<u64>(), 1usize..130), 1..8),
    ) {
        let disk = Disk::new();
        disk.start(None);
        let mut acknowledged = grown(&disk);
        for (number, (at, seed, count)) in crashes.iter().enumerate() {
            disk.start(Some(*at));
            let added = work(&disk, &[*count, 1], &format!("run {number}"));
            disk.end(if seed % 3 == 0 { End::Kill } else { End::Power(seed | 1) });
            disk.start(None);
            let log = open(&disk).unwrap();
            check(&disk, &log, &acknowledged);
            let now: Vec<_> = (0..log.size()).map(|n| log.entry(n).unwrap().unwrap()).collect();
            let found = added.is_empty() || now.windows(added.len()).any(|part| part == added);
            prop_assert!(found, "an acknowledged entry is lost");
            acknowledged = now;
        }
    }
}

#[test]
fn a_log_is_made_once_and_by_one_key() {
    let disk = Disk::new();
    disk.start(None);
    grown(&disk);
    assert!(matches!(create(&disk), Err(LogError::Exists)));
    let fresh = disk.copy_of("/state");
    let other = Disk::new();
    other.restore("/state", &fresh);
    other.start(None);
    assert!(
        matches!(create(&other), Err(LogError::Exists)),
        "the state has a log"
    );
    let stranger = Signer::new("log.example/other", &[1; 32]).unwrap();
    let opened = Log::open(disk.clone(), Path::new(DIR), Path::new(STATE), stranger);
    assert!(matches!(opened, Err(LogError::Origin)));
    let same_name = Signer::new("log.example/strongroom", &[2; 32]).unwrap();
    let opened = Log::open(disk.clone(), Path::new(DIR), Path::new(STATE), same_name);
    assert!(matches!(opened, Err(LogError::Damaged(_))));
}

#[test]
fn an_error_halts_the_log_until_it_is_opened_again() {
    let disk = Disk::new();
    disk.start(None);
    let acknowledged = grown(&disk);
    let mut log = open(&disk).unwrap();
    assert!(matches!(log.append(&[]), Err(LogError::Count)));
    assert!(matches!(
        log.append(&some(APPEND_MAX + 1, "x")),
        Err(LogError::Count)
    ));
    assert!(matches!(
        log.append(&[vec![0; 65_536]]),
        Err(LogError::Entry(_))
    ));
    log.append(&some(1, "still well")).unwrap();
    disk.start(Some(6));
    assert!(matches!(
        log.append(&some(1, "x")),
        Err(LogError::Io { .. })
    ));
    disk.start(None);
    assert!(matches!(log.append(&some(1, "y")), Err(LogError::Halted)));
    assert!(matches!(log.add_cosignatures(&[]), Err(LogError::Halted)));
    drop(log);
    check(&disk, &open(&disk).unwrap(), &acknowledged);
}

#[test]
fn the_log_proves_what_it_holds() {
    let disk = Disk::new();
    disk.start(None);
    let mut entries = grown(&disk);
    let mut log = open(&disk).unwrap();
    for batch in [3, 256, 200] {
        let more = some(batch, &format!("of {batch}"));
        log.append(&more).unwrap();
        entries.extend(more);
    }
    let (size, tree) = (entries.len() as u64, root(&entries));
    for index in (0..size).step_by(37) {
        let proof = log.prove_inclusion(index).unwrap();
        let leaf = leaf_hash(&entries[index as usize]);
        verify_inclusion(&leaf, index, size, &tree, &proof).unwrap();
        let old = root(&entries[..index as usize]);
        let proof = log.prove_consistency(index).unwrap();
        verify_consistency(index, &old, size, &tree, &proof).unwrap();
    }
    assert_eq!(log.entry(size).unwrap(), None);
}
