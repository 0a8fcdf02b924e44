//! The trie against a plain map and a naive root: proofs of presence, absence, insertion, update,
//! deletion and batches; every forged, stale or truncated proof refused by name.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::rc::Rc;
use strongroom_tree::prover::{PageWrite, Pages, Trie};
use strongroom_tree::{EMPTY, Hash, Key, PartialTrie, ProofError, inner_hash, leaf_hash};

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>);

impl Memory {
    fn store(&self, writes: Vec<PageWrite>) {
        let mut pages = self.0.borrow_mut();
        for (id, page) in writes {
            match page {
                Some(page) => pages.insert(id, page),
                None => pages.remove(&id),
            };
        }
    }
}

impl Pages for Memory {
    type Error = Infallible;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.borrow().get(id).cloned())
    }
}

/// The definition of the trie, as directly as it can be written.
fn naive(items: &[(Key, Hash)], depth: usize) -> Hash {
    match items {
        [] => EMPTY,
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let right = |key: &Key| key[depth / 8] & (0x80 >> (depth % 8)) != 0;
            let (r, l): (Vec<_>, Vec<_>) = items.iter().copied().partition(|(k, _)| right(k));
            inner_hash(&naive(&l, depth + 1), &naive(&r, depth + 1))
        }
    }
}

fn naive_root(map: &BTreeMap<Key, Hash>) -> Hash {
    naive(&map.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(), 0)
}

/// Keys that share long prefixes often, so that deep forks and collapses happen.
fn key() -> impl Strategy<Value = Key> {
    (0u8..4, 0u8..8, 0usize..32, 0u8..8).prop_map(|(first, last, at, bit)| {
        let mut key = [0; 32];
        (key[0], key[31]) = (first << 6, last);
        key[at] ^= 1 << bit;
        key
    })
}

fn value(n: u16) -> Hash {
    let mut value = [9; 32];
    value[..2].copy_from_slice(&n.to_be_bytes());
    value
}

fn filled(count: u16) -> (Trie<Memory>, BTreeMap<Key, Hash>) {
    let map: BTreeMap<Key, Hash> = (0..count)
        .map(|n| (leaf_hash(&[1; 32], &value(n)), value(n)))
        .collect();
    let mut trie = Trie::open(Memory::default(), 64).unwrap();
    trie.apply(&map.iter().map(|(k, v)| (*k, Some(*v))).collect::<Vec<_>>())
        .unwrap();
    let writes = trie.commit_oldest();
    trie.store().store(writes);
    (trie, map)
}

type Batch = Vec<(Key, Option<u16>)>;

fn batch() -> impl Strategy<Value = Batch> {
    proptest::collection::vec(
        (key(), proptest::option::weighted(0.7, any::<u16>())),
        0..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn host_hsm_and_definition_agree_over_any_batches(
        batches in proptest::collection::vec(
            batch(),
            1..12,
        ),
        reload_at in 0usize..12,
    ) {
        let memory = Memory::default();
        let mut trie = Trie::open(memory.clone(), 64).unwrap();
        let mut map: BTreeMap<Key, Hash> = BTreeMap::new();
        let batches: Vec<Batch> = batches;
        for (n, batch) in batches.into_iter().enumerate() {
            if n == reload_at {
                trie = Trie::open(memory.clone(), 64).unwrap();
            }
            let keys: Vec<Key> = batch.iter().map(|(key, _)| *key).collect();
            let removing: Vec<Key> =
                batch.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| *k).collect();
            let proof = trie.prove(&keys, &removing).unwrap();
            let mut inside = PartialTrie::verify(&trie.root(), &proof).unwrap();
            for (key, new) in &batch {
                prop_assert_eq!(inside.get(key).unwrap(), map.get(key).copied());
                match new {
                    Some(n) => {
                        inside.set(key, value(*n)).unwrap();
                        map.insert(*key, value(*n));
                    }
                    None => {
                        match inside.remove(key) {
                            // Two removals under one node can hide each other's new sibling.
                            Err(ProofError::SiblingHidden) => continue,
                            done => done.unwrap(),
                        }
                        map.remove(key);
                    }
                }
            }
            let changes: Vec<_> = keys.iter().map(|k| (*k, map.get(k).copied())).collect();
            let root = trie.apply(&changes).unwrap();
            prop_assert_eq!(root, inside.root());
            prop_assert_eq!(root, naive_root(&map));
            memory.store(trie.commit_oldest());
        }
    }

    #[test]
    fn random_bytes_never_verify_or_panic(bytes in proptest::collection::vec(0u8..5, 0..400)) {
        prop_assert!(PartialTrie::verify(&[7; 32], &bytes).is_err());
    }

    #[test]
    fn a_changed_proof_never_gives_another_answer(
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let (mut trie, map) = filled(300);
        let (key, value) = map.iter().next().unwrap();
        let absent = [0x5a; 32];
        let mut proof = trie.prove(&[*key, absent], &[]).unwrap();
        let at = at.index(proof.len());
        proof[at] ^= flip;
        if let Ok(inside) = PartialTrie::verify(&trie.root(), &proof) {
            prop_assert!(inside.get(key) == Ok(Some(*value)) || inside.get(key).is_err());
            prop_assert!(inside.get(&absent) == Ok(None) || inside.get(&absent).is_err());
        }
    }
}

