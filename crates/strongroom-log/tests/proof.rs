//! What a verifier believes: checkpoints under a policy, and proofs under those.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Tiles, consistency, entries, path, root};
use strongroom_log::checkpoint::{Checkpoint, CheckpointError};
use strongroom_log::merkle::{MerkleError, prove};
use strongroom_log::note::{self, Cosigner, NoteError, SignatureLine, Signer, VerifierKey};
use strongroom_log::policy::{Distrust, PolicyError, TrustedLog};
use strongroom_log::proof::{EXTRA_BYTES_MAX, NotIncluded, Proof, ProofError};

const ORIGIN: &str = "log.example/strongroom";

fn log() -> Signer {
    Signer::new(ORIGIN, &[1; 32]).unwrap()
}

fn witness(number: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/{number}"), &[100 + number; 32]).unwrap()
}

fn key(number: u8) -> VerifierKey {
    witness(number).verifier().clone()
}

fn text(size: usize) -> String {
    let checkpoint = Checkpoint::new(ORIGIN, size as u64, root(&entries(size as u64)));
    checkpoint.unwrap().to_string()
}

/// A checkpoint by the log and these witnesses.
fn signed(size: usize, witnesses: &[u8]) -> String {
    let text = text(size);
    let cosigned = witnesses
        .iter()
        .map(|number| witness(*number).cosign(&text, 1_700_000_000));
    let lines: Vec<SignatureLine> = std::iter::once(log().sign(&text)).chain(cosigned).collect();
    note::format(&text, &lines).unwrap()
}

fn trusted(witnesses: u8, quorum: usize) -> TrustedLog {
    let keys = (0..witnesses).map(key).collect();
    TrustedLog::new(log().verifier().clone(), keys, quorum).unwrap()
}

#[test]
fn a_quorum_of_witnesses_is_enough_and_one_less_is_not() {
    for quorum in 0..=3 {
        let policy = trusted(3, quorum);
        for cosigned in 0..=3u8 {
            let numbers: Vec<u8> = (0..cosigned).collect();
            let result = policy.verify(signed(5, &numbers).as_bytes());
            let have = usize::from(cosigned);
            if have >= quorum {
                assert_eq!(result.unwrap().cosigned_s().len(), have);
            } else {
                let wanted = quorum;
                assert_eq!(result, Err(Distrust::Quorum { have, wanted }));
            }
        }
    }
}

#[test]
fn one_witness_counts_once_and_a_stranger_never() {
    let policy = trusted(3, 2);
    let text = text(5);
    let twice = [
        log().sign(&text),
        witness(0).cosign(&text, 1),
        witness(0).cosign(&text, 2),
    ];
    let few = Distrust::Quorum { have: 1, wanted: 2 };
    let note = note::format(&text, &twice).unwrap();
    assert_eq!(policy.verify(note.as_bytes()), Err(few.clone()));
    assert_eq!(policy.verify(signed(5, &[0, 7, 8, 9]).as_bytes()), Err(few));
    assert!(policy.verify(signed(5, &[7, 2, 8, 0]).as_bytes()).is_ok());
}

#[test]
fn witnesses_do_not_speak_for_the_log() {
    let text = text(5);
    let only = [witness(0).cosign(&text, 1), witness(1).cosign(&text, 1)];
    let note = note::format(&text, &only).unwrap();
    assert_eq!(
        trusted(2, 2).verify(note.as_bytes()),
        Err(Distrust::LogSignature)
    );
}

#[test]
fn a_bad_signature_of_a_known_key_spoils_the_checkpoint() {
    let (good, other) = (text(5), text(6));
    let lines = [
        log().sign(&good),
        witness(0).cosign(&good, 1),
        witness(1).cosign(&other, 1),
    ];
    let note = note::format(&good, &lines).unwrap();
    let bad = Distrust::Note(NoteError::BadSignature {
        name: "witness.example/1".to_owned(),
    });
    assert_eq!(trusted(2, 1).verify(note.as_bytes()), Err(bad));
    // To whom that key is unknown, it is noise.
    assert!(trusted(1, 1).verify(note.as_bytes()).is_ok());
}

#[test]
fn the_key_of_one_log_vouches_for_no_other() {
    let text = text(5).replace(ORIGIN, "log.example/other");
    let note = note::format(&text, &[log().sign(&text)]).unwrap();
    assert_eq!(trusted(0, 0).verify(note.as_bytes()), Err(Distrust::Origin));
    let text = "not a checkpoint\n";
    let note = note::format(text, &[log().sign(text)]).unwrap();
    let error = Distrust::Checkpoint(CheckpointError::Lines);
    assert_eq!(trusted(0, 0).verify(note.as_bytes()), Err(error));
}

