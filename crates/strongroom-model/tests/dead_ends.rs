#![allow(clippy::unwrap_used, missing_docs)]
//! There is always a way on: the dead ends of the draft without ballots, and those that the text
//! of DESIGN §6 had.

use strongroom_model::Mutant::{
    self, NothingAbove, OldQuorumOnly, RetireOnChange, RetireOnNotarise, SettledByItself,
};
use strongroom_model::{
    Action, Entry, GHOST, Limits, NO_DEAD_END, Next, Refusal, Scenario, State, check, picture,
};

const THREADS: Limits = Limits {
    depth: 0,
    threads: 2,
};

const SHORTEST: Limits = Limits {
    depth: 0,
    threads: 1,
};

fn play(scenario: &Scenario, steps: &[Action]) -> State {
    steps.iter().fold(State::default(), |s, step| {
        let mut possible = Vec::new();
        scenario.steps(&s, &mut possible);
        assert!(possible.contains(step), "{step}\n{}", picture(&s));
        scenario.take(&s, *step)
    })
}

/// The members promise, the first process that may leads from that start and proposes.
fn epoch(e: u8, members: &[usize], start: Entry) -> Vec<Action> {
    let promises = members.iter().map(|it| Action::Promise(*it, e, GHOST));
    let rest = [
        Action::Lead(GHOST, e, start),
        Action::Propose(e, 0, Next::Batch),
    ];
    promises.chain(rest).collect()
}

fn first(e: u8) -> Entry {
    Entry::at(e, 0, 0)
}

fn goes_on(scenario: &Scenario, s: &State) {
    assert_eq!(scenario.dead_end(s), None, "{}", picture(s));
}

#[test]
fn three_members_with_three_tips_go_on() {
    let scenario = Scenario::fixed(3, 0).bounds(3, 1);
    let mut steps = epoch(1, &[0, 1], Entry::ROOT);
    steps.push(Action::Notarise(1, first(1)));
    steps.extend(epoch(2, &[0, 2], Entry::ROOT));
    steps.push(Action::Notarise(2, first(2)));
    steps.extend(epoch(3, &[0, 1], first(1)));
    steps.push(Action::Notarise(0, first(3)));
    let s = play(&scenario, &steps);
    assert_eq!(s.certified, Entry::ROOT.bit(), "1-1-1: nothing is decided");
    goes_on(&scenario, &s);
}

#[test]
fn five_members_split_two_two_one_go_on() {
    let scenario = Scenario::fixed(5, 0).bounds(3, 1);
    let mut steps = epoch(1, &[0, 1, 2], Entry::ROOT);
    steps.extend([0, 1].map(|it| Action::Notarise(it, first(1))));
    steps.extend(epoch(2, &[2, 3, 4], Entry::ROOT));
    steps.extend([2, 3].map(|it| Action::Notarise(it, first(2))));
    steps.extend(epoch(3, &[0, 1, 4], first(1)));
    steps.push(Action::Notarise(4, first(3)));
    let s = play(&scenario, &steps);
    assert_eq!(s.certified, Entry::ROOT.bit(), "2-2-1: nothing is decided");
    goes_on(&scenario, &s);
}

/// A disk restored under a newer anchor: the header of an uncertified tip is nowhere. The member
/// cannot stand; the others go on without it, and their certificate brings it back.
#[test]
fn a_lost_header_is_cured_by_adopting() {
    let mut scenario = Scenario::fixed(3, 0).bounds(2, 1);
    scenario.losses = 1;
    let mut steps = epoch(1, &[0, 1], Entry::ROOT);
    steps.push(Action::Notarise(0, first(1)));
    steps.push(Action::Lose(0));
    let s = play(&scenario, &steps);
    assert_eq!(scenario.promise(&s, 0, 2, GHOST), Err(Refusal::WrongPhase));
    goes_on(&scenario, &s);
    steps.extend(epoch(2, &[1, 2], Entry::ROOT));
    steps.extend([1, 2].map(|it| Action::Notarise(it, first(2))));
    steps.push(Action::Adopt(0, first(2)));
    let s = play(&scenario, &steps);
    assert!(!s.members[0].lost);
}

