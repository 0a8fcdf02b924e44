//! H11, P6: what an owner proof is good for, and what ends a live record without one.

use super::{DAY, begun, record, refusal};
use strongroom_sim::phone::{About, Owner};
use strongroom_sim::world::{World, bearer};
use strongroom_wire::answer::{Answer, Destruction, EventKind, Refusal};
use strongroom_wire::request::{CancelReset, Delete, Operation, Start};
use strongroom_wire::{Generation, Incarnation, OpId, Slot};

#[test]
fn h11_without_the_root_a_live_record_is_neither_replaced_nor_deleted() {
    let (mut world, _, registered) = begun(30);
    let thief = world.phone(&bearer(), "user");
    let now = world.now();
    let delete = thief.delete(thief.op(now), None, now);
    assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    let own = Owner {
        root: strongroom_crypto::wrap::Root::generate(&thief.entropy),
        ..registered.owner.clone()
    };
    let delete = thief.delete(thief.op(now), Some(&own), now);
    assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    for owner in [None, Some(&own)] {
        let (registering, started) = world.register_start(&thief, "mine");
        assert!(started.live);
        let stored = (&own.root, thief.op(now));
        let finish = thief.register_finish(registering, &started, stored, owner);
        let answer = world.send(&finish.unwrap());
        assert_eq!(refusal(answer), Refusal::OwnerProofNeeded);
    }
    assert!(record(&world, &registered).live().is_some());
}

#[test]
fn h11_a_proof_names_record_generation_incarnation_and_fleet() {
    let (mut world, mut phone, registered) = begun(31);
    let owner = &registered.owner;
    phone.slot = Slot(1);
    let other = world.register(&phone, "other", None);
    phone.slot = Slot(0);
    let wrong = [
        // One root in two slots: the key of one proves nothing of the other.
        Owner {
            record: other.receipt.record,
            ..owner.clone()
        },
        Owner {
            generation: Generation(owner.generation.0 + 1),
            ..owner.clone()
        },
        Owner {
            incarnation: Incarnation(1),
            ..owner.clone()
        },
    ];
    let now = world.now();
    for wrong in &wrong {
        let delete = phone.delete(phone.op(now), Some(wrong), now);
        assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    }
    let elsewhere = World::new(32);
    let mut signer = world.phone(&bearer(), "user");
    signer.manifest = elsewhere.host.manifest().clone();
    let op = phone.op(now);
    let delete = phone.start(About::Delete { op, owner: None }, |out| {
        let mut delete = Delete {
            authorization: phone.authorization(out, now),
            slot: Slot(0),
            op,
            owner_proof: None,
        };
        let body = delete.body();
        let proof = signer.owner_proof(owner, Operation::Delete, op, body, out.enc());
        delete.owner_proof = Some(proof);
        Start::Delete(delete)
    });
    assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    assert!(record(&world, &registered).live().is_some());
}

#[test]
fn h11_a_proof_is_good_in_its_own_envelope_only() {
    let (mut world, phone, registered) = begun(33);
    let now = world.now();
    let op = phone.op(now);
    let delete = phone.delete(op, Some(&registered.owner), now);
    // Its words in another envelope, as whoever reads them somewhere could send them.
    let copied = phone.reworded(&delete, delete.message.clone());
    assert_eq!(refusal(world.send(&copied)), Refusal::OwnerProofNeeded);
    assert_eq!(world.receipt(&delete).kind, EventKind::Deleted);
}

#[test]
fn h11_a_proof_for_one_operation_is_none_for_another() {
    let (mut world, phone, registered) = begun(34);
    let now = world.now();
    let wrong = [
        Operation::Replace,
        Operation::Status,
        Operation::CancelReset,
        Operation::Reset,
    ];
    for operation in wrong {
        let op = phone.op(now);
        let delete = phone.start(About::Delete { op, owner: None }, |out| {
            let mut delete = Delete {
                authorization: phone.authorization(out, now),
                slot: Slot(0),
                op,
                owner_proof: None,
            };
            let (body, enc) = (delete.body(), out.enc());
            let proof = phone.owner_proof(&registered.owner, operation, op, body, enc);
            delete.owner_proof = Some(proof);
            Start::Delete(delete)
        });
        assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    }
}

