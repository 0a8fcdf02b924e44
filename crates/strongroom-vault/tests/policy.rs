//! The attempt policy against a model: long random sequences of operations with retries, replays
//! and a clock that does what it likes (DESIGN §5; REVIEW C8, C12, H1, H6).
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use strongroom_vault::policy::{Moment, NewSecret, Op, Seen};
use strongroom_vault::record::{Body, Material, Record};
use strongroom_wire::answer::{Destruction, EventKind, Refusal, Totals};
use strongroom_wire::manifest::Policy;
use strongroom_wire::{AttemptId, Digest, LogIndex, OpId, PublicKey, UnixMs};

const DAY: u64 = 24 * 3_600_000;
const START: u64 = 1_800_000_000_000;

fn moment(policy: &Policy, index: u64, now: u64) -> Moment<'_> {
    Moment {
        index: LogIndex(index),
        now: UnixMs(now),
        policy,
    }
}

/// The higher the number, the later the id.
fn op(number: u8) -> Op {
    Op {
        id: OpId::new(UnixMs(START - 1000 + u64::from(number)), [number; 8]),
        body: Digest([number; 32]),
    }
}

fn secret(wrapped: usize) -> NewSecret {
    let material = Material {
        seed: [7; 32],
        upload: [8; 192],
        wrapped: vec![9; wrapped],
        ksf: 1,
    };
    NewSecret {
        material,
        owner_key: PublicKey([3; 32]),
    }
}

fn fresh(policy: &Policy) -> Record {
    Record::create(
        op(1),
        Seen::of(None),
        secret(200),
        &moment(policy, 5, START),
    )
    .unwrap()
    .0
}

fn attempt(at: u64, salt: u8) -> AttemptId {
    AttemptId::new(UnixMs(at), [salt; 8])
}

fn ke1(salt: u8) -> Digest {
    Digest([salt; 32])
}

/// Spends guesses until none is left; gives the time of the last one.
fn exhaust(record: &mut Record, policy: &Policy) -> u64 {
    let mut now = START;
    for guess in 0..policy.attempts_max {
        now += 30 * DAY;
        let left = record
            .spend(attempt(now, guess), ke1(guess), &moment(policy, 6, now))
            .unwrap();
        assert_eq!(left, policy.attempts_max - 1 - guess);
    }
    now
}

#[test]
fn ten_guesses_are_answered_and_the_eleventh_destroys() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let now = exhaust(&mut record, &policy);
    let eleventh = record.spend(attempt(now + 1, 99), ke1(99), &moment(&policy, 7, now + 1));
    let Err(Refusal::Destroyed {
        why: Destruction::Guessed,
        totals,
        ..
    }) = eleventh
    else {
        panic!("the eleventh guess must destroy: {eleventh:?}")
    };
    assert_eq!(
        (totals.starts, totals.unproved, totals.destructions),
        (10, 10, 1)
    );
    assert!(record.live().is_none());
}

#[test]
fn destruction_erases_the_material_and_keeps_the_lineage() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let generation = record.generation;
    let size = record.to_padded().len();
    let now = exhaust(&mut record, &policy);
    let _ = record.spend(attempt(now + 1, 99), ke1(99), &moment(&policy, 7, now + 1));
    assert!(matches!(record.body, Body::Tombstone { .. }));
    assert_eq!(record.generation, generation);
    assert_eq!(record.lineage.greatest_attempt, Some(attempt(now + 1, 99)));
    let padded = record.to_padded();
    assert_eq!(
        padded.len(),
        size,
        "a tombstone is as large as the record was"
    );
    for pattern in [[7u8; 16], [8; 16], [9; 16]] {
        assert!(
            !padded.windows(16).any(|w| w == pattern),
            "no seed, file or secret is left"
        );
    }
}

#[test]
fn zero_left_is_a_last_chance_for_the_pending_guess_only() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let now = exhaust(&mut record, &policy);
    let last = policy.attempts_max - 1;
    let retry = record.spend(attempt(now, last), ke1(last), &moment(&policy, 7, now + 5));
    assert_eq!(retry, Ok(0), "the retry of the pending guess is answered");
    let generation = record.generation;
    let moment = moment(&policy, 8, now + 9);
    let done = record
        .prove(op(2), generation, attempt(now, last), true, &moment)
        .unwrap();
    assert_eq!(done.kind, EventKind::Recovered);
    assert_eq!(record.live().unwrap().attempts_left, 10);
}

