//! Answers that are none, and the bytes that an owner signs (DESIGN §4; REVIEW H11).

use super::fleet::{CODE, hsm};
use super::hsm::{Asked, Hsm, INCARNATION, ISSUER, SUBJECT, record_id};
use strongroom_client::issuer::Issuer;
use strongroom_client::session::{
    self, Outgoing, Ownership, Recovery, Registration, SessionError as E,
};
use strongroom_client::tokens::Tokens;
use strongroom_client::wire::answer::{Answer, Refusal};
use strongroom_client::wire::envelope::SizeClass;
use strongroom_client::wire::request::{Finish, Start};
use strongroom_client::wire::{AttemptId, Generation, OpId, Slot, UnixMs, codec, encode};
use strongroom_client::{Fleet, Ksf, Roots};
use strongroom_crypto::statement::SigningKey;
use strongroom_crypto::wrap::Root;

const NO_STRETCHING: Ksf = Ksf::DangerIdentity;

fn tokens(hsm: &Hsm) -> Tokens {
    let possession = SigningKey::from_seed(&[6; 32]);
    let issuer = Issuer::new(ISSUER, &[5; 32]);
    issuer.tokens(hsm.fleet(), SUBJECT, &possession).unwrap()
}

fn fleet(hsm: &Hsm) -> Fleet {
    Fleet::from_bundle(&hsm.bundle(), &Roots::development(hsm.fleet())).unwrap()
}

fn root() -> Root {
    Root::from_bytes([4; 32])
}

/// Carries out a request and gives the answer as the client reads it.
fn ask(hsm: &Hsm, outgoing: &Outgoing) -> Answer {
    let opened = hsm.open(&outgoing.envelope);
    outgoing.open(&opened.seal(&hsm.decide(&opened))).unwrap()
}

fn register(hsm: &Hsm) {
    let (fleet, tokens) = (fleet(hsm), tokens(hsm));
    let registration = Registration::new(CODE, Slot(0)).unwrap();
    let Answer::RegisterStarted(started) =
        ask(hsm, &registration.request(&fleet, &tokens).unwrap())
    else {
        panic!("the first answer")
    };
    let secret = (&root(), b"payload".as_slice());
    let ready = registration.answered(&fleet, &tokens, &started, NO_STRETCHING, secret, None);
    let ready = ready.unwrap();
    let finish = session::seal_finish(&fleet, &ready.grant, &ready.finish).unwrap();
    assert!(matches!(ask(hsm, &finish), Answer::Receipt(_)));
}

fn ownership(hsm: &Hsm) -> Ownership {
    Ownership::new(
        &root(),
        hsm.fleet(),
        INCARNATION,
        record_id(Slot(0)),
        Generation(2),
    )
}

#[test]
fn an_answer_that_was_damaged_cut_or_made_for_another_request_does_not_open() {
    let hsm = hsm();
    register(&hsm);
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let one = session::status(&fleet, &tokens, Slot(0), None).unwrap();
    let other = session::status(&fleet, &tokens, Slot(0), None).unwrap();
    let opened = hsm.open(&one.envelope);
    let answer = opened.seal(&hsm.decide(&opened));
    assert!(one.open(&answer).is_ok());
    assert_eq!(other.open(&answer).err(), Some(E::Unauthentic));
    for at in 0..answer.len() {
        let mut damaged = answer.clone();
        damaged[at] ^= 1;
        assert_eq!(one.open(&damaged).err(), Some(E::Unauthentic), "byte {at}");
        assert_eq!(
            one.open(&answer[..at]).err(),
            Some(E::Unauthentic),
            "cut at {at}"
        );
    }
    let longer = [answer.as_slice(), &[0]].concat();
    assert_eq!(one.open(&longer).err(), Some(E::Unauthentic));
}

