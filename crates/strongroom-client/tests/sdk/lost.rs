//! A lost answer costs nothing (P5): a guess is the same guess until the fleet has said what became
//! of it.

use super::fleet::{CODE, World};
use super::server::{Step, refuse, status};
use std::sync::Arc;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::wire::limits::ATTEMPT_AHEAD_MS;
use strongroom_client::wire::{AttemptId, Slot, UnixMs};
use strongroom_client::{Error, Journal, MemoryJournal};
use tokio::sync::Notify;

const BUSY: Step = Step::Http(503, "retry-after: 0\r\n", "");

async fn registered() -> World {
    let world = World::new().await;
    let vault = world.vault().await;
    vault
        .register(CODE, b"payload", Slot(0), None)
        .await
        .unwrap();
    world.forget_requests();
    world
}

/// All guesses sent are one: same id, same KE1, paid once.
fn one_guess(world: &World, sent: usize) {
    let guesses = world.guesses_sent();
    assert_eq!(guesses.len(), sent);
    for guess in &guesses {
        assert_eq!(
            (guess.attempt, guess.ke1),
            (guesses[0].attempt, guesses[0].ke1)
        );
    }
    assert_eq!(world.shared.hsm.guesses(), 1);
}

#[tokio::test]
async fn what_was_registered_is_recovered() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault
        .register(CODE, b"payload", Slot(0), None)
        .await
        .unwrap();
    let phone: Arc<MemoryJournal> = Arc::default();
    let new = world.vault_with(phone.clone()).await;
    let got = new.recover(CODE, Slot(0)).await.unwrap();
    assert_eq!(*got.keys.age_secret(), *made.keys.age_secret());
    assert_eq!(*got.keys.payload, b"payload");
    assert!(got.receipt.is_some());
    assert!(phone.get("keys-0").unwrap().is_some());
    assert!(phone.get("pending-recover-0").unwrap().is_none());
    // Starts carry the admission token; finishes need none: the ticket speaks for the user.
    let admitted: Vec<bool> = world.requests().iter().map(|r| r.admitted).collect();
    assert_eq!(admitted, [true, false, true, false]);
}

#[tokio::test]
async fn an_answer_lost_on_the_way_is_fetched_again_for_nothing() {
    for step in [Step::Drop, Step::Half] {
        let world = registered().await;
        world.script([step]);
        world.vault().await.recover(CODE, Slot(0)).await.unwrap();
        one_guess(&world, 2);
    }
}

#[tokio::test]
async fn a_call_that_gave_up_goes_on_with_the_same_guess() {
    let world = registered().await;
    let vault = world.vault().await;
    world.script([Step::Drop, BUSY, BUSY, BUSY, BUSY, BUSY]);
    let failed = vault.recover(CODE, Slot(0)).await.err();
    assert!(matches!(failed, Some(Error::Transport(_))), "{failed:?}");
    vault.recover(CODE, Slot(0)).await.unwrap();
    one_guess(&world, 7);
}

#[tokio::test]
async fn a_cancelled_call_goes_on_with_the_same_guess() {
    let world = registered().await;
    let vault = world.vault().await;
    let arrived = Arc::new(Notify::new());
    world.script([Step::Hang(arrived.clone())]);
    tokio::select! {
        _ = vault.recover(CODE, Slot(0)) => panic!("it is never answered"),
        () = arrived.notified() => {}
    }
    vault.recover(CODE, Slot(0)).await.unwrap();
    one_guess(&world, 2);
}

#[tokio::test]
async fn another_code_is_another_guess() {
    let world = registered().await;
    let vault = world.vault().await;
    world.script([Step::Drop, status(500)]);
    assert!(vault.recover(b"another", Slot(0)).await.is_err());
    vault.recover(CODE, Slot(0)).await.unwrap();
    let guesses = world.guesses_sent();
    // Under the old id first: the device does not know that it is another code.
    assert!(guesses[..3].iter().all(|g| g.attempt == guesses[0].attempt));
    assert!(guesses[3].attempt > guesses[2].attempt);
    assert_eq!(guesses[0].ke1, guesses[1].ke1);
    assert!(guesses[2].ke1 != guesses[1].ke1 && guesses[3].ke1 != guesses[2].ke1);
    assert_eq!(world.shared.hsm.guesses(), 2);
}

#[tokio::test]
async fn a_refusal_before_the_record_was_looked_at_leaves_the_guess_open() {
    let busy = Refusal::Busy { retry_after_ms: 1 };
    for refusal in [busy, Refusal::WrongTokenOrTenant] {
        let world = registered().await;
        let vault = world.vault().await;
        world.script([Step::Drop, refuse(refusal)]);
        let refused = vault.recover(CODE, Slot(0)).await.err();
        assert!(matches!(refused, Some(Error::Refused(said)) if said == refusal));
        vault.recover(CODE, Slot(0)).await.unwrap();
        one_guess(&world, 3);
    }
}