#[test]
fn the_last_chance_ends_after_its_time() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let now = exhaust(&mut record, &policy);
    let generation = record.generation;
    let late = moment(&policy, 8, now + policy.last_chance_ms);
    let done = record.prove(op(2), generation, attempt(now, 9), true, &late);
    assert!(matches!(
        done,
        Err(Refusal::Destroyed {
            why: Destruction::Guessed,
            ..
        })
    ));
}

#[test]
fn c8_a_replayed_attempt_id_spends_nothing() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let ids = [attempt(START + 1, 1), attempt(START + 2, 2)];
    for (n, id) in ids.iter().enumerate() {
        let at = moment(&policy, 6, START + 10 + n as u64);
        record.spend(*id, ke1(n as u8), &at).unwrap();
        let generation = record.generation;
        record
            .prove(op(10 + n as u8), generation, *id, true, &at)
            .unwrap();
    }
    for round in 0..50 {
        let at = moment(&policy, 7, START + 40 * DAY + round);
        let answer = record.spend(ids[round as usize % 2], ke1(round as u8 % 2), &at);
        assert!(
            matches!(answer, Err(Refusal::StaleAttempt { greatest, .. }) if greatest == ids[1])
        );
    }
    assert_eq!(record.live().unwrap().attempts_left, 10);
    assert_eq!(record.lineage.totals.starts, 2);
}

#[test]
fn c8_an_attempt_from_the_future_is_refused_with_the_fleets_time() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START);
    let answer = record.spend(attempt(START + 600_001, 0), ke1(0), &at);
    assert!(matches!(
        answer,
        Err(Refusal::StaleAttempt {
            now: UnixMs(START),
            ..
        })
    ));
    assert!(
        record
            .spend(attempt(START + 600_000, 0), ke1(0), &at)
            .is_ok()
    );
}

#[test]
fn c8_the_same_attempt_with_another_ke1_is_refused_for_ever() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    let other = record.spend(attempt(START, 1), ke1(2), &at);
    assert!(matches!(other, Err(Refusal::StaleAttempt { .. })));
    assert_eq!(record.live().unwrap().attempts_left, 9);
}

#[test]
fn h1_a_retried_operation_gets_the_same_result_before_any_other_check() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START);
    let first = record.delete(op(4), true, &at).unwrap();
    // The owner key is erased: the retry could not be proved any more.
    let again = record
        .delete(op(4), false, &moment(&policy, 9, START + DAY))
        .unwrap();
    assert_eq!(
        (again.index, again.at, again.kind),
        (first.index, first.at, first.kind)
    );
}

#[test]
fn h1_an_op_id_with_another_body_is_refused() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START);
    record.reset(op(4), &at).unwrap();
    let other = Op {
        id: op(4).id,
        body: Digest([5; 32]),
    };
    assert_eq!(record.reset(other, &at).err(), Some(Refusal::OpIdReused));
}

#[test]
fn h1_each_kind_of_operation_is_remembered_by_itself() {
    let policy = Policy::default();
    let at = moment(&policy, 5, START);
    let mut record = fresh(&policy);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    let generation = record.generation;
    let proved = record.prove(op(2), generation, attempt(START, 1), true, &at);
    let recovered = proved.unwrap();
    record.reset(op(3), &at).unwrap();
    // The answers to registration and recovery were lost, and came after the reset.
    let seen = Seen::of(None);
    let registered = record
        .replace(op(1), seen, secret(200), false, &at)
        .unwrap();
    assert_eq!(registered.kind, EventKind::Registered);
    let again = record
        .prove(op(2), generation, attempt(START, 1), true, &at)
        .unwrap();
    assert_eq!((again.index, again.kind), (recovered.index, recovered.kind));
    assert_eq!(
        record.reset(op(3), &at).unwrap().kind,
        EventKind::ResetStarted
    );
}

