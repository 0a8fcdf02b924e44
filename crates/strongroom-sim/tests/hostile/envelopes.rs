//! Envelopes that were damaged, cut, made longer, or sent without end.

use super::{begun, goes_on};
use std::rc::Rc;
use strongroom_sim::phone::{Letter, Phone};
use strongroom_sim::world::{Opening, World, bearer};
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::frame::{HsmError, Response};
use strongroom_wire::limits::{ENVELOPE_BYTES_MAX, HANDLES_MAX};

/// A start and a finish that are good.
fn letters(world: &mut World, phone: &Phone) -> [Rc<Letter>; 2] {
    let status = phone.status(None, world.now());
    let (guess, started) = world.guessed(phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    [
        status,
        phone.recover_finish(&started, ke3, phone.op(world.now())),
    ]
}

#[track_caller]
fn unopened(world: &mut World, envelope: &[u8]) {
    let response = world.host.open(envelope);
    assert_eq!(response, Response::Error(HsmError::EnvelopeUnopened));
}

#[test]
fn an_envelope_changed_anywhere_does_not_open() {
    let (mut world, phone, _) = begun(90);
    for letter in letters(&mut world, &phone) {
        for at in 0..letter.envelope.len() {
            let mut changed = letter.envelope.clone();
            changed[at] ^= 1 << (at % 8);
            unopened(&mut world, &changed);
        }
    }
    assert_eq!(world.standing().handles, 0);
    goes_on(&mut world, &phone);
}

#[test]
fn an_envelope_cut_anywhere_does_not_open() {
    let (mut world, phone, _) = begun(91);
    for letter in letters(&mut world, &phone) {
        for length in 0..letter.envelope.len() {
            unopened(&mut world, &letter.envelope[..length]);
        }
    }
    goes_on(&mut world, &phone);
}

#[test]
fn an_envelope_made_longer_does_not_open() {
    let (mut world, phone, _) = begun(92);
    for letter in letters(&mut world, &phone) {
        for more in [1, 100, ENVELOPE_BYTES_MAX, 1 << 20] {
            let mut longer = letter.envelope.clone();
            longer.resize(longer.len() + more, 0);
            unopened(&mut world, &longer);
        }
    }
    goes_on(&mut world, &phone);
}

#[test]
fn another_fleets_envelope_does_not_open() {
    let (mut world, phone, _) = begun(93);
    let (mut other, theirs, _) = begun(94);
    for letter in letters(&mut other, &theirs) {
        unopened(&mut world, &letter.envelope);
    }
    goes_on(&mut world, &phone);
}

#[test]
fn a_ticket_of_one_kind_opens_no_finish_of_the_other() {
    let (mut world, phone, _) = begun(95);
    let (guess, started) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    let recover = phone.recover_finish(&started, ke3, phone.op(world.now()));
    let (registering, begun) = world.register_start(&phone, "right");
    let root = strongroom_crypto::wrap::Root::generate(&phone.entropy);
    let op = phone.op(world.now());
    let register = phone.register_finish(registering, &begun, (&root, op), None);
    let register = register.unwrap();
    for (under, words) in [(&recover, &register), (&register, &recover)] {
        let lie = phone.reworded(under, words.message.clone());
        let Opening::Answered(answer) = world.open(&lie) else {
            panic!("answered at once")
        };
        assert_eq!(answer, Answer::Refused(Refusal::InvalidRequest));
    }
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn words_that_are_no_request_are_refused_to_their_sender() {
    let (mut world, phone, _) = begun(96);
    for letter in letters(&mut world, &phone) {
        for length in [0, 1, letter.message.len() - 1] {
            let cut = phone.reworded(&letter, letter.message[..length].to_vec());
            let Opening::Answered(answer) = world.open(&cut) else {
                panic!("answered at once")
            };
            assert_eq!(answer, Answer::Refused(Refusal::InvalidRequest));
        }
    }
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_element_that_is_none_spends_nothing() {
    let (mut world, phone, registered) = begun(97);
    let now = world.now();
    let guess = phone.recover_start("right", phone.attempt(now), now);
    let start = strongroom_wire::decode(&guess.letter.message).unwrap();
    let strongroom_wire::request::Start::Recover(start) = start else {
        panic!("a guess")
    };
    // The identity, and bytes that are no element.
    for filler in [0, 0xff] {
        let mut start = start.clone();
        start.ke1[..32].fill(filler);
        let words = strongroom_wire::request::Start::Recover(start);
        let lie = phone.reworded(&guess.letter, strongroom_wire::encode(&words));
        let answer = world.send(&lie);
        assert_eq!(answer, Answer::Refused(Refusal::InvalidRequest));
    }
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 0);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn too_many_open_envelopes_are_busy() {
    let (mut world, phone, registered) = begun(98);
    // A finish is the cheaper one to open.
    let finish = &registered.letters[1];
    let mut handles = Vec::new();
    for _ in 0..HANDLES_MAX {
        let Response::Opened { handle, .. } = world.host.open(&finish.envelope) else {
            panic!("there is room")
        };
        handles.push(handle);
    }
    let response = world.host.open(&finish.envelope);
    assert_eq!(response, Response::Error(HsmError::Busy));
    let forget = strongroom_wire::frame::Request::Forget { handles };
    assert_eq!(world.ask(forget), Response::Done);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
    let other = world.phone(&bearer(), "and one more");
    world.register(&other, "code", None);
}
