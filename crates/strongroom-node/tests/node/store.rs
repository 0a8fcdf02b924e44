//! The store by itself: damage, gaps, branches, copies, and crashes between append and apply.

use crate::issuer::Issuer;
use std::path::Path;
use strongroom_node::store::{Standing, Store, StoreError};
use strongroom_replica::{Logged, MESSAGE_BYTES};
use strongroom_tree::prover::Pages as _;
use strongroom_wire::entry::{
    Entry, EntryHeader, FEATURE_LEVEL, Kind, Notarised, Proposal, Signed, State, Tip, Write,
    writes_digest,
};
use strongroom_wire::{
    CellId, Digest, Epoch, FleetId, Incarnation, LogIndex, MemberId, RecordId, Signature, UnixMs,
    encode,
};

/// The entry after `previous` that writes one leaf.
fn after(previous: &EntryHeader, kind: Kind, leaf: &[u8]) -> Logged {
    let index = LogIndex(previous.index.0 + 1);
    let key = [u8::try_from(index.0).unwrap(); 32];
    let writes = vec![Write {
        key: RecordId(key),
        leaf: leaf.to_vec(),
    }];
    let header = EntryHeader {
        index,
        previous: previous.hash(),
        kind,
        writes: writes_digest(&writes),
        ..previous.clone()
    };
    let mark = Digest([0; 32]);
    let entry = Entry {
        proposal: Proposal { header, mark },
        state: State::default(),
        writes,
    };
    Logged {
        entry,
        manifest: None,
        tenant: None,
    }
}

fn genesis() -> EntryHeader {
    EntryHeader {
        fleet: FleetId([7; 32]),
        cell: CellId(0),
        incarnation: Incarnation(0),
        epoch: Epoch(1),
        index: LogIndex(0),
        previous: Digest([0; 32]),
        kind: Kind::Genesis,
        root: Digest([0; 32]),
        writes: writes_digest(&[]),
        state: State::default().digest(),
        time: UnixMs(0),
        feature_level: FEATURE_LEVEL,
    }
}

/// A chain of that many entries after the genesis.
pub fn chain(length: usize) -> (EntryHeader, Vec<Logged>) {
    let first = genesis();
    let mut entries: Vec<Logged> = Vec::new();
    for number in 0..length {
        let previous = entries.last().map_or(&first, Logged::header);
        entries.push(after(
            previous,
            Kind::Batch,
            format!("leaf {number}").as_bytes(),
        ));
    }
    (first, entries)
}

pub fn founded(dir: &Path) -> Store {
    let store = Store::open(dir).unwrap();
    let standing = Standing {
        header: genesis(),
        state: State::default(),
        certificate: Vec::new(),
        mark: None,
    };
    store.found(b"bundle", &standing).unwrap();
    store
}

pub fn tip(logged: &Logged) -> Tip {
    logged.header().tip()
}

/// Appends and applies one after another.
fn settle(store: &Store, entries: &[Logged]) {
    for entry in entries {
        store.append(&[entry]).unwrap();
        store.apply(entry, None, Vec::new()).unwrap();
    }
}

/// What stands in the log between two places.
fn between(store: &Store, after: &EntryHeader, upto: &Logged) -> Option<Vec<Logged>> {
    store.chain(&after.tip(), &tip(upto)).unwrap()
}

/// The index of the entry that the store stands at.
fn stands_at(store: &Store) -> u64 {
    store.standing().unwrap().unwrap().header.index.0
}

/// The key under which the log has an entry.
fn log_key(logged: &Logged) -> Vec<u8> {
    let header = logged.header();
    [&header.index.0.to_be_bytes()[..], &header.hash().0].concat()
}