#[test]
fn a_reset_and_its_cancelling_replayed_in_turn_change_nothing() {
    let policy = Policy::default();
    let at = moment(&policy, 6, START);
    let mut record = fresh(&policy);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    record.reset(op(3), &at).unwrap();
    record.cancel_reset(op(4), op(3).id, true, &at).unwrap();
    let totals = record.lineage.totals;
    for _ in 0..20 {
        let reset = record.reset(op(3), &at).err();
        assert!(matches!(reset, Some(Refusal::StaleOp { greatest, .. }) if greatest == op(4).id));
        // The last one is repeated, and does nothing again.
        record.cancel_reset(op(4), op(3).id, true, &at).unwrap();
    }
    assert_eq!(record.lineage.totals, totals);
    let unproved = &record.lineage.history.unproved;
    assert!(
        unproved
            .iter()
            .any(|event| event.kind == EventKind::Guessed)
    );
}

#[test]
fn an_op_id_from_the_future_is_refused_and_blocks_nothing() {
    let policy = Policy::default();
    let at = moment(&policy, 6, START);
    let mut record = fresh(&policy);
    let future = Op {
        id: OpId::new(UnixMs(START + 600_001), [0; 8]),
        body: Digest([0; 32]),
    };
    assert!(matches!(
        record.reset(future, &at),
        Err(Refusal::StaleOp { .. })
    ));
    assert!(record.reset(op(3), &at).is_ok());
}

#[test]
fn c12_nothing_but_a_right_finish_restores_attempts() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START + 1);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    let generation = record.generation;
    record.reset(op(3), &at).unwrap();
    record.cancel_reset(op(4), op(3).id, true, &at).unwrap();
    let id = strongroom_wire::RecordId([0; 32]);
    record
        .report(id, strongroom_wire::Incarnation(0), true, &at)
        .unwrap();
    let wrong = record.prove(op(5), generation, attempt(START, 1), false, &at);
    assert_eq!(wrong.err(), Some(Refusal::WrongCode));
    assert_eq!(record.live().unwrap().attempts_left, 9);
}

#[test]
fn c12_a_finish_of_an_overtaken_guess_is_superseded() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START + 9);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    record.spend(attempt(START + 1, 2), ke1(2), &at).unwrap();
    let generation = record.generation;
    let old = record.prove(op(5), generation, attempt(START, 1), true, &at);
    assert_eq!(old.err(), Some(Refusal::Superseded));
    assert_eq!(record.lineage.totals.unproved, 1);
}

#[test]
fn delays_begin_with_the_fourth_guess_and_do_not_hold_up_retries() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START + 9);
    for guess in 0..3 {
        record
            .spend(attempt(START + u64::from(guess), guess), ke1(guess), &at)
            .unwrap();
    }
    let fourth = record.spend(attempt(START + 3, 3), ke1(3), &at);
    assert!(
        matches!(
            fourth,
            Err(Refusal::WaitUntil {
                attempts_left: 7,
                ..
            })
        ),
        "{fourth:?}"
    );
    assert_eq!(
        record.spend(attempt(START + 2, 2), ke1(2), &at),
        Ok(7),
        "a retry does not wait"
    );
    let later = moment(&policy, 7, START + 9 + policy.delays_ms[0]);
    assert_eq!(record.spend(attempt(START + 3, 3), ke1(3), &later), Ok(6));
    let total: u64 = policy.delays_ms.iter().sum();
    assert!(total >= 7 * DAY, "ten guesses take a week at the least");
}

#[test]
fn h6_proved_events_cannot_push_out_unproved_ones() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    record
        .spend(attempt(START, 1), ke1(1), &moment(&policy, 6, START))
        .unwrap();
    for n in 0..40u8 {
        let at = moment(&policy, 7, START + 10 + u64::from(n));
        record.lineage.note(EventKind::ResetCancelled, at.now);
    }
    let unproved = &record.lineage.history.unproved;
    assert!(
        unproved
            .iter()
            .any(|event| event.kind == EventKind::Guessed)
    );
    assert_eq!(record.lineage.history.proved.len(), 8);
}

#[test]
fn h6_an_owners_recoveries_do_not_push_out_a_thiefs_guesses() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    record
        .spend(attempt(START, 1), ke1(1), &moment(&policy, 6, START))
        .unwrap();
    let generation = record.generation;
    for n in 0..20u8 {
        let now = START + 10 + u64::from(n);
        let at = moment(&policy, 7, now);
        record.spend(attempt(now, n), ke1(n), &at).unwrap();
        record
            .prove(op(n + 2), generation, attempt(now, n), true, &at)
            .unwrap();
    }
    let guesses: Vec<_> = record.lineage.history.unproved.iter().collect();
    assert!(
        guesses
            .iter()
            .any(|event| event.kind == EventKind::Guessed && event.at == UnixMs(START))
    );
    assert_eq!(record.lineage.totals.unproved, 1);
}

