//! Against another implementation of the same formats, and published keys and checkpoints.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Tiles, entries};
use proptest::prelude::*;
use signed_note::{
    Note as TheirNote, Signature, Signer as _, StandardSigner, StandardVerifier, VerifierList,
};
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::merkle::{self, prove, prove::TileReader as _};
use strongroom_log::note::{self, Note, Signer, VerifierKey};
use strongroom_log::tiles::{Level, Tile, new_tiles};
use tlog_tiles::{Hash, HashReader, Tile as TheirTile, stored_hash_index, stored_hashes};

const NAME: &str = "log.example/strongroom";

/// Go's checksum database: its published key, and a tree head that it signed.
const SUM_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const SUM_NOTE: &str = "\
go.sum database tree
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— sum.golang.org \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

#[test]
fn a_checkpoint_of_the_go_checksum_database_verifies() {
    let key = VerifierKey::parse(SUM_KEY).unwrap();
    assert_eq!(key.to_string(), SUM_KEY);
    let note = Note::parse(SUM_NOTE.as_bytes()).unwrap();
    assert_eq!(note.verify(std::slice::from_ref(&key)).unwrap().len(), 1);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(checkpoint.size(), 20_852_163);
    let forged = SUM_NOTE.replace("20852163", "20852164");
    assert!(
        Note::parse(forged.as_bytes())
            .unwrap()
            .verify(&[key])
            .is_err()
    );
}

fn their_verifier(key: &VerifierKey) -> VerifierList {
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    VerifierList::new(vec![Box::new(verifier)])
}

proptest! {
    #[test]
    fn each_side_verifies_what_the_other_signs(
        seed in any::<[u8; 32]>(), lines in prop::collection::vec("[^\\x00-\\x1f]{0,20}", 1..5),
    ) {
        let text = lines.join("\n") + "\n";
        let signer = Signer::new(NAME, &seed).unwrap();
        // Ours by theirs.
        let made = note::format(&text, &[signer.sign(&text)]).unwrap();
        let theirs = TheirNote::from_bytes(made.as_bytes()).unwrap();
        prop_assert_eq!(theirs.text(), text.as_bytes().to_vec());
        prop_assert_eq!(theirs.verify(&their_verifier(signer.verifier())).unwrap().0.len(), 1);
        // Theirs by ours, with our key's text, byte for byte the same.
        let other = StandardSigner::new(&signer.private_text()).unwrap();
        prop_assert_eq!(other.key_id(), signer.verifier().id());
        let mut signed = TheirNote::new(text.as_bytes(), &[]).unwrap();
        signed.add_sigs(&[&other]).unwrap();
        prop_assert_eq!(signed.to_bytes(), made.into_bytes());
    }

    /// Whatever we read as a signature line, they do, and it is the same.
    #[test]
    fn signature_lines_are_read_alike(line in "— [a+ \u{a0}]{1,3} ?[A-Za-z0-9+/]{0,12}={0,2}") {
        let ours = note::SignatureLine::parse(&line);
        let theirs = Signature::from_bytes(line.as_bytes());
        if let Ok(ours) = ours {
            let theirs = theirs.expect("we are not more lenient");
            prop_assert_eq!(ours.id(), theirs.id());
            prop_assert_eq!(ours.name(), theirs.name());
        }
    }

    #[test]
    fn checkpoints_are_read_alike(size in 0u64..1 << 63, root in any::<[u8; 32]>()) {
        let root = if size == 0 { merkle::empty_root() } else { root };
        let ours = Checkpoint::new(NAME, size, root).unwrap();
        let theirs = tlog_tiles::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap();
        prop_assert_eq!(theirs.origin(), NAME);
        prop_assert_eq!(theirs.size(), size);
        prop_assert_eq!(theirs.hash().0, root);
        prop_assert_eq!(theirs.to_bytes(), ours.to_string().into_bytes());
    }

    #[test]
    fn paths_are_alike(level in 0u8..=7, index in 0u64..1 << 56, width in 1u64..=256) {
        // The widest tile of that index in a tree that ends in it.
        let size = (index * 256 + width).checked_mul(1 << (8 * u32::from(level)));
        if let Some(tile) = size.and_then(|size| Tile::in_tree(Level::Hashes(level), index, size)) {
            let theirs = TheirTile::from_path(&their_path(&tile.path())).unwrap();
            prop_assert_eq!(theirs.level_index(), index);
            prop_assert_eq!(u64::from(theirs.width()), u64::from(tile.width()));
            prop_assert_eq!(theirs.level(), level);
            prop_assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }
    }
}

/// They write the height of a tile, 8, before its level.
fn their_path(path: &str) -> String {
    path.replacen("tile/", "tile/8/", 1)
}

/// Stored hashes, as Go's tlog numbers them.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|at| self.0[*at as usize]).collect())
    }
}

#[test]
fn trees_tiles_and_proofs_are_theirs() {
    let all = entries(600);
    let ours = Tiles::new(&all);
    let mut theirs = Stored::default();
    for (at, entry) in all.iter().enumerate() {
        let new = stored_hashes(at as u64, entry, &theirs).unwrap();
        theirs.0.extend(new);
    }
    for size in [1u64, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 600] {
        let root = prove::root(&ours, size).unwrap();
        assert_eq!(tlog_tiles::tree_hash(size, &theirs).unwrap().0, root);
        for tile in new_tiles(0, size) {
            if let Level::Hashes(_) = tile.level() {
                let same = TheirTile::from_path(&their_path(&tile.path())).unwrap();
                assert_eq!(same.read_data(&theirs).unwrap(), ours.read(tile).unwrap());
            }
        }
        for index in [0, size / 3, size / 2, size - 1] {
            let mine = prove::inclusion(&ours, index, size).unwrap();
            let proof = tlog_tiles::prove_record(size, index, &theirs).unwrap();
            assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), mine);
            let leaf = theirs.0[stored_hash_index(0, index) as usize];
            tlog_tiles::check_record(&proof, size, Hash(root), index, leaf).unwrap();
            merkle::verify_inclusion(&leaf.0, index, size, &root, &mine).unwrap();
        }
        for old in [1, size / 2, size - 1].into_iter().filter(|old| *old > 0) {
            let mine = prove::consistency(&ours, old, size).unwrap();
            let proof = tlog_tiles::prove_tree(size, old, &theirs).unwrap();
            assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), mine);
        }
    }
}
