//! Moving to a leader's start, and what does not move a member.

use super::{branched, goes_on, refused};
use strongroom_sim::fleet::Fleet;
use strongroom_wire::entry::{EntryHeader, Proposal};
use strongroom_wire::frame::{HsmError, Request};
use strongroom_wire::{Digest, Epoch, LogIndex};

fn notarise(run: &[Proposal], start: Option<&EntryHeader>) -> Request {
    Request::Notarise {
        run: run.to_vec(),
        start: start.cloned(),
    }
}

#[test]
fn a_follower_on_a_losing_branch_moves_to_the_start_with_the_run() {
    let (mut fleet, branch) = branched();
    let start = fleet.lead(1, 2, &[1, 2]);
    let run = [(); 2].map(|()| fleet.propose(1).unwrap());
    assert_eq!(run[0].header.index, branch[0].header.index);
    let writes = fleet.inspect(0).anchor_writes;
    fleet.notarise(0, &run, Some(&start)).unwrap();
    let after = fleet.inspect(0);
    assert_eq!(after.tip, run[1].header.tip());
    assert_eq!(after.promised, Epoch(2), "raised with the run");
    assert_eq!(after.anchor_writes, writes + 1, "one write for both");
    // What it left is void, and what it said of it is not said again.
    refused(
        &mut fleet,
        0,
        notarise(&branch, Some(&start)),
        HsmError::EpochStale,
    );
    goes_on(&mut fleet, 0);
}

#[test]
fn without_the_leaders_start_nobody_moves() {
    let (mut fleet, _) = branched();
    fleet.lead(1, 2, &[1, 2]);
    let run = [(); 3].map(|()| fleet.propose(1).unwrap());
    refused(&mut fleet, 0, notarise(&run, None), HsmError::Stale);
    refused(&mut fleet, 0, notarise(&run[2..], None), HsmError::Stale);
    // The chain's middle is no start: it is of the epoch itself.
    for at in [1, 2] {
        let middle = notarise(&run[at..], Some(&run[at - 1].header));
        refused(&mut fleet, 0, middle, HsmError::Stale);
    }
    let (mut fleet, _) = branched();
    let start = fleet.lead(2, 2, &[0, 2]);
    let run = [fleet.propose(2).unwrap()];
    refused(&mut fleet, 1, notarise(&run, None), HsmError::Gap);
    fleet.notarise(1, &run, Some(&start)).unwrap();
    goes_on(&mut fleet, 0);
}

#[test]
fn a_start_that_the_run_does_not_follow_moves_nobody() {
    let (mut fleet, branch) = branched();
    let start = fleet.lead(1, 2, &[1, 2]);
    let run = [(); 2].map(|()| fleet.propose(1).unwrap());
    let changed = |change: fn(&mut EntryHeader)| {
        let mut header = start.clone();
        change(&mut header);
        header
    };
    let lies = [
        // Of the fleet, and another entry.
        branch[0].header.clone(),
        branch[1].header.clone(),
        run[0].header.clone(),
        run[1].header.clone(),
        // Of the host's own.
        changed(|it| it.index = LogIndex(7)),
        changed(|it| it.epoch = Epoch(1)),
        changed(|it| it.previous = Digest([1; 32])),
        changed(|it| it.state = Digest([1; 32])),
    ];
    for lie in &lies {
        refused(&mut fleet, 0, notarise(&run, Some(lie)), HsmError::Stale);
    }
    fleet.notarise(0, &run, Some(&start)).unwrap();
    goes_on(&mut fleet, 0);
}

/// A leader is one by promises that its HSM looked at. Whoever was not asked seals its first entry
/// all the same: that an HSM of the fleet made it is all that there is to know.
#[test]
fn a_start_of_the_same_or_a_later_epoch_is_none() {
    let (mut fleet, branch) = branched();
    // 2 leads epoch 2 from 0's branch, and 1 is at the genesis still.
    fleet.lead(2, 2, &[0, 2]);
    let run = [(); 2].map(|()| fleet.propose(2).unwrap());
    refused(
        &mut fleet,
        1,
        notarise(&run[1..], Some(&run[0].header)),
        HsmError::Gap,
    );
    // Nor does one from before an epoch lead anybody back into it.
    fleet.notarise(1, &run, Some(&branch[1].header)).unwrap();
    refused(
        &mut fleet,
        1,
        notarise(&run[..1], Some(&branch[1].header)),
        HsmError::Stale,
    );
    goes_on(&mut fleet, 0);
}

#[test]
fn a_forged_run_is_refused_whatever_its_start() {
    let (mut fleet, _) = branched();
    let start = fleet.lead(1, 2, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    let mut forged = run.clone();
    forged[0].header.previous = Digest([1; 32]);
    let request = notarise(&forged, Some(&start));
    refused(&mut fleet, 0, request, HsmError::EntryForged);
    // A made-up start under a made-up first entry: whatever it is hashed of.
    let mut made = start.clone();
    made.root = Digest([9; 32]);
    let mut forged = run.clone();
    forged[0].header.previous = made.hash();
    let request = notarise(&forged, Some(&made));
    refused(&mut fleet, 0, request, HsmError::EntryForged);
    fleet.notarise(0, &run, Some(&start)).unwrap();
    goes_on(&mut fleet, 1);
}

#[test]
fn within_an_epoch_no_start_moves_a_tip() {
    let mut fleet = Fleet::new(3, 0);
    let start = fleet.lead(0, 1, &[0, 1]);
    let run = [(); 3].map(|()| fleet.propose(0).unwrap());
    fleet.notarise(1, &run, Some(&start)).unwrap();
    for part in [&run[..1], &run[..2], &run[1..2]] {
        let request = notarise(part, Some(&start));
        refused(&mut fleet, 1, request, HsmError::Stale);
    }
    fleet.notarise(1, &run, Some(&start)).unwrap();
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
        .notarise(0, std::slice::from_ref(&ahead), None)
        .unwrap();
    let start = fleet.lead(1, 2, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    assert!(run[0].header.time < ahead.header.time);
    fleet.notarise(0, &run, Some(&start)).unwrap();
    goes_on(&mut fleet, 0);
}