#[test]
fn an_answer_that_opens_and_is_no_canonical_message_is_none() {
    let hsm = hsm();
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let outgoing = session::status(&fleet, &tokens, Slot(0), None).unwrap();
    let opened = hsm.open(&outgoing.envelope);
    let sound = encode(&Answer::Refused(Refusal::NeverRegistered));
    let padded = |message: &[u8]| codec::pad(message, SizeClass::Small.bytes()).unwrap();
    assert!(outgoing.open(&opened.seal_bytes(&padded(&sound))).is_ok());
    let mut padding = padded(&sound);
    *padding.last_mut().unwrap() = 1;
    let trailing = padded(&[sound.as_slice(), &[0xf6]].concat());
    for bytes in [
        Vec::new(),
        vec![0; 3],
        padded(b""),
        padded(b"text"),
        padding,
        trailing,
    ] {
        let read = outgoing.open(&opened.seal_bytes(&bytes));
        assert_eq!(read.err(), Some(E::Unauthentic));
    }
}

#[test]
fn an_answer_to_another_finish_under_the_same_ticket_does_not_open() {
    let hsm = hsm();
    register(&hsm);
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let guess = Recovery::new(CODE, Slot(0), session::new_attempt(UnixMs(9), None)).unwrap();
    let Answer::RecoverStarted(started) = ask(&hsm, &guess.request(&fleet, &tokens).unwrap())
    else {
        panic!("a guess is answered")
    };
    let opened = guess.answered(&fleet, &tokens, &started).unwrap();
    assert_eq!(*opened.payload, b"payload");
    let seal = || session::seal_finish(&fleet, &opened.grant, &opened.finish).unwrap();
    let (one, again) = (seal(), seal());
    let received = hsm.open(&one.envelope);
    let answer = received.seal(&hsm.decide(&received));
    assert!(matches!(one.open(&answer), Ok(Answer::Receipt(_))));
    assert_eq!(again.open(&answer).err(), Some(E::Unauthentic));
}

#[test]
fn a_stretching_set_outside_the_table_is_refused_before_anything_is_stretched() {
    let hsm = hsm();
    register(&hsm);
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let guess = Recovery::new(CODE, Slot(0), session::new_attempt(UnixMs(9), None)).unwrap();
    let Answer::RecoverStarted(started) = ask(&hsm, &guess.request(&fleet, &tokens).unwrap())
    else {
        panic!("a guess is answered")
    };
    for code in (0..255).filter(|code| Ksf::from_code(*code).is_none()) {
        let mut other = started.clone();
        other.ksf = code;
        let refused = guess.answered(&fleet, &tokens, &other).err();
        assert_eq!(refused, Some(E::UnknownKsf), "{code}");
    }
    // Another set of the table opens nothing: it stretches to another key.
    let mut other = started.clone();
    other.ksf = Ksf::Argon2idM19T2.code();
    assert_eq!(
        guess.answered(&fleet, &tokens, &other).err(),
        Some(E::WrongCode)
    );
    // No set is below the floor, 19 MiB and two passes.
    let costs = (0..255).filter_map(Ksf::from_code).filter_map(Ksf::cost);
    assert!(
        costs
            .clone()
            .all(|(kib, passes)| kib >= 19 * 1024 && passes >= 2)
    );
    assert_eq!(costs.count(), 3);
}

#[test]
fn a_secret_wrapped_for_another_user_or_damaged_is_told_from_a_wrong_code() {
    let hsm = hsm();
    register(&hsm);
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let guess = Recovery::new(CODE, Slot(0), session::new_attempt(UnixMs(9), None)).unwrap();
    let Answer::RecoverStarted(started) = ask(&hsm, &guess.request(&fleet, &tokens).unwrap())
    else {
        panic!("a guess is answered")
    };
    let read = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = started.clone();
        change(&mut other.wrapped);
        guess.answered(&fleet, &tokens, &other).err()
    };
    assert_eq!(read(&|_| ()), None);
    assert_eq!(read(&|wrapped| wrapped.clear()), Some(E::Unauthentic));
    assert_eq!(read(&|wrapped| wrapped[0] ^= 1), Some(E::Unauthentic));
    assert_eq!(read(&|wrapped| wrapped[99] ^= 1), Some(E::Unauthentic));
    // Under another subject's name the very code is wrong.
    let mut other = tokens.clone();
    other.subject = "somebody else".to_owned();
    assert_eq!(
        guess.answered(&fleet, &other, &started).err(),
        Some(E::WrongCode)
    );
    let mut ke2 = started.clone();
    ke2.ke2 = [0; 320];
    assert_eq!(
        guess.answered(&fleet, &tokens, &ke2).err(),
        Some(E::WrongCode)
    );
}

