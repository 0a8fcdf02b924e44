//! The log on a real file system.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use strongroom_log::files::{Disk, Locks};
use strongroom_log::log::{Log, default_state};
use strongroom_log::note::Signer;

fn signer() -> Signer {
    Signer::new("log.example/strongroom", &[1; 32]).unwrap()
}

#[test]
fn a_log_comes_back_from_its_directory() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("log");
    let state = default_state(&dir);
    let mut log = Log::create(Disk, &dir, &state, signer()).unwrap();
    let entries: Vec<Vec<u8>> = (0..300u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(log.append(&entries[..200]).unwrap(), 0);
    assert_eq!(log.append(&entries[200..]).unwrap(), 200);
    let checkpoint = log.checkpoint().to_owned();
    drop(log);
    let log = Log::open(Disk, &dir, &state, signer()).unwrap();
    assert_eq!(log.checkpoint(), checkpoint);
    assert_eq!(log.entry(299).unwrap().as_ref(), entries.last());
    for path in [
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
    ] {
        assert!(dir.join(path).is_file(), "{path}");
    }
    assert_eq!(
        fs::read_to_string(dir.join("checkpoint")).unwrap(),
        checkpoint
    );
    assert!(!dir.join("pending").exists());
}

#[test]
fn one_process_at_a_time_owns_directory_and_state() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let state = place.path().join("state");
    let other = place.path().join("other");
    let held = Locks::take(&one, &state).unwrap();
    let busy =
        |dir: &Path, state: &Path| Locks::take(dir, state).map_err(|error| error.kind()).err();
    assert_eq!(busy(&one, &other), Some(ErrorKind::WouldBlock));
    // A copied directory, and the state that belongs to both.
    assert_eq!(busy(&two, &state), Some(ErrorKind::WouldBlock));
    drop(held);
    assert_eq!(busy(&two, &state), None);
}