#[test]
fn h6_totals_survive_replacement_and_destruction() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START + 9);
    record.spend(attempt(START, 1), ke1(1), &at).unwrap();
    let seen = Seen::of(Some(&record));
    record.replace(op(7), seen, secret(100), true, &at).unwrap();
    assert_eq!(
        (record.lineage.totals.starts, record.lineage.totals.unproved),
        (1, 1)
    );
    let now = exhaust(&mut record, &policy);
    let _ = record.spend(attempt(now + 1, 99), ke1(99), &moment(&policy, 7, now + 1));
    let totals = record.lineage.totals;
    assert_eq!(
        (totals.starts, totals.unproved, totals.replacements),
        (11, 11, 1)
    );
}

#[test]
fn a_reset_waits_and_recovery_wins_until_the_replacing_commit() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let at = moment(&policy, 6, START + 9);
    let begun = record.reset(op(3), &at).unwrap();
    let seen = Seen::of(Some(&record));
    let early = record.replace(op(4), seen, secret(100), false, &at);
    assert_eq!(early.err(), Some(Refusal::OwnerProofNeeded));
    let ripe = moment(&policy, 8, begun.reset_until.unwrap().0);
    record.spend(attempt(ripe.now.0, 1), ke1(1), &ripe).unwrap();
    let generation = record.generation;
    record
        .prove(op(5), generation, attempt(ripe.now.0, 1), true, &ripe)
        .unwrap();
    let late = record.replace(op(6), seen, secret(100), false, &ripe);
    assert_eq!(
        late.err(),
        Some(Refusal::OwnerProofNeeded),
        "recovery cancelled the reset"
    );
}

#[test]
fn a_ticket_from_before_a_deletion_cannot_undo_it() {
    let policy = Policy::default();
    let mut record = fresh(&policy);
    let seen = Seen::of(Some(&record));
    let at = moment(&policy, 6, START + 9);
    record.delete(op(3), true, &at).unwrap();
    let withheld = record.replace(op(4), seen, secret(100), true, &at);
    assert_eq!(withheld.err(), Some(Refusal::StaleTicket));
}

#[test]
fn the_largest_record_fits_its_class() {
    let policy = Policy::default();
    for wrapped in [256, 1280] {
        let far = UnixMs(u64::MAX - DAY * 400);
        let at = Moment {
            index: LogIndex(u64::MAX),
            now: far,
            policy: &policy,
        };
        let (mut record, _) =
            Record::create(op(255), Seen::of(None), secret(wrapped), &at).unwrap();
        let totals = &mut record.lineage.totals;
        (totals.starts, totals.unproved, totals.resets) = (u32::MAX, u32::MAX, u32::MAX);
        (totals.replacements, totals.destructions) = (u32::MAX, u32::MAX);
        for _ in 0..20 {
            record.lineage.note(EventKind::Recovered, far);
            record.lineage.note(EventKind::DeletedAfterReset, far);
        }
        let Body::Live(live) = &mut record.body else {
            panic!("it lives")
        };
        live.unfinished = u32::MAX;
        live.exhausted_at = Some(far);
        live.earliest_next = far;
        let greatest = Op {
            id: OpId::new(far, [255; 8]),
            body: Digest([255; 32]),
        };
        record
            .reset(greatest, &at)
            .unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let id = attempt(u64::MAX, 255);
        let Body::Live(live) = &mut record.body else {
            panic!("it lives")
        };
        live.pending = Some(strongroom_vault::record::Pending {
            attempt: id,
            ke1: ke1(255),
        });
        record.lineage.greatest_attempt = Some(id);
        let last = record.lineage.changed.unwrap();
        (record.lineage.registered, record.lineage.recovered) = (Some(last), Some(last));
        let padded = record.to_padded();
        let read = Record::from_padded(&padded).unwrap();
        assert_eq!(read.to_padded().as_slice(), padded.as_slice());
    }
}

