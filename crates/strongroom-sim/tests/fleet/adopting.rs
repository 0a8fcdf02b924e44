//! Moving by a certificate.

use super::{MINUTE, branched, goes_on, refused};
use strongroom_sim::fleet::Fleet;
use strongroom_wire::Epoch;
use strongroom_wire::entry::{Notarised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Request};

fn adopt(fleet: &Fleet, entry: &Proposal, certificate: &[Signed<Notarised>]) -> Request {
    Request::Adopt {
        place: fleet.place_of(entry),
        certificate: certificate.to_vec(),
    }
}

/// Members 1 and 2 seal an entry in epoch 2 beside 0's branch: (fleet, branch, entry, certificate).
fn beside() -> (Fleet, [Proposal; 2], Proposal, Vec<Signed<Notarised>>) {
    let (mut fleet, branch) = branched();
    let start = fleet.lead(1, 2, &[1, 2]);
    let entry = fleet.propose(1).unwrap();
    let run = std::slice::from_ref(&entry);
    let certificate = fleet.certify(&[1, 2], run, Some(&start));
    (fleet, branch, entry, certificate)
}

#[test]
fn a_member_on_another_branch_adopts_and_promises_with_it() {
    let (mut fleet, branch, entry, certificate) = beside();
    fleet.adopt(0, &entry, &certificate).unwrap();
    let after = fleet.inspect(0);
    assert_eq!(after.tip, entry.header.tip());
    assert_eq!(after.promised, Epoch(2), "raised to the entry's epoch");
    assert_eq!(after.leading, None, "what it led is left");
    assert_eq!(fleet.propose(0), Err(HsmError::NotLeading));
    assert_eq!(
        fleet.notarise(0, &branch, None),
        Err(HsmError::EpochStale),
        "nothing beside it"
    );
    // Again: nothing changes, and nothing is wrong.
    let writes = fleet.inspect(0).anchor_writes;
    fleet.adopt(0, &entry, &certificate).unwrap();
    assert_eq!(fleet.inspect(0).anchor_writes, writes);
    goes_on(&mut fleet, 0);
}

#[test]
fn adopting_lowers_no_promise() {
    let (mut fleet, _, entry, certificate) = beside();
    fleet.promise(0, 7, 2).unwrap();
    fleet.adopt(0, &entry, &certificate).unwrap();
    assert_eq!(fleet.inspect(0).promised, Epoch(7));
    goes_on(&mut fleet, 0);
}

#[test]
fn a_certificate_of_too_few_or_of_one_twice_moves_nobody() {
    let (mut fleet, branch, entry, certificate) = beside();
    let mut forged = certificate.clone();
    forged[1].signature.0[0] ^= 1;
    let lies = [
        Vec::new(),
        certificate[..1].to_vec(),
        vec![certificate[0].clone(), certificate[0].clone()],
        [&certificate[..], &certificate[..1]].concat(),
        forged,
    ];
    for lie in lies {
        let lie = adopt(&fleet, &entry, &lie);
        refused(&mut fleet, 0, lie, HsmError::CertificateInvalid);
    }
    let other = adopt(&fleet, &branch[0], &certificate);
    refused(&mut fleet, 0, other, HsmError::CertificateInvalid);
    let mut foreign = Fleet::new(5, 0);
    refused(
        &mut foreign,
        0,
        adopt(&fleet, &entry, &certificate),
        HsmError::EntryForged,
    );
    fleet.adopt(0, &entry, &certificate).unwrap();
    goes_on(&mut fleet, 1);
}