#[test]
fn h11_a_cancellation_ends_the_reset_it_names_and_no_later_one() {
    let (mut world, phone, registered) = begun(35);
    let now = world.now();
    let (first, second) = (phone.op(now), phone.op(now));
    let cancel_op = phone.op(now);
    world.receipt(&phone.reset(first, now));
    let cancel = phone.cancel_reset(cancel_op, first, &registered.owner, now);
    world.receipt(&cancel);
    let late = phone.op(now);
    assert!(late > second);
    world.receipt(&phone.reset(late, now));
    // Replayed whole, with a new id, and with its words bent to the later reset.
    let answer = world.send(&cancel);
    assert!(matches!(
        refusal(answer),
        Refusal::NoSuchReset | Refusal::StaleOp { .. }
    ));
    let anew = phone.cancel_reset(phone.op(now), first, &registered.owner, now);
    assert_eq!(refusal(world.send(&anew)), Refusal::NoSuchReset);
    let bent = |reset: OpId| {
        let op = phone.op(now);
        phone.start(About::CancelReset { op }, |out| {
            let signed = CancelReset {
                authorization: phone.authorization(out, now),
                slot: Slot(0),
                op,
                reset: first,
                owner_proof: strongroom_wire::Signature([0; 64]),
            };
            let (body, enc) = (signed.body(), out.enc());
            let owner = &registered.owner;
            let owner_proof = phone.owner_proof(owner, Operation::CancelReset, op, body, enc);
            Start::CancelReset(CancelReset {
                reset,
                owner_proof,
                ..signed
            })
        })
    };
    assert_eq!(refusal(world.send(&bent(late))), Refusal::OwnerProofNeeded);
    let record = record(&world, &registered);
    assert_eq!(record.live().unwrap().reset.unwrap().op, late);
}

#[test]
fn p6_a_reset_is_slow_visible_and_ends_in_replacement_or_deletion() {
    for deletes in [true, false] {
        let (mut world, _, registered) = begun(36);
        let account = world.phone(&bearer(), "user");
        let now = world.now();
        world.receipt(&account.reset(account.op(now), now));
        let Answer::Status(seen) = world.send(&account.status(None, now)) else {
            panic!("a status")
        };
        assert_eq!(seen.reset.unwrap().until, now.plus(7 * DAY));
        let early = account.delete(account.op(now), None, now);
        let answer = world.send(&early);
        assert!(matches!(refusal(answer), Refusal::ResetPending { .. }));
        world.pass(7 * DAY);
        let now = world.now();
        if deletes {
            let receipt = world.receipt(&account.delete(account.op(now), None, now));
            assert_eq!(receipt.kind, EventKind::DeletedAfterReset);
            let (_, answer) = world.guess(&account, "right");
            let Refusal::Destroyed { why, .. } = refusal(answer) else {
                panic!("it is gone")
            };
            assert_eq!(why, Destruction::DeletedAfterReset);
        } else {
            let replaced = world.register(&account, "new", None);
            assert_eq!(replaced.receipt.kind, EventKind::ReplacedAfterReset);
            assert!(replaced.receipt.generation > registered.receipt.generation);
        }
    }
}

#[test]
fn p6_a_recovery_wins_until_the_replacing_commit() {
    let (mut world, phone, registered) = begun(37);
    let account = world.phone(&bearer(), "user");
    let now = world.now();
    world.receipt(&account.reset(account.op(now), now));
    world.pass(8 * DAY);
    // Ripe, and its replacement is on the way when the owner recovers.
    let (registering, started) = world.register_start(&account, "theirs");
    let root = strongroom_crypto::wrap::Root::generate(&account.entropy);
    let stored = (&root, account.op(world.now()));
    let finish = account.register_finish(registering, &started, stored, None);
    world.recover(&phone, "right");
    let answer = world.send(&finish.unwrap());
    assert_eq!(refusal(answer), Refusal::OwnerProofNeeded);
    assert!(record(&world, &registered).live().is_some());
}
