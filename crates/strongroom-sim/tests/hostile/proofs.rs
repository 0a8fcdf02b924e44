//! Lies about the trie, and about which operations there are.

use super::{begun, goes_on, refused};
use strongroom_sim::world::{Opening, bearer};
use strongroom_wire::Handle;
use strongroom_wire::frame::{HsmError, LeftOutReason, Request, Response};
use strongroom_wire::limits::BATCH_MAX;

fn with_proof(request: Request, change: impl FnOnce(&mut Vec<u8>)) -> Request {
    let Request::Propose {
        handles,
        mut proof,
        leaves,
    } = request
    else {
        panic!("a proposal")
    };
    change(&mut proof);
    Request::Propose {
        handles,
        proof,
        leaves,
    }
}

#[test]
fn a_truncated_proof_is_invalid_at_every_length() {
    let (mut world, phone, _) = begun(30);
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let honest = world.host.proposal(&[handle]);
    let Request::Propose { proof, .. } = &honest else {
        panic!("a proposal")
    };
    for length in 0..proof.len() {
        let lie = with_proof(honest.clone(), |proof| proof.truncate(length));
        let response = world.ask(lie);
        assert_eq!(response, Response::Error(HsmError::ProofInvalid));
    }
    let longer = with_proof(honest.clone(), |proof| proof.push(0));
    refused(&mut world, longer, HsmError::ProofInvalid);
    assert!(matches!(world.ask(honest), Response::Proposed { .. }));
    goes_on(&mut world, &phone);
}

#[test]
fn a_changed_proof_is_invalid_wherever_it_is_changed() {
    let (mut world, phone, _) = begun(31);
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let honest = world.host.proposal(&[handle]);
    let Request::Propose { proof, .. } = &honest else {
        panic!("a proposal")
    };
    for at in 0..proof.len() {
        let lie = with_proof(honest.clone(), |proof| proof[at] ^= 1);
        let response = world.ask(lie);
        assert_eq!(response, Response::Error(HsmError::ProofInvalid));
    }
    goes_on(&mut world, &phone);
}

#[test]
fn a_proof_of_an_older_root_is_invalid() {
    let (mut world, phone, _) = begun(32);
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let stale = world.host.proposal(&[handle]);
    let other = world.phone(&bearer(), "other");
    world.register(&other, "other", None);
    refused(&mut world, stale, HsmError::ProofInvalid);
    goes_on(&mut world, &phone);
}

#[test]
fn a_disk_rolled_back_under_a_true_anchor_proves_nothing() {
    let (mut world, phone, registered) = begun(33);
    let old = world.host.copy_disk();
    world.guessed(&phone, "wrong");
    let newest = world.host.copy_disk();
    world.host.restore_disk(&old);
    world.restart().unwrap();
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let lie = world.host.proposal(&[handle]);
    refused(&mut world, lie, HsmError::ProofInvalid);
    world.host.restore_disk(&newest);
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 1, "the guess stays spent");
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn what_a_proof_does_not_cover_is_left_out() {
    let (mut world, phone, _) = begun(34);
    for number in 0..8 {
        let other = world.phone(&bearer(), &format!("other {number}"));
        world.register(&other, "other", None);
    }
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let key = world.host.operations()[&handle].record.0;
    let far = world.host.prove(&[key.map(|byte| !byte)]);
    let lie = with_proof(world.host.proposal(&[handle]), |proof| *proof = far);
    match world.ask(lie) {
        Response::Proposed { left_out, .. } => {
            assert_eq!(left_out[0].why, LeftOutReason::NotCovered);
        }
        other => panic!("the batch stands without it: {other:?}"),
    }
    assert_eq!(world.propose(&[handle]), Ok(vec![]), "it waits on the desk");
    goes_on(&mut world, &phone);
}

#[test]
fn a_handle_twice_in_a_batch_is_decided_once() {
    let (mut world, phone, registered) = begun(35);
    let now = world.now();
    let guess = phone.recover_start("wrong", phone.attempt(now), now);
    let handle = world.prepare(&guess.letter);
    let left_out = world.propose(&[handle, handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::NotEvaluated]));
    world.seal().unwrap();
    assert_eq!(world.take_answers().len(), 1);
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 1);
    let again = world.propose(&[handle]);
    assert_eq!(again, Ok(vec![LeftOutReason::NotEvaluated]), "it is gone");
    goes_on(&mut world, &phone);
}

#[test]
fn an_unknown_handle_is_named() {
    let (mut world, phone, _) = begun(36);
    let handle = Handle(u64::MAX);
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::NotEvaluated]));
    let lie = Request::Evaluate {
        handle,
        record: None,
        tenant: None,
    };
    refused(&mut world, lie, HsmError::HandleUnknown);
    goes_on(&mut world, &phone);
}

#[test]
fn a_start_that_was_not_evaluated_waits() {
    let (mut world, phone, _) = begun(37);
    let status = phone.status(None, world.now());
    let Opening::Waits(handle) = world.open(&status) else {
        panic!("a start waits")
    };
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::NotEvaluated]));
    let honest = world.host.evaluation(handle);
    world.ask(honest);
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    goes_on(&mut world, &phone);
}

#[test]
fn a_forgotten_handle_is_gone() {
    let (mut world, phone, _) = begun(38);
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    let handles = vec![handle];
    assert_eq!(world.ask(Request::Forget { handles }), Response::Done);
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::NotEvaluated]));
    goes_on(&mut world, &phone);
}

#[test]
fn a_batch_over_the_limit_is_refused() {
    let (mut world, phone, _) = begun(39);
    let lie = world.host.proposal(&vec![Handle(1); BATCH_MAX + 1]);
    refused(&mut world, lie, HsmError::BatchTooLarge);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}
