//! Making proofs from the tiles of a tree.
//!
//! The reader may give wrong tiles; then the proof made of them does not verify. It is asked for
//! each tile once, and only for tiles that a tree of this size has.

use super::{Hash, SIZE_MAX, empty_root, node_hash};
use crate::tiles::{HASH_BYTES, Level, TILE_WIDTH, Tile};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// Where tiles come from: a directory, a server, memory.
pub trait TileReader {
    /// What can go wrong.
    type Error;

    /// Reads a tile of hashes: its width × 32 bytes.
    ///
    /// # Errors
    /// As the reader has them; a tile that is not there is one.
    fn read(&self, tile: Tile) -> Result<Vec<u8>, Self::Error>;
}

/// Why no proof was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProveError<E> {
    /// The question fits no tree: an index beyond it, an older tree that is greater, or one greater
    /// than any tree.
    Range,
    /// The reader gave another number of bytes than this tile has.
    TileLength(Tile),
    /// The reader's own error.
    Read(E),
}

impl<E: fmt::Display> fmt::Display for ProveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("the index or size is beyond the tree"),
            Self::TileLength(tile) => write!(f, "{tile} has not the length of its width"),
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ProveError<E> {}

/// Root of the tree with `size` entries.
///
/// # Errors
/// [`ProveError`].
pub fn root<R: TileReader>(reader: &R, size: u64) -> Result<Hash, ProveError<R::Error>> {
    prefix_root(reader, size, size)
}

/// Root of the first `old_size` entries of a tree of `new_size`, from the greater tree's tiles.
///
/// # Errors
/// [`ProveError`].
pub fn prefix_root<R: TileReader>(
    reader: &R,
    old_size: u64,
    new_size: u64,
) -> Result<Hash, ProveError<R::Error>> {
    let mut tree = Tree::new(reader, new_size)?;
    if old_size > new_size {
        return Err(ProveError::Range);
    }
    match old_size {
        0 => Ok(empty_root()),
        _ => tree.range(0, old_size),
    }
}

/// The inclusion proof of the entry at `index` (RFC 9162 §2.1.3.1), from the leaf's sibling up.
///
/// # Errors
/// [`ProveError`].
pub fn inclusion<R: TileReader>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let mut tree = Tree::new(reader, size)?;
    if index >= size {
        return Err(ProveError::Range);
    }
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(tree.range(middle, high)?);
            high = middle;
        } else {
            proof.push(tree.range(low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `new_size` continues the one of `old_size` (RFC 9162 §2.1.4.1). Empty
/// if the older one is empty or the same.
///
/// # Errors
/// [`ProveError`].
pub fn consistency<R: TileReader>(
    reader: &R,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let mut tree = Tree::new(reader, new_size)?;
    if old_size > new_size {
        return Err(ProveError::Range);
    }
    let mut proof = Vec::new();
    if old_size == 0 || old_size == new_size {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, new_size);
    while high > old_size {
        let middle = low + split(high - low);
        if old_size <= middle {
            proof.push(tree.range(middle, high)?);
            high = middle;
        } else {
            proof.push(tree.range(low, middle)?);
            low = middle;
        }
    }
    // The verifier has the older root; if that is this very node, it is left out.
    if low > 0 {
        proof.push(tree.range(low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below a count of at least two.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// A tree of fixed size with the tiles that were read.
struct Tree<'r, R> {
    reader: &'r R,
    size: u64,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'r, R: TileReader> Tree<'r, R> {
    fn new(reader: &'r R, size: u64) -> Result<Self, ProveError<R::Error>> {
        if size > SIZE_MAX {
            return Err(ProveError::Range);
        }
        Ok(Self {
            reader,
            size,
            tiles: BTreeMap::new(),
        })
    }

    /// Merkle tree hash of the entries `low..high`, at least one, where `low` is a multiple of the
    /// power of two at or above their number: as the callers split.
    fn range(&mut self, low: u64, high: u64) -> Result<Hash, ProveError<R::Error>> {
        let count = high - low;
        if count.is_power_of_two() {
            return self.whole(count.trailing_zeros(), low);
        }
        let middle = low + split(count);
        let left = self.range(low, middle)?;
        Ok(node_hash(&left, &self.range(middle, high)?))
    }

    /// Hash of the whole subtree of `2^height` entries from `low` on. All of its hashes stand in
    /// one tile: that of the level at or below it.
    fn whole(&mut self, height: u32, low: u64) -> Result<Hash, ProveError<R::Error>> {
        let level = u8::try_from(height / 8).map_err(|_| ProveError::Range)?;
        let first = low >> (8 * u32::from(level));
        let (index, offset) = (first / TILE_WIDTH, first % TILE_WIDTH);
        let count = 1 << (height % 8);
        let tile = self.tile(level, index)?;
        let hashes = usize::try_from(offset)
            .ok()
            .and_then(|at| tile.get(at..at + count));
        let mut hashes = hashes.ok_or(ProveError::Range)?.to_vec();
        while let [_, _, ..] = &hashes[..] {
            let pairs = hashes.chunks_exact(2);
            hashes = pairs.map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        hashes.first().copied().ok_or(ProveError::Range)
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], ProveError<R::Error>> {
        if !self.tiles.contains_key(&(level, index)) {
            let level_of = Level::Hashes(level);
            let tile = Tile::in_tree(level_of, index, self.size).ok_or(ProveError::Range)?;
            let bytes = self.reader.read(tile).map_err(ProveError::Read)?;
            if bytes.len() != usize::from(tile.width()) * HASH_BYTES {
                return Err(ProveError::TileLength(tile));
            }
            let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
            self.tiles.insert((level, index), hashes.to_vec());
        }
        let tile = self.tiles.get(&(level, index));
        tile.map(Vec::as_slice).ok_or(ProveError::Range)
    }
}
