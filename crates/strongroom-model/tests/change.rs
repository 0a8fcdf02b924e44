#![allow(clippy::unwrap_used, missing_docs)]
//! Changes of members keep one history. `dead_ends.rs` checks the same invariants, and more, for
//! one candidate in each epoch; here are two, members that return, and members rolled back.

use strongroom_model::{Config, Limits, Scenario, check};

const THREADS: Limits = Limits {
    depth: 0,
    threads: 2,
};

fn holds(name: &str, scenario: &Scenario) {
    let report = check(name, scenario, THREADS);
    assert!(report.broken.is_none());
    assert!(report.never.is_empty(), "never seen: {:?}", report.never);
}

const REPLACE: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 3]];
/// The slot of 2 is readmitted twice, each time with another identity.
const READMIT: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 3], &[0, 1, 4]];
const IN_TURN: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 3], &[0, 3, 4]];
const GROW: &[&[u8]] = &[&[0, 1, 2], &[0, 1, 2, 3]];
const SHRINK: &[&[u8]] = &[&[0, 1, 2, 3], &[0, 1, 2]];
const REPLACE_OF_FIVE: &[&[u8]] = &[&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 5]];

#[test]
fn a_change_between_two_candidates_keeps_one_history() {
    for (name, sets, epochs, length) in [
        ("replace 2x1", REPLACE, 2, 1),
        ("grow 2x2", GROW, 2, 2),
        ("shrink 2x2", SHRINK, 2, 2),
    ] {
        holds(name, &Scenario::changing(sets).bounds(epochs, length));
    }
}

#[test]
fn changes_in_a_row_keep_one_history() {
    for (name, sets, epochs, length) in [
        ("replace 3x1", REPLACE, 3, 1),
        ("readmit twice 2x1", READMIT, 2, 1),
        ("replace of five 2x1", REPLACE_OF_FIVE, 2, 1),
    ] {
        let scenario = Scenario::changing(sets).one_ghost();
        holds(name, &scenario.bounds(epochs, length));
    }
}

#[test]
fn a_member_that_returns_keeps_one_history() {
    let mut scenario = Scenario::changing(REPLACE).one_ghost().bounds(3, 1);
    scenario.returns = true;
    holds("replace and back 3x1", &scenario);
}

/// At most R in every set, those that left included.
#[test]
fn changes_with_rolled_back_members_keep_one_history() {
    let sets: [&[u8]; 2] = [&[0, 1, 2, 3], &[0, 1, 2, 4]];
    for (rolled, epochs, length) in [
        (&[0][..], 2, 1),
        (&[3], 2, 2),
        (&[4], 2, 2),
        (&[3, 4], 2, 2),
        (&[3, 4], 3, 1),
    ] {
        let mut scenario = Scenario::changing(&sets).one_ghost().bounds(epochs, length);
        scenario.configs = sets.iter().map(|it| Config::new(it, 1)).collect();
        let name = format!("replace of four R=1, {rolled:?} rolled back, {epochs}x{length}");
        holds(&name, &scenario.rolling_back(rolled));
    }
}

#[test]
#[ignore = "minutes; cargo xtask nightly"]
fn longer_changes_keep_one_history() {
    holds(
        "replace 2x2, two candidates",
        &Scenario::changing(REPLACE).bounds(2, 2),
    );
    let longer = |sets, epochs, length| {
        let scenario = Scenario::changing(sets).one_ghost();
        scenario.bounds(epochs, length)
    };
    holds("in turn 2x2", &longer(IN_TURN, 2, 2));
    holds("readmit twice 3x1", &longer(READMIT, 3, 1));
    holds("grow 3x2", &longer(GROW, 3, 2));
    holds("shrink 3x2", &longer(SHRINK, 3, 2));
}
