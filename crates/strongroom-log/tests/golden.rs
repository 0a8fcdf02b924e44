//! The bytes of everything that is signed, logged or handed over, as they always were:
//! `vectors/log.json`. `STRONGROOM_WRITE_VECTORS` writes it anew.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use serde_json::{Map, Value};
use strongroom_crypto::statement::SigningKey;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::entry::{Entry, Release, SignedManifest, Transcript};
use strongroom_log::merkle::{leaf_hash, node_hash, verify_consistency};
use strongroom_log::note::{self, Cosigner, Signer};
use strongroom_log::policy::TrustedLog;
use strongroom_log::proof::Proof;
use strongroom_log::submission::Submission;
use strongroom_log::witness::AddCheckpoint;
use strongroom_wire::entry::OfficerSignature;
use strongroom_wire::{Digest, FleetId, PublicKey, Signature, UnixMs};

fn entries() -> [(&'static str, Vec<u8>); 3] {
    let officer = OfficerSignature {
        officer: PublicKey([3; 32]),
        signature: Signature([4; 64]),
    };
    let manifest = Entry::Manifest(SignedManifest {
        manifest: vec![1, 2],
        operator: Signature([2; 64]),
        officers: vec![officer],
    });
    let transcript = Entry::Transcript(Transcript {
        fleet: FleetId([5; 32]),
        epoch: 6,
        transcript: vec![7],
    });
    let release = Entry::Release(Release {
        measurement: Digest([8; 32]),
        version: "1.0.0".to_owned(),
        date: UnixMs(9),
    });
    [
        ("entry, manifest", manifest.to_bytes().unwrap()),
        ("entry, transcript", transcript.to_bytes().unwrap()),
        ("entry, release", release.to_bytes().unwrap()),
    ]
}

fn made() -> Vec<(&'static str, String)> {
    let log = Signer::new("log.example/strongroom", &[1; 32]).unwrap();
    let witness = Cosigner::new("witness.example/w1", &[2; 32]).unwrap();
    let entries = entries();
    let [one, two, three] = [0, 1, 2].map(|at: usize| leaf_hash(&entries[at].1));
    let root = node_hash(&node_hash(&one, &two), &three);
    let text = Checkpoint::new("log.example/strongroom", 3, root)
        .unwrap()
        .to_string();
    let lines = [log.sign(&text), witness.cosign(&text, 1_700_000_000)];
    let signed = note::format(&text, &lines).unwrap();
    let proof = Proof::new(1, vec![one, three], &signed).unwrap();
    let key = log.verifier().clone();
    let policy = TrustedLog::new(key, vec![witness.verifier().clone()], 1).unwrap();
    proof.verify(&policy, &entries[1].1).unwrap();
    let request = AddCheckpoint {
        old_size: 2,
        proof: vec![three],
        checkpoint: signed.clone(),
    };
    let old = node_hash(&one, &two);
    verify_consistency(2, &old, 3, &root, &request.proof).unwrap();
    let submitter = SigningKey::from_seed(&[3; 32]);
    let submission = Submission::sign(&submitter, "log.example/strongroom", &entries[2].1);
    let mut made = vec![
        ("key of the log", log.verifier().to_string()),
        ("signing key of the log", log.private_text().to_string()),
        ("key of the witness", witness.verifier().to_string()),
        (
            "signing key of the witness",
            witness.private_text().to_string(),
        ),
        ("checkpoint, signed and cosigned", signed),
        ("proof of the transcript", proof.to_string()),
        ("add-checkpoint", request.to_string()),
        (
            "submission of the release",
            hex::encode(submission.to_bytes()),
        ),
    ];
    made.extend(entries.map(|(name, bytes)| (name, hex::encode(bytes))));
    made
}

#[test]
fn the_formats_are_what_they_always_were() {
    let made: Map<String, Value> = made()
        .into_iter()
        .map(|(name, text)| (name.to_owned(), Value::String(text)))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/log.json");
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        return std::fs::write(path, text + "\n").unwrap();
    }
    let kept: Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(made, kept);
}