/// Writes under the store's feet.
pub fn damage(dir: &Path, keyspace: &str, key: &[u8], value: &[u8]) {
    let database = fjall::Database::builder(dir).open().unwrap();
    let space = database.keyspace(keyspace, fjall::KeyspaceCreateOptions::default);
    space.unwrap().insert(key, value).unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

fn names(error: &StoreError, word: &str) {
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn opened_twice_it_is_in_use_and_let_go_of_it_opens_again() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let error = Store::open(place.path()).map(|_| ()).unwrap_err();
    let in_use = matches!(&error, StoreError::InUse(dir) if dir == place.path());
    assert!(in_use, "{error:?}");
    drop(store);
    let store = Store::open(place.path()).unwrap();
    assert_eq!(store.bundle().unwrap().unwrap(), b"bundle");
    assert_eq!(store.standing().unwrap().unwrap().header, genesis());
}

#[test]
fn an_entry_appended_and_not_applied_is_found_again_after_a_crash() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(2);
    store.append(&[&entries[0]]).unwrap();
    let page = vec![(b"page".to_vec(), Some(b"bytes".to_vec()))];
    store.apply(&entries[0], None, page).unwrap();
    store.append(&[&entries[1]]).unwrap();
    // The process dies between the two.
    drop(store);
    let store = Store::open(place.path()).unwrap();
    let standing = store.standing().unwrap().unwrap().header;
    assert_eq!(standing, *entries[0].header());
    assert_eq!(store.load(b"page").unwrap().unwrap(), b"bytes");
    let found = between(&store, &standing, &entries[1]).unwrap();
    assert_eq!(found, entries[1..]);
    store.apply(&found[0], None, Vec::new()).unwrap();
    let leaf = store.leaf(&entries[1].entry.writes[0].key.0).unwrap();
    assert_eq!(leaf.unwrap(), b"leaf 1");
    assert_eq!(stands_at(&store), 2);
    // Again before it was durable: the log has it still.
    drop(store);
    let store = Store::open(place.path()).unwrap();
    let standing = store.standing().unwrap().unwrap().header;
    assert_eq!(
        between(&store, &standing, &entries[1]).unwrap(),
        entries[1..]
    );
    // An HSM that is older than what was applied stands at nothing after it.
    assert_eq!(store.chain(&standing.tip(), &first.tip()).unwrap(), None);
}

#[test]
fn where_the_store_stands_its_certificate_and_its_leaves_are_kept_with_the_next_append() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(2);
    let statement = Notarised {
        fleet: first.fleet,
        cell: first.cell,
        incarnation: first.incarnation,
        member: MemberId(1),
        tip: tip(&entries[0]),
    };
    let certificate = vec![Signed {
        statement,
        signature: Signature([8; 64]),
    }];
    store.append(&[&entries[0]]).unwrap();
    store
        .apply(&entries[0], Some(&certificate), Vec::new())
        .unwrap();
    let standing = Standing {
        header: entries[0].header().clone(),
        state: entries[0].entry.state.clone(),
        certificate,
        mark: Some(entries[0].entry.proposal.mark),
    };
    assert_eq!(store.standing().unwrap().as_ref(), Some(&standing));
    store.append(&[&entries[1]]).unwrap();
    drop(store);
    let store = Store::open(place.path()).unwrap();
    assert_eq!(store.standing().unwrap(), Some(standing));
    let leaf = store.leaf(&entries[0].entry.writes[0].key.0).unwrap();
    assert_eq!(leaf.unwrap(), b"leaf 0");
}

#[test]
fn several_entries_of_one_append_are_chained_in_order_from_any_place_below() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(4);
    store.append(&entries.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(between(&store, &first, &entries[3]).unwrap(), entries);
    for below in 0..3 {
        let after = entries[below].header();
        let found = between(&store, after, &entries[3]).unwrap();
        assert_eq!(found, entries[below + 1..]);
    }
    let own = between(&store, entries[3].header(), &entries[3]);
    assert_eq!(own, Some(Vec::new()), "nothing lies between");
}

