//! A verified part of the trie, to read and to change.

use crate::proof::{self, Node, ProofError};
use crate::{DEPTH_MAX, EMPTY, Hash, Key, bit, inner_hash, leaf_hash};
use alloc::vec::Vec;

/// A part of the trie under a known root. Made by [`PartialTrie::verify`] only.
pub struct PartialTrie {
    arena: Vec<Node>,
    root: u32,
}

/// The way to a node: inner nodes from the root, each with the side taken.
type Path = Vec<(u32, bool)>;

impl PartialTrie {
    /// Checks a proof against the root.
    ///
    /// # Errors
    /// [`ProofError`]: the rule that the proof breaks; [`ProofError::WrongRoot`] if it is of
    /// another trie.
    pub fn verify(root: &Hash, proof: &[u8]) -> Result<Self, ProofError> {
        let arena = proof::decode(proof)?;
        let index = arena.len().checked_sub(1).ok_or(ProofError::Truncated)?;
        let node = arena.get(index).ok_or(ProofError::Truncated)?;
        if node.hash() != *root {
            return Err(ProofError::WrongRoot);
        }
        let root = u32::try_from(index).map_err(|_| ProofError::TooLong)?;
        Ok(Self { arena, root })
    }

    /// The value under a key; `None` if the trie has none.
    ///
    /// # Errors
    /// [`ProofError::NotCovered`] if the proof does not say.
    pub fn get(&self, key: &Key) -> Result<Option<Hash>, ProofError> {
        let (end, _) = self.descend(key);
        match self.node(end) {
            Node::Empty => Ok(None),
            Node::Leaf {
                key: found, value, ..
            } => Ok((found == key).then_some(*value)),
            Node::Stub(_) | Node::Inner { .. } => Err(ProofError::NotCovered),
        }
    }

    /// Inserts or updates.
    ///
    /// # Errors
    /// [`ProofError::NotCovered`]; nothing is changed then.
    pub fn set(&mut self, key: &Key, value: Hash) -> Result<(), ProofError> {
        let (end, path) = self.descend(key);
        let new = Node::Leaf {
            key: *key,
            value,
            hash: leaf_hash(key, &value),
        };
        match *self.node(end) {
            Node::Empty => self.replace(end, new),
            Node::Leaf { key: found, .. } if found == *key => self.replace(end, new),
            old @ Node::Leaf { .. } => {
                let fork = self.fork(old, new, key, path.len());
                self.replace(end, fork);
            }
            Node::Stub(_) | Node::Inner { .. } => return Err(ProofError::NotCovered),
        }
        self.soil(&path);
        Ok(())
    }

    /// Removes a key; no-op if the trie has none. A sibling leaf moves up to its shortest prefix.
    ///
    /// # Errors
    /// [`ProofError::NotCovered`]; [`ProofError::SiblingHidden`] if the proof does not show whether
    /// the sibling is a leaf. Nothing is changed then.
    pub fn remove(&mut self, key: &Key) -> Result<(), ProofError> {
        if self.get(key)?.is_none() {
            return Ok(());
        }
        let (end, mut path) = self.descend(key);
        let sibling = path
            .last()
            .map(|(parent, right)| *self.node(self.child(*parent, !right)));
        if matches!(sibling, Some(Node::Stub(_))) {
            return Err(ProofError::SiblingHidden);
        }
        self.replace(end, Node::Empty);
        if let Some(leaf @ Node::Leaf { .. }) = sibling {
            // The parent holds only the leaf now. Further up, the other side must be empty too.
            if let Some((parent, _)) = path.pop() {
                self.replace(parent, leaf);
            }
            while let Some((parent, right)) = path.pop() {
                // Asked of the node and not of its hash: a new fork has no hash before `root`.
                if !matches!(self.node(self.child(parent, !right)), Node::Empty) {
                    path.push((parent, right));
                    break;
                }
                self.replace(parent, leaf);
            }
        }
        self.soil(&path);
        Ok(())
    }

    /// The root now; hashes what changed, each node once.
    pub fn root(&mut self) -> Hash {
        self.rehash(self.root)
    }

    fn rehash(&mut self, index: u32) -> Hash {
        // Recursion is bounded by DEPTH_MAX: decode and fork keep every path within it.
        let Node::Inner {
            left,
            right,
            dirty: true,
            ..
        } = *self.node(index)
        else {
            return self.node(index).hash();
        };
        let hash = inner_hash(&self.rehash(left), &self.rehash(right));
        self.replace(
            index,
            Node::Inner {
                left,
                right,
                hash,
                dirty: false,
            },
        );
        hash
    }

    fn descend(&self, key: &Key) -> (u32, Path) {
        let mut path = Path::with_capacity(40);
        let mut at = self.root;
        while let Node::Inner { left, right, .. } = *self.node(at) {
            let side = bit(key, path.len());
            path.push((at, side));
            at = if side { right } else { left };
        }
        (at, path)
    }

    /// Inner nodes from `depth` down to where the two keys part, with the two leaves under them.
    fn fork(&mut self, old: Node, new: Node, key: &Key, depth: usize) -> Node {
        let Node::Leaf { key: other, .. } = old else {
            unreachable!("callers pass a leaf")
        };
        let part = (depth..DEPTH_MAX).find(|d| bit(key, *d) != bit(&other, *d));
        let part = part.expect("two different keys on one path differ below it");
        let (old, new) = (self.push(old), self.push(new));
        let (left, right) = if bit(key, part) {
            (old, new)
        } else {
            (new, old)
        };
        let mut node = Node::Inner {
            left,
            right,
            hash: EMPTY,
            dirty: true,
        };
        for d in (depth..part).rev() {
            let (below, empty) = (self.push(node), self.push(Node::Empty));
            let (left, right) = if bit(key, d) {
                (empty, below)
            } else {
                (below, empty)
            };
            node = Node::Inner {
                left,
                right,
                hash: EMPTY,
                dirty: true,
            };
        }
        node
    }

    fn soil(&mut self, path: &Path) {
        for (index, _) in path {
            if let Node::Inner {
                left, right, hash, ..
            } = *self.node(*index)
            {
                self.replace(
                    *index,
                    Node::Inner {
                        left,
                        right,
                        hash,
                        dirty: true,
                    },
                );
            }
        }
    }

    fn child(&self, parent: u32, right_side: bool) -> u32 {
        match *self.node(parent) {
            Node::Inner { left, right, .. } => {
                if right_side {
                    right
                } else {
                    left
                }
            }
            _ => unreachable!("a path holds inner nodes"),
        }
    }

    fn node(&self, index: u32) -> &Node {
        &self.arena[index as usize]
    }

    fn replace(&mut self, index: u32, node: Node) {
        self.arena[index as usize] = node;
    }

    fn push(&mut self, node: Node) -> u32 {
        let index = u32::try_from(self.arena.len()).expect("proofs are far below 2^32 nodes");
        self.arena.push(node);
        index
    }
}