#[test]
fn a_power_cut_at_all_sites_after_any_step_is_no_dead_end() {
    let scenario = Scenario::fixed(3, 0).bounds(2, 2).led_by_members(u8::MAX);
    let lead = |e, l: u8, start| {
        let promises = [0, 1].map(|it| Action::Promise(it, e, l));
        let rest = [
            Action::Lead(l, e, start),
            Action::Propose(e, 0, Next::Batch),
        ];
        promises.into_iter().chain(rest)
    };
    let mut steps: Vec<Action> = lead(1, 0, Entry::ROOT).collect();
    steps.push(Action::Propose(1, 0, Next::Batch));
    steps.push(Action::Notarise(0, Entry::at(1, 0, 1)));
    steps.push(Action::Notarise(1, first(1)));
    steps.extend(lead(2, 1, Entry::at(1, 0, 1)));
    steps.extend([0, 1, 2].map(|it| Action::Notarise(it, first(2))));
    for cut in 0..=steps.len() {
        let mut s = play(&scenario, &steps[..cut]);
        (0..3).for_each(|it| s = scenario.take(&s, Action::Restart(it)));
        assert!(s.members.iter().all(|it| it.here == 0 && it.leading == 0));
        goes_on(&scenario, &s);
    }
}

/// An entry that the engine commits after its chain was left behind: no member takes it.
#[test]
fn void_entries_are_refused_and_stop_nobody() {
    let scenario = Scenario::fixed(3, 0).bounds(2, 2);
    let mut steps = epoch(1, &[0, 1], Entry::ROOT);
    steps.push(Action::Propose(1, 0, Next::Batch));
    steps.push(Action::Notarise(1, first(1)));
    steps.extend(epoch(2, &[1, 2], first(1)));
    steps.extend([1, 2].map(|it| Action::Notarise(it, first(2))));
    let s = play(&scenario, &steps);
    let void = Entry::at(1, 0, 1);
    for m in [1, 2] {
        let verdict = scenario.notarise(&s, m, void, void);
        assert_eq!(verdict, Err(Refusal::EpochStale));
    }
    assert!(!s.one_chain(void, first(2)));
    goes_on(&scenario, &s);
}

fn alive(name: &str, scenario: Scenario) {
    let report = check(name, &scenario.with_dead_ends(), THREADS);
    assert!(report.broken.is_none());
}

#[test]
fn no_state_of_one_configuration_is_a_dead_end() {
    let losing = |n, rollbacks, epochs, length| {
        let mut scenario = Scenario::fixed(n, rollbacks).bounds(epochs, length);
        scenario.losses = 1;
        scenario
    };
    for (n, rollbacks, epochs, length) in [
        (3, 0, 2, 2),
        (3, 0, 3, 1),
        (3, 1, 3, 2),
        (3, 2, 3, 2),
        (5, 0, 2, 1),
        (5, 1, 2, 1),
        (5, 2, 2, 2),
    ] {
        let name = format!("n={n} R={rollbacks} {epochs}x{length}, no dead end");
        alive(&name, losing(n, rollbacks, epochs, length));
    }
}

const CHANGES: &[&[&[u8]]] = &[
    &[&[0, 1, 2], &[0, 1, 3]],
    &[&[0, 1, 2], &[0, 1, 2, 3]],
    &[&[0, 1, 2], &[0, 1, 2, 3, 4]],
    &[&[0, 1, 2, 3], &[0, 1, 2]],
    &[&[0, 1, 2, 3, 4], &[0, 1, 2]],
    &[&[0, 1, 2], &[0, 1, 3], &[0, 3, 4]],
];

#[test]
fn no_state_of_a_change_is_a_dead_end() {
    for sets in CHANGES {
        let scenario = Scenario::changing(sets).one_ghost();
        alive(&format!("{sets:?} 2x1"), scenario.bounds(2, 1));
    }
    let scenario = Scenario::changing(CHANGES[0]).one_ghost();
    alive("replace one 2x2", scenario.bounds(2, 2));
}

