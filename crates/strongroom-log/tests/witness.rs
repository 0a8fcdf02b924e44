//! A witness and whoever asks it, without a network between them.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{consistency, entries, root};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::note::{self, Cosigner, Note, NoteError, SignatureLine, Signer, VerifierKey};
use strongroom_log::policy::TrustedLog;
use strongroom_log::witness::core::{Reply, StateError, Witness, WitnessState, origin_hash};
use strongroom_log::witness::{AddCheckpoint, Answer, Refused, cosignatures};

const ORIGIN: &str = "log.example/strongroom";
const NOW_S: u64 = 1_700_000_000;

/// State that can be told to fail.
#[derive(Clone, Default, Debug)]
struct Memory(Rc<RefCell<(BTreeMap<String, String>, bool)>>);

impl WitnessState for Memory {
    type Error = &'static str;

    fn latest(&self, origin: &str) -> Result<Option<String>, Self::Error> {
        Ok(self.0.borrow().0.get(origin).cloned())
    }

    fn record(&mut self, origin: &str, checkpoint: &str) -> Result<(), Self::Error> {
        let mut inner = self.0.borrow_mut();
        if inner.1 {
            return Err("disk full");
        }
        inner.0.insert(origin.to_owned(), checkpoint.to_owned());
        Ok(())
    }
}

fn log() -> Signer {
    Signer::new(ORIGIN, &[1; 32]).unwrap()
}

fn witness(state: &Memory) -> Witness<Memory> {
    let cosigner = Cosigner::new("witness.example/1", &[2; 32]).unwrap();
    Witness::new(cosigner, vec![log().verifier().clone()], state.clone()).unwrap()
}

fn text(all: &[Vec<u8>]) -> String {
    Checkpoint::new(ORIGIN, all.len() as u64, root(all))
        .unwrap()
        .to_string()
}

fn sign(text: &str, signers: &[SignatureLine]) -> String {
    note::format(text, signers).unwrap()
}

fn request(old: usize, all: &[Vec<u8>]) -> AddCheckpoint {
    let text = text(all);
    AddCheckpoint {
        old_size: old as u64,
        proof: consistency(old, all),
        checkpoint: sign(&text, &[log().sign(&text)]),
    }
}

fn ask(witness: &mut Witness<Memory>, request: &AddCheckpoint) -> Reply {
    witness
        .add_checkpoint(request.to_string().as_bytes(), NOW_S)
        .unwrap()
}

#[test]
fn a_log_that_grows_is_cosigned_at_every_step() {
    let state = Memory::default();
    let mut witness = witness(&state);
    let all = entries(20);
    let key = witness.verifier().clone();
    let policy = TrustedLog::new(log().verifier().clone(), vec![key.clone()], 1).unwrap();
    let mut old = 0;
    for size in [0, 1, 1, 2, 7, 8, 20] {
        let request = request(old, &all[..size]);
        let reply = ask(&mut witness, &request);
        let Answer::Cosigned(lines) = Answer::parse(reply.status, reply.body.as_bytes()) else {
            panic!("{size}: {reply:?}");
        };
        let text = text(&all[..size]);
        let mut lines = cosignatures(&text, &lines, std::slice::from_ref(&key)).unwrap();
        lines.insert(0, log().sign(&text));
        let verified = policy.verify(sign(&text, &lines).as_bytes()).unwrap();
        assert_eq!(
            (verified.size(), verified.cosigned_s()),
            (size as u64, &[NOW_S][..])
        );
        old = size;
    }
    let latest = witness.latest(&origin_hash(ORIGIN)).unwrap();
    assert_eq!(latest.status, 200);
    assert!(policy.verify(latest.body.as_bytes()).is_ok());
    assert_eq!(witness.latest(&origin_hash("another")).unwrap().status, 404);
}

#[test]
fn a_forked_log_is_refused_whatever_it_proves() {
    let state = Memory::default();
    let mut witness = witness(&state);
    let all = entries(8);
    assert_eq!(ask(&mut witness, &request(0, &all[..5])).status, 200);
    let mut fork = entries(8);
    fork[3] = b"forked".to_vec();
    // With the fork's own proof, with the other one's, the same size, and an honest retry after.
    for (old, size) in [(5, 8), (5, 6), (5, 5)] {
        let reply = ask(&mut witness, &request(old, &fork[..size]));
        assert_eq!(reply.status, 422, "{old} {size}");
        let answer = Answer::parse(reply.status, reply.body.as_bytes());
        assert_eq!(answer, Answer::Refused(Refused::Inconsistent));
        let mut mixed = request(old, &fork[..size]);
        mixed.proof = consistency(old, &all[..size]);
        assert_eq!(ask(&mut witness, &mixed).status, 422);
    }
    assert_eq!(ask(&mut witness, &request(5, &all)).status, 200);
}

#[test]
fn another_old_size_is_a_conflict_that_names_the_right_one() {
    let state = Memory::default();
    let mut witness = witness(&state);
    let all = entries(8);
    ask(&mut witness, &request(0, &all[..5]));
    for old in [0, 3, 6] {
        let reply = ask(&mut witness, &request(old, &all));
        assert_eq!(
            (reply.status, reply.content_type),
            (409, "text/x.tlog.size")
        );
        assert_eq!(
            Answer::parse(409, reply.body.as_bytes()),
            Answer::Conflict(5)
        );
    }
    // Back to a smaller tree: the same.
    assert_eq!(ask(&mut witness, &request(2, &all[..4])).status, 409);
}

