//! H1: an answer that was lost costs nothing, whatever it was an answer to.

use super::{DAY, begun, record, refusal};
use std::rc::Rc;
use strongroom_crypto::wrap::Root;
use strongroom_sim::phone::Letter;
use strongroom_sim::world::World;
use strongroom_wire::answer::{EventKind, Receipt, Refusal};
use strongroom_wire::frame::Response;
use strongroom_wire::request::Finish;
use strongroom_wire::{decode, encode};

/// Sends a letter whose answer is lost after it was sealed, then again: the receipt of the retry,
/// which must be the one that was lost.
#[track_caller]
fn lost_and_retried(world: &mut World, letter: &Rc<Letter>) -> Receipt {
    let handle = match world.open(letter) {
        strongroom_sim::world::Opening::Waits(handle) => handle,
        other => panic!("it waits: {other:?}"),
    };
    let evaluation = world.host.evaluation(handle);
    world.ask(evaluation);
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    let notarisation = world.host.notarisation();
    assert!(matches!(world.ask(notarisation), Response::Notarised(_)));
    world.restart().unwrap();
    assert!(world.take_answers().is_empty(), "the answer is lost");
    let index = world.host.committed().last().unwrap().proposal.header.index;
    world.pass(1_000);
    let retried = world.receipt(letter);
    assert_eq!(retried.index, index, "the entry of the lost answer");
    let again = world.receipt(letter);
    assert_eq!(retried, again);
    retried
}

#[test]
fn h1_a_lost_answer_to_a_registration() {
    let (mut world, _, _) = begun(20);
    let phone = world.phone(&strongroom_sim::world::bearer(), "new");
    let (registering, started) = world.register_start(&phone, "code");
    let root = Root::generate(&phone.entropy);
    let stored = (&root, phone.op(world.now()));
    let finish = phone.register_finish(registering, &started, stored, None);
    let finish = finish.unwrap();
    assert_eq!(
        lost_and_retried(&mut world, &finish).kind,
        EventKind::Registered
    );
    assert_eq!(world.recover(&phone, "code").0.expose(), root.expose());
    // The retry still works after another operation: it is remembered by itself.
    assert_eq!(world.receipt(&finish).kind, EventKind::Registered);
}

#[test]
fn h1_the_same_registration_with_another_secret_is_not_taken_for_it() {
    let (mut world, phone, registered) = begun(21);
    let finish = &registered.letters[1];
    let Ok(Finish::Register(mut words)) = decode(&finish.message) else {
        panic!("a registration")
    };
    words.wrapped[0] ^= 1;
    let other = phone.reworded(finish, encode(&Finish::Register(words)));
    let answer = world.send(&other);
    assert_eq!(refusal(answer), Refusal::OpIdReused);
    world.recover(&phone, "right");
}

#[test]
fn h1_a_lost_answer_to_a_change_of_code() {
    let (mut world, phone, registered) = begun(22);
    let (registering, started) = world.register_start(&phone, "new");
    let root = Root::generate(&phone.entropy);
    let stored = (&root, phone.op(world.now()));
    let owner = Some(&registered.owner);
    let finish = phone.register_finish(registering, &started, stored, owner);
    let receipt = lost_and_retried(&mut world, &finish.unwrap());
    assert_eq!(receipt.kind, EventKind::Replaced);
    assert_eq!(receipt.totals.replacements, 1);
    assert_eq!(world.recover(&phone, "new").0.expose(), root.expose());
}

#[test]
fn h1_a_lost_answer_to_a_recovery() {
    let (mut world, phone, _) = begun(23);
    let (guess, started) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    let op = phone.op(world.now());
    let finish = phone.recover_finish(&started, ke3, op);
    assert_eq!(
        lost_and_retried(&mut world, &finish).kind,
        EventKind::Recovered
    );
    let other = phone.recover_finish(&started, [9; 64], op);
    assert_eq!(refusal(world.send(&other)), Refusal::OpIdReused);
    let anew = phone.recover_finish(&started, ke3, phone.op(world.now()));
    assert_eq!(refusal(world.send(&anew)), Refusal::Superseded);
}

