//! Proofs of the trie. Honest ones, in which the host changes bytes: whatever still verifies tells
//! the truth, and what is done on it ends at the root that the host's own trie has. Then any bytes
//! at all, under the root that they would have.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use strongroom_fuzz::choices::Choices;
use strongroom_sim::store::Memory;
use strongroom_tree::prover::Trie;
use strongroom_tree::{EMPTY, Hash, Key, PartialTrie, inner_hash, leaf_hash};

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::new(data);
    if choices.byte() % 2 == 0 {
        corrupted(&mut choices)
    } else {
        invented(&mut choices)
    }
});

/// Keys that share long prefixes, so that small inputs make deep tries.
fn key(choices: &mut Choices<'_>) -> Key {
    let mut key = [0; 32];
    key[0] = choices.byte() & 0xc1;
    key[usize::from(choices.byte() % 32)] ^= choices.byte();
    key
}

fn corrupted(choices: &mut Choices<'_>) {
    let memory = Memory::default();
    let mut trie = Trie::open(memory.clone(), 64).expect("memory does not fail");
    let mut model: BTreeMap<Key, Hash> = BTreeMap::new();
    for _ in 0..choices.byte() % 24 {
        let (key, value) = (key(choices), [choices.byte(); 32]);
        model.insert(key, value);
        trie.apply(&[(key, Some(value))])
            .expect("memory does not fail");
        memory.write(trie.commit_oldest());
    }
    let keys: Vec<Key> = (0..choices.byte() % 8).map(|_| key(choices)).collect();
    let removing: Vec<Key> = model
        .keys()
        .copied()
        .filter(|_| choices.byte() % 4 == 0)
        .take(4)
        .collect();
    let root = trie.root();
    let honest = trie.prove(&keys, &removing).expect("memory does not fail");
    let mut proof = honest.clone();
    choices.corrupt(&mut proof);
    let Ok(mut inside) = PartialTrie::verify(&root, &proof) else {
        assert_ne!(proof, honest, "an honest proof is refused");
        return;
    };
    for key in model.keys().chain(&keys) {
        if let Ok(answer) = inside.get(key) {
            assert_eq!(
                answer,
                model.get(key).copied(),
                "a proof that verifies lies"
            );
        }
    }
    let mut changes = Vec::new();
    for key in &removing {
        if inside.remove(key).is_ok() {
            changes.push((*key, None));
        }
    }
    for key in &keys {
        let value = [choices.byte(); 32];
        if inside.set(key, value).is_ok() {
            changes.push((*key, Some(value)));
        }
    }
    assert_eq!(
        inside.root(),
        trie.apply(&changes).expect("memory does not fail")
    );
}

fn invented(choices: &mut Choices<'_>) {
    let keys: Vec<Key> = (0..4).map(|_| key(choices)).collect();
    let mut proof = Vec::new();
    write(choices, &mut proof, &mut [0; 32], 0);
    choices.corrupt(&mut proof);
    let Some(root) = root_of(&mut proof.as_slice(), 0) else {
        assert!(
            PartialTrie::verify(&EMPTY, &proof).is_err(),
            "not a proof, and accepted"
        );
        return;
    };
    let Ok(mut inside) = PartialTrie::verify(&root, &proof) else {
        return;
    };
    assert_eq!(inside.root(), root);
    for (number, key) in keys.iter().enumerate() {
        let value = [number as u8 + 1; 32];
        if inside.set(key, value).is_ok() {
            assert_eq!(inside.get(key), Ok(Some(value)));
        }
        if choices.byte() % 2 == 0 && inside.remove(key).is_ok() {
            assert_eq!(inside.get(key), Ok(None));
        }
        inside.root();
    }
}

/// Bytes that are nearly a proof: any shape, leaves mostly on their path.
fn write(choices: &mut Choices<'_>, out: &mut Vec<u8>, path: &mut Key, depth: usize) {
    match choices.byte() % 8 {
        0..4 if depth < 256 && !choices.are_over() => {
            out.push(2);
            let (byte, bit) = (depth / 8, 0x80 >> (depth % 8));
            write(choices, out, path, depth + 1);
            path[byte] |= bit;
            write(choices, out, path, depth + 1);
            path[byte] &= !bit;
        }
        4 | 5 => {
            out.push(1);
            let mut key = *path;
            key[31] ^= choices.byte();
            out.extend(key);
            out.extend([choices.byte(); 32]);
        }
        6 => {
            out.push(3);
            out.extend([choices.byte(); 32]);
        }
        _ => out.push(0),
    }
}

/// The root by the letter of the format, without any of its rules.
fn root_of(bytes: &mut &[u8], depth: usize) -> Option<Hash> {
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut take = || {
        let (hash, rest) = bytes.split_first_chunk::<32>()?;
        *bytes = rest;
        Some(*hash)
    };
    match tag {
        0 => Some(EMPTY),
        1 => Some(leaf_hash(&take()?, &take()?)),
        2 if depth < 300 => {
            let left = root_of(bytes, depth + 1)?;
            Some(inner_hash(&left, &root_of(bytes, depth + 1)?))
        }
        3 => take(),
        _ => None,
    }
}