#[test]
fn branches_lie_beside_each_other_and_each_is_followed_by_its_own_hashes() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(3);
    store.append(&entries.iter().collect::<Vec<_>>()).unwrap();
    let other = after(entries[0].header(), Kind::Batch, b"another");
    let above = after(other.header(), Kind::Batch, b"above it");
    store.append(&[&other, &above]).unwrap();
    assert_eq!(between(&store, &first, &entries[2]).unwrap(), entries);
    let branch = [entries[0].clone(), other.clone(), above.clone()];
    assert_eq!(between(&store, &first, &above).unwrap(), branch);
    for logged in branch.iter().chain(&entries) {
        let header = logged.header();
        let found = store.logged(header.index, &header.hash()).unwrap();
        assert_eq!(found.as_ref(), Some(logged));
    }
    assert!(
        store
            .logged(LogIndex(2), &above.header().hash())
            .unwrap()
            .is_none()
    );
    // A place of one branch is not below one of the other.
    assert_eq!(between(&store, entries[1].header(), &above), None);
}

#[test]
fn what_was_appended_beside_an_applied_entry_goes_with_the_next_append() {
    let place = tempfile::tempdir().unwrap();
    for kept in [0, 8] {
        let dir = place.path().join(format!("kept {kept}"));
        let store = founded(&dir).keeping(kept);
        let (first, entries) = chain(2);
        let dead = after(&first, Kind::Batch, b"dead");
        let above = after(dead.header(), Kind::Batch, b"above it");
        store.append(&[&entries[0], &dead, &above]).unwrap();
        store.apply(&entries[0], None, Vec::new()).unwrap();
        // Not before: a crash must find what the HSM may stand at.
        assert!(between(&store, &first, &above).is_some());
        store.append(&[&entries[1]]).unwrap();
        assert_eq!(between(&store, &first, &dead), None);
        let has = |logged: &Logged| {
            let header = logged.header();
            store
                .logged(header.index, &header.hash())
                .unwrap()
                .is_some()
        };
        assert!(!has(&dead) && has(&above) && has(&entries[1]));
        assert_eq!(has(&entries[0]), kept > 0, "kept {kept}");
        store.apply(&entries[1], None, Vec::new()).unwrap();
        let next = after(entries[1].header(), Kind::Batch, b"next");
        store.append(&[&next]).unwrap();
        assert!(!has(&above), "its place was taken too");
    }
}

#[test]
fn so_many_applied_entries_are_kept_and_no_more() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path()).keeping(3);
    let (first, entries) = chain(8);
    settle(&store, &entries);
    // What the newest one outlives goes with the next append.
    let next = after(entries[7].header(), Kind::Batch, b"next");
    store.append(&[&next]).unwrap();
    let has = |logged: &Logged| {
        let header = logged.header();
        store
            .logged(header.index, &header.hash())
            .unwrap()
            .is_some()
    };
    let kept: Vec<bool> = entries.iter().map(has).collect();
    assert_eq!(kept, [false, false, false, false, false, true, true, true]);
    // Another host may name any place.
    let mut beyond = tip(&entries[4]);
    beyond.index = LogIndex(u64::MAX);
    assert_eq!(store.applied_after(&beyond).unwrap(), None);
    let found = store.applied_after(&tip(&entries[4])).unwrap();
    assert_eq!(found.unwrap(), entries[5..], "the next one is not applied");
    for gone in [&first.tip(), &tip(&entries[0]), &tip(&entries[3])] {
        assert_eq!(store.applied_after(gone).unwrap(), None);
    }
}

#[test]
fn applied_entries_are_given_from_any_place_of_their_chain_and_from_no_other() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path()).keeping(100);
    let (first, entries) = chain(6);
    let dead = after(entries[1].header(), Kind::Batch, b"dead");
    let above = after(dead.header(), Kind::Batch, b"above it");
    store
        .append(&entries[..3].iter().collect::<Vec<_>>())
        .unwrap();
    store.append(&[&dead, &above]).unwrap();
    for entry in &entries[..3] {
        store.apply(entry, None, Vec::new()).unwrap();
    }
    let given = |after: &Tip| store.applied_after(after).unwrap();
    // At once, though the dead one goes only with the next append.
    assert_eq!(given(&first.tip()).unwrap(), entries[..3]);
    settle(&store, &entries[3..]);
    assert_eq!(given(&first.tip()).unwrap(), entries);
    assert_eq!(given(&tip(&entries[2])).unwrap(), entries[3..]);
    for elsewhere in [&dead, &above] {
        assert_eq!(given(&tip(elsewhere)), None, "nobody applied that branch");
    }
    assert_eq!(given(&tip(&entries[5])), None, "there is nothing after it");
}