#[test]
fn policies_that_count_one_party_twice_are_refused() {
    let log = || log().verifier().clone();
    let again = Cosigner::new("another-name", &[100; 32]).unwrap();
    let as_log = Cosigner::new("w", &[1; 32]).unwrap();
    for (keys, error) in [
        (vec![key(0), key(0)], PolicyError::Duplicate),
        (
            vec![key(0), again.verifier().clone()],
            PolicyError::Duplicate,
        ),
        (vec![as_log.verifier().clone()], PolicyError::Duplicate),
        (vec![log()], PolicyError::KeyType),
    ] {
        assert_eq!(TrustedLog::new(log(), keys, 1), Err(error));
    }
    assert_eq!(
        TrustedLog::new(key(0), vec![], 0),
        Err(PolicyError::KeyType)
    );
    let error = PolicyError::Quorum {
        wanted: 2,
        witnesses: 1,
    };
    assert_eq!(TrustedLog::new(log(), vec![key(0)], 2), Err(error));
}

#[test]
fn a_checkpoint_continues_an_older_one_of_its_log() {
    let policy = trusted(0, 0);
    let verified = |size| policy.verify(signed(size, &[]).as_bytes()).unwrap();
    let (old, new) = (verified(3), verified(7));
    let proof = consistency(3, &entries(7));
    assert_eq!(new.verify_continues(&old, &proof), Ok(()));
    assert_eq!(old.verify_continues(&new, &proof), Err(MerkleError::Range));
    assert_eq!(
        new.verify_continues(&old, &proof[1..]),
        Err(MerkleError::Length)
    );
}

fn proof(index: u64, size: usize, witnesses: &[u8]) -> Proof {
    let hashes = prove::inclusion(&Tiles::new(&entries(size as u64)), index, size as u64);
    Proof::new(index, hashes.unwrap(), &signed(size, witnesses)).unwrap()
}

#[test]
fn a_proof_shows_its_entry_and_no_other() {
    let (all, policy) = (entries(11), trusted(3, 2));
    for index in 0..11 {
        let proof = proof(index, 11, &[0, 1]);
        let parsed = Proof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, proof);
        let inclusion = parsed.verify(&policy, &all[index as usize]).unwrap();
        assert_eq!(
            (inclusion.index(), inclusion.checkpoint().size()),
            (index, 11)
        );
        let other = &all[(index as usize + 1) % 11];
        let error = NotIncluded::Merkle(MerkleError::Root);
        assert_eq!(parsed.verify(&policy, other), Err(error));
    }
    let lone = proof(0, 11, &[0]);
    let few = Distrust::Quorum { have: 1, wanted: 2 };
    assert_eq!(
        lone.verify(&policy, &all[0]),
        Err(NotIncluded::Distrust(few))
    );
}

#[test]
fn a_proof_of_one_checkpoint_is_none_under_another() {
    let all = entries(11);
    let hashes = path(4, &all[..10]);
    let mixed = Proof::new(4, hashes, &signed(11, &[])).unwrap();
    assert!(mixed.verify(&trusted(0, 0), &all[4]).is_err());
}

#[test]
fn malformed_proofs_are_refused() {
    let good = proof(4, 11, &[]).to_string();
    let edit = |from: &str, to: &str| good.replacen(from, to, 1);
    let hash = good.lines().nth(2).unwrap().to_owned();
    let extra = |data: &str| edit("index", &format!("extra {data}\nindex"));
    let parsed = Proof::parse(extra("AAE=").as_bytes()).unwrap();
    assert_eq!(parsed.extra(), Some(&[0, 1][..]));
    assert_eq!(parsed.to_string(), extra("AAE="));
    assert!(parsed.verify(&trusted(0, 0), &entries(11)[4]).is_ok());
    let long = format!("{}====", "A".repeat(EXTRA_BYTES_MAX * 4 / 3));
    let cases = [
        (edit("@v1", "@v2"), ProofError::Header),
        (edit("index 4", "index 04"), ProofError::Index),
        (edit("index 4", "Index 4"), ProofError::Index),
        (edit("index 4\n", ""), ProofError::Index),
        (extra("AAF="), ProofError::Extra),
        (extra(&long), ProofError::Extra),
        (edit(&hash, &hash[1..]), ProofError::Hash),
        (edit(&hash, &format!("{hash} ")), ProofError::Hash),
        (
            edit("\n\n", "\n\n\n"),
            ProofError::Checkpoint(CheckpointError::Size),
        ),
        (
            edit("\n11\n", "\n011\n"),
            ProofError::Checkpoint(CheckpointError::Size),
        ),
        (
            good.trim_end().to_owned(),
            ProofError::Note(NoteError::NoSignatures),
        ),
        (good.replace("\n\n", "\n"), ProofError::Lines),
        (
            edit(&hash, &[&hash[..]; 64].join("\n")),
            ProofError::TooLong,
        ),
        ("x".repeat(200_000), ProofError::TooLong),
    ];
    for (text, error) in cases {
        assert_eq!(Proof::parse(text.as_bytes()), Err(error), "{text}");
    }
    assert!(Proof::parse(b"\xff").is_err());
}