#[test]
fn nobody_adopts_backwards() {
    let mut fleet = Fleet::new(3, 0);
    let start = fleet.lead(0, 1, &[0, 1, 2]);
    let run = [(); 2].map(|()| fleet.propose(0).unwrap());
    let first = fleet.certify(&[0, 1], &run[..1], Some(&start));
    fleet.certify(&[0, 1], &run[1..], None);
    fleet.certify(&[2], &run, Some(&start));
    // Within an epoch.
    for m in 0..3 {
        let older = adopt(&fleet, &run[0], &first);
        refused(&mut fleet, m, older, HsmError::Stale);
    }
    // From a lower index in a later epoch: the epoch decides.
    let (mut fleet, branch) = branched();
    let certificate = fleet.certify(&[0, 1], &branch, None);
    let start = fleet.lead(2, 2, &[0, 2]);
    let later = [fleet.propose(2).unwrap()];
    fleet.notarise(2, &later, Some(&start)).unwrap();
    let earlier = adopt(&fleet, &branch[1], &certificate);
    refused(&mut fleet, 2, earlier, HsmError::Stale);
    goes_on(&mut fleet, 2);
}

#[test]
fn a_leader_adopts_its_own_chain_and_leads_on() {
    let mut fleet = Fleet::new(3, 0);
    let start = fleet.lead(0, 1, &[0, 1, 2]);
    let run = [(); 3].map(|()| fleet.propose(0).unwrap());
    let certificate = fleet.certify(&[1, 2], &run[..2], Some(&start));
    fleet.adopt(0, &run[1], &certificate).unwrap();
    assert_eq!(fleet.inspect(0).leading, Some(Epoch(1)));
    fleet.release(0, &certificate).unwrap();
    assert_eq!(fleet.inspect(0).speculative, run[2].header.index);
    let certificate = fleet.certify(&[0, 1], &run[2..], None);
    fleet.release(0, &certificate).unwrap();
    fleet.propose(0).unwrap();
}

/// Members that adopt what each other sealed gain no time by it, however often.
#[test]
fn certificates_passed_round_gain_no_time() {
    let mut fleet = Fleet::new(3, 0);
    goes_on(&mut fleet, 0);
    let begun = fleet.members[0].platform.clone();
    let now = strongroom_vault::Platform::wall_clock(&*begun);
    for member in &fleet.members {
        let platform = &member.platform;
        platform.set_wall_clock(now.plus(9_000 * MINUTE));
    }
    let mut newest = now;
    for round in 0..12 {
        let [leader, second, third] = [0, 1, 2].map(|it| (it + round) % 3);
        let epoch = fleet
            .inspect(third)
            .promised
            .0
            .max(fleet.inspect(leader).promised.0);
        let epoch = epoch.max(fleet.inspect(second).promised.0) + 1;
        let start = fleet.lead(leader, epoch, &[leader, second]);
        let entry = fleet.propose(leader).unwrap();
        let run = std::slice::from_ref(&entry);
        let certificate = fleet.certify(&[leader, second], run, Some(&start));
        fleet.adopt(third, &entry, &certificate).unwrap();
        newest = entry.header.time;
    }
    assert!(
        newest <= now.plus(MINUTE),
        "{} ms gained without a tick of any timer",
        newest.0 - now.0
    );
}

/// A member whose timer stood still takes the time that the others sealed, and keeps up.
#[test]
fn a_member_that_was_paused_catches_up_by_a_certificate() {
    let mut fleet = Fleet::new(3, 0);
    goes_on(&mut fleet, 0);
    let hour = 60 * MINUTE;
    for m in [0, 1] {
        fleet.members[m].platform.pass(hour);
    }
    let paused = fleet.members[2].platform.clone();
    let now = strongroom_vault::Platform::wall_clock(&*paused);
    paused.set_wall_clock(now.plus(hour));
    let entry = fleet.propose(0).unwrap();
    let run = [entry.clone()];
    let certificate = fleet.certify(&[0, 1], &run, None);
    assert_eq!(fleet.notarise(2, &run, None), Err(HsmError::TooEarly));
    fleet.adopt(2, &entry, &certificate).unwrap();
    // It has that time, and no allowance on top; its own timer must say the rest.
    for m in [0, 1] {
        fleet.members[m].platform.pass(MINUTE / 2);
    }
    let run = [fleet.propose(0).unwrap()];
    assert_eq!(fleet.notarise(2, &run, None), Err(HsmError::TooEarly));
    paused.pass(MINUTE / 2);
    assert!(run[0].header.time > entry.header.time);
    fleet.notarise(2, &run, None).unwrap();
}
