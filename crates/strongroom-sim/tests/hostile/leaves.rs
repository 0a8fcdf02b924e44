//! Lies about what stands under a record or a tenant (REVIEW H4).

use super::{begun, goes_on, refused};
use std::rc::Rc;
use strongroom_sim::phone::{Letter, Phone};
use strongroom_sim::world::{Opening, World, bearer, bound};
use strongroom_wire::Handle;
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::frame::{HsmError, LeafBytes, LeftOutReason, Request, Response};

fn opened(world: &mut World, letter: &Rc<Letter>) -> Handle {
    match world.open(letter) {
        Opening::Waits(handle) => handle,
        other => panic!("a start waits: {other:?}"),
    }
}

fn guess(world: &World, phone: &Phone, code: &str) -> strongroom_sim::phone::Recovering {
    let now = world.now();
    phone.recover_start(code, phone.attempt(now), now)
}

/// Evaluates with another record leaf than that of now.
fn evaluate_with(world: &mut World, handle: Handle, leaf: Option<Vec<u8>>) -> Response {
    let Request::Evaluate { tenant, .. } = world.host.evaluation(handle) else {
        panic!("an evaluation")
    };
    world.ask(Request::Evaluate {
        handle,
        record: leaf.map(LeafBytes),
        tenant,
    })
}

#[test]
fn h4_no_ke2_leaves_for_an_old_code() {
    let (mut world, phone, old) = begun(20);
    let changed = world.register(&phone, "changed", Some(&old.owner));
    let stale = world.host.versions(&changed.receipt.record)[0].clone();
    let begun = guess(&world, &phone, "right");
    let handle = opened(&mut world, &begun.letter);
    let evaluated = evaluate_with(&mut world, handle, Some(stale));
    assert_eq!(evaluated, Response::Evaluated { answer: None });
    // Even where the proved leaf is brought along.
    assert_eq!(
        world.propose(&[handle]),
        Ok(vec![LeftOutReason::LeafMissing])
    );
    world.seal().unwrap();
    assert!(world.take_answers().is_empty(), "nothing left");
    let record = world.checkers.record(&changed.receipt.record).unwrap();
    assert_eq!(record.live().unwrap().attempts_left, 10, "nothing is spent");
    // The honest way is still open, and it is the new code that counts.
    let honest = world.host.evaluation(handle);
    world.ask(honest);
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    world.seal().unwrap();
    let (_, answer) = world.take_answers().remove(0);
    let Answer::RecoverStarted(started) = answer else {
        panic!("KE2 for the code of now: {answer:?}")
    };
    assert!(phone.open_guess(&begun, &started).is_none());
    world.recover(&phone, "changed");
}

#[test]
fn a_stale_leaf_of_the_same_code_gives_no_guesses_back() {
    let (mut world, phone, registered) = begun(21);
    let id = registered.receipt.record;
    let fresh = world.host.versions(&id)[0].clone();
    for left in [9, 8, 7] {
        let begun = guess(&world, &phone, "wrong");
        let handle = opened(&mut world, &begun.letter);
        // Ten guesses left, says this leaf, every time.
        evaluate_with(&mut world, handle, Some(fresh.clone()));
        if left < 9 {
            let left_out = world.propose(&[handle]);
            assert_eq!(left_out, Ok(vec![LeftOutReason::LeafMissing]));
            let honest = world.host.evaluation(handle);
            world.ask(honest);
        }
        assert_eq!(world.propose(&[handle]), Ok(vec![]));
        world.seal().unwrap();
        let (_, answer) = world.take_answers().remove(0);
        let Answer::RecoverStarted(started) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(started.attempts_left, left);
    }
    world.host.platform.pass(3_600_000);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

/// A host that withholds the leaf from `Evaluate` learns nothing from what a batch leaves out: it
/// would be one thing if the record answers the guess, and another if it refuses it.
#[test]
fn what_is_left_out_does_not_tell_what_a_record_says() {
    let (mut world, phone, _) = begun(24);
    for _ in 0..3 {
        world.guess(&phone, "wrong");
    }
    // The fourth guess waits. Of the third, a retry would be answered.
    let waits = guess(&world, &phone, "wrong");
    let handle = opened(&mut world, &waits.letter);
    evaluate_with(&mut world, handle, None);
    let refused = world.propose(&[handle]);
    world.pass(8 * 24 * 3_600_000);
    let answers = guess(&world, &phone, "wrong");
    let handle = opened(&mut world, &answers.letter);
    evaluate_with(&mut world, handle, None);
    let answered = world.propose(&[handle]);
    assert_eq!(refused, Ok(vec![LeftOutReason::LeafMissing]));
    assert_eq!(answered, refused);
}

/// Nor where another operation of the same batch was about the record before.
#[test]
fn a_guess_behind_another_operation_on_its_record_waits_whatever_the_record_says() {
    let (mut world, phone, _) = begun(25);
    for wait in [0, 8 * 24 * 3_600_000] {
        for _ in 0..3 {
            world.guess(&phone, "wrong");
        }
        world.pass(wait);
        let begun = guess(&world, &phone, "wrong");
        let guess = world.prepare(&begun.letter);
        let now = world.now();
        let status = world.prepare(&phone.status(None, now));
        let left_out = world.propose(&[status, guess]);
        assert_eq!(left_out, Ok(vec![LeftOutReason::LeafMissing]), "{wait}");
        world.seal().unwrap();
        assert_eq!(world.take_answers().len(), 1, "the status");
        // Evaluated anew, on the leaf that the status wrote, it is decided.
        let honest = world.host.evaluation(guess);
        world.ask(honest);
        assert_eq!(world.propose(&[guess]), Ok(vec![]), "{wait}");
        world.seal().unwrap();
        assert_eq!(world.take_answers().len(), 1, "the guess");
    }
}

#[test]
fn a_record_that_is_there_cannot_be_passed_off_as_absent() {
    let (mut world, phone, registered) = begun(22);
    let begun = guess(&world, &phone, "wrong");
    let handle = opened(&mut world, &begun.letter);
    evaluate_with(&mut world, handle, None);
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::LeafMissing]));
    world.seal().unwrap();
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 0);
    goes_on(&mut world, &phone);
}