#[test]
fn applied_entries_are_given_in_parts_of_bounded_size() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path()).keeping(100);
    let mut entries: Vec<Logged> = Vec::new();
    for _ in 0..6 {
        let first = genesis();
        let previous = entries.last().map_or(&first, Logged::header);
        entries.push(after(previous, Kind::Batch, &vec![7; MESSAGE_BYTES / 2]));
    }
    settle(&store, &entries);
    let (mut after, mut given) = (genesis().tip(), Vec::new());
    while after != tip(&entries[5]) {
        let part = store.applied_after(&after).unwrap().unwrap();
        assert!((1..=3).contains(&part.len()), "{}", part.len());
        after = tip(part.last().unwrap());
        given.extend(part);
    }
    assert_eq!(given, entries);
}

#[test]
fn a_hole_in_the_log_is_no_chain_and_writes_that_are_not_the_entrys_are_named() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, mut entries) = chain(3);
    store.append(&[&entries[0], &entries[2]]).unwrap();
    assert_eq!(between(&store, &first, &entries[2]), None);
    store.append(&[&entries[1]]).unwrap();
    assert_eq!(between(&store, &first, &entries[2]).unwrap(), entries);
    entries[1].entry.writes[0].leaf.push(0);
    store.append(&[&entries[1]]).unwrap();
    let upto = tip(&entries[2]);
    names(&store.chain(&first.tip(), &upto).unwrap_err(), "of the log");
}

#[test]
fn a_damaged_standing_header_log_entry_or_tenant_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (first, entries) = chain(2);
    let store = founded(place.path());
    store.append(&[&entries[0], &entries[1]]).unwrap();
    drop(store);
    let whole = encode(&entries[0]);
    let (cut, key) = (&whole[..whole.len() - 1], log_key(&entries[0]));
    damage(place.path(), "log", &key, cut);
    // Whole, in the place of another.
    damage(place.path(), "log", &log_key(&entries[1]), &whole);
    let store = Store::open(place.path()).unwrap();
    for entry in &entries {
        let error = store.chain(&first.tip(), &tip(entry)).unwrap_err();
        names(&error, "entry of the log");
    }
    let snapshot = store.snapshot();
    names(&store.log_in(&snapshot).unwrap_err(), "entry of the log");
    drop((snapshot, store));
    damage(place.path(), "meta", b"standing", b"\xff");
    damage(place.path(), "tenants", b"app.example", b"\xff");
    damage(place.path(), "leaves", b"short", b"leaf");
    let store = Store::open(place.path()).unwrap();
    names(&store.standing().unwrap_err(), "standing header");
    names(&store.tenants().unwrap_err(), "tenant");
    names(&store.tenant("app.example").unwrap_err(), "tenant");
    let snapshot = store.snapshot();
    names(
        &store.standing_in(&snapshot).unwrap_err(),
        "standing header",
    );
    let leaves = store.leaves_in(&snapshot, None, 1);
    names(&leaves.map(|_| ()).unwrap_err(), "leaf's key");
}

#[test]
fn a_snapshot_gives_its_leaves_in_order_and_in_parts_whatever_comes_later() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (_, entries) = chain(9);
    let (before, later) = entries.split_at(6);
    settle(&store, &before[..5]);
    // Synced are the first five, and the sixth in the log.
    store.append(&[&before[5]]).unwrap();
    store.apply(&before[5], None, Vec::new()).unwrap();
    let snapshot = store.snapshot();
    settle(&store, later);
    let standing = store.standing_in(&snapshot).unwrap();
    assert_eq!(standing.header, *entries[4].header());
    assert_eq!(store.log_in(&snapshot).unwrap(), [entries[5].clone()]);
    for bytes_max in [0, 1, 10, 1000] {
        let (mut after, mut given) = (None, Vec::new());
        loop {
            let part = store.leaves_in(&snapshot, after.as_ref(), bytes_max);
            let (leaves, last) = part.unwrap();
            let bytes: usize = leaves.iter().map(|write| write.leaf.len()).sum();
            let longest = leaves.last().map_or(0, |write| write.leaf.len());
            assert!(bytes <= bytes_max + longest, "{bytes} of {bytes_max}");
            after = leaves.last().map(|write| write.key.0).or(after);
            given.extend(leaves);
            if last {
                break;
            }
        }
        let written = entries[..5].iter().map(|e| e.entry.writes[0].clone());
        assert_eq!(given, written.collect::<Vec<_>>());
    }
}