/// A fork made in this batch has no hash yet: the climb of a leaf beside it must not take it for an
/// empty side and drop what is under it.
#[test]
fn a_removal_beside_a_new_fork_keeps_the_fork() {
    let key = |first: u8| {
        let mut key = [0; 32];
        key[0] = first;
        key
    };
    // Under the root: on the left one leaf, on the right two leaves at depth 3.
    let old = [0b0000_0000, 0b1000_0000, 0b1010_0000].map(key);
    let mut trie = Trie::open(Memory::default(), 64).unwrap();
    trie.apply(&old.map(|k| (k, Some(value(1))))).unwrap();
    let (new, gone) = (key(0b0100_0000), old[2]);
    let proof = trie.prove(&[new, gone], &[gone]).unwrap();
    let mut inside = PartialTrie::verify(&trie.root(), &proof).unwrap();
    inside.set(&new, value(2)).unwrap();
    inside.remove(&gone).unwrap();
    assert_eq!(inside.get(&old[0]), Ok(Some(value(1))));
    let root = trie.apply(&[(new, Some(value(2))), (gone, None)]).unwrap();
    assert_eq!(inside.root(), root);
}

#[test]
fn a_stale_proof_is_of_the_wrong_root() {
    let (mut trie, map) = filled(100);
    let key = *map.keys().next().unwrap();
    let old = trie.prove(&[key], &[]).unwrap();
    let root = trie.apply(&[(key, Some(value(9_999)))]).unwrap();
    assert_eq!(
        PartialTrie::verify(&root, &old).err(),
        Some(ProofError::WrongRoot)
    );
}

#[test]
fn a_truncated_or_extended_proof_is_refused() {
    let (mut trie, map) = filled(100);
    let proof = trie.prove(&[*map.keys().next().unwrap()], &[]).unwrap();
    for end in 0..proof.len() {
        let refused = PartialTrie::verify(&trie.root(), &proof[..end]).err();
        assert_eq!(refused, Some(ProofError::Truncated));
    }
    let mut longer = proof.clone();
    longer.push(0);
    let refused = PartialTrie::verify(&trie.root(), &longer).err();
    assert_eq!(refused, Some(ProofError::TrailingBytes));
}

