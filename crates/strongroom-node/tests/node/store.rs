//! The store by itself: damage, gaps, and crashes between append and apply.

use crate::issuer::Issuer;
use std::path::Path;
use strongroom_node::store::{Store, StoreError};
use strongroom_tree::prover::Pages as _;
use strongroom_wire::entry::{
    Entry, EntryHeader, FEATURE_LEVEL, Kind, Proposal, State, Write, writes_digest,
};
use strongroom_wire::{
    CellId, Digest, Epoch, FleetId, Incarnation, LogIndex, RecordId, UnixMs, encode,
};

/// The entry after `previous` that writes one leaf.
fn after(previous: &EntryHeader, kind: Kind, leaf: &[u8]) -> Entry {
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
    Entry {
        proposal: Proposal { header, mark },
        state: State::default(),
        writes,
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
pub fn chain(length: usize) -> (EntryHeader, Vec<Entry>) {
    let first = genesis();
    let mut entries: Vec<Entry> = Vec::new();
    for number in 0..length {
        let previous = entries
            .last()
            .map_or(&first, |entry| &entry.proposal.header);
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
    let (header, state) = (genesis(), State::default());
    store.found(b"bundle", &header, &state).unwrap();
    store
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
    assert_eq!(store.standing().unwrap().unwrap().0, genesis());
}

#[test]
fn an_entry_appended_and_not_applied_is_replayed_and_an_applied_one_is_not() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(2);
    store.append(&entries[0], None).unwrap();
    store
        .apply(
            &entries[0],
            vec![(b"page".to_vec(), Some(b"bytes".to_vec()))],
        )
        .unwrap();
    store.append(&entries[1], None).unwrap();
    // The process dies between the two.
    drop(store);
    let store = Store::open(place.path()).unwrap();
    let (standing, _) = store.standing().unwrap().unwrap();
    assert_eq!(standing, entries[0].proposal.header);
    assert_eq!(store.load(b"page").unwrap().unwrap(), b"bytes");
    let tip = entries[1].proposal.header.tip();
    let replayed = store.replay(&standing, &tip).unwrap();
    assert_eq!(replayed, entries[1..]);
    store.apply(&replayed[0], Vec::new()).unwrap();
    let leaf = store.leaf(&entries[1].writes[0].key.0).unwrap();
    assert_eq!(leaf.unwrap(), b"leaf 1");
    let (standing, _) = store.standing().unwrap().unwrap();
    assert_eq!(standing, entries[1].proposal.header);
    // Again before it was durable: the log has it still.
    drop(store);
    let store = Store::open(place.path()).unwrap();
    let (standing, _) = store.standing().unwrap().unwrap();
    assert_eq!(store.replay(&standing, &tip).unwrap(), entries[1..]);
    // An HSM that is older than what was applied is not this store's.
    let old = store.replay(&standing, &first.tip()).unwrap_err();
    assert!(matches!(old, StoreError::Behind { .. }), "{old:?}");
}

#[test]
fn two_entries_in_the_log_are_replayed_in_order() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(2);
    for entry in &entries {
        store.append(entry, None).unwrap();
    }
    let tip = entries[1].proposal.header.tip();
    assert_eq!(store.replay(&first, &tip).unwrap(), entries);
}

#[test]
fn entries_above_the_hsms_tip_are_void_and_removed() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(3);
    for entry in &entries {
        store.append(entry, None).unwrap();
    }
    let tip = entries[0].proposal.header.tip();
    assert_eq!(store.replay(&first, &tip).unwrap(), entries[..1]);
    // Another entry takes the place; the void one above it does not come back.
    let other = after(&entries[0].proposal.header, Kind::Batch, b"another");
    store.append(&other, None).unwrap();
    let tip = other.proposal.header.tip();
    let replayed = store.replay(&first, &tip).unwrap();
    assert_eq!(replayed, [entries[0].clone(), other]);
}

