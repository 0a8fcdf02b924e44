//! Calls of a user against answers that do not fit, and what an owner may do.

use super::fleet::{CODE, World};
use super::hsm::Asked;
use super::server::{Step, refuse, status};
use strongroom_client::session::SessionError as E;
use strongroom_client::wire::answer::{Answer, Refusal};
use strongroom_client::wire::request::Start;
use strongroom_client::wire::{OpId, Slot};
use strongroom_client::{Error, MemoryJournal};

#[tokio::test]
async fn an_answer_to_another_question_is_refused_by_name() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    let receipt = || Step::Say(Box::new(Answer::Receipt(made.receipt.clone())));
    let report = vault.status(Slot(0), None).await.unwrap();
    let report = || Step::Say(Box::new(Answer::Status(report.clone())));
    let unexpected = |error: Option<Error>| {
        assert!(
            matches!(error, Some(Error::Session(E::Unexpected))),
            "{error:?}"
        );
    };
    world.script([receipt()]);
    unexpected(vault.status(Slot(0), None).await.err());
    world.script([report()]);
    unexpected(vault.reset(Slot(0)).await.err());
    world.script([receipt()]);
    unexpected(vault.recover(CODE, Slot(0)).await.err());
    world.script([report()]);
    unexpected(vault.register(b"another", b"", Slot(0), None).await.err());
}

#[tokio::test]
async fn a_former_answer_and_plain_bytes_are_not_from_this_fleet() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    vault.status(Slot(0), None).await.unwrap();
    for step in [
        Step::Replay,
        Step::Raw(Vec::new()),
        Step::Raw(b"<html>".to_vec()),
    ] {
        world.script([step]);
        let error = vault.status(Slot(0), None).await.err();
        assert!(
            matches!(error, Some(Error::Session(E::Unauthentic))),
            "{error:?}"
        );
    }
    world.script([Step::SayBytes(vec![0xff; 1024])]);
    let error = vault.status(Slot(0), None).await.err();
    assert!(
        matches!(error, Some(Error::Session(E::Unauthentic))),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_operation_from_a_clock_behind_goes_out_again_under_a_greater_id() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    world.forget_requests();
    let now = strongroom_client::vault::now();
    let greatest = OpId::new(now.plus(60_000), [0xff; 8]);
    let stale = Refusal::StaleOp { greatest, now };
    world.script([refuse(stale)]);
    vault.reset(Slot(0)).await.unwrap();
    let ops: Vec<OpId> = world
        .requests()
        .iter()
        .map(|request| match &request.asked {
            Asked::Start(Start::Reset(reset)) => reset.op,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(ops.len() == 2 && ops[0] < greatest && greatest < ops[1]);
    // A second time it is told: nobody else is that fast.
    world.script([refuse(stale), refuse(stale)]);
    let told = vault.reset(Slot(0)).await.err();
    assert!(matches!(told, Some(Error::Refused(said)) if said == stale));
}

#[tokio::test]
async fn an_owner_sees_history_cancels_a_reset_and_deletes() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    assert!(vault.status(Slot(0), None).await.unwrap().history.is_none());
    let seen = vault.status(Slot(0), Some(&made.keys)).await.unwrap();
    assert!(seen.history.is_some());
    let none = vault.cancel_reset(Slot(0), &made.keys).await.err();
    assert!(matches!(none, Some(Error::Refused(Refusal::NoSuchReset))));
    vault.reset(Slot(0)).await.unwrap();
    vault.cancel_reset(Slot(0), &made.keys).await.unwrap();
    let refused = vault.delete(Slot(0), None).await.err();
    assert!(matches!(
        refused,
        Some(Error::Refused(Refusal::OwnerProofNeeded))
    ));
    vault.delete(Slot(0), Some(&made.keys)).await.unwrap();
    let gone = vault.recover(CODE, Slot(0)).await.err();
    assert!(matches!(
        gone,
        Some(Error::Refused(Refusal::NeverRegistered))
    ));
    world.script([refuse(Refusal::RetiredFleet)]);
    let retired = vault.status(Slot(0), None).await.err().unwrap();
    assert_eq!(retired.to_string(), "this fleet is retired; update the app");
}

/// Op ids of the requests that change a record, in order.
fn ops(world: &World) -> Vec<OpId> {
    let requests = world.requests();
    let ops = requests.iter().filter_map(|request| match &request.asked {
        Asked::Start(Start::Delete(it)) => Some(it.op),
        Asked::Start(Start::Reset(it)) => Some(it.op),
        Asked::Start(Start::CancelReset(it)) => Some(it.op),
        _ => None,
    });
    ops.collect()
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_the_same_change_in_the_next_call() {
    let world = World::new().await;
    let made = world
        .vault()
        .await
        .register(CODE, b"", Slot(0), None)
        .await
        .unwrap();
    let lost = || world.script([Step::Drop, status(500)]);
    // Each in another process: only the journal knows of the first call.
    lost();
    assert!(world.vault().await.reset(Slot(0)).await.is_err());
    assert!(world.holds("op-reset-0"));
    let receipt = world.vault().await.reset(Slot(0)).await.unwrap();
    let sent = ops(&world);
    assert!(
        sent.len() == 3 && sent.iter().all(|op| *op == receipt.op),
        "{sent:?}"
    );
    assert!(!world.holds("op-reset-0"));

    world.forget_requests();
    world.script([Step::Answer, Step::Drop, status(500)]);
    assert!(
        world
            .vault()
            .await
            .cancel_reset(Slot(0), &made.keys)
            .await
            .is_err()
    );
    let receipt = world
        .vault()
        .await
        .cancel_reset(Slot(0), &made.keys)
        .await
        .unwrap();
    assert!(ops(&world).iter().all(|op| *op == receipt.op));

    world.forget_requests();
    world.script([Step::Answer, Step::Drop, status(500)]);
    assert!(
        world
            .vault()
            .await
            .delete(Slot(0), Some(&made.keys))
            .await
            .is_err()
    );
    let receipt = world
        .vault()
        .await
        .delete(Slot(0), Some(&made.keys))
        .await
        .unwrap();
    assert!(ops(&world).iter().all(|op| *op == receipt.op));
    assert!(!world.holds("op-delete-0"));
    let journals: Vec<_> = world.requests().iter().map(|r| r.journal.clone()).collect();
    assert!(
        journals[1].contains(&"op-delete-0"),
        "put down before it is sent: {journals:?}"
    );
}

#[tokio::test]
async fn a_remembered_receipt_of_another_life_is_not_taken_for_this_one() {
    let world = World::new().await;
    let made = world
        .vault()
        .await
        .register(CODE, b"", Slot(0), None)
        .await
        .unwrap();
    world.script([Step::Answer, Step::Drop, status(500)]);
    assert!(
        world
            .vault()
            .await
            .delete(Slot(0), Some(&made.keys))
            .await
            .is_err()
    );
    // Another phone registers again; the fleet still remembers the deletion.
    let phone = world
        .vault_with(std::sync::Arc::new(MemoryJournal::default()))
        .await;
    let other = phone.register(CODE, b"", Slot(0), None).await.unwrap();
    world.forget_requests();
    world
        .vault()
        .await
        .delete(Slot(0), Some(&other.keys))
        .await
        .unwrap();
    let sent = ops(&world);
    assert!(sent.len() == 2 && sent[0] != sent[1], "{sent:?}");
    assert!(
        world.shared.hsm.owner_key(Slot(0)).is_none(),
        "it is deleted now"
    );
}
