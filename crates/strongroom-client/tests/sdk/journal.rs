//! The journal on a file system: whole values or none, for nobody else's eyes.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use strongroom_client::wire::Slot;
use strongroom_client::{BackupKeys, Device, FileJournal, Journal, Keeping, Rehearsal};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_value_is_there_until_it_is_replaced_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileJournal::open(&dir.path().join("a/b")).unwrap();
    assert_eq!(journal.get("name").unwrap(), None);
    for value in [b"one".as_slice(), b"a longer one", b"", b"2"] {
        journal.put("name", value).unwrap();
        assert_eq!(journal.get("name").unwrap().unwrap(), value);
    }
    let again = FileJournal::open(&dir.path().join("a/b")).unwrap();
    assert_eq!(again.get("name").unwrap().unwrap(), b"2");
    again.remove("name").unwrap();
    again.remove("name").unwrap();
    assert_eq!(journal.get("name").unwrap(), None);
}

#[test]
fn only_the_user_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = FileJournal::open(&path).unwrap();
    journal.put("keys-0", b"secret").unwrap();
    journal.put("keys-0", b"secret 2").unwrap();
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
}

#[test]
fn a_write_that_was_cut_leaves_the_old_value_and_no_secret_behind_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    journal.put("keys-0", b"old").unwrap();
    // The app died before the rename.
    std::fs::write(
        dir.path().join("keys-0.new"),
        b"half of a much longer value",
    )
    .unwrap();
    assert_eq!(journal.get("keys-0").unwrap().unwrap(), b"old");
    journal.put("keys-0", b"new").unwrap();
    assert_eq!(journal.get("keys-0").unwrap().unwrap(), b"new");
    assert!(!dir.path().join("keys-0.new").exists());
}

#[test]
fn a_write_that_cannot_be_made_leaves_the_old_value() {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    journal.put("keys-0", b"old").unwrap();
    // Nothing can be written where a directory stands.
    std::fs::create_dir(dir.path().join("keys-0.new")).unwrap();
    assert!(journal.put("keys-0", b"new").is_err());
    assert_eq!(journal.get("keys-0").unwrap().unwrap(), b"old");
    let gone = dir.path().join("gone");
    let journal = FileJournal::open(&gone).unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    assert_eq!(
        journal.put("keys-0", b"new").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn writers_at_once_never_tear_a_value() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 1..=4u8 {
            let path = dir.path();
            scope.spawn(move || {
                // Each with a journal of its own, as another process has it.
                let journal = FileJournal::open(path).unwrap();
                for round in 1..=25usize {
                    let value = vec![writer; round * 97 * usize::from(writer)];
                    journal.put("keys-0", &value).unwrap();
                    let seen = journal.get("keys-0").unwrap().unwrap();
                    let by = usize::from(seen[0]);
                    assert!(seen.iter().all(|byte| usize::from(*byte) == by));
                    assert_eq!(seen.len() % (97 * by), 0, "whole");
                }
            });
        }
    });
}

#[test]
fn a_device_reads_after_a_restart_what_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let keys = BackupKeys::generate();
    let journal = FileJournal::open(dir.path()).unwrap();
    let device = Device::new(&journal, Slot(1));
    device.keep(&keys).unwrap();
    device.remember(&keys, b"code", Keeping::Code).unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    let device = Device::new(&journal, Slot(1));
    assert_eq!(
        *device.keys().unwrap().unwrap().age_secret(),
        *keys.age_secret()
    );
    assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Right);
    // A sealed code that was damaged, or belongs to another slot, is not known; it is not wrong.
    let mut sealed = journal.get("code-1").unwrap().unwrap();
    journal.put("keys-2", &keys.to_device_bytes()).unwrap();
    journal.put("code-2", &sealed).unwrap();
    let moved = Device::new(&journal, Slot(2));
    assert_eq!(moved.rehearse(b"code").unwrap(), Rehearsal::Unknown);
    sealed[30] ^= 1;
    journal.put("code-1", &sealed).unwrap();
    assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Unknown);
    device.forget().unwrap();
    assert!(device.keys().unwrap().is_none());
    assert_eq!(journal.get("code-1").unwrap(), None);
}

#[test]
fn a_value_is_put_only_where_none_is_and_removed_only_by_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = FileJournal::open(dir.path()).unwrap();
    let memory = strongroom_client::MemoryJournal::default();
    for journal in [&file as &dyn Journal, &memory] {
        assert!(journal.put_new("name", b"one").unwrap());
        assert!(!journal.put_new("name", b"two").unwrap());
        journal.remove_own("name", b"two").unwrap();
        assert_eq!(journal.get("name").unwrap().unwrap(), b"one");
        journal.remove_own("name", b"one").unwrap();
        journal.remove_own("name", b"one").unwrap();
        assert_eq!(journal.get("name").unwrap(), None);
    }
    // Of several processes at once, one gets the place.
    let took = std::thread::scope(|scope| {
        let path = dir.path();
        let take = move |value: u8| {
            let journal = FileJournal::open(path).unwrap();
            journal.put_new("place", &[value]).unwrap()
        };
        let threads: Vec<_> = (0..8)
            .map(|value| scope.spawn(move || take(value)))
            .collect();
        let took = threads.into_iter().map(|thread| thread.join().unwrap());
        took.filter(|took| *took).count()
    });
    assert_eq!(took, 1);
}