#[test]
fn a_log_that_ends_before_the_hsms_tip_is_behind_and_says_where() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, entries) = chain(3);
    store.append(&entries[0], None).unwrap();
    let tip = entries[2].proposal.header.tip();
    let error = store.replay(&first, &tip).unwrap_err();
    let found = matches!(
        error,
        StoreError::Behind {
            anchor: LogIndex(3),
            store: LogIndex(1)
        }
    );
    assert!(found, "{error:?}");
    let words = error.to_string();
    assert!(
        words.contains("entry 3") && words.contains("copy"),
        "{words}"
    );
}

#[test]
fn a_hole_in_the_log_or_writes_that_are_not_the_entrys_are_named() {
    let place = tempfile::tempdir().unwrap();
    let store = founded(place.path());
    let (first, mut entries) = chain(3);
    store.append(&entries[0], None).unwrap();
    store.append(&entries[2], None).unwrap();
    let tip = entries[2].proposal.header.tip();
    names(&store.replay(&first, &tip).unwrap_err(), "chain");
    store.append(&entries[1], None).unwrap();
    assert_eq!(store.replay(&first, &tip).unwrap().len(), 3);
    entries[1].writes[0].leaf.push(0);
    store.append(&entries[1], None).unwrap();
    names(&store.replay(&first, &tip).unwrap_err(), "chain");
}

#[test]
fn a_damaged_standing_header_log_entry_or_tenant_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (first, entries) = chain(1);
    let store = founded(place.path());
    store.append(&entries[0], None).unwrap();
    let tip = entries[0].proposal.header.tip();
    drop(store);
    let index = 1_u64.to_be_bytes();
    let whole = encode(&entries[0]);
    damage(place.path(), "log", &index, &whole[..whole.len() - 1]);
    damage(place.path(), "meta", b"standing", b"\xff");
    damage(place.path(), "tenants", b"app.example", b"\xff");
    let store = Store::open(place.path()).unwrap();
    names(&store.standing().unwrap_err(), "standing header");
    names(&store.replay(&first, &tip).unwrap_err(), "entry of the log");
    names(&store.tenants().unwrap_err(), "tenant");
    names(&store.tenant("app.example").unwrap_err(), "tenant");
}

#[test]
fn a_tenant_survives_a_crash_at_every_step_together_with_its_entry() {
    let place = tempfile::tempdir().unwrap();
    let tenant = Issuer::ed25519("app.example").tenant(1, 1);
    let mut store = founded(place.path());
    let entry = after(&genesis(), Kind::Tenant, b"sealed tenant");
    let tip = entry.proposal.header.tip();
    store.append(&entry, Some(&tenant)).unwrap();
    let reopen = |store: Store| {
        drop(store);
        Store::open(place.path()).unwrap()
    };
    store = reopen(store);
    assert!(store.tenants().unwrap().is_empty(), "not decided yet");
    let replayed = store.replay(&genesis(), &tip).unwrap();
    store.apply(&replayed[0], Vec::new()).unwrap();
    assert_eq!(store.tenants().unwrap(), std::slice::from_ref(&tenant));
    // The next entry's sync makes it durable.
    let next = after(&entry.proposal.header, Kind::Batch, b"leaf");
    store.append(&next, None).unwrap();
    store = reopen(store);
    assert_eq!(store.tenant("app.example").unwrap(), Some(tenant));
}

#[test]
fn the_tenant_of_a_void_entry_is_never_admitted() {
    let place = tempfile::tempdir().unwrap();
    let tenant = Issuer::ed25519("evil.example").tenant(1, 1);
    let store = founded(place.path());
    let void = after(&genesis(), Kind::Tenant, b"sealed tenant");
    store.append(&void, Some(&tenant)).unwrap();
    assert!(
        store
            .replay(&genesis(), &genesis().tip())
            .unwrap()
            .is_empty()
    );
    // Another tenant's entry takes its place in the log, without a clear copy.
    let other = after(&genesis(), Kind::Tenant, b"another");
    store.append(&other, None).unwrap();
    store.apply(&other, Vec::new()).unwrap();
    assert!(store.tenants().unwrap().is_empty());
}
