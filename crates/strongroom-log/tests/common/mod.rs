//! Trees by the letter of RFC 6962 §2.1, slowly: what everything else is held against.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use strongroom_log::merkle::prove::TileReader;
use strongroom_log::merkle::{Hash, empty_root, leaf_hash, node_hash};
use strongroom_log::tiles::{HASH_BYTES, Level, Tile};

/// So many different entries.
pub fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("entry {n}").into_bytes())
        .collect()
}

/// MTH(D[n]).
pub fn root(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => empty_root(),
        [one] => leaf_hash(one),
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// PATH(m, D[n]).
pub fn path(m: usize, entries: &[Vec<u8>]) -> Vec<Hash> {
    if entries.len() <= 1 {
        return Vec::new();
    }
    let k = split(entries.len());
    let (left, right) = entries.split_at(k);
    let (mut proof, other) = match m < k {
        true => (path(m, left), right),
        false => (path(m - k, right), left),
    };
    proof.push(root(other));
    proof
}

/// PROOF(m, D[n]).
pub fn consistency(m: usize, entries: &[Vec<u8>]) -> Vec<Hash> {
    if m == 0 || m == entries.len() {
        return Vec::new();
    }
    subproof(m, entries, true)
}

fn subproof(m: usize, entries: &[Vec<u8>], whole: bool) -> Vec<Hash> {
    if m == entries.len() {
        return if whole {
            Vec::new()
        } else {
            vec![root(entries)]
        };
    }
    let k = split(entries.len());
    let (left, right) = entries.split_at(k);
    let (mut proof, other) = match m <= k {
        true => (subproof(m, left, whole), right),
        false => (subproof(m - k, right, false), left),
    };
    proof.push(root(other));
    proof
}

fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// Tiles of a tree, straight from the definition of tlog-tiles.
pub struct Tiles {
    leaves: Vec<Hash>,
    nodes: BTreeMap<(u8, u64), Hash>,
}

impl Tiles {
    pub fn new(entries: &[Vec<u8>]) -> Self {
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut nodes = BTreeMap::new();
        for (at, entries) in entries.as_chunks::<256>().0.iter().enumerate() {
            nodes.insert((1, at as u64), root(entries));
        }
        for (at, entries) in entries.as_chunks::<65_536>().0.iter().enumerate() {
            nodes.insert((2, at as u64), root(entries));
        }
        Self { leaves, nodes }
    }
}

impl TileReader for Tiles {
    type Error = String;

    fn read(&self, tile: Tile) -> Result<Vec<u8>, String> {
        let Level::Hashes(level) = tile.level() else {
            return Err("only hashes are asked for".into());
        };
        let mut bytes = Vec::with_capacity(usize::from(tile.width()) * HASH_BYTES);
        for at in 0..u64::from(tile.width()) {
            let at = tile.index() * 256 + at;
            let hash = match level {
                0 => self.leaves.get(at as usize),
                level => self.nodes.get(&(level, at)),
            };
            bytes.extend(hash.ok_or_else(|| format!("{tile} is not in the tree"))?);
        }
        Ok(bytes)
    }
}