/// The code never takes a certificate of what a start is, and retires members later for it.
#[test]
fn no_state_of_a_change_as_the_code_has_it_is_a_dead_end() {
    for sets in CHANGES {
        let scenario = Scenario::changing(sets).one_ghost().as_coded();
        alive(&format!("{sets:?} 2x1, as coded"), scenario.bounds(2, 1));
    }
    let alone: &[&[u8]] = &[&[0], &[0, 1, 2]];
    for sets in [CHANGES[0], alone] {
        let scenario = Scenario::changing(sets).one_ghost().as_coded();
        alive(&format!("{sets:?} 2x2, as coded"), scenario.bounds(2, 2));
    }
}

#[test]
#[ignore = "minutes; cargo xtask nightly"]
fn no_state_of_a_longer_change_is_a_dead_end() {
    for sets in &CHANGES[..5] {
        let scenario = Scenario::changing(sets).one_ghost();
        alive(&format!("{sets:?} 2x2"), scenario.bounds(2, 2));
        let scenario = Scenario::changing(sets).one_ghost();
        alive(&format!("{sets:?} 3x1"), scenario.bounds(3, 1));
        let coded = Scenario::changing(sets).one_ghost().as_coded();
        alive(
            &format!("{sets:?} 2x2, as coded"),
            coded.clone().bounds(2, 2),
        );
        alive(&format!("{sets:?} 3x1, as coded"), coded.bounds(3, 1));
    }
}

fn stuck(name: &str, sets: &[&[u8]], (epochs, length): (u8, u8), mutant: Mutant) -> usize {
    let scenario = Scenario::changing(sets).one_ghost().bounds(epochs, length);
    let scenario = scenario.with_dead_ends().against(mutant, NO_DEAD_END);
    let report = check(name, &scenario, SHORTEST);
    let (property, counterexample) = report.broken.expect("the text had a dead end");
    assert_eq!(property, NO_DEAD_END);
    counterexample.steps.len()
}

/// DESIGN §6 before this model: "nothing is proposed above it until it is certified". Its epoch is
/// over, so it never can be, and nothing may be proposed that would certify it on the way.
#[test]
fn a_change_that_only_its_own_epoch_may_certify() {
    assert_eq!(stuck("NothingAbove", CHANGES[0], (1, 1), NothingAbove), 5);
}

/// DESIGN §6 before this model: "a member that notarises its own removal [...] anchors `retired`".
/// The change may still fail, and the old set is one member short.
#[test]
fn a_member_that_retires_before_its_removal_is_certified() {
    assert_eq!(
        stuck("RetireOnNotarise", CHANGES[0], (1, 1), RetireOnNotarise),
        5
    );
}

/// A leader above a change, not shown its certificate, proposes an entry that both sets decide;
/// the old set has retired meanwhile. The certificate of the change must be enough to go on.
#[test]
fn a_leader_that_did_not_know_of_a_certificate() {
    assert_eq!(
        stuck("SettledByItself", CHANGES[0], (2, 1), SettledByItself),
        12
    );
}

/// Why a member leaves above a settled entry only, where leaders are shown no certificates.
#[test]
fn a_member_that_retires_on_its_removal_where_leaders_are_not_shown() {
    let scenario = Scenario::changing(CHANGES[0]).one_ghost().as_coded();
    let scenario = scenario.bounds(1, 1).with_dead_ends();
    let scenario = scenario.against(RetireOnChange, NO_DEAD_END);
    let report = check("RetireOnChange", &scenario, SHORTEST);
    let (property, counterexample) = report.broken.expect("the old set is short of promises");
    assert_eq!((property, counterexample.steps.len()), (NO_DEAD_END, 7));
}

/// Why the new set certifies a change as well: the old one leaves, and nobody holds the change.
#[test]
fn a_change_that_the_new_set_does_not_hold() {
    let all: &[&[u8]] = &[&[0, 1, 2], &[3, 4, 5]];
    alive(
        "replace all 1x1",
        Scenario::changing(all).one_ghost().bounds(1, 1),
    );
    assert_eq!(stuck("OldQuorumOnly", all, (1, 1), OldQuorumOnly), 7);
}
