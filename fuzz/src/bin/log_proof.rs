//! Proofs of inclusion: honest ones with changed bytes prove nothing but the truth, and any bytes
//! at all are read without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_fuzz::choices::Choices;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::merkle::{Hash, leaf_hash, node_hash, verify_consistency, verify_inclusion};
use strongroom_log::note::{self, Signer};
use strongroom_log::policy::TrustedLog;
use strongroom_log::proof::Proof;

fuzz_target!(|data: &[u8]| {
    if let Ok(proof) = Proof::parse(data) {
        assert_eq!(proof.to_string().as_bytes(), data, "another form");
    }
    let mut choices = Choices::new(data);
    numbers(&mut choices);
    let entries: Vec<Vec<u8>> = (0..1 + choices.below(9))
        .map(|at| vec![at as u8; 3])
        .collect();
    let index = choices.below(entries.len());
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let log = Signer::new("log.example", &[1; 32]).expect("a good name");
    let trusted = TrustedLog::new(log.verifier().clone(), vec![], 0).expect("a good policy");
    let text = Checkpoint::new("log.example", entries.len() as u64, root(&leaves));
    let text = text.expect("a good checkpoint").to_string();
    let signed = note::format(&text, &[log.sign(&text)]).expect("a good note");
    let honest = Proof::new(index as u64, path(index, &leaves), &signed).expect("a good proof");
    let mut bytes = honest.to_string().into_bytes();
    choices.corrupt(&mut bytes);
    let Ok(proof) = Proof::parse(&bytes) else {
        assert_ne!(
            bytes,
            honest.to_string().as_bytes(),
            "an honest proof is refused"
        );
        return;
    };
    for entry in entries.iter().chain([&vec![77; 3]]) {
        if let Ok(shown) = proof.verify(&trusted, entry) {
            let at = usize::try_from(shown.index()).expect("a small tree");
            assert_eq!(entries.get(at), Some(entry), "a proof that verifies lies");
        }
    }
});

/// Numbers and hashes of a liar's choice.
fn numbers(choices: &mut Choices<'_>) {
    let mut number = || (0..8).fold(0u64, |all, _| all << 8 | u64::from(choices.byte()));
    let (index, size, shift) = (number(), number(), number() % 64);
    let proof = vec![[choices.byte(); 32]; choices.below(70)];
    let _ = verify_inclusion(&[1; 32], index >> shift, size >> shift, &[2; 32], &proof);
    let _ = verify_consistency(index >> shift, &[1; 32], size >> shift, &[2; 32], &proof);
}

fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, other) = match index < left.len() {
        true => (path(index, left), right),
        false => (path(index - left.len(), right), left),
    };
    proof.push(root(other));
    proof
}
