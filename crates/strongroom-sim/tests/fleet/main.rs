//! Several members: who leads from where, who moves where, and what a host cannot make of it
//! (DESIGN §6, decision 0015). Each refusal has its name and changes nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod adopting;
mod clock;
mod handover;
mod leading;
mod members;
mod notarising;
mod resuming;

use strongroom_sim::fleet::Fleet;
use strongroom_vault::Platform as _;
use strongroom_wire::frame::{HsmError, Inspection, Request, Response};

const MINUTE: u64 = 60_000;

/// Where a member stands, but for the count of refusals.
fn standing(fleet: &mut Fleet, m: usize) -> Inspection {
    Inspection {
        refused: 0,
        ..fleet.inspect(m)
    }
}

/// Asks for something that must be refused by that name and change nothing.
#[track_caller]
fn refused(fleet: &mut Fleet, m: usize, request: Request, error: HsmError) {
    let before = standing(fleet, m);
    let anchor = fleet.members[m].platform.anchor();
    assert_eq!(fleet.ask(m, request), Err(error));
    assert_eq!(standing(fleet, m), before, "a refusal changes nothing");
    assert_eq!(fleet.members[m].platform.anchor(), anchor);
}

/// A fleet of three whose member 0 led epoch 1 and sealed a branch alone: (fleet, its two entries).
fn branched() -> (Fleet, [strongroom_wire::entry::Proposal; 2]) {
    let mut fleet = Fleet::new(3, 0);
    fleet.lead(0, 1, &[0, 1]);
    let run = [(); 2].map(|()| fleet.propose(0).unwrap());
    fleet.notarise(0, &run, None).unwrap();
    (fleet, run)
}

/// Everyone seals what that member proposes, and it releases it: the fleet is alive.
#[track_caller]
fn goes_on(fleet: &mut Fleet, leader: usize) {
    let members = fleet.in_force();
    let epochs = members
        .iter()
        .map(|m| fleet.inspect(*m).promised.0)
        .max()
        .unwrap();
    let start = fleet.lead(leader, epochs + 1, &members);
    let run = [fleet.propose(leader).unwrap()];
    let certificate = fleet.certify(&members, &run, Some(&start));
    fleet.release(leader, &certificate).unwrap();
    for m in members {
        assert_eq!(fleet.inspect(m).tip, run[0].header.tip());
    }
}

#[test]
fn three_members_seal_one_history_and_another_leads_on() {
    for n in [3, 5, 7] {
        let mut fleet = Fleet::new(n, 0);
        for leader in 0..3 {
            goes_on(&mut fleet, leader);
        }
    }
}

#[test]
fn each_start_has_another_name() {
    let mut fleet = Fleet::new(3, 0);
    let mut names: Vec<_> = fleet.members.iter_mut().map(|it| it.process()).collect();
    fleet.restart(0);
    names.push(fleet.members[0].process());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
    assert_eq!(
        fleet.members[0].process(),
        fleet.members[0].process(),
        "and keeps it"
    );
    let version = 1;
    let hello = fleet.ask(0, Request::Hello { version });
    assert!(matches!(hello, Ok(Response::Welcome(_))));
}
