#![allow(clippy::unwrap_used, missing_docs)]
//! A check that cannot fail is no check: every rule, broken, must lead to two histories; or it is
//! written down here that it does not, after how many states.
//!
//! The number is that of the steps in the shortest counterexample, which is printed.

use strongroom_model::Mutant::{self, *};
use strongroom_model::{AGREEMENT, FORWARD, Limits, Scenario, check, set};

const SHORTEST: Limits = Limits {
    depth: 0,
    threads: 1,
};

fn caught(name: &str, scenario: &Scenario, steps: usize) {
    let report = check(name, scenario, SHORTEST);
    let (property, counterexample) = report.broken.expect("a broken rule is noticed");
    assert_eq!((property, counterexample.steps.len()), (AGREEMENT, steps));
}

fn safe(name: &str, scenario: &Scenario, states: usize) {
    let report = check(name, scenario, SHORTEST);
    assert!(report.broken.is_none(), "it was said to be safe");
    assert!(report.states >= states, "fewer states than written down");
}

fn three(epochs: u8, length: u8, mutant: Mutant) -> Scenario {
    Scenario::fixed(3, 0)
        .bounds(epochs, length)
        .breaking(&[mutant])
}

const REPLACE: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 3]];
const GROW: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 2, 3, 4]];
const SHRINK: &[&[u8]] = &[&[0, 1, 2, 3], &[0, 1, 2]];

fn change(sets: &[&[u8]], epochs: u8, length: u8, mutant: Mutant) -> Scenario {
    Scenario::changing(sets)
        .one_ghost()
        .bounds(epochs, length)
        .breaking(&[mutant])
}

#[test]
fn an_epoch_promised_to_two_leaders() {
    caught("PromiseTwice", &three(2, 1, PromiseTwice), 17);
}

#[test]
fn a_promise_that_is_not_anchored() {
    let scenario = Scenario::fixed(3, 0).bounds(2, 1).led_by_members(1);
    caught(
        "PromiseNotAnchored",
        &scenario.breaking(&[PromiseNotAnchored]),
        13,
    );
}

#[test]
fn two_chains_in_one_epoch() {
    caught("TwoChains", &three(2, 1, TwoChains), 15);
}

#[test]
fn leadership_that_survives_a_restart() {
    let scenario = Scenario::fixed(3, 0).bounds(2, 1).led_by_members(1);
    caught("LeadAgain", &scenario.breaking(&[LeadAgain]), 16);
}

/// DESIGN §6 before this model. With R = 0 it is safe; R is what the design claims more for.
#[test]
fn a_promise_to_a_member_instead_of_a_process() {
    let three = Scenario::fixed(3, 1).bounds(2, 1);
    caught(
        "PromiseToMember, 3 R=1",
        &three.breaking(&[PromiseToMember]),
        14,
    );
    let five = Scenario::fixed(5, 2).bounds(2, 1);
    caught(
        "PromiseToMember, 5 R=2",
        &five.breaking(&[PromiseToMember]),
        14,
    );
}

#[test]
fn a_start_chosen_by_index_alone() {
    caught("StartByIndex", &three(3, 1, StartByIndex), 17);
}

#[test]
fn a_start_that_is_not_the_greatest() {
    caught("StartAny", &three(2, 1, StartAny), 12);
}

#[test]
fn a_lead_with_one_promise_too_few() {
    caught("PromisesLessOne", &three(2, 1, PromisesLessOne), 10);
}

#[test]
fn entries_below_the_promise() {
    caught("BelowPromise", &three(2, 1, BelowPromise), 12);
}

#[test]
fn a_run_that_ends_below_the_tip() {
    caught("RunBackwards", &three(2, 2, RunBackwards), 14);
}

#[test]
fn a_move_to_the_start_that_counts_as_a_vote() {
    caught("StartIsVote", &three(4, 1, StartIsVote), 18);
}

#[test]
fn the_highest_index_wins() {
    caught("IndexOnly", &three(2, 2, IndexOnly), 13);
}

#[test]
fn a_certificate_of_one_too_few() {
    caught("QuorumLessOne", &three(2, 1, QuorumLessOne), 10);
}

#[test]
fn a_statement_that_counts_twice() {
    caught("Duplicates", &three(2, 1, Duplicates), 10);
}

#[test]
fn answers_that_leave_before_the_certificate() {
    caught("ReleaseEarly", &three(2, 1, ReleaseEarly), 10);
}

#[test]
fn an_adoption_that_goes_back() {
    caught("AdoptBackwards", &three(2, 2, AdoptBackwards), 16);
}

