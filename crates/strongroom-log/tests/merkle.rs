//! Proofs against trees by the letter of the RFC.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Tiles, consistency, entries, path, root};
use proptest::prelude::*;
use strongroom_log::merkle::prove::{self, ProveError, TileReader};
use strongroom_log::merkle::{
    Hash, MerkleError, PROOF_HASHES_MAX, empty_root, leaf_hash, verify_consistency,
    verify_inclusion,
};
use strongroom_log::tiles::Tile;

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The trees that implementations of RFC 6962 test with.
#[test]
fn roots_are_those_of_certificate_transparency() {
    let entries: Vec<Vec<u8>> = [
        &b""[..],
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let tiles = Tiles::new(&entries);
    for (size, expected) in roots.iter().enumerate() {
        assert_eq!(hex(&root(&entries[..size])), *expected);
        assert_eq!(hex(&prove::root(&tiles, size as u64).unwrap()), *expected);
    }
}

#[test]
fn every_proof_of_every_small_tree_is_the_one_of_the_rfc_and_verifies() {
    let all = entries(40);
    let tiles = Tiles::new(&all);
    for size in 0..=all.len() {
        let (tree, new) = (&all[..size], root(&all[..size]));
        for index in 0..size {
            let proof = prove::inclusion(&tiles, index as u64, size as u64).unwrap();
            assert_eq!(proof, path(index, tree));
            let leaf = leaf_hash(&tree[index]);
            verify_inclusion(&leaf, index as u64, size as u64, &new, &proof).unwrap();
        }
        for old_size in 0..=size {
            let proof = prove::consistency(&tiles, old_size as u64, size as u64).unwrap();
            assert_eq!(proof, consistency(old_size, tree), "{old_size} {size}");
            let old = root(&all[..old_size]);
            verify_consistency(old_size as u64, &old, size as u64, &new, &proof).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Trees of several tiles and levels.
    #[test]
    fn proofs_of_greater_trees_are_those_of_the_rfc(size in 1u64..1400, at in 0u64..1400) {
        let all = entries(size);
        let tiles = Tiles::new(&all);
        let at = at % size;
        let tree = root(&all);
        prop_assert_eq!(prove::root(&tiles, size).unwrap(), tree);
        let proof = prove::inclusion(&tiles, at, size).unwrap();
        prop_assert_eq!(&proof, &path(at as usize, &all));
        verify_inclusion(&leaf_hash(&all[at as usize]), at, size, &tree, &proof).unwrap();
        let proof = prove::consistency(&tiles, at, size).unwrap();
        prop_assert_eq!(&proof, &consistency(at as usize, &all));
        verify_consistency(at, &root(&all[..at as usize]), size, &tree, &proof).unwrap();
    }

    #[test]
    fn no_other_inclusion_verifies(
        size in 1u64..300, at in 0u64..300, other in 0u64..300, flip in 0usize..4096,
    ) {
        let all = entries(size);
        let (at, other) = (at % size, other % size);
        let (tree, leaf) = (root(&all), leaf_hash(&all[at as usize]));
        let proof = path(at as usize, &all);
        let holds = |leaf: &Hash, at, proof: &[Hash]| {
            verify_inclusion(leaf, at, size, &tree, proof).is_ok()
        };
        prop_assert!(holds(&leaf, at, &proof));
        prop_assert!(other == at || !holds(&leaf, other, &proof), "at another index");
        let another = leaf_hash(&all[other as usize]);
        prop_assert!(other == at || !holds(&another, at, &proof), "of another entry");
        prop_assert!(!holds(&leaf_hash(b"never logged"), at, &proof));
        let mut longer = proof.clone();
        longer.push(tree);
        prop_assert!(!holds(&leaf, at, &longer));
        if let Some(last) = proof.len().checked_sub(1) {
            prop_assert!(!holds(&leaf, at, &proof[..last]));
            let mut changed = proof.clone();
            changed[flip % proof.len()][flip % 32] ^= 1 << (flip % 8);
            prop_assert!(!holds(&leaf, at, &changed));
        }
        prop_assert!(verify_inclusion(&leaf, at, size, &[7; 32], &proof).is_err());
        let beyond = verify_inclusion(&leaf, size, size, &tree, &proof);
        prop_assert_eq!(beyond, Err(MerkleError::Range));
    }

    #[test]
    fn no_other_history_verifies(size in 2u64..300, at in 1u64..300, flip in 0usize..4096) {
        let all = entries(size);
        let old_size = at % (size - 1) + 1;
        let (old, new) = (root(&all[..old_size as usize]), root(&all));
        let proof = consistency(old_size as usize, &all);
        let holds = |old: &Hash, new: &Hash, proof: &[Hash]| {
            verify_consistency(old_size, old, size, new, proof).is_ok()
        };
        prop_assert!(holds(&old, &new, &proof));
        // Another entry, anywhere in the older tree or in the newer one.
        let mut forked = all.clone();
        forked[flip % size as usize] = b"forked".to_vec();
        let fork = root(&forked);
        let fork_proof = consistency(old_size as usize, &forked);
        let in_old = flip % (size as usize) < old_size as usize;
        prop_assert_eq!(holds(&old, &fork, &fork_proof), !in_old);
        prop_assert!(!holds(&old, &fork, &proof));
        prop_assert!(!holds(&[7; 32], &new, &proof));
        let mut longer = proof.clone();
        longer.push(new);
        prop_assert!(!holds(&old, &new, &longer));
        prop_assert!(!holds(&old, &new, &proof[..proof.len() - 1]));
        let mut changed = proof.clone();
        changed[flip % proof.len()][flip % 32] ^= 1 << (flip % 8);
        prop_assert!(!holds(&old, &new, &changed));
        prop_assert!(verify_consistency(size, &new, old_size, &old, &proof).is_err());
    }

    /// Numbers and hashes of a liar's choice end soon and without a panic.
    #[test]
    fn any_numbers_end(index in any::<u64>(), size in any::<u64>(), length in 0usize..80) {
        let proof = vec![[9; 32]; length];
        let _ = verify_inclusion(&[1; 32], index, size, &[2; 32], &proof);
        let consistency = verify_consistency(index, &[1; 32], size, &[2; 32], &proof);
        prop_assert!(consistency.is_err());
    }
}

#[test]
fn trees_that_are_the_same_or_begin_empty_need_the_right_roots() {
    let (a, b) = ([1; 32], [2; 32]);
    assert_eq!(verify_consistency(5, &a, 5, &a, &[]), Ok(()));
    assert_eq!(
        verify_consistency(5, &a, 5, &b, &[]),
        Err(MerkleError::Root)
    );
    assert_eq!(
        verify_consistency(5, &a, 5, &a, &[a]),
        Err(MerkleError::Length)
    );
    assert_eq!(verify_consistency(0, &empty_root(), 5, &b, &[]), Ok(()));
    assert_eq!(
        verify_consistency(0, &a, 5, &b, &[]),
        Err(MerkleError::Root)
    );
    assert_eq!(
        verify_consistency(0, &empty_root(), 5, &b, &[a]),
        Err(MerkleError::Length)
    );
    assert_eq!(
        verify_consistency(3, &a, 5, &b, &[]),
        Err(MerkleError::Length)
    );
    assert_eq!(
        verify_consistency(4, &a, 5, &b, &[]),
        Err(MerkleError::Length)
    );
}

#[test]
fn the_greatest_tree_has_the_longest_proof() {
    let size = (1 << 63) - 1;
    let proof = [[9; 32]; PROOF_HASHES_MAX];
    let error = verify_inclusion(&[1; 32], 0, size, &[2; 32], &proof);
    assert_eq!(error, Err(MerkleError::Root));
    let short = verify_inclusion(&[1; 32], 0, size, &[2; 32], &proof[1..]);
    assert_eq!(short, Err(MerkleError::Length));
    let beyond = verify_inclusion(&[1; 32], 0, size + 1, &[2; 32], &proof);
    assert_eq!(beyond, Err(MerkleError::Range));
}

/// Gives tiles of another length.
struct Short;

impl TileReader for Short {
    type Error = String;

    fn read(&self, tile: Tile) -> Result<Vec<u8>, String> {
        Ok(vec![0; usize::from(tile.width()) * 32 - 1])
    }
}

#[test]
fn what_no_tree_has_is_not_proved() {
    let tiles = Tiles::new(&entries(3));
    assert_eq!(prove::inclusion(&tiles, 3, 3), Err(ProveError::Range));
    assert_eq!(prove::consistency(&tiles, 4, 3), Err(ProveError::Range));
    assert_eq!(prove::root(&tiles, 1 << 63), Err(ProveError::Range));
    assert!(matches!(prove::root(&tiles, 4), Err(ProveError::Read(_))));
    assert!(matches!(
        prove::root(&Short, 4),
        Err(ProveError::TileLength(_))
    ));
}
