//! The right edge of a growing tree: what the next entry needs, and the tiles it makes.

use crate::merkle::{Hash, empty_root, leaf_hash, node_hash};
use crate::tiles::{EntryLength, HASH_BYTES, Level, TILE_WIDTH, Tile, new_tiles, push_entry};

/// Levels of the greatest tree.
const LEVELS: usize = 8;

/// The tiles that are not full yet. Everything to their left is on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    size: u64,
    bundle: Vec<u8>,
    edge: [Vec<Hash>; LEVELS],
}

/// Tiles that came out, with their bytes.
pub(super) type Made = Vec<(Tile, Vec<u8>)>;

impl Tree {
    /// Entries.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry; full tiles come out.
    pub(super) fn push(&mut self, entry: &[u8], made: &mut Made) -> Result<(), EntryLength> {
        push_entry(&mut self.bundle, entry)?;
        self.size += 1;
        let full = |level| Tile::in_tree(level, (self.size - 1) / TILE_WIDTH, self.size);
        if self.size.is_multiple_of(TILE_WIDTH)
            && let Some(tile) = full(Level::Entries)
        {
            made.push((tile, std::mem::take(&mut self.bundle)));
        }
        let mut hash = leaf_hash(entry);
        for (level, edge) in (0u8..).zip(&mut self.edge) {
            edge.push(hash);
            if edge.len() < TILE_WIDTH as usize {
                break;
            }
            let whole = std::mem::take(edge);
            let index = (self.size >> (8 * u32::from(level) + 8)) - 1;
            if let Some(tile) = Tile::in_tree(Level::Hashes(level), index, self.size) {
                made.push((tile, whole.concat()));
            }
            hash = whole_root(&whole);
        }
        Ok(())
    }

    /// The tiles at the right edge that are neither full nor the same as when the tree had
    /// `old_size` entries.
    pub(super) fn partial(&self, old_size: u64) -> Made {
        let tiles = new_tiles(old_size, self.size);
        let partial = tiles
            .into_iter()
            .filter(|tile| u64::from(tile.width()) < TILE_WIDTH);
        let with_bytes = partial.map(|tile| {
            let bytes = match tile.level() {
                Level::Entries => self.bundle.clone(),
                Level::Hashes(level) => {
                    let edge = self.edge.get(usize::from(level));
                    edge.map_or_else(Vec::new, |hashes| hashes.concat())
                }
            };
            (tile, bytes)
        });
        with_bytes.collect()
    }

    /// Merkle tree hash of all entries.
    pub(super) fn root(&self) -> Hash {
        let mut root = None;
        for edge in &self.edge {
            root = fold(edge, root);
        }
        root.unwrap_or_else(empty_root)
    }
}

/// Whole subtrees from the smallest, which stands rightmost, to the greatest; what is smaller is
/// the right child.
fn fold(mut hashes: &[Hash], mut right: Option<Hash>) -> Option<Hash> {
    while !hashes.is_empty() {
        let count = 1 << hashes.len().trailing_zeros();
        let (rest, whole) = hashes.split_at(hashes.len() - count);
        let left = whole_root(whole);
        right = Some(match right {
            Some(right) => node_hash(&left, &right),
            None => left,
        });
        hashes = rest;
    }
    right
}

/// Root over a power of two of hashes.
fn whole_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node_hash(&whole_root(left), &whole_root(right))
        }
    }
}

const _: () = assert!(HASH_BYTES == size_of::<Hash>());