#[test]
fn nothing_is_cosigned_that_was_not_recorded() {
    let state = Memory::default();
    let mut witness = witness(&state);
    let all = entries(8);
    state.0.borrow_mut().1 = true;
    let body = request(0, &all[..5]).to_string();
    let error = witness.add_checkpoint(body.as_bytes(), NOW_S);
    assert_eq!(error, Err(StateError::State("disk full")));
    state.0.borrow_mut().1 = false;
    assert_eq!(ask(&mut witness, &request(0, &all[..5])).status, 200);
    // The next process knows what this one cosigned.
    let mut again = self::witness(&state);
    assert_eq!(ask(&mut again, &request(0, &all)).status, 409);
    state
        .0
        .borrow_mut()
        .0
        .insert(ORIGIN.to_owned(), "damaged".to_owned());
    let error = again.add_checkpoint(request(0, &all).to_string().as_bytes(), NOW_S);
    assert_eq!(error, Err(StateError::Damaged));
}

#[test]
fn requests_are_refused_by_the_statuses_of_the_specification() {
    let state = Memory::default();
    let mut witness = witness(&state);
    let all = entries(8);
    let good = request(0, &all[..5]);
    let edit = |change: &dyn Fn(&mut AddCheckpoint)| {
        let mut request = good.clone();
        change(&mut request);
        request.to_string()
    };
    let resigned = |text: &str| sign(text, &[log().sign(text)]);
    let stranger = Signer::new(ORIGIN, &[9; 32]).unwrap();
    let text = text(&all[..5]);
    let other = text.replace(ORIGIN, "log.example/other");
    let empty = format!("{ORIGIN}\n0\n{}", text.lines().nth(2).unwrap()) + "\n";
    let mut both = vec![log().sign(&text), log().sign(&other)];
    let cases = [
        (404, edit(&|it| it.checkpoint = resigned(&other))),
        (
            403,
            edit(&|it| it.checkpoint = sign(&text, &[stranger.sign(&text)])),
        ),
        (
            403,
            edit(&|it| it.checkpoint = it.checkpoint.replace("\n5\n", "\n6\n")),
        ),
        (403, edit(&|it| it.checkpoint = sign(&text, &both))),
        (400, edit(&|it| it.old_size = 6)),
        (422, edit(&|it| it.checkpoint = resigned(&empty))),
        (422, edit(&|it| it.proof = vec![[1; 32]])),
        (
            400,
            edit(&|it| it.checkpoint = resigned(&format!("{ORIGIN}\nx\n"))),
        ),
        (400, edit(&|it| it.checkpoint = text.clone())),
        (400, edit(&|it| it.proof = vec![[1; 32]; 64])),
        (400, good.to_string().replace("old 0", "old 00")),
        (400, good.to_string().replace("old 0", "old 0 ")),
        (400, String::new()),
    ];
    for (status, body) in cases {
        let reply = witness.add_checkpoint(body.as_bytes(), NOW_S).unwrap();
        assert_eq!(reply.status, status, "{body}");
    }
    assert!(
        state.0.borrow().0.is_empty(),
        "a refused checkpoint was recorded"
    );
    // Signatures of others do no harm, and are not kept.
    both[1] = stranger.sign(&text);
    let reply = witness.add_checkpoint(
        edit(&|it| it.checkpoint = sign(&text, &both)).as_bytes(),
        NOW_S,
    );
    assert_eq!(reply.unwrap().status, 200);
    let kept = witness.latest(&origin_hash(ORIGIN)).unwrap().body;
    assert_eq!(Note::parse(kept.as_bytes()).unwrap().signatures().len(), 2);
}

#[test]
fn requests_come_back_from_their_text() {
    let all = entries(8);
    let request = request(5, &all);
    assert!(!request.proof.is_empty());
    assert_eq!(
        AddCheckpoint::parse(request.to_string().as_bytes()),
        Ok(request)
    );
}

#[test]
fn answers_are_read_strictly() {
    let refused = |refused| Answer::Refused(refused);
    assert_eq!(Answer::parse(409, b"7\n"), Answer::Conflict(7));
    for body in [&b"7"[..], b"07\n", b"x\n", b"7\n\n", b"\xff\n", b""] {
        assert_eq!(Answer::parse(409, body), refused(Refused::Malformed));
        assert_eq!(Answer::parse(200, body), refused(Refused::Malformed));
    }
    assert_eq!(Answer::parse(400, b""), refused(Refused::Request));
    assert_eq!(Answer::parse(403, b""), refused(Refused::UnknownKey));
    assert_eq!(Answer::parse(404, b""), refused(Refused::UnknownLog));
    assert_eq!(Answer::parse(500, b""), refused(Refused::Status(500)));
    let many = "— k AAAAAAA=\n".repeat(65);
    assert_eq!(
        Answer::parse(200, many.as_bytes()),
        refused(Refused::Malformed)
    );
}

#[test]
fn a_witness_that_answers_with_other_signatures_gives_none() {
    let text = text(&entries(3));
    let key = |signer: &Cosigner| vec![signer.verifier().clone()];
    let witness = Cosigner::new("w", &[2; 32]).unwrap();
    let other = Cosigner::new("v", &[3; 32]).unwrap();
    let lines = [other.cosign(&text, 5)];
    assert_eq!(
        cosignatures(&text, &lines, &key(&witness)),
        Err(NoteError::NoKnownSignature)
    );
    let lines = [other.cosign(&text, 5), witness.cosign(&text, 5)];
    assert_eq!(
        cosignatures(&text, &lines, &key(&witness)).unwrap(),
        lines[1..]
    );
    let lines = [witness.cosign("another\n", 5)];
    assert!(cosignatures(&text, &lines, &key(&witness)).is_err());
}

#[test]
fn a_witness_watches_logs_and_not_witnesses() {
    let cosigner = Cosigner::new("w", &[2; 32]).unwrap();
    let keys: Vec<VerifierKey> = vec![cosigner.verifier().clone()];
    assert!(Witness::new(cosigner, keys, Memory::default()).is_err());
}
