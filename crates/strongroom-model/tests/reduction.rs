#![allow(clippy::unwrap_used, missing_docs)]
//! The reductions lose no state: whatever is reached without them is, reduced, among what is
//! reached with them. A search written by hand, beside Stateright's.

use stateright::Model;
use std::collections::HashSet;
use strongroom_model::{GHOST, Leader, Scenario, State};

fn reached(scenario: &Scenario, next: impl Fn(&State) -> State) -> HashSet<State> {
    let mut seen = HashSet::from([State::default()]);
    let mut pending = vec![State::default()];
    while let Some(s) = pending.pop() {
        let mut steps = Vec::new();
        scenario.steps(&s, &mut steps);
        for step in steps {
            let state = next(&scenario.take(&s, step));
            if seen.insert(state.clone()) {
                pending.push(state);
            }
        }
    }
    seen
}

/// Ghosts' names mean nothing: of all ways to give them, epoch by epoch, the first in order.
fn unnamed(scenario: &Scenario, s: &State) -> State {
    let swapped = |swap: u8| {
        let mut s = s.clone();
        let name = |epoch: usize, leader: &mut Leader| {
            if *leader == GHOST || *leader == GHOST + 1 {
                *leader ^= swap >> epoch & 1;
            }
        };
        for epoch in 0..usize::from(scenario.epochs) {
            for session in &mut s.sessions[epoch] {
                name(epoch, &mut session.leader);
            }
            for member in &mut s.members {
                member.promises[epoch]
                    .iter_mut()
                    .for_each(|it| name(epoch, &mut it.leader));
            }
        }
        scenario.reduced(&s)
    };
    let all = (0..1 << scenario.epochs).map(swapped);
    all.min_by_key(|it| format!("{it:?}")).unwrap()
}

fn nothing_is_lost(name: &str, scenario: &Scenario) {
    let with = reached(scenario, |s| scenario.reduced(s));
    let without = reached(scenario, State::clone);
    println!("{name}: {} states, {} reduced", without.len(), with.len());
    let with: HashSet<State> = with.iter().map(|it| unnamed(scenario, it)).collect();
    let without: HashSet<State> = without.iter().map(|it| unnamed(scenario, it)).collect();
    assert!(without.is_subset(&with));
    assert!(with.is_subset(&without));
    assert_eq!(scenario.init_states().len(), 1);
}

#[test]
fn reductions_lose_no_state() {
    let three = Scenario::fixed(3, 0);
    nothing_is_lost("n=3 1x2", &three.clone().bounds(1, 2));
    nothing_is_lost(
        "n=3 2x1, one ghost",
        &three.clone().one_ghost().bounds(2, 1),
    );
    nothing_is_lost(
        "n=3 1x1, led by members",
        &three.bounds(1, 1).led_by_members(1),
    );
    nothing_is_lost("n=3 R=1 2x1", &Scenario::fixed(3, 1).bounds(2, 1));
    let change = Scenario::changing(&[&[0, 1, 2], &[0, 1, 3]]).one_ghost();
    nothing_is_lost("replace 1x2", &change.bounds(1, 2));
}
