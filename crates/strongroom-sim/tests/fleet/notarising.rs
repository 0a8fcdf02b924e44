//! Moving to a leader's start, and what does not move a member.

use super::{branched, goes_on, refused};
use strongroom_sim::fleet::{Fleet, id};
use strongroom_wire::entry::{Promised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Request};
use strongroom_wire::{Epoch, LogIndex};

fn notarise(run: &[Proposal], promises: &[Signed<Promised>]) -> Request {
    Request::Notarise {
        run: run.to_vec(),
        promises: promises.to_vec(),
    }
}

#[test]
fn a_follower_on_a_losing_branch_moves_to_the_start_with_the_run() {
    let (mut fleet, branch) = branched();
    let promises = fleet.lead(1, 2, &[1, 2]);
    let run = [(); 2].map(|()| fleet.propose(1).unwrap());
    assert_eq!(run[0].header.index, branch[0].header.index);
    let writes = fleet.inspect(0).anchor_writes;
    fleet.notarise(0, &run, &promises).unwrap();
    let after = fleet.inspect(0);
    assert_eq!(after.tip, run[1].header.tip());
    assert_eq!(after.promised, Epoch(2), "raised with the run");
    assert_eq!(after.anchor_writes, writes + 1, "one write for both");
    // What it left is void, and what it said of it is not said again.
    refused(
        &mut fleet,
        0,
        notarise(&branch, &promises),
        HsmError::EpochStale,
    );
    goes_on(&mut fleet, 0);
}

#[test]
fn without_the_leaders_promises_nobody_moves() {
    let (mut fleet, _) = branched();
    let promises = fleet.lead(1, 2, &[1, 2]);
    let run = [(); 3].map(|()| fleet.propose(1).unwrap());
    refused(&mut fleet, 0, notarise(&run, &[]), HsmError::Stale);
    refused(&mut fleet, 0, notarise(&run[2..], &[]), HsmError::Stale);
    // The chain's middle is no start, whoever promised.
    refused(&mut fleet, 0, notarise(&run[1..], &promises), HsmError::Gap);
    let (mut fleet, _) = branched();
    let promises = fleet.lead(2, 2, &[0, 2]);
    let run = [fleet.propose(2).unwrap()];
    refused(&mut fleet, 1, notarise(&run, &[]), HsmError::Gap);
    fleet.notarise(1, &run, &promises).unwrap();
    goes_on(&mut fleet, 0);
}

#[test]
fn promises_that_are_none_move_nobody() {
    let (mut fleet, _) = branched();
    let promises = fleet.lead(1, 2, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    let changed = |change: fn(&mut Promised)| {
        let mut promises = promises.clone();
        promises.iter_mut().for_each(|it| change(&mut it.statement));
        promises
    };
    let lies = [
        promises[..1].to_vec(),
        vec![promises[0].clone(), promises[0].clone()],
        changed(|it| it.leader = id(2)),
        changed(|it| it.process.0[0] ^= 1),
        changed(|it| it.tip.index = LogIndex(9)),
        changed(|it| it.epoch = Epoch(3)),
    ];
    for lie in lies {
        refused(
            &mut fleet,
            0,
            notarise(&run, &lie),
            HsmError::PromisesInvalid,
        );
    }
    // Real ones, of an epoch before.
    let (mut fleet, _) = branched();
    let old = fleet.lead(2, 2, &[1, 2]);
    fleet.lead(1, 3, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    refused(
        &mut fleet,
        0,
        notarise(&run, &old),
        HsmError::PromisesInvalid,
    );
    goes_on(&mut fleet, 0);
}

/// A start in older promises of the same epoch is no start: the run follows the newest tip shown.
#[test]
fn a_run_that_begins_elsewhere_than_the_newest_promised_tip_is_refused() {
    let (mut fleet, _) = branched();
    let few = fleet.lead(2, 2, &[2, 1]);
    let run = [fleet.propose(2).unwrap()];
    let newer = fleet.promise(0, 2, 2).unwrap();
    let shown = [few[0].clone(), newer];
    refused(&mut fleet, 0, notarise(&run, &shown), HsmError::Stale);
    fleet.notarise(0, &run, &few).unwrap();
    goes_on(&mut fleet, 1);
}

#[test]
fn within_an_epoch_no_promise_moves_a_tip() {
    let mut fleet = Fleet::new(3, 0);
    let promises = fleet.lead(0, 1, &[0, 1]);
    let run = [(); 3].map(|()| fleet.propose(0).unwrap());
    fleet.notarise(1, &run, &promises).unwrap();
    for part in [&run[..1], &run[..2], &run[1..2]] {
        refused(&mut fleet, 1, notarise(part, &promises), HsmError::Stale);
    }
    fleet.notarise(1, &run, &promises).unwrap();
    goes_on(&mut fleet, 2);
}

/// The branch it leaves was ahead in time; the one it moves to need not be.
#[test]
fn time_may_go_back_with_the_tip_to_a_leaders_start() {
    let mut fleet = Fleet::new(3, 0);
    fleet.lead(0, 1, &[0, 1]);
    fleet.members[0].platform.pass(super::MINUTE / 2);
    let ahead = fleet.propose(0).unwrap();
    fleet
        .notarise(0, std::slice::from_ref(&ahead), &[])
        .unwrap();
    let promises = fleet.lead(1, 2, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    assert!(run[0].header.time < ahead.header.time);
    fleet.notarise(0, &run, &promises).unwrap();
    goes_on(&mut fleet, 0);
}
