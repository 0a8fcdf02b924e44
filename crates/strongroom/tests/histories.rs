//! What clients of one record were told can have been said by one record. First that the checker
//! refuses what it must, and nothing else; then clients that contend under faults.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::contend::Contenders;
use common::fleet::{Fleet, signal};
use common::history::{Asked, Operation, Told, entries_grow, linearizable};
use common::load::Door;
use rustix::process::Signal;
use strongroom_client::wire::answer::{Destruction, EventKind, Refusal, Totals};
use strongroom_client::wire::{AttemptId, OpId, UnixMs};

/// An attempt id, by its order.
fn attempt(number: u64) -> AttemptId {
    AttemptId::new(UnixMs(number), [0; 8])
}

fn op(number: u64) -> OpId {
    OpId::new(UnixMs(number), [0; 8])
}

/// Totals with so many guesses, and of them so many without proof.
fn totals(starts: u32, unproved: u32) -> Totals {
    Totals {
        starts,
        unproved,
        ..Totals::default()
    }
}

/// An operation from one moment to another.
fn from(called: u64, returned: u64, asked: Asked, told: Told) -> Operation {
    Operation {
        client: 0,
        asked,
        called,
        answer: Some((returned, told)),
    }
}

/// One that was never answered.
fn unanswered(called: u64, asked: Asked) -> Operation {
    Operation {
        client: 0,
        asked,
        called,
        answer: None,
    }
}

/// The first registration, in entry 5, from moment 1 to 2.
fn registered() -> Operation {
    let asked = Asked::Register {
        op: op(1),
        code: 1,
        generation: 0,
        live: false,
    };
    from(1, 2, asked, receipt(EventKind::Registered, 5, 10, 0))
}

fn receipt(kind: EventKind, index: u64, left: u8, starts: u32) -> Told {
    Told::Receipt {
        kind,
        index,
        left,
        totals: totals(starts, 0),
        generation: 5,
    }
}

fn guess(number: u64) -> Asked {
    Asked::Start {
        attempt: attempt(number),
        code: 1,
    }
}

fn paid(left: u8, starts: u32, unproved: u32) -> Told {
    Told::Started {
        left,
        totals: totals(starts, unproved),
        generation: 5,
        opened: true,
    }
}

fn proof(number: u64) -> Asked {
    Asked::Finish {
        op: op(100 + number),
        attempt: attempt(number),
        generation: 5,
        right: true,
    }
}

fn stands(left: u8, starts: u32, unproved: u32, pending: bool) -> Told {
    Told::Status {
        left,
        totals: totals(starts, unproved),
        generation: 5,
        pending,
    }
}

#[track_caller]
fn accepted(operations: &[Operation]) {
    linearizable(operations).unwrap();
}

#[track_caller]
fn rejected(operations: &[Operation]) {
    let Err(why) = linearizable(operations) else {
        panic!("accepted: {operations:?}");
    };
    assert!(why.contains("can give none of these"), "{why}");
}

#[test]
fn a_lost_spend_is_rejected() {
    // The second guess finds as many left as the first one did.
    let first = from(3, 4, guess(1), paid(9, 1, 0));
    let honest = from(5, 6, guess(2), paid(8, 2, 1));
    accepted(&[registered(), first.clone(), honest]);
    let lost = from(5, 6, guess(2), paid(9, 1, 0));
    rejected(&[registered(), first.clone(), lost]);
    // Or it was counted, and cost nothing.
    let free = from(5, 6, guess(2), paid(9, 2, 1));
    rejected(&[registered(), first, free]);
}

#[test]
fn a_double_spend_is_rejected() {
    // One guess, sent again and again, is paid once: also where its answers were lost.
    let once = from(3, 4, guess(1), paid(9, 1, 0));
    let report =
        |left, starts, unproved| from(7, 8, Asked::Status, stands(left, starts, unproved, true));
    accepted(&[registered(), once.clone(), report(9, 1, 0)]);
    rejected(&[registered(), once, report(8, 2, 1)]);
    let lost = unanswered(3, guess(1));
    accepted(&[registered(), lost.clone(), report(9, 1, 0)]);
    rejected(&[registered(), lost, report(8, 2, 1)]);
}

