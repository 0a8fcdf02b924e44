//! The authenticated trie: verify a proof, apply updates, give the next root (DESIGN §7).
//!
//! A binary trie over uniformly distributed 32-byte keys. Each leaf stands at its shortest unique
//! prefix, so the shape depends on the set of keys alone. With SHA-256:
//!
//! | node | hash |
//! | --- | --- |
//! | leaf | `H(0x00 ‖ full key ‖ value hash)` |
//! | inner | `H(0x01 ‖ left ‖ right)` |
//! | empty | 32 zero bytes |
//!
//! The HSM keeps the root only. A [`PartialTrie`] comes from a proof that the host made and is
//! built by verification alone: whoever has one has a part of the trie under that root. The host
//! chooses the proof's bytes; it cannot make a key look absent or another value look present.
//!
//! Invariants of the canonical shape: no inner node has two empty children, or one empty and one
//! leaf. Leaves stand on the path that their key spells.
#![cfg_attr(not(feature = "prover"), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;

mod partial;
mod proof;
#[cfg(feature = "prover")]
pub mod prover;

pub use partial::PartialTrie;
pub use proof::ProofError;

use sha2::{Digest as _, Sha256};

/// A key: a keyed name, uniformly distributed.
pub type Key = [u8; 32];
/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Hash of the empty subtree. No SHA-256 preimage of it is known.
pub const EMPTY: Hash = [0; 32];

/// Deepest node: two keys differ in their 256 bits somewhere.
pub const DEPTH_MAX: usize = 256;

/// Longest proof, bytes: 256 keys in 100 million records need below 256 × 27 levels × 33 bytes.
pub const PROOF_BYTES_MAX: usize = 512 * 1024;

/// Hash of a leaf.
pub fn leaf_hash(key: &Key, value: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(key);
    hash.update(value);
    hash.finalize().into()
}

/// Hash of an inner node.
pub fn inner_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The bit of a key at a depth: false is left.
pub(crate) fn bit(key: &Key, depth: usize) -> bool {
    key.get(depth / 8)
        .is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}