/// Q is rounded up where n + R is odd: there one more is harmless, and two more are not.
#[test]
fn one_rollback_too_many() {
    let rolled = |n, rollbacks, rolled: &[u8]| {
        let scenario = Scenario::fixed(n, rollbacks).bounds(2, 1);
        scenario.rolling_back(rolled).breaking(&[])
    };
    caught("3 R=0, one rolled back", &rolled(3, 0, &[2]), 8);
    caught("5 R=0, one rolled back", &rolled(5, 0, &[4]), 12);
    caught("4 R=1, two rolled back", &rolled(4, 1, &[2, 3]), 8);
    caught("3 R=2, three rolled back", &rolled(3, 2, &[0, 1, 2]), 4);
    caught("5 R=2, three rolled back", &rolled(5, 2, &[2, 3, 4]), 8);
    safe("3 R=1, two rolled back", &rolled(3, 1, &[1, 2]), 28);
    safe("5 R=1, two rolled back", &rolled(5, 1, &[3, 4]), 498);
    caught("3 R=1, three rolled back", &rolled(3, 1, &[0, 1, 2]), 4);
    caught("5 R=1, three rolled back", &rolled(5, 1, &[2, 3, 4]), 8);
}

/// It counts against R in its old set for ever.
#[test]
fn a_rolled_back_member_that_left() {
    let scenario = Scenario::changing(REPLACE).one_ghost().bounds(2, 1);
    caught(
        "left, then rolled back",
        &scenario.rolling_back(&[2]).breaking(&[]),
        8,
    );
}

#[test]
fn statements_of_others_than_members() {
    caught("NonMembers", &change(REPLACE, 2, 1, NonMembers), 12);
}

#[test]
fn a_change_certified_by_the_new_set_alone() {
    caught("NewQuorumOnly", &change(REPLACE, 2, 1, NewQuorumOnly), 12);
}

#[test]
fn a_change_certified_by_a_majority_of_both_together() {
    caught("UnionQuorum", &change(GROW, 2, 1, UnionQuorum), 13);
}

#[test]
fn entries_above_a_change_that_is_not_certified() {
    caught("NoGate", &change(REPLACE, 2, 2, NoGate), 13);
}

#[test]
fn a_lead_above_an_uncertified_change_by_the_old_set() {
    caught("PromisesOfOld", &change(REPLACE, 2, 2, PromisesOfOld), 15);
}

#[test]
fn a_lead_above_an_uncertified_change_by_the_new_set() {
    caught("PromisesOfNew", &change(REPLACE, 3, 1, PromisesOfNew), 17);
}

#[test]
fn an_old_set_that_goes_on_deciding() {
    caught("OldSetStays", &change(REPLACE, 2, 2, OldSetStays), 15);
}

/// Safe: the chain of an epoch is one, so there is no second entry for that place, no other chain
/// to move to, and nothing that `previous` could link by mistake. These checks are a second line
/// against a broken leader (and `previous` is what makes an honest host's gap a `Gap`).
#[test]
fn second_lines_are_not_needed_while_the_first_stands() {
    for mutant in [NotariseTwice, MoveWithinEpoch, SkipPrevious] {
        safe(&format!("{mutant:?} 2x2"), &three(2, 2, mutant), 6052);
        safe(&format!("{mutant:?} 3x1"), &three(3, 1, mutant), 12485);
    }
}

/// Safe: an entry certified in a lower epoch is under every tip of a higher one already.
#[test]
fn adopting_by_index_is_not_needed_to_be_wrong() {
    safe("AdoptByIndex 2x2", &three(2, 2, AdoptByIndex), 4268);
    safe("AdoptByIndex 3x2", &three(3, 2, AdoptByIndex), 281_387);
}

/// Agreement stands without it, but anchors go back, on which everything else is argued.
#[test]
fn adopting_raises_the_promise() {
    safe(
        "AdoptKeepsPromise 3x1",
        &three(3, 1, AdoptKeepsPromise),
        13345,
    );
    let watched = Scenario::fixed(3, 0)
        .bounds(2, 1)
        .against(AdoptKeepsPromise, FORWARD);
    let report = check("AdoptKeepsPromise, anchors", &watched, SHORTEST);
    assert_eq!(report.broken.unwrap().1.steps.len(), 12);
}

/// Safe: rivals need the old quorum anyway. The new one is for who goes on when the old set is
/// switched off: `dead_ends.rs`.
#[test]
fn a_change_certified_by_the_old_set_alone_keeps_one_history() {
    for (sets, states) in [(REPLACE, 100_000), (SHRINK, 40_000), (GROW, 100_000)] {
        let scenario = change(sets, 2, 2, OldQuorumOnly);
        safe(
            &format!("OldQuorumOnly {:b}", set(sets[1])),
            &scenario,
            states,
        );
    }
}