#[test]
fn parts_of_a_copy_make_the_store_they_were_read_from() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(&place.path().join("own"));
    let (_, entries) = chain(3);
    settle(&store, &entries[..2]);
    store.append(&[&entries[2]]).unwrap();
    let snapshot = store.snapshot();
    let standing = store.standing_in(&snapshot).unwrap();
    let (leaves, last) = store.leaves_in(&snapshot, None, 1000).unwrap();
    assert!(last);
    let dir = place.path().join("copy");
    let copy = Store::open(&dir).unwrap();
    let page = vec![(b"page".to_vec(), Some(b"bytes".to_vec()))];
    copy.put_copied(&leaves, page).unwrap();
    let tenant = Issuer::ed25519("app.example").tenant(1, 1);
    copy.put_tenants(std::slice::from_ref(&tenant)).unwrap();
    let log = store.log_in(&snapshot).unwrap();
    copy.append(&log.iter().collect::<Vec<_>>()).unwrap();
    assert!(copy.bundle().unwrap().is_none() && copy.standing().unwrap().is_none());
    copy.found(b"bundle", &standing).unwrap();
    drop(copy);
    let copy = Store::open(&dir).unwrap();
    assert_eq!(copy.standing().unwrap().unwrap(), standing);
    assert_eq!(between(&copy, &standing.header, &entries[2]).unwrap(), log);
    assert_eq!(copy.load(b"page").unwrap().unwrap(), b"bytes");
    assert_eq!(copy.tenants().unwrap(), [tenant]);
    for entry in &entries[..2] {
        let write = &entry.entry.writes[0];
        assert_eq!(copy.leaf(&write.key.0).unwrap().unwrap(), write.leaf);
    }
}

#[test]
fn a_tenant_survives_a_crash_at_every_step_together_with_its_entry() {
    let place = tempfile::tempdir().unwrap();
    let tenant = Issuer::ed25519("app.example").tenant(1, 1);
    let mut store = founded(place.path());
    let mut entry = after(&genesis(), Kind::Tenant, b"sealed tenant");
    entry.tenant = Some(tenant.clone());
    store.append(&[&entry]).unwrap();
    let reopen = |store: Store| {
        drop(store);
        Store::open(place.path()).unwrap()
    };
    store = reopen(store);
    assert!(store.tenants().unwrap().is_empty(), "not decided yet");
    let found = between(&store, &genesis(), &entry).unwrap();
    store.apply(&found[0], None, Vec::new()).unwrap();
    assert_eq!(store.tenants().unwrap(), std::slice::from_ref(&tenant));
    // The next entry's sync makes it durable.
    let next = after(entry.header(), Kind::Batch, b"leaf");
    store.append(&[&next]).unwrap();
    store = reopen(store);
    assert_eq!(store.tenant("app.example").unwrap(), Some(tenant));
}

#[test]
fn the_tenant_of_a_dead_branch_is_never_admitted() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let mut dead = after(&genesis(), Kind::Tenant, b"sealed tenant");
    dead.tenant = Some(Issuer::ed25519("evil.example").tenant(1, 1));
    store.append(&[&dead]).unwrap();
    // Another entry takes its place in the log, without a clear copy.
    let other = after(&genesis(), Kind::Tenant, b"another");
    store.append(&[&other]).unwrap();
    store.apply(&other, None, Vec::new()).unwrap();
    assert!(store.tenants().unwrap().is_empty());
    let next = after(other.header(), Kind::Batch, b"leaf");
    store.append(&[&next]).unwrap();
    assert!(store.tenants().unwrap().is_empty());
    assert_eq!(between(&store, &genesis(), &dead), None);
}
