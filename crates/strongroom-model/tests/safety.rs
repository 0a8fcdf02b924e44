#![allow(clippy::unwrap_used, missing_docs)]
//! The rules keep one history, whatever the host does: every state within the bounds named.

use strongroom_model::{Limits, Scenario, check};

const THREADS: Limits = Limits {
    depth: 0,
    threads: 2,
};

fn holds(name: &str, scenario: &Scenario) {
    let report = check(name, scenario, THREADS);
    assert!(report.broken.is_none());
    assert!(report.never.is_empty(), "never seen: {:?}", report.never);
}

/// n, R, epochs, entries in each.
type Fixed = (u8, u8, u8, u8);

fn fixed(list: &[Fixed]) {
    for (n, rollbacks, epochs, length) in list.iter().copied() {
        let scenario = Scenario::fixed(n, rollbacks).bounds(epochs, length);
        holds(&format!("n={n} R={rollbacks} {epochs}x{length}"), &scenario);
    }
}

#[test]
fn three_members_keep_one_history() {
    fixed(&[
        (3, 0, 3, 2),
        (3, 0, 4, 1),
        (3, 1, 3, 3),
        (3, 1, 4, 2),
        (3, 2, 3, 3),
        (3, 2, 4, 2),
    ]);
}

#[test]
fn five_members_keep_one_history() {
    fixed(&[
        (5, 0, 2, 2),
        (5, 0, 3, 1),
        (5, 1, 2, 2),
        (5, 1, 3, 1),
        (5, 2, 3, 1),
        (5, 2, 2, 3),
    ]);
}

/// Leaders are members, with RAM that a restart empties.
#[test]
fn three_members_that_lead_and_restart_keep_one_history() {
    for (rollbacks, epochs, length, restarts) in [
        (0, 2, 2, 2),
        (0, 3, 1, 1),
        (1, 2, 2, 2),
        (1, 3, 1, 2),
        (2, 3, 1, 2),
        (2, 2, 3, 2),
    ] {
        let scenario = Scenario::fixed(3, rollbacks).bounds(epochs, length);
        let name = format!("n=3 R={rollbacks} {epochs}x{length}, {restarts} restarts");
        holds(&name, &scenario.led_by_members(restarts));
    }
}

#[test]
#[ignore = "minutes; cargo xtask nightly"]
fn three_members_keep_one_history_for_longer() {
    fixed(&[(3, 0, 3, 3), (3, 1, 4, 3), (3, 2, 4, 3)]);
    let led = Scenario::fixed(3, 0).bounds(3, 1).led_by_members(3);
    holds("n=3 R=0 3x1, 3 restarts", &led);
}

#[test]
#[ignore = "minutes; cargo xtask nightly"]
fn five_members_keep_one_history_for_longer() {
    fixed(&[(5, 0, 2, 3), (5, 1, 3, 2), (5, 2, 3, 2), (5, 2, 4, 1)]);
    let led = Scenario::fixed(5, 0).bounds(2, 1).led_by_members(1);
    holds("n=5 R=0 2x1, 1 restart", &led);
}

/// Too large for all of it: every state within so many steps.
#[test]
#[ignore = "minutes; cargo xtask nightly"]
fn five_members_keep_one_history_as_far_as_one_looks() {
    let scenario = Scenario::fixed(5, 0).bounds(3, 2);
    let limits = Limits {
        depth: 22,
        ..THREADS
    };
    let report = check("n=5 R=0 3x2, 21 steps", &scenario, limits);
    assert!(report.broken.is_none());
}
