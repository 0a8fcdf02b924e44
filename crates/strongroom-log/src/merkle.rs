//! Merkle trees of a log (RFC 6962 §2.1, RFC 9162 §2.1): hashes, and verifying proofs.
//!
//! | node | hash |
//! | --- | --- |
//! | leaf | `SHA-256(0x00 ‖ entry)` |
//! | inner | `SHA-256(0x01 ‖ left ‖ right)`, left the largest power of two below the count |
//! | empty tree | `SHA-256()` |
//!
//! Proofs are made by the log, which may lie. Verifying takes at most 64 hashes, whatever the
//! numbers in it say, and neither recurses nor allocates. Making them is in [`prove`].

pub mod prove;

use core::fmt;
use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Greatest tree, entries: what C2SP's other implementations can count.
pub const SIZE_MAX: u64 = (1 << 63) - 1;
/// Most hashes in a proof (tlog-witness): the levels of the greatest tree.
pub const PROOF_HASHES_MAX: usize = 63;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MerkleError {
    /// The numbers fit no proof: an index beyond the tree, or an older tree that is greater.
    Range,
    /// More or fewer hashes than these sizes need.
    Length,
    /// It leads to another root: entry, tree or proof is not what it is said to be.
    Root,
}

impl fmt::Display for MerkleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Range => "the index or size is beyond the tree",
            Self::Length => "the proof has more or fewer hashes than these sizes need",
            Self::Root => "the proof leads to another root",
        })
    }
}

impl core::error::Error for MerkleError {}

/// Hash of a leaf.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(entry);
    hash.finalize().into()
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// Root of the tree without entries.
pub fn empty_root() -> Hash {
    Sha256::new().finalize().into()
}

/// Where a verifier is on its way up: the node in question, and the last node of its level.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    /// Whether the next hash of the proof stands to the left.
    fn sibling_is_left(&self) -> bool {
        self.node & 1 == 1 || self.node == self.last
    }

    /// Skips the levels on which a last node has no sibling, then goes up one.
    fn up(&mut self, sibling_is_left: bool) {
        if sibling_is_left {
            while self.node & 1 == 0 && self.node != 0 {
                self.shift();
            }
        }
        self.shift();
    }

    fn shift(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Verifies that the entry with this leaf hash stands at `index` (from 0) of the tree
/// (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`MerkleError`].
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if index >= size || size > SIZE_MAX {
        return Err(MerkleError::Range);
    }
    let mut at = Climb {
        node: index,
        last: size - 1,
    };
    let mut hash = *leaf;
    for sibling in proof {
        if at.last == 0 {
            return Err(MerkleError::Length);
        }
        let sibling_is_left = at.sibling_is_left();
        hash = match sibling_is_left {
            true => node_hash(sibling, &hash),
            false => node_hash(&hash, sibling),
        };
        at.up(sibling_is_left);
    }
    if at.last != 0 {
        return Err(MerkleError::Length);
    }
    if hash != *root {
        return Err(MerkleError::Root);
    }
    Ok(())
}

/// Verifies that the newer tree begins with all entries of the older one (RFC 9162 §2.1.4.2).
///
/// Every tree continues the empty one, and itself, with an empty proof.
///
/// # Errors
/// [`MerkleError`].
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if old_size > new_size || new_size > SIZE_MAX {
        return Err(MerkleError::Range);
    }
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(MerkleError::Length);
        }
        let expected = if old_size == 0 {
            empty_root()
        } else {
            *new_root
        };
        return if *old_root == expected {
            Ok(())
        } else {
            Err(MerkleError::Root)
        };
    }
    let mut at = Climb {
        node: old_size - 1,
        last: new_size - 1,
    };
    // Up to the greatest whole subtree that ends where the older tree ends.
    while at.node & 1 == 1 {
        at.shift();
    }
    // If that is the whole older tree, its root begins the proof and is left out of it.
    let whole = old_size.is_power_of_two();
    let (start, rest) = match (whole, proof.split_first()) {
        (true, _) => (old_root, proof),
        (false, Some((first, rest))) => (first, rest),
        (false, None) => return Err(MerkleError::Length),
    };
    let (mut old, mut new) = (*start, *start);
    for hash in rest {
        if at.last == 0 {
            return Err(MerkleError::Length);
        }
        let sibling_is_left = at.sibling_is_left();
        if sibling_is_left {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
        } else {
            new = node_hash(&new, hash);
        }
        at.up(sibling_is_left);
    }
    if at.last != 0 {
        return Err(MerkleError::Length);
    }
    if old != *old_root || new != *new_root {
        return Err(MerkleError::Root);
    }
    Ok(())
}