#[test]
fn shapes_that_no_trie_has_are_refused_by_name() {
    let leaf = |key: Key| [&[1u8][..], &key, &[7; 32]].concat();
    let cases: [(&str, Vec<u8>, ProofError); 6] = [
        (
            "two empty children",
            vec![2, 0, 0],
            ProofError::NotCanonical,
        ),
        (
            "an empty and a leaf",
            [&[2, 0][..], &leaf([0xff; 32])].concat(),
            ProofError::NotCanonical,
        ),
        (
            "a leaf off its path",
            [&[2][..], &leaf([0xff; 32]), &[0]].concat(),
            ProofError::WrongPath,
        ),
        ("an unknown tag", vec![9], ProofError::UnknownTag),
        ("too deep", vec![2; 300], ProofError::TooDeep),
        (
            "too long",
            vec![2; strongroom_tree::PROOF_BYTES_MAX + 1],
            ProofError::TooLong,
        ),
    ];
    for (what, proof, error) in cases {
        assert_eq!(
            PartialTrie::verify(&EMPTY, &proof).err(),
            Some(error),
            "{what}"
        );
    }
}

#[test]
fn what_a_proof_does_not_show_is_not_covered() {
    let (mut trie, map) = filled(100);
    let mut keys = map.keys();
    let (shown, hidden) = (*keys.next().unwrap(), *keys.next_back().unwrap());
    let proof = trie.prove(&[shown], &[]).unwrap();
    let mut inside = PartialTrie::verify(&trie.root(), &proof).unwrap();
    assert_eq!(inside.get(&hidden), Err(ProofError::NotCovered));
    assert_eq!(inside.set(&hidden, value(1)), Err(ProofError::NotCovered));
    assert_eq!(inside.remove(&hidden), Err(ProofError::NotCovered));
    assert_eq!(
        inside.root(),
        trie.root(),
        "a refused change changes nothing"
    );
}

#[test]
fn a_removal_without_its_sibling_is_refused() {
    let (mut trie, map) = filled(64);
    let hidden = map.keys().find(|key| {
        let proof = trie.prove(&[**key], &[]).unwrap();
        let mut inside = PartialTrie::verify(&trie.root(), &proof).unwrap();
        inside.remove(key) == Err(ProofError::SiblingHidden)
    });
    assert!(
        hidden.is_some(),
        "some leaf's sibling is hidden in a plain proof"
    );
}

#[test]
fn speculation_is_committed_in_order_or_dropped_whole() {
    let (mut trie, map) = filled(50);
    let base = trie.root();
    let key = *map.keys().next().unwrap();
    let first = trie.apply(&[(key, Some(value(500)))]).unwrap();
    let second = trie.apply(&[(key, None)]).unwrap();
    assert_eq!((trie.root(), trie.speculative()), (second, 2));
    let writes = trie.commit_oldest();
    trie.store().store(writes);
    assert_eq!(trie.committed_root(), first);
    trie.drop_speculation();
    assert_eq!(
        (trie.root(), trie.get(&key).unwrap()),
        (first, Some(value(500)))
    );
    assert_ne!(first, base);
}

#[test]
fn a_damaged_page_is_an_error_not_an_answer() {
    let (trie, map) = filled(300);
    let memory = trie.store().clone();
    drop(trie);
    for page in memory.0.borrow_mut().values_mut() {
        page.truncate(page.len() - 1);
    }
    let damaged = Trie::open(memory, 64).and_then(|mut trie| trie.get(map.keys().next().unwrap()));
    assert!(damaged.is_err());
}

#[test]
fn the_root_of_three_known_leaves_is_golden() {
    let mut trie = Trie::open(Memory::default(), 64).unwrap();
    let changes = [
        ([0x00; 32], Some([1; 32])),
        ([0x40; 32], Some([2; 32])),
        ([0xff; 32], Some([3; 32])),
    ];
    let root = trie.apply(&changes).unwrap();
    let l = inner_hash(
        &leaf_hash(&[0x00; 32], &[1; 32]),
        &leaf_hash(&[0x40; 32], &[2; 32]),
    );
    assert_eq!(root, inner_hash(&l, &leaf_hash(&[0xff; 32], &[3; 32])));
    let hex: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "2e5ebc662c84d52350d5a2fc98b9b2572d95e66d312c208e0c5aac48aec9797c"
    );
}
