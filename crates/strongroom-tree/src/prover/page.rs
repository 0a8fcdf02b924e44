//! One page: four levels of nodes, and its bytes.
//!
//! Bytes: for each stored node, its position (1), a tag (1), and a leaf's key and value hash (64)
//! or an inner hash (32). Positions count as in a heap: the node at depth d is 1, its children 2
//! and 3, down to 16 … 31.

use crate::{EMPTY, Hash, Key, bit, inner_hash, leaf_hash};

/// Levels to a page.
pub(crate) const LEVELS: usize = 4;
const SLOTS: usize = 1 << (LEVELS + 1);
const LOWEST: usize = 1 << LEVELS;

/// A node as its parent's page holds it.
#[derive(Clone, Default)]
pub(crate) enum Slot {
    #[default]
    Empty,
    Leaf {
        key: Key,
        value: Hash,
    },
    Inner(Hash),
}

impl Slot {
    pub(crate) fn hash(&self) -> Hash {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf { key, value } => leaf_hash(key, value),
            Self::Inner(hash) => *hash,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.push(0),
            Self::Leaf { key, value } => {
                out.push(1);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Inner(hash) => {
                out.push(2);
                out.extend_from_slice(hash);
            }
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let mut rest = rest;
        let mut take = || {
            let (hash, after) = rest.split_first_chunk::<32>()?;
            rest = after;
            Some(*hash)
        };
        let slot = match tag {
            0 => Self::Empty,
            1 => Self::Leaf {
                key: take()?,
                value: take()?,
            },
            2 => Self::Inner(take()?),
            _ => return None,
        };
        *bytes = rest;
        Some(slot)
    }

    pub(crate) fn encode_whole(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    pub(crate) fn decode_whole(mut bytes: &[u8]) -> Option<Self> {
        let slot = Self::decode(&mut bytes)?;
        bytes.is_empty().then_some(slot)
    }
}

/// The nodes under one node.
#[derive(Clone)]
pub(crate) struct Page {
    slots: Box<[Slot; SLOTS]>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            slots: Box::new(std::array::from_fn(|_| Slot::Empty)),
        }
    }
}

/// The id of the page that holds the children of the node at `depth`: its level, then the path's
/// nibbles so far.
pub(crate) fn id(depth: usize, path: &Key) -> Vec<u8> {
    let level = depth / LEVELS;
    let bytes = level.div_ceil(2);
    let mut id = Vec::with_capacity(1 + bytes);
    id.push(u8::try_from(level).expect("256 bits are 64 levels"));
    id.extend_from_slice(&path[..bytes]);
    if level % 2 == 1 {
        id[bytes] &= 0xf0;
    }
    id
}

/// Position of the child at `depth + 1` on the path.
fn position(depth: usize, path: &Key) -> usize {
    let base = depth / LEVELS * LEVELS;
    (base..=depth).fold(1, |position, d| position << 1 | usize::from(bit(path, d)))
}

impl Page {
    pub(crate) fn get(&self, depth: usize, path: &Key) -> &Slot {
        &self.slots[position(depth, path)]
    }

    pub(crate) fn set(&mut self, depth: usize, path: &Key, slot: Slot) {
        self.slots[position(depth, path)] = slot;
    }

    /// The bytes to store; none for a page that holds nothing.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for (position, slot) in self.slots.iter().enumerate() {
            let stored = match slot {
                Slot::Empty => false,
                Slot::Leaf { .. } => true,
                Slot::Inner(_) => position >= LOWEST,
            };
            if stored {
                out.push(u8::try_from(position).expect("positions end at 31"));
                slot.encode(&mut out);
            }
        }
        (!out.is_empty()).then_some(out)
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut page = Self::default();
        while let Some((position, rest)) = bytes.split_first() {
            bytes = rest;
            let slot = Slot::decode(&mut bytes)?;
            *page
                .slots
                .get_mut(usize::from(*position))
                .filter(|_| *position >= 2)? = slot;
        }
        for position in (2..LOWEST).rev() {
            let (left, right) = (
                page.slots[2 * position].hash(),
                page.slots[2 * position + 1].hash(),
            );
            let is_leaf = matches!(page.slots[position], Slot::Leaf { .. });
            if !is_leaf && (left != EMPTY || right != EMPTY) {
                page.slots[position] = Slot::Inner(inner_hash(&left, &right));
            }
        }
        Some(page)
    }
}
