//! What the store takes on disk and in time for each record: log, leaves, trie pages, journal.
//! At 200 thousand records; at 2 million with `--big`.
//!
//! Entries are as the HSM makes them in size and shape, with random keys and incompressible leaves
//! (sealed bytes are). The journal is bounded for the whole store, so it is told apart.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Instant;
use strongroom_crypto::random::Entropy as _;
use strongroom_node::store::Store;
use strongroom_replica::Logged;
use strongroom_tree::prover::Trie;
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{
    Entry, EntryHeader, FEATURE_LEVEL, Kind, Proposal, State, Write, writes_digest,
};
use strongroom_wire::limits::RECORD_BYTES_SMALL;
use strongroom_wire::{CellId, Digest, Epoch, FleetId, Incarnation, LogIndex, RecordId, UnixMs};

/// Registrations in one entry, as 64 clients at once make it.
const BATCH: u64 = 64;
/// A sealed record of the small class: plaintext, nonce and tag, key epoch, generation, CBOR.
const LEAF_BYTES: usize = RECORD_BYTES_SMALL + 40 + 14;

fn main() {
    let big = std::env::args().any(|argument| argument == "--big");
    let records: u64 = if big { 2_000_000 } else { 200_000 };
    let place = tempfile::tempdir().expect("a directory");
    let store = Store::open(place.path()).expect("a new store");
    let mut trie = Trie::open(store.clone(), 16 * 1024).expect("an empty trie");
    let began = Instant::now();
    let mut previous = Digest([0; 32]);
    for index in 0..records / BATCH {
        let entry = entry(index, previous);
        previous = entry.header().hash();
        store.append(&[&entry]).expect("it is written");
        let writes = entry.entry.writes.iter();
        let changes: Vec<_> = writes
            .map(|write| (write.key.0, Some(leaf_digest(&write.leaf).0)))
            .collect();
        trie.apply(&changes).expect("pages are whole");
        let pages = trie.commit_oldest();
        store.apply(&entry, None, pages).expect("it is applied");
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / records as f64;
    drop((trie, store));
    let store = Store::open(place.path()).expect("a good store");
    let journal = store.journal_bytes().expect("its size");
    let tables = occupied(place.path()).saturating_sub(journal) / records;
    let print = |what: &str, measured: String, target: &str, verdict: &str| {
        println!("bench | {what}, {records} records | {measured} | {target} | {verdict}");
    };
    print(
        "store: append and apply, each record",
        format!("{each:.1} µs"),
        "-",
        "-",
    );
    let verdict = if tables <= 1536 { "met" } else { "MISSED" };
    print(
        "store: tables on disk",
        format!("{tables} B each"),
        "≤ 1536 B",
        verdict,
    );
    let mib = journal / (1024 * 1024);
    print(
        "store: journal on disk, all",
        format!("{mib} MiB"),
        "-",
        "-",
    );
}

fn entry(index: u64, previous: Digest) -> Logged {
    let writes: Vec<Write> = (0..BATCH).map(|_| write()).collect();
    let state = State::default();
    let header = EntryHeader {
        fleet: FleetId([1; 32]),
        cell: CellId(0),
        incarnation: Incarnation(0),
        epoch: Epoch(1),
        index: LogIndex(index + 1),
        previous,
        kind: Kind::Batch,
        root: Digest([0; 32]),
        writes: writes_digest(&writes),
        state: state.digest(),
        time: UnixMs(0),
        feature_level: FEATURE_LEVEL,
    };
    let mark = Digest([0; 32]);
    let entry = Entry {
        proposal: Proposal { header, mark },
        state,
        writes,
    };
    Logged {
        entry,
        tenant: None,
        manifest: None,
    }
}

fn write() -> Write {
    let mut key = [0; 32];
    let mut leaf = vec![0; LEAF_BYTES];
    strongroom_client::Os.fill(&mut key);
    strongroom_client::Os.fill(&mut leaf);
    Write {
        key: RecordId(key),
        leaf,
    }
}

fn occupied(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    about.blocks() * 512 + below.map(|entry| occupied(&entry.path())).sum::<u64>()
}
