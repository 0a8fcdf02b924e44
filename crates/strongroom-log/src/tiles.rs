//! Tiles and entry bundles (C2SP tlog-tiles): where they lie and what they hold.
//!
//! | path | holds |
//! | --- | --- |
//! | `tile/L/N` | 256 hashes of whole subtrees of 256^L entries, 8,192 bytes |
//! | `tile/entries/N` | 256 entries, each behind its length (2 bytes, big endian) |
//! | the same `.p/W` | the first W of them, 1 to 255 |
//!
//! N is written in groups of three digits, all but the last behind an `x`: 1234067 is
//! `x001/x234/067`. One tile has one path, and what stands there never changes.

use crate::merkle::SIZE_MAX;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// A hash, bytes.
pub const HASH_BYTES: usize = 32;
/// Greatest entry, bytes: its length has two bytes.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Highest level that a path may name; no tree reaches beyond 7.
const LEVEL_MAX: u8 = 63;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Hashes of subtrees of 256^level entries.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// The name of a tile or entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    level: Level,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile at `index` of its level, as wide as it is in a tree of `size` entries; nothing if
    /// that tree has no such tile.
    pub fn in_tree(level: Level, index: u64, size: u64) -> Option<Self> {
        let first = index.checked_mul(TILE_WIDTH)?;
        let width = hashes_on(level, size).checked_sub(first)?.min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self {
            level,
            index,
            width,
        })
    }

    /// Reads a path, from `tile/` on.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = match level {
            "entries" => Level::Entries,
            number => {
                let level = u8::try_from(crate::base64::decimal(number)?).ok()?;
                Level::Hashes(Some(level).filter(|level| *level <= LEVEL_MAX)?)
            }
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, 256),
            Some((number, width)) => {
                let width = u16::try_from(crate::base64::decimal(width)?).ok()?;
                (
                    number,
                    Some(width).filter(|width| (1..256).contains(width))?,
                )
            }
        };
        let mut digits = String::new();
        let mut groups = number.split('/').rev();
        let last = groups.next()?;
        for group in groups.rev() {
            digits.push_str(group.strip_prefix('x').filter(|it| it.len() == 3)?);
        }
        digits.push_str(Some(last).filter(|it| it.len() == 3)?);
        let index = digits.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.then(|| digits.parse::<u64>().ok()).flatten()?;
        let tile = Self {
            level,
            index,
            width,
        };
        // One path for each tile: no group of zeros before the first.
        (tile.path() == path).then_some(tile)
    }

    /// What it holds.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Its place among the tiles of its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether a tree of `size` entries determines all of it.
    pub fn is_within(&self, size: u64) -> bool {
        let first = self.index.checked_mul(TILE_WIDTH);
        let end = first.and_then(|first| first.checked_add(u64::from(self.width)));
        end.is_some_and(|end| end <= hashes_on(self.level, size))
    }

    /// The path, from `tile/` on.
    pub fn path(&self) -> String {
        let level = match self.level {
            Level::Hashes(level) => format!("{level}"),
            Level::Entries => String::from("entries"),
        };
        let mut number = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = match self.width {
            256 => String::new(),
            width => format!(".p/{width}"),
        };
        format!("tile/{level}/{number}{partial}")
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// How many hashes, or entries, a tree of that size has on a level.
fn hashes_on(level: Level, size: u64) -> u64 {
    let size = size.min(SIZE_MAX);
    match level {
        Level::Entries => size,
        Level::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
    }
}

/// Every tile and bundle that a tree of `new_size` has and one of `old_size` had not, or not as
/// wide. Those of one level stand in order; hashes of a level come after the level below.
pub fn new_tiles(old_size: u64, new_size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let levels = (0..8).map(Level::Hashes);
    for level in core::iter::once(Level::Entries).chain(levels) {
        let (old, new) = (hashes_on(level, old_size), hashes_on(level, new_size));
        if new <= old {
            continue;
        }
        let indices = old / TILE_WIDTH..=(new - 1) / TILE_WIDTH;
        tiles.extend(indices.filter_map(|index| Tile::in_tree(level, index, new_size)));
    }
    tiles
}

/// An entry longer than [`ENTRY_BYTES_MAX`], or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLength;

impl fmt::Display for EntryLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an entry has at most {ENTRY_BYTES_MAX} bytes")
    }
}