#[test]
fn h1_a_lost_answer_to_a_deletion() {
    let (mut world, phone, registered) = begun(24);
    let now = world.now();
    let op = phone.op(now);
    let delete = phone.delete(op, Some(&registered.owner), now);
    assert_eq!(
        lost_and_retried(&mut world, &delete).kind,
        EventKind::Deleted
    );
    // A fresh envelope with no proof, which could not be proved any more, is the same operation.
    let again = phone.delete(op, None, now);
    assert_eq!(world.receipt(&again).kind, EventKind::Deleted);
    let other = phone.reset(op, now);
    assert_eq!(refusal(world.send(&other)), Refusal::OpIdReused);
}

#[test]
fn h1_a_lost_answer_to_a_reset_and_to_its_end() {
    let (mut world, phone, registered) = begun(25);
    let now = world.now();
    let reset = phone.op(now);
    let begun = lost_and_retried(&mut world, &phone.reset(reset, now));
    assert_eq!(begun.kind, EventKind::ResetStarted);
    assert_eq!(begun.totals.resets, 1);
    let cancel = phone.op(now);
    let letter = phone.cancel_reset(cancel, reset, &registered.owner, now);
    let ended = lost_and_retried(&mut world, &letter);
    assert_eq!(ended.kind, EventKind::ResetCancelled);
    let other = phone.cancel_reset(cancel, phone.op(now), &registered.owner, now);
    assert_eq!(refusal(world.send(&other)), Refusal::OpIdReused);
    assert!(record(&world, &registered).live().unwrap().reset.is_none());
}

#[test]
fn h1_a_lost_answer_to_a_guess_spends_one() {
    let (mut world, phone, registered) = begun(26);
    let now = world.now();
    let mut guess = phone.recover_start("wrong", phone.attempt(now), now);
    for _ in 0..5 {
        let handle = world.prepare(&guess.letter);
        world.propose(&[handle]).unwrap();
        let notarisation = world.host.notarisation();
        world.ask(notarisation);
        world.restart().unwrap();
        guess = phone.recover_again(guess, world.now());
    }
    let record = record(&world, &registered);
    assert_eq!(record.lineage.totals.starts, 1);
    assert_eq!(record.live().unwrap().attempts_left, 9);
}

/// A host that kept letters of an owner sends them again later, in any order.
#[test]
fn h1_an_old_change_sent_again_after_another_changes_nothing() {
    let (mut world, phone, registered) = begun(27);
    let now = world.now();
    let first = phone.op(now);
    let reset = phone.reset(first, now);
    world.receipt(&reset);
    let cancel = phone.cancel_reset(phone.op(now), first, &registered.owner, now);
    world.receipt(&cancel);
    // The reset's own retry is over, and as a new reset its id is too old.
    let answer = world.send(&reset);
    assert!(matches!(refusal(answer), Refusal::StaleOp { .. }));
    assert!(record(&world, &registered).live().unwrap().reset.is_none());
}

#[test]
fn a_withheld_finish_cannot_undo_a_deletion_or_bring_an_old_code_back() {
    let (mut world, phone, registered) = begun(28);
    let (registering, started) = world.register_start(&phone, "withheld");
    let root = Root::generate(&phone.entropy);
    let stored = (&root, phone.op(world.now()));
    let owner = Some(&registered.owner);
    let withheld = phone.register_finish(registering, &started, stored, owner);
    let withheld = withheld.unwrap();
    let now = world.now();
    let delete = phone.delete(phone.op(now), owner, now);
    world.receipt(&delete);
    assert_eq!(refusal(world.send(&withheld)), Refusal::StaleTicket);
    world.register(&phone, "anew", None);
    assert_eq!(refusal(world.send(&withheld)), Refusal::StaleTicket);
    let first = &registered.letters[1];
    assert_eq!(refusal(world.send(first)), Refusal::StaleTicket);
    world.pass(DAY);
    world.recover(&phone, "anew");
}