#[tokio::test]
async fn any_other_refusal_ends_the_guess() {
    let world = registered().await;
    let vault = world.vault().await;
    let wait = Refusal::WaitUntil {
        until: UnixMs(2),
        now: UnixMs(1),
        attempts_left: 3,
    };
    world.script([refuse(wait)]);
    let refused = vault.recover(CODE, Slot(0)).await.err();
    assert!(matches!(refused, Some(Error::Refused(said)) if said == wait));
    vault.recover(CODE, Slot(0)).await.unwrap();
    let guesses = world.guesses_sent();
    assert_ne!(guesses[0].attempt, guesses[1].attempt);
}

#[tokio::test]
async fn a_wrong_code_is_told_with_what_is_left_and_the_next_guess_is_new() {
    let world = registered().await;
    let vault = world.vault().await;
    for spent in 1..=2 {
        let wrong = vault.recover(b"wrong", Slot(0)).await.err();
        let Some(Error::WrongCode {
            attempts_left,
            totals,
        }) = wrong
        else {
            panic!("{wrong:?}")
        };
        assert_eq!((attempts_left, totals.starts), (9, spent));
    }
    assert!(world.finishes_sent().is_empty());
    assert!(!world.holds("pending-recover-0"));
    assert_eq!(world.shared.hsm.guesses(), 2);
}

#[tokio::test]
async fn a_clock_that_went_back_is_corrected_by_what_the_fleet_says() {
    let world = registered().await;
    let vault = world.vault().await;
    // Another phone guessed a minute in our future.
    let now = strongroom_client::vault::now();
    let greatest = AttemptId::new(now.plus(60_000), [0xff; 8]);
    world.script([refuse(Refusal::StaleAttempt { greatest, now })]);
    vault.recover(CODE, Slot(0)).await.unwrap();
    let guesses = world.guesses_sent();
    assert_eq!(guesses.len(), 2);
    assert!(guesses[0].attempt < greatest && greatest < guesses[1].attempt);
    assert_eq!(
        guesses[0].ke1, guesses[1].ke1,
        "the same guess under another number"
    );
    assert_eq!(world.shared.hsm.guesses(), 1);
}

#[tokio::test]
async fn a_clock_far_ahead_is_corrected_down_to_the_fleets() {
    let world = registered().await;
    let vault = world.vault().await;
    let (now, greatest) = (UnixMs(1_000_000), AttemptId::new(UnixMs(5_000), [1; 8]));
    world.script([refuse(Refusal::StaleAttempt { greatest, now })]);
    vault.recover(CODE, Slot(0)).await.unwrap();
    assert_eq!(world.guesses_sent()[1].attempt.time(), now);
}

#[tokio::test]
async fn a_value_to_beat_that_no_id_can_beat_in_time_is_told_at_once() {
    let world = registered().await;
    let vault = world.vault().await;
    let now = strongroom_client::vault::now();
    let greatest = AttemptId::new(now.plus(ATTEMPT_AHEAD_MS), [0; 8]);
    let stale = Refusal::StaleAttempt { greatest, now };
    world.script([refuse(stale)]);
    let refused = vault.recover(CODE, Slot(0)).await.err();
    assert!(matches!(refused, Some(Error::Refused(said)) if said == stale));
    assert_eq!(world.guesses_sent().len(), 1);
}

#[tokio::test]
async fn a_renumbered_guess_keeps_its_new_number_when_its_answer_is_lost() {
    let world = registered().await;
    let vault = world.vault().await;
    let now = strongroom_client::vault::now();
    let greatest = AttemptId::new(now.plus(60_000), [0xff; 8]);
    let stale = refuse(Refusal::StaleAttempt { greatest, now });
    world.script([stale, Step::Drop, status(500)]);
    assert!(vault.recover(CODE, Slot(0)).await.is_err());
    vault.recover(CODE, Slot(0)).await.unwrap();
    let guesses = world.guesses_sent();
    assert_eq!(guesses[1].attempt, guesses[3].attempt);
    assert_eq!(world.shared.hsm.guesses(), 1);
}

/// Decision 0014: whatever would let another process go on with a guess would tell its finder the
/// code.
#[tokio::test]
async fn a_guess_that_was_not_answered_leaves_nothing_on_the_device() {
    let world = registered().await;
    let phone = Arc::new(MemoryJournal::default());
    world.script([status(500), status(500)]);
    let vault = world.vault_with(phone.clone()).await;
    assert!(vault.recover(CODE, Slot(0)).await.is_err());
    assert!(phone.names().is_empty(), "{:?}", phone.names());
}

#[tokio::test]
async fn an_app_killed_between_guess_and_answer_pays_one_and_gets_it_back() {
    let world = registered().await;
    let arrived = Arc::new(Notify::new());
    world.script([Step::Hang(arrived.clone())]);
    let vault = world.vault().await;
    tokio::select! {
        _ = vault.recover(CODE, Slot(0)) => panic!("it is never answered"),
        () = arrived.notified() => {}
    }
    drop(vault);
    // Another process, with the journal and nothing else.
    let recovered = world.vault().await.recover(CODE, Slot(0)).await.unwrap();
    assert!(recovered.receipt.is_some());
    let guesses = world.guesses_sent();
    assert_eq!(guesses.len(), 2);
    assert_ne!(guesses[0].attempt, guesses[1].attempt);
}
