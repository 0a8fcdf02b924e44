//! Calls of a user against answers that do not fit, and what an owner may do.

use super::fleet::{CODE, World};
use super::hsm::Asked;
use super::server::{Step, refuse};
use strongroom_client::Error;
use strongroom_client::session::SessionError as E;
use strongroom_client::wire::answer::{Answer, Refusal};
use strongroom_client::wire::request::Start;
use strongroom_client::wire::{OpId, Slot};

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
