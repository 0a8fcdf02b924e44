//! The proof's bytes: one merged multiproof, in pre-order.
//!
//! | tag | node | follows |
//! | --- | --- | --- |
//! | 0 | empty | nothing |
//! | 1 | leaf | key (32), value hash (32) |
//! | 2 | inner | left node, right node |
//! | 3 | stub: a subtree not shown | its hash (32) |
//!
//! Decoding keeps a stack of its own, so depth cannot exhaust the machine's.

use crate::{DEPTH_MAX, EMPTY, Hash, Key, PROOF_BYTES_MAX, bit, inner_hash, leaf_hash};
use alloc::vec::Vec;

pub(crate) const TAG_EMPTY: u8 = 0;
pub(crate) const TAG_LEAF: u8 = 1;
pub(crate) const TAG_INNER: u8 = 2;
pub(crate) const TAG_STUB: u8 = 3;

/// Why a proof was refused, or a question to a verified one cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// An inner node with two empty children, or one empty and one leaf: no trie has that shape.
    NotCanonical,
    /// The proof does not show this key's path to its end.
    NotCovered,
    /// A removal needs the leaf's sibling, and the proof hides it.
    SiblingHidden,
    /// Deeper than keys are long.
    TooDeep,
    /// More than `PROOF_BYTES_MAX` bytes.
    TooLong,
    /// It goes on after its end.
    TrailingBytes,
    /// It ends before its end.
    Truncated,
    /// No such tag.
    UnknownTag,
    /// A leaf off the path that its key spells.
    WrongPath,
    /// The right shape, under another root: stale or forged.
    WrongRoot,
}

impl core::fmt::Display for ProofError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for ProofError {}

/// A node of a partial trie. Children are indices into its arena.
#[derive(Clone, Copy)]
pub(crate) enum Node {
    Empty,
    Leaf {
        key: Key,
        value: Hash,
        hash: Hash,
    },
    Inner {
        left: u32,
        right: u32,
        hash: Hash,
        dirty: bool,
    },
    Stub(Hash),
}

impl Node {
    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf { hash, .. } | Self::Inner { hash, .. } | Self::Stub(hash) => *hash,
        }
    }
}

/// An inner node that waits for its children.
struct Open {
    left: Option<u32>,
}

/// Decodes a proof into an arena; the root is the last node.
pub(crate) fn decode(proof: &[u8]) -> Result<Vec<Node>, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::TooLong);
    }
    let mut arena: Vec<Node> = Vec::with_capacity(proof.len() / 24 + 4);
    let mut open: Vec<Open> = Vec::new();
    let mut path: Key = [0; 32];
    let mut rest = proof;
    loop {
        let (tag, after) = rest.split_first().ok_or(ProofError::Truncated)?;
        rest = after;
        let node = match *tag {
            TAG_INNER => {
                if open.len() >= DEPTH_MAX {
                    return Err(ProofError::TooDeep);
                }
                set_bit(&mut path, open.len(), false);
                open.push(Open { left: None });
                continue;
            }
            TAG_EMPTY => Node::Empty,
            TAG_STUB => Node::Stub(take(&mut rest)?),
            TAG_LEAF => {
                let (key, value) = (take(&mut rest)?, take(&mut rest)?);
                if !on_path(&key, &path, open.len()) {
                    return Err(ProofError::WrongPath);
                }
                Node::Leaf {
                    key,
                    value,
                    hash: leaf_hash(&key, &value),
                }
            }
            _ => return Err(ProofError::UnknownTag),
        };
        let mut done = push(&mut arena, node)?;
        // Close every inner node that this one completes.
        loop {
            let depth = open.len();
            let Some(parent) = open.last_mut() else {
                return if rest.is_empty() {
                    Ok(arena)
                } else {
                    Err(ProofError::TrailingBytes)
                };
            };
            let Some(left) = parent.left else {
                parent.left = Some(done);
                set_bit(&mut path, depth - 1, true);
                break;
            };
            open.pop();
            let node = inner(&arena, left, done)?;
            done = push(&mut arena, node)?;
        }
    }
}

fn inner(arena: &[Node], left: u32, right: u32) -> Result<Node, ProofError> {
    let (l, r) = (node(arena, left)?, node(arena, right)?);
    if matches!((l, r), (Node::Empty, Node::Empty | Node::Leaf { .. }))
        || matches!((l, r), (Node::Leaf { .. }, Node::Empty))
    {
        return Err(ProofError::NotCanonical);
    }
    let hash = inner_hash(&l.hash(), &r.hash());
    Ok(Node::Inner {
        left,
        right,
        hash,
        dirty: false,
    })
}

fn node(arena: &[Node], index: u32) -> Result<&Node, ProofError> {
    usize::try_from(index)
        .ok()
        .and_then(|i| arena.get(i))
        .ok_or(ProofError::Truncated)
}

fn push(arena: &mut Vec<Node>, node: Node) -> Result<u32, ProofError> {
    let index = u32::try_from(arena.len()).map_err(|_| ProofError::TooLong)?;
    arena.push(node);
    Ok(index)
}

fn take(rest: &mut &[u8]) -> Result<Hash, ProofError> {
    let (bytes, after) = rest
        .split_first_chunk::<32>()
        .ok_or(ProofError::Truncated)?;
    *rest = after;
    Ok(*bytes)
}

fn set_bit(path: &mut Key, depth: usize, right: bool) {
    if let Some(byte) = path.get_mut(depth / 8) {
        let mask = 0x80 >> (depth % 8);
        *byte = if right { *byte | mask } else { *byte & !mask };
    }
}

fn on_path(key: &Key, path: &Key, depth: usize) -> bool {
    let whole = depth / 8;
    let bytes_match = key.iter().zip(path).take(whole).all(|(k, p)| k == p);
    bytes_match && (whole * 8..depth).all(|d| bit(key, d) == bit(path, d))
}
