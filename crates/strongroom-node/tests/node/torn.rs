//! Power cuts: the journal may end anywhere in what was being written, and must never end before
//! what was acknowledged. The store then stands at one entry with all of its parts.

use super::store::{chain, founded, tip};
use std::path::{Path, PathBuf};
use strongroom_node::store::Store;
use strongroom_replica::Logged;
use strongroom_tree::prover::Pages as _;

/// Files of the journal, and where what is written in each ends: they are made long beforehand.
fn journals(dir: &Path) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jnl") {
                let bytes = std::fs::read(&path).unwrap();
                let written = bytes.iter().rposition(|byte| *byte != 0);
                found.push((path, written.map_or(0, |last| last + 1)));
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &place);
        } else {
            std::fs::copy(&path, &place).unwrap();
        }
    }
}

fn page(entry: &Logged) -> Vec<u8> {
    format!("page of {}", entry.header().index).into_bytes()
}

fn apply(store: &Store, entry: &Logged) {
    let pages = vec![(b"page".to_vec(), Some(page(entry)))];
    store.apply(entry, None, pages).unwrap();
}

/// All parts stand at the entry that the store says it stands at; gives its index.
fn whole(store: &Store, entries: &[Logged]) -> usize {
    let standing = store.standing().unwrap().unwrap();
    let at = usize::try_from(standing.header.index.0).unwrap();
    for (number, entry) in entries.iter().enumerate() {
        let leaf = store.leaf(&entry.entry.writes[0].key.0).unwrap();
        assert_eq!(leaf.is_some(), number < at, "leaf {number} at {at}");
    }
    let expected = at.checked_sub(1).map(|last| page(&entries[last]));
    assert_eq!(store.load(b"page").unwrap(), expected, "at {at}");
    at
}

#[test]
fn wherever_the_journal_ends_the_store_is_whole_and_has_all_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let live = place.path().join("live");
    let store = founded(&live);
    let (_, entries) = chain(3);
    store.append(&[&entries[0]]).unwrap();
    apply(&store, &entries[0]);
    store.append(&[&entries[1]]).unwrap();
    apply(&store, &entries[1]);
    let acknowledged = journals(&live);
    store.append(&[&entries[2]]).unwrap();
    let written = journals(&live);
    assert_eq!(acknowledged.len(), 1, "the journal is one file");
    let (from, to) = (acknowledged[0].1, written[0].1);
    assert!(to > from, "appending grows the journal");
    let cut = place.path().join("cut");
    let mut seen = [false; 2];
    let step = ((to - from) / 40).max(1);
    for end in (from..to).step_by(step).chain([to]) {
        let _ = std::fs::remove_dir_all(&cut);
        copy(&live, &cut);
        let (path, _) = journals(&cut).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[end..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let store = Store::open(&cut).unwrap();
        let at = whole(&store, &entries);
        // The second append was acknowledged: with it the first entry is applied for good.
        let standing = store.standing().unwrap().unwrap().header.tip();
        let newest = tip(&entries[if at == 2 { 2 } else { 1 }]);
        let found = store.chain(&standing, &newest).unwrap().unwrap();
        assert_eq!(found.len(), 1, "cut at {end}");
        seen[at - 1] = true;
        for entry in &found {
            apply(&store, entry);
        }
        whole(&store, &entries);
    }
    assert_eq!(seen, [true, true], "both sides of the cut were seen");
}