impl core::error::Error for EntryLength {}

/// Appends an entry to a bundle.
///
/// # Errors
/// [`EntryLength`].
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryLength> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryLength)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle of this width; nothing if it holds more, fewer, or half of one.
pub fn entries(bundle: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    let mut rest = bundle;
    let mut entries = Vec::new();
    for _ in 0..width {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length)?;
        entries.push(entry);
        rest = after;
    }
    rest.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::{Level, Tile, entries, new_tiles, push_entry};
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn paths_are_those_of_the_specification() {
        let cases = [
            ("tile/0/x001/x234/067", Level::Hashes(0), 1_234_067, 256),
            ("tile/0/000", Level::Hashes(0), 0, 256),
            ("tile/1/x001/000.p/17", Level::Hashes(1), 1000, 17),
            ("tile/63/999.p/255", Level::Hashes(63), 999, 255),
            ("tile/entries/x273/000.p/1", Level::Entries, 273_000, 1),
        ];
        for (path, level, index, width) in cases {
            let tile = Tile {
                level,
                index,
                width,
            };
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse(path), Some(tile));
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x01/000",
            "tile/0/x001/x000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "tile/entry/000",
            "/tile/0/000",
            "tile/0/../000",
            "tile/0/+01",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x+01/000",
            "tile/0/xx00/000",
            "tile/0/000.p/2.p/3",
            "tile/0/é0",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    /// The example of the specification: 70,000 entries.
    #[test]
    fn a_tree_has_the_tiles_of_the_specification() {
        let all = new_tiles(0, 70_000);
        let of = |level| {
            let on_level: Vec<_> = all.iter().filter(|tile| tile.level() == level).collect();
            let full = on_level.iter().filter(|tile| tile.width() == 256).count();
            (
                on_level.len(),
                full,
                on_level.last().map(|tile| tile.width()),
            )
        };
        assert_eq!(of(Level::Hashes(0)), (274, 273, Some(112)));
        assert_eq!(of(Level::Entries), (274, 273, Some(112)));
        assert_eq!(of(Level::Hashes(1)), (2, 1, Some(17)));
        assert_eq!(of(Level::Hashes(2)), (1, 0, Some(1)));
        assert_eq!(of(Level::Hashes(3)), (0, 0, None));
        let paths: Vec<String> = new_tiles(0, 256).iter().map(Tile::path).collect();
        assert_eq!(paths, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    }

    #[test]
    fn only_tiles_that_changed_are_new() {
        let paths =
            |old, new| -> Vec<String> { new_tiles(old, new).iter().map(Tile::path).collect() };
        assert_eq!(paths(3, 4), ["tile/entries/000.p/4", "tile/0/000.p/4"]);
        assert_eq!(
            paths(255, 257),
            [
                "tile/entries/000",
                "tile/entries/001.p/1",
                "tile/0/000",
                "tile/0/001.p/1",
                "tile/1/000.p/1"
            ]
        );
        assert!(paths(4, 4).is_empty());
    }

    #[test]
    fn a_tile_is_within_the_tree_that_determines_it() {
        let tile = |path| Tile::parse(path).unwrap();
        assert!(tile("tile/0/000.p/4").is_within(4));
        assert!(!tile("tile/0/000.p/5").is_within(4));
        assert!(!tile("tile/0/000").is_within(255));
        assert!(tile("tile/1/000.p/1").is_within(256));
        assert!(!tile("tile/1/000.p/1").is_within(255));
        assert!(!tile("tile/63/000.p/1").is_within(u64::MAX));
        assert!(!tile("tile/0/x018/x446/x744/x073/x709/x551/615").is_within(u64::MAX));
    }

    #[test]
    fn bundles_hold_exactly_their_entries() {
        let mut bundle = Vec::new();
        for entry in [&b""[..], b"a", &[7; 65_535]] {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert!(push_entry(&mut Vec::new(), &[0; 65_536]).is_err());
        assert_eq!(entries(&bundle, 3).unwrap(), [&b""[..], b"a", &[7; 65_535]]);
        assert_eq!(entries(&bundle, 2), None);
        assert_eq!(entries(&bundle, 4), None);
        assert_eq!(entries(&bundle[..bundle.len() - 1], 3), None);
    }
}