#[test]
fn a_payload_over_its_limit_and_a_token_over_its_class_are_too_long() {
    let hsm = hsm();
    let (fleet, mut tokens) = (fleet(&hsm), tokens(&hsm));
    let registration = Registration::new(CODE, Slot(0)).unwrap();
    let Answer::RegisterStarted(started) =
        ask(&hsm, &registration.request(&fleet, &tokens).unwrap())
    else {
        panic!("the first answer")
    };
    let (root, payload) = (root(), vec![0; 1025]);
    let secret = (&root, payload.as_slice());
    let refused = registration.answered(&fleet, &tokens, &started, NO_STRETCHING, secret, None);
    assert_eq!(refused.err(), Some(E::TooLong));
    tokens.vault = "a".repeat(4096);
    let refused = session::status(&fleet, &tokens, Slot(0), None);
    assert_eq!(refused.err(), Some(E::TooLong));
}

/// The statement that an owner signs, laid out by hand: an array of eight (RFC 8949).
fn statement(hsm: &Hsm, operation: u8, op: OpId, body: &[u8], enc: &[u8]) -> Vec<u8> {
    let label = b"strongroom/v1 owner proof";
    let mut bytes = vec![25];
    bytes.extend_from_slice(label);
    bytes.extend_from_slice(&[0x88, 0x58, 32]);
    bytes.extend_from_slice(&hsm.fleet().0);
    bytes.extend_from_slice(&[3, operation, 0x58, 32]);
    bytes.extend_from_slice(&record_id(Slot(0)).0);
    bytes.extend_from_slice(&[2, 0x50]);
    bytes.extend_from_slice(&op.0);
    for digest in [body, enc] {
        bytes.extend_from_slice(&[0x58, 32]);
        bytes.extend_from_slice(digest);
    }
    bytes
}

#[test]
fn owner_proofs_are_signatures_over_exactly_these_bytes() {
    let hsm = hsm();
    let (fleet, tokens, owner) = (fleet(&hsm), tokens(&hsm), ownership(&hsm));
    let (op, reset) = (OpId([7; 16]), OpId([8; 16]));
    let status = session::status(&fleet, &tokens, Slot(0), Some(&owner));
    let delete = session::delete(&fleet, &tokens, Slot(0), op, Some(&owner));
    let cancel = session::cancel_reset(&fleet, &tokens, Slot(0), (op, reset), &owner);
    let key = root().owner_key(&hsm.fleet().0, &record_id(Slot(0)).0);
    for outgoing in [status.unwrap(), delete.unwrap(), cancel.unwrap()] {
        let opened = hsm.open(&outgoing.envelope);
        let (operation, op, body, proof) = match &opened.asked {
            Asked::Start(Start::Delete(it)) => (1, it.op, it.body(), it.owner_proof.unwrap()),
            Asked::Start(Start::CancelReset(it)) => (2, it.op, it.body(), it.owner_proof),
            Asked::Start(Start::Status(it)) => {
                (3, OpId([0; 16]), it.body(), it.owner_proof.unwrap())
            }
            other => panic!("{other:?}"),
        };
        let bytes = statement(&hsm, operation, op, &body.0, &opened.enc.0);
        assert_eq!(key.sign_raw(&bytes), proof.0, "operation {operation}");
    }
}