#[test]
fn a_lost_registration_is_rejected() {
    let never = |at| {
        let told = Told::Refused(Refusal::NeverRegistered);
        from(at, at + 1, Asked::Status, told)
    };
    rejected(&[registered(), never(3)]);
    // Before it, or beside it: right.
    let later = Operation {
        called: 3,
        answer: registered().answer.map(|(_, told)| (9, told)),
        ..registered()
    };
    accepted(&[never(1), later.clone()]);
    accepted(&[never(4), later]);
}

#[test]
fn a_replaced_code_that_still_opens_is_rejected() {
    let asked = Asked::Register {
        op: op(2),
        code: 2,
        generation: 5,
        live: true,
    };
    let replaced = Totals {
        starts: 0,
        replacements: 1,
        ..Totals::default()
    };
    let told = Told::Receipt {
        kind: EventKind::Replaced,
        index: 6,
        left: 10,
        totals: replaced,
        generation: 6,
    };
    let guessed = |code, opened| {
        let attempt = attempt(1);
        let told = Told::Started {
            left: 9,
            totals: Totals {
                starts: 1,
                ..replaced
            },
            generation: 6,
            opened,
        };
        from(5, 6, Asked::Start { attempt, code }, told)
    };
    let replaced = from(3, 4, asked, told);
    accepted(&[registered(), replaced.clone(), guessed(2, true)]);
    accepted(&[registered(), replaced.clone(), guessed(1, false)]);
    rejected(&[registered(), replaced.clone(), guessed(1, true)]);
    rejected(&[registered(), replaced, guessed(2, false)]);
}

#[test]
fn an_old_value_after_a_newer_one_is_rejected() {
    let spent = from(3, 20, guess(1), paid(9, 1, 0));
    let new = from(5, 6, Asked::Status, stands(9, 1, 0, true));
    let old = |called| from(called, called + 1, Asked::Status, stands(10, 0, 0, false));
    // While the guess is under way one reader may see it and another one, at the same time, not.
    let beside = Operation {
        called: 4,
        ..old(6)
    };
    accepted(&[registered(), spent.clone(), new.clone(), beside]);
    // Whoever asks after the answer may not.
    rejected(&[registered(), spent, new, old(7)]);
}

#[test]
fn an_answer_that_a_later_one_contradicts_is_rejected() {
    // Restored by a proof that came too late: another guess had overtaken it.
    let first = from(3, 4, guess(1), paid(9, 1, 0));
    let second = from(5, 6, guess(2), paid(8, 2, 1));
    let late = |told| from(7, 8, proof(1), told);
    let refused = late(Told::Refused(Refusal::Superseded));
    accepted(&[registered(), first.clone(), second.clone(), refused]);
    let restored = late(receipt(EventKind::Recovered, 8, 10, 2));
    rejected(&[registered(), first, second, restored]);
}

#[test]
fn a_wrong_proof_restores_nothing() {
    let paid = from(3, 4, guess(1), paid(9, 1, 0));
    let Asked::Finish { op, attempt, .. } = proof(1) else {
        unreachable!("a proof is a finish")
    };
    let wrong = |told| {
        let asked = Asked::Finish {
            op,
            attempt,
            generation: 5,
            right: false,
        };
        from(5, 6, asked, told)
    };
    let refused = wrong(Told::Refused(Refusal::WrongCode));
    accepted(&[registered(), paid.clone(), refused]);
    let restored = wrong(receipt(EventKind::Recovered, 7, 10, 1));
    rejected(&[registered(), paid, restored]);
}

#[test]
fn guesses_side_by_side_may_come_in_any_order() {
    let both = |first: Told, second: Told| {
        let first = from(3, 9, guess(1), first);
        vec![registered(), first, from(4, 8, guess(2), second)]
    };
    accepted(&both(paid(9, 1, 0), paid(8, 2, 1)));
    // The greater id first: then the smaller one is refused, and names it.
    let stale = Refusal::StaleAttempt {
        greatest: attempt(2),
        now: UnixMs(9),
    };
    accepted(&both(Told::Refused(stale), paid(9, 1, 0)));
    // Or it was paid, its answer lost, overtaken, and sent again: refused, and counted.
    accepted(&both(Told::Refused(stale), paid(8, 2, 1)));
    rejected(&both(Told::Refused(stale), paid(8, 2, 0)));
    rejected(&both(paid(9, 1, 0), paid(9, 1, 0)));
}

