//! Leading from where the quorum stands, once for each start.

use super::{branched, goes_on, refused};
use strongroom_sim::fleet::Fleet;
use strongroom_wire::frame::{HsmError, Place, Request, Response};
use strongroom_wire::{Digest, Epoch};

#[test]
fn it_leads_from_a_foreign_newest_tip_and_its_first_entry_is_sealed_from_other_tips() {
    let (mut fleet, branch) = branched();
    let start = fleet.lead(2, 2, &[0, 2]);
    assert_eq!(fleet.inspect(2).tip.index.0, 0, "it stands at the genesis");
    let first = fleet.propose(2).unwrap();
    assert_eq!(first.header.previous, branch[1].header.hash());
    assert_eq!(first.header.index, branch[1].header.index.next());
    assert_eq!(fleet.inspect(2).speculative, first.header.index);
    // 0 stands at the start; the leader itself and 1 do not.
    let run = [first.clone()];
    let certificate = fleet.certify(&[0, 1, 2], &run, Some(&start));
    fleet.release(2, &certificate[1..]).unwrap();
    assert!((0..3).all(|m| fleet.inspect(m).tip == first.header.tip()));
    assert_eq!(fleet.inspect(2).leading, Some(Epoch(2)));
    let second = fleet.propose(2).unwrap();
    assert_eq!(second.header.previous, first.header.hash());
    goes_on(&mut fleet, 1);
}

/// The newest is the greatest (epoch, index), not the greatest index.
#[test]
fn the_start_is_the_newest_promised_tip_and_no_other() {
    let (mut fleet, _) = branched();
    let start = fleet.lead(1, 2, &[1, 2]);
    let newer = fleet.propose(1).unwrap();
    fleet
        .notarise(1, std::slice::from_ref(&newer), Some(&start))
        .unwrap();
    let promises = fleet.promise_all(&[0, 1, 2], 3, 2);
    for older in [0, 2] {
        let mut one = fleet.leading(3, std::slice::from_ref(&promises[older]));
        let request = Request::Lead {
            epoch: Epoch(3),
            promises: promises.clone(),
            start: changed(&mut one).clone(),
        };
        refused(&mut fleet, 2, request, HsmError::Gap);
    }
    let leading = fleet.leading(3, &promises);
    assert_eq!(
        fleet.ask(2, leading),
        Ok(Response::Leading {
            start: newer.header.tip()
        })
    );
    goes_on(&mut fleet, 0);
}

#[test]
fn a_start_with_another_state_or_header_is_refused() {
    let (mut fleet, _) = branched();
    let promises = fleet.promise_all(&[0, 2], 2, 2);
    let (forged, other) = (HsmError::EntryForged, HsmError::ManifestInvalid);
    type Lie = fn(&mut Place);
    let changes: [(Lie, HsmError); 8] = [
        (|it| it.state.tenants += 1, other),
        (|it| it.state.clock_changes += 1, other),
        (|it| it.state.manifest = Some(Digest([1; 32])), other),
        (|it| it.state.before = it.state.manifest, other),
        (|it| it.manifests.clear(), other),
        (|it| it.manifests[0].0.push(0), other),
        (|it| it.proposal.header.root = Digest([1; 32]), forged),
        (|it| it.proposal.mark = Digest([1; 32]), forged),
    ];
    for (change, error) in changes {
        let mut request = fleet.leading(2, &promises);
        change(changed(&mut request));
        refused(&mut fleet, 2, request, error);
    }
    goes_on(&mut fleet, 2);
}

fn changed(request: &mut Request) -> &mut Place {
    match request {
        Request::Lead { start, .. } => start,
        other => panic!("no lead: {other:?}"),
    }
}

#[test]
fn promises_to_another_process_make_no_leader() {
    let mut fleet = Fleet::new(3, 0);
    let before = fleet.promise_all(&[1, 2], 1, 0);
    fleet.restart(0);
    let own = fleet.promise(0, 1, 0).unwrap();
    let leading = fleet.leading(1, &before);
    refused(&mut fleet, 0, leading, HsmError::PromisesInvalid);
    let mixed = fleet.leading(1, &[own.clone(), before[0].clone()]);
    refused(&mut fleet, 0, mixed, HsmError::PromisesInvalid);
    let few = fleet.leading(1, &[own]);
    refused(&mut fleet, 0, few, HsmError::PromisesInvalid);
    goes_on(&mut fleet, 0);
}

#[test]
fn a_promise_of_its_own_to_another_process_makes_no_leader() {
    let mut fleet = Fleet::new(3, 0);
    let process = fleet.members[1].process();
    let (epoch, leader) = (Epoch(1), strongroom_sim::fleet::id(0));
    let promise = Request::Promise {
        epoch,
        leader,
        process,
    };
    fleet.ask(0, promise).unwrap();
    let promises = fleet.promise_all(&[1, 2], 1, 0);
    let leading = fleet.leading(1, &promises);
    refused(&mut fleet, 0, leading, HsmError::EpochStale);
    goes_on(&mut fleet, 0);
}

#[test]
fn an_epoch_is_led_once_and_not_after_a_restart() {
    let mut fleet = Fleet::new(3, 0);
    let promises = fleet.promise_all(&[0, 1, 2], 1, 0);
    let leading = fleet.leading(1, &promises);
    fleet.ask(0, leading.clone()).unwrap();
    refused(&mut fleet, 0, leading.clone(), HsmError::EpochStale);
    fleet.restart(0);
    refused(&mut fleet, 0, leading, HsmError::EpochStale);
    goes_on(&mut fleet, 0);
}

#[test]
fn sealing_a_later_epoch_ends_the_lead_for_good() {
    let mut fleet = Fleet::new(3, 0);
    let own = fleet.promise_all(&[0, 1, 2], 1, 0);
    let leading = fleet.leading(1, &own);
    fleet.ask(0, leading.clone()).unwrap();
    let void = fleet.propose(0).unwrap();
    let start = fleet.lead(1, 2, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    fleet.notarise(0, &run, Some(&start)).unwrap();
    let after = fleet.inspect(0);
    assert_eq!((after.leading, after.speculative), (None, after.tip.index));
    assert_eq!(fleet.propose(0), Err(HsmError::NotLeading));
    refused(&mut fleet, 0, leading, HsmError::EpochStale);
    assert_eq!(fleet.notarise(0, &[void], None), Err(HsmError::EpochStale));
    goes_on(&mut fleet, 0);
}

/// An echo of what it said before is no news to a leader.
#[test]
fn to_repeat_a_statement_or_adopt_the_own_tip_ends_no_lead() {
    let (mut fleet, branch) = branched();
    let certificate = fleet.certify(&[0, 1], &branch, None);
    fleet.lead(2, 2, &[1, 2]);
    fleet.adopt(2, &branch[1], &certificate).unwrap();
    fleet.lead(0, 3, &[0, 1, 2]);
    fleet.notarise(0, &branch, None).unwrap();
    fleet.adopt(0, &branch[1], &certificate).unwrap();
    assert_eq!(fleet.inspect(0).leading, Some(Epoch(3)));
    fleet.propose(0).unwrap();
}