#[test]
fn a_replacement_is_proved_over_the_ticket_it_goes_under() {
    let hsm = hsm();
    register(&hsm);
    let (fleet, tokens, owner) = (fleet(&hsm), tokens(&hsm), ownership(&hsm));
    let registration = Registration::new(b"another code", Slot(0)).unwrap();
    let Answer::RegisterStarted(started) =
        ask(&hsm, &registration.request(&fleet, &tokens).unwrap())
    else {
        panic!("the first answer")
    };
    assert!(started.live);
    let secret = (&root(), b"".as_slice());
    let ready = registration.answered(
        &fleet,
        &tokens,
        &started,
        NO_STRETCHING,
        secret,
        Some(&owner),
    );
    let ready = ready.unwrap();
    let Finish::Register(finish) = &ready.finish else {
        panic!("a registration")
    };
    let outgoing = session::seal_finish(&fleet, &ready.grant, &ready.finish).unwrap();
    let opened = hsm.open(&outgoing.envelope);
    let body = finish.body(&opened.enc);
    let bytes = statement(&hsm, 0, finish.op, &body.0, &opened.enc.0);
    let key = root().owner_key(&hsm.fleet().0, &record_id(Slot(0)).0);
    assert_eq!(key.sign_raw(&bytes), finish.owner_proof.unwrap().0);
}

#[test]
fn attempt_ids_beat_what_they_must_and_stay_near_the_time() {
    let id = |ms, last| AttemptId::new(UnixMs(ms), [last; 8]);
    assert_eq!(session::new_attempt(UnixMs(50), None).time(), UnixMs(50));
    assert_eq!(
        session::new_attempt(UnixMs(50), Some(id(20, 0xff))).time(),
        UnixMs(50)
    );
    // The clock went back: one past the greatest, whatever its random half.
    for now in [0, 49, 50, 99, 100] {
        let next = session::new_attempt(UnixMs(now), Some(id(100, 0xff)));
        assert!(next > id(100, 0xff) && next.time() == UnixMs(101), "{now}");
    }
    let mut greatest = id(100, 0);
    for now in (0..300).rev() {
        let next = session::new_attempt(UnixMs(now), Some(greatest));
        assert!(next > greatest);
        greatest = next;
    }
    assert_ne!(
        session::new_attempt(UnixMs(5), None),
        session::new_attempt(UnixMs(5), None)
    );
    let op = |now, greatest| session::new_op(UnixMs(now), greatest);
    assert_ne!(op(5, None), op(5, None));
    assert_eq!(op(5, None).time(), UnixMs(5));
    let greatest = OpId::new(UnixMs(9), [0xff; 8]);
    assert!(op(5, Some(greatest)) > greatest);
    // No id is past the end of time: the fleet then refuses it as from the future.
    let last = session::new_attempt(UnixMs(0), Some(id(u64::MAX, 0)));
    assert_eq!(last.time(), UnixMs(u64::MAX));
}

#[test]
fn a_guess_is_the_same_again_from_the_same_code_and_seed_only() {
    let hsm = hsm();
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let attempt = session::new_attempt(UnixMs(5), None);
    let ke1 = |code: &[u8], seed: u8| {
        let guess = Recovery::from_seed(code, Slot(0), attempt, &[seed; 32]).unwrap();
        let outgoing = guess.request(&fleet, &tokens).unwrap();
        let Asked::Start(Start::Recover(start)) = hsm.open(&outgoing.envelope).asked else {
            panic!("a guess")
        };
        start.ke1
    };
    assert_eq!(ke1(CODE, 1), ke1(CODE, 1));
    assert_ne!(ke1(CODE, 1), ke1(CODE, 2));
    assert_ne!(ke1(CODE, 1)[..32], ke1(b"another", 1)[..32]);
}

#[test]
fn a_renumbered_guess_is_the_same_guess() {
    let hsm = hsm();
    let (fleet, tokens) = (fleet(&hsm), tokens(&hsm));
    let mut guess = Recovery::new(CODE, Slot(0), session::new_attempt(UnixMs(5), None)).unwrap();
    let sent = |guess: &Recovery| {
        let outgoing = guess.request(&fleet, &tokens).unwrap();
        let Asked::Start(Start::Recover(start)) = hsm.open(&outgoing.envelope).asked else {
            panic!("a guess")
        };
        (start.attempt, start.ke1)
    };
    let before = sent(&guess);
    assert_eq!(sent(&guess), before);
    let next = session::new_attempt(UnixMs(6), Some(before.0));
    guess.renumber(next);
    assert_eq!(sent(&guess), (next, before.1));
    let again = guess.clone();
    assert_eq!(sent(&again), sent(&guess));
}