#[test]
fn what_was_never_answered_may_have_happened_at_any_later_time_or_never() {
    let lost = unanswered(3, guess(1));
    let report = |at, told| from(at, at + 1, Asked::Status, told);
    let before = report(5, stands(10, 0, 0, false));
    let after = report(7, stands(9, 1, 0, true));
    accepted(&[registered(), lost.clone(), before.clone()]);
    accepted(&[registered(), lost.clone(), before.clone(), after.clone()]);
    // Not back again, and not before it was sent.
    let again = report(9, stands(10, 0, 0, false));
    rejected(&[registered(), lost.clone(), after.clone(), again]);
    let early = Operation { called: 9, ..lost };
    rejected(&[registered(), before, after, early]);
}

#[test]
fn a_registration_without_an_answer_counts_if_it_is_seen_and_its_receipt_fits() {
    let Operation { asked, .. } = registered();
    let lost = unanswered(1, asked.clone());
    let seen = from(3, 4, Asked::Status, stands(10, 0, 0, false));
    accepted(&[lost.clone(), seen.clone()]);
    // Sent again by another call, it is answered as it was done.
    let fits = from(
        5,
        6,
        asked.clone(),
        receipt(EventKind::Registered, 5, 10, 0),
    );
    accepted(&[lost.clone(), seen.clone(), fits]);
    let elsewhere = Told::Receipt {
        kind: EventKind::Registered,
        index: 6,
        left: 10,
        totals: totals(0, 0),
        generation: 6,
    };
    rejected(&[lost, seen, from(5, 6, asked, elsewhere)]);
}

#[test]
fn a_proof_that_was_sent_twice_is_answered_with_what_stands_then() {
    // Carried out, its answer lost; another guess; then the same bytes again.
    let first = from(3, 4, guess(1), paid(9, 1, 0));
    let second = from(6, 7, guess(2), paid(9, 2, 0));
    let late = from(5, 9, proof(1), receipt(EventKind::Recovered, 7, 9, 2));
    accepted(&[registered(), first, second, late]);
}

#[test]
fn an_erased_record_says_why_and_stays_erased() {
    let asked = Asked::Delete {
        op: op(3),
        generation: 5,
    };
    let deleted = from(3, 4, asked, receipt(EventKind::Deleted, 6, 0, 0));
    let gone = |why| {
        let refusal = Refusal::Destroyed {
            at: UnixMs(1),
            why,
            totals: totals(0, 0),
        };
        from(5, 6, Asked::Status, Told::Refused(refusal))
    };
    accepted(&[registered(), deleted.clone(), gone(Destruction::Deleted)]);
    rejected(&[registered(), deleted.clone(), gone(Destruction::Guessed)]);
    let back = from(5, 6, Asked::Status, stands(10, 0, 0, false));
    rejected(&[registered(), deleted, back]);
}

#[test]
fn entries_that_do_not_grow_are_told() {
    let later = |index| from(3, 4, proof(1), receipt(EventKind::Recovered, index, 10, 1));
    entries_grow(&[registered(), later(6)]).unwrap();
    entries_grow(&[registered(), later(4)]).unwrap_err();
    // Side by side they may stand in any order.
    let beside = Operation {
        called: 1,
        ..later(4)
    };
    entries_grow(&[registered(), beside]).unwrap();
}

/// How many faults; the nightly run makes more.
fn faults() -> usize {
    let set = std::env::var("STRONGROOM_FAULTS").ok();
    set.map_or(6, |text| text.parse().unwrap())
}

#[test]
fn clients_that_contend_under_faults_see_one_record() {
    let mut fleet = Fleet::of(5);
    let profile = fleet.profile();
    let load = Contenders::on(|| Door::of(&profile), 3, 3);
    load.go_on("with all five", 30);
    for fault in 0..faults() {
        let leader = fleet.leader();
        match fault % 3 {
            0 => {
                fleet.kill(leader);
                load.go_on("the leader was killed", 30);
                fleet.start(leader);
            }
            1 => {
                signal(fleet.node(leader), Signal::STOP);
                load.go_on("the leader hangs", 30);
                signal(fleet.node(leader), Signal::CONT);
                load.go_on("it goes on, and takes itself for the leader", 15);
            }
            _ => {
                (0..5).for_each(|at| fleet.kill(at));
                (0..5).for_each(|at| fleet.start(at));
                load.go_on("the power was cut everywhere", 30);
            }
        }
    }
    fleet.all_well(5);
    load.judge();
}