/// What a random client, thief or replaying host does next.
#[derive(Clone, Debug)]
enum Step {
    Guess { retry_of: Option<usize> },
    Finish { of: usize, right: bool },
    Reset,
    Delete { proved: bool },
    Replace { proved: bool, fresh_ticket: bool },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => proptest::option::weighted(0.3, 0usize..8)
            .prop_map(|retry_of| Step::Guess { retry_of }),
        3 => (0usize..8, any::<bool>()).prop_map(|(of, right)| Step::Finish { of, right }),
        1 => Just(Step::Reset),
        1 => any::<bool>().prop_map(|proved| Step::Delete { proved }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(proved, fresh_ticket)| Step::Replace { proved, fresh_ticket }),
        3 => (0u64..40 * DAY).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..200)
}

fn op_of(number: u64) -> Op {
    Op {
        id: OpId(u128::from(number + 1_000).to_be_bytes()),
        body: Digest([number as u8; 32]),
    }
}

fn ripe(record: &Record, now: u64) -> bool {
    let reset = record.live().and_then(|live| live.reset);
    reset.is_some_and(|reset| reset.until.0 <= now)
}

fn grew(before: &Totals, after: &Totals) -> bool {
    let all = |t: &Totals| {
        [
            t.starts,
            t.unproved,
            t.resets,
            t.replacements,
            t.destructions,
        ]
    };
    all(before)
        .iter()
        .zip(all(after))
        .all(|(old, new)| new >= *old)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// P1, P6 and the totals, over anything a client, a thief and a replaying host can do.
    #[test]
    fn the_guess_bound_holds_over_any_sequence(steps in steps()) {
        let policy = Policy::default();
        let mut record = fresh(&policy);
        let first_ticket = Seen::of(Some(&record));
        let (mut now, mut index, mut number) = (START, 10u64, 0u64);
        // Every guess that was ever answered: (attempt, ke1, generation).
        let mut guesses: Vec<(AttemptId, Digest, strongroom_wire::Generation)> = Vec::new();
        // Distinct answers since the last success or new generation: the bound of P1.
        let mut answered = std::collections::BTreeSet::new();
        let mut totals = record.lineage.totals;
        let mut generation = record.generation;
        for step in steps {
            index += 1;
            number += 1;
            let at = Moment { index: LogIndex(index), now: UnixMs(now), policy: &policy };
            let fresh_op = op_of(number);
            match step {
                Step::Wait(time) => now += time,
                Step::Guess { retry_of } => {
                    let old = retry_of.and_then(|n| guesses.iter().rev().nth(n)).copied();
                    let (id, ke1) = old.map_or_else(
                        || (AttemptId::new(UnixMs(now), number.to_be_bytes()), ke1(number as u8)),
                        |(id, ke1, _)| (id, ke1),
                    );
                    let lived = record.live().is_some();
                    if record.spend(id, ke1, &at).is_ok() {
                        prop_assert!(lived, "a tombstone answers no guess");
                        answered.insert(id);
                        guesses.push((id, ke1, record.generation));
                    }
                }
                Step::Finish { of, right } => {
                    let Some((id, _, generation)) = guesses.iter().rev().nth(of).copied() else {
                        continue;
                    };
                    let pending = record.live().and_then(|l| l.pending).map(|p| p.attempt);
                    let done = record.prove(fresh_op, generation, id, right, &at);
                    if done.is_ok() {
                        prop_assert!(right && pending == Some(id));
                        answered.clear();
                    }
                }
                Step::Reset => drop(record.reset(fresh_op, &at)),
                Step::Delete { proved } => {
                    let ripe = ripe(&record, now);
                    let lived = record.live().is_some();
                    let done = record.delete(fresh_op, proved, &at);
                    prop_assert!(done.is_err() || (lived && (proved || ripe)));
                }
                Step::Replace { proved, fresh_ticket } => {
                    let seen = if fresh_ticket { Seen::of(Some(&record)) } else { first_ticket };
                    let ripe = ripe(&record, now);
                    let lived = record.live().is_some();
                    if record.replace(fresh_op, seen, secret(100), proved, &at).is_ok() {
                        prop_assert!(!lived || proved || ripe, "no silent replacement (P6)");
                        prop_assert!(record.generation > generation, "generations only grow");
                        generation = record.generation;
                        answered.clear();
                    }
                }
            }
            prop_assert!(answered.len() <= 10, "P1: {} guesses answered", answered.len());
            prop_assert!(grew(&totals, &record.lineage.totals), "totals never shrink");
            totals = record.lineage.totals;
            if let Some(live) = record.live() {
                prop_assert_eq!(usize::from(live.attempts_left), 10 - answered.len());
            }
        }
    }
}