#[test]
fn a_leaf_of_another_record_is_forged() {
    let (mut world, phone, _) = begun(23);
    let other = world.phone(&bearer(), "other");
    let theirs = world.register(&other, "other", None);
    let leaf = world.host.leaf(&theirs.receipt.record.0).unwrap();
    let begun = guess(&world, &phone, "right");
    let handle = opened(&mut world, &begun.letter);
    let Request::Evaluate { tenant, .. } = world.host.evaluation(handle) else {
        panic!("an evaluation")
    };
    let lie = Request::Evaluate {
        handle,
        record: Some(leaf),
        tenant,
    };
    refused(&mut world, lie, HsmError::LeafForged);
    let honest = world.host.evaluation(handle);
    world.ask(honest);
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    goes_on(&mut world, &phone);
}

#[test]
fn another_tenants_leaf_is_forged() {
    let (mut world, phone, _) = begun(24);
    let key = world.host.tenant_key(&bound().name);
    let leaf = world.host.leaf(&key.0);
    let begun = guess(&world, &phone, "right");
    let handle = opened(&mut world, &begun.letter);
    let Request::Evaluate { record, .. } = world.host.evaluation(handle) else {
        panic!("an evaluation")
    };
    // Once parsed anew, once from the vault's own cache of tenants.
    let other = world.phone(&bound(), "other");
    for _ in 0..2 {
        let lie = Request::Evaluate {
            handle,
            record: record.clone(),
            tenant: leaf.clone(),
        };
        refused(&mut world, lie, HsmError::LeafForged);
        let status = other.status(None, world.now());
        world.send(&status);
    }
    goes_on(&mut world, &phone);
}

#[test]
fn a_tenant_cannot_be_passed_off_as_absent() {
    let (mut world, phone, _) = begun(25);
    let begun = guess(&world, &phone, "right");
    let handle = opened(&mut world, &begun.letter);
    let Request::Evaluate { record, .. } = world.host.evaluation(handle) else {
        panic!("an evaluation")
    };
    let lie = Request::Evaluate {
        handle,
        record,
        tenant: None,
    };
    world.ask(lie);
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::LeafMissing]));
    goes_on(&mut world, &phone);
}

#[test]
fn a_changed_leaf_is_forged_wherever_it_is_changed() {
    let (mut world, phone, registered) = begun(26);
    let leaf = world.host.leaf(&registered.receipt.record.0).unwrap().0;
    let begun = guess(&world, &phone, "right");
    let handle = opened(&mut world, &begun.letter);
    for at in 0..leaf.len() {
        let mut forged = leaf.clone();
        forged[at] ^= 1;
        let response = evaluate_with(&mut world, handle, Some(forged));
        assert_eq!(
            response,
            Response::Error(HsmError::LeafForged),
            "byte {at} is bound"
        );
    }
    goes_on(&mut world, &phone);
}

#[test]
fn never_registered_is_said_of_a_proved_absence_only() {
    let (mut world, phone, registered) = begun(27);
    let status = phone.status(None, world.now());
    let handle = opened(&mut world, &status);
    evaluate_with(&mut world, handle, None);
    // The record's place in the trie speaks, not what the host left out.
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    world.seal().unwrap();
    let (_, answer) = world.take_answers().remove(0);
    let Answer::Status(report) = answer else {
        panic!("the record is there: {answer:?}")
    };
    assert_eq!(report.record, registered.receipt.record);
    let nobody = world.phone(&bearer(), "nobody");
    let status = nobody.status(None, world.now());
    let answer = world.send(&status);
    assert_eq!(answer, Answer::Refused(Refusal::NeverRegistered));
}
