//! Copies that come back: of the directory, of the state, of both; and damage.

use super::disk::{Disk, End};
use super::{DIR, STATE, check, create, grown, open, some, work};
use std::path::Path;
use strongroom_log::files::Files as _;
use strongroom_log::log::LogError;

/// The directory comes back as it was before an append, at every step of that append. The state,
/// on its own disk, does not.
#[test]
fn a_restored_directory_never_makes_the_log_sign_another_history() {
    let whole = Disk::new();
    whole.start(None);
    let before = grown(&whole);
    let (copy, all) = (whole.copy_of(DIR), whole.copy_of("/"));
    whole.start(None);
    work(&whole, &[1, 3], "first");
    let steps = whole.steps();
    let mut refused = 0;
    for at in 0..=steps {
        let disk = Disk::new();
        disk.restore("/", &all);
        disk.start(Some(at));
        work(&disk, &[1, 3], "first");
        disk.end(End::Kill);
        disk.restore(DIR, &copy);
        disk.start(None);
        let signed = disk.signed().len();
        match open(&disk) {
            Ok(mut log) => {
                log.append(&some(1, "other")).unwrap();
                check(&disk, &log, &before);
            }
            Err(LogError::Missing { .. }) => {
                refused += 1;
                assert_eq!(disk.signed().len(), signed, "refused, and yet signed");
            }
            Err(error) => panic!("step {at}: {error}"),
        }
    }
    assert!(refused > 20, "only {refused} of {steps}");
}

/// The state comes back older, or is set by hand to an older checkpoint; the directory is whole.
#[test]
fn an_older_state_beside_a_whole_directory_goes_forward() {
    let disk = Disk::new();
    disk.start(None);
    let mut acknowledged = grown(&disk);
    let copy = disk.copy_of("/state");
    acknowledged.extend(work(&disk, &[5], "first"));
    disk.restore("/state", &copy);
    let log = open(&disk).unwrap();
    check(&disk, &log, &acknowledged);
    let newest = open(&disk)
        .unwrap()
        .checkpoint()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    let state = disk.read(Path::new(STATE)).unwrap().unwrap();
    assert!(String::from_utf8(state).unwrap().contains(&newest));
}

/// Another history under the same key, as after both came back from old copies and went on.
#[test]
fn a_state_of_another_history_is_refused() {
    let (one, two) = (Disk::new(), Disk::new());
    for (disk, what) in [(&one, "one"), (&two, "two")] {
        disk.start(None);
        let mut log = create(disk).unwrap();
        log.append(&some(3, what)).unwrap();
    }
    let other = two.copy_of("/state");
    one.restore("/state", &other);
    assert!(matches!(open(&one), Err(LogError::Disagrees { size: 3 })));
    // Longer than the other state: it still must contain it.
    two.restore("/state", &two.copy_of("/state"));
    let mut log = open(&two).unwrap();
    log.append(&some(2, "two more")).unwrap();
    two.restore("/state", &Disk::new().copy_of("/state"));
    assert!(matches!(open(&two), Err(LogError::NoState(_))));
    two.restore("/state", &one.copy_of("/state"));
    assert!(open(&two).is_ok(), "it is its own older state");
}

#[test]
fn damage_is_noticed_and_nothing_is_signed() {
    let disk = Disk::new();
    disk.start(None);
    grown(&disk);
    work(&disk, &[5], "first");
    let whole = disk.copy_of("/");
    let signed = disk.signed().len();
    let files: Vec<_> = whole.iter().filter(|(_, bytes)| bytes.is_some()).collect();
    for (path, _) in files {
        let path = path.to_str().unwrap();
        // Old partial tiles are not needed any more; a lost checkpoint is signed again.
        let needed = [
            "tile/0/000",
            "000.p/254",
            "001.p/3",
            "1/000.p/1",
            "entries/000",
        ];
        if !needed.iter().any(|it| path.ends_with(it)) || path.ends_with("000.p/254") {
            continue;
        }
        disk.restore("/", &whole);
        disk.edit(path, |bytes| bytes[3] ^= 1);
        assert!(open(&disk).is_err(), "{path}");
        disk.restore("/", &whole);
        disk.erase(path);
        assert!(
            matches!(open(&disk), Err(LogError::Missing { .. })),
            "{path}"
        );
    }
    for path in ["/log/checkpoint", STATE] {
        disk.restore("/", &whole);
        disk.edit(path, |bytes| bytes[40] ^= 1);
        assert!(open(&disk).is_err(), "{path}");
    }
    assert_eq!(disk.signed().len(), signed);
}
