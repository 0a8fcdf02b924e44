//! What the trie costs inside the HSM, for each operation of a batch: verify the proof, look up,
//! update, hash the new root. At 10 thousand and 1 million records; at 10 million with `--big`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};
use strongroom_tree::prover::{Pages, Trie};
use strongroom_tree::{Hash, Key, PartialTrie, leaf_hash};

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>);

impl Pages for Memory {
    type Error = Infallible;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.borrow().get(id).cloned())
    }
}

fn key(number: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    leaf_hash(&[1; 32], &bytes)
}

fn fill(records: u64) -> Trie<Memory> {
    let mut trie = Trie::open(Memory::default(), 4_096).expect("memory does not fail");
    let numbers: Vec<u64> = (0..records).collect();
    for chunk in numbers.chunks(20_000) {
        let changes: Vec<(Key, Option<Hash>)> =
            chunk.iter().map(|n| (key(*n), Some([7; 32]))).collect();
        trie.apply(&changes).expect("memory does not fail");
        let writes = trie.commit_oldest();
        let mut pages = trie.store().0.borrow_mut();
        for (id, page) in writes {
            match page {
                Some(page) => pages.insert(id, page),
                None => pages.remove(&id),
            };
        }
    }
    trie
}

/// Microseconds and proof bytes for each operation, in batches of `batch` updates.
fn measure(trie: &mut Trie<Memory>, records: u64, batch: usize) -> (f64, usize) {
    let (mut spent, mut bytes, mut operations) = (Duration::ZERO, 0, 0);
    let mut next = 1_u64;
    while operations < 4_096 {
        let keys: Vec<Key> = (0..batch)
            .map(|_| {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                key((next >> 20) % records)
            })
            .collect();
        let root = trie.root();
        let proof = trie.prove(&keys, &[]).expect("memory does not fail");
        let began = Instant::now();
        let mut partial = PartialTrie::verify(&root, &proof).expect("an honest proof");
        for key in &keys {
            black_box(partial.get(key).expect("covered"));
            partial.set(key, [8; 32]).expect("covered");
        }
        black_box(partial.root());
        spent += began.elapsed();
        bytes += proof.len();
        operations += batch;
    }
    let operations_f = operations as f64;
    (spent.as_secs_f64() * 1e6 / operations_f, bytes / operations)
}

fn main() {
    let big = std::env::args().any(|argument| argument == "--big");
    let sizes: &[u64] = if big {
        &[10_000, 1_000_000, 10_000_000]
    } else {
        &[10_000, 1_000_000]
    };
    for records in sizes {
        let mut trie = fill(*records);
        for batch in [1, 64] {
            let (micros, bytes) = measure(&mut trie, *records, batch);
            let what = format!("tree inside, {records} records, batches of {batch}");
            let verdict = if micros <= 15.0 { "met" } else { "MISSED" };
            println!("bench | {what} | {micros:.1} µs, {bytes} B of proof | ≤ 15 µs | {verdict}");
        }
    }
}
