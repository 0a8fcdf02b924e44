//! Quorums of both: of the certificate of a change, and of the promises above one.

use super::{Begun, begun, goes_on, named, refused};
use strongroom_sim::fleet::Fleet;
use strongroom_wire::entry::{Notarised, Promised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Request};

/// {0, 1, 2} is to become {0, 3, 4}; all five have sealed the change: (all, their statements).
fn sealed() -> (Begun, Vec<Signed<Notarised>>) {
    let mut it = begun(3, &[0, 3, 4]).joined();
    let all = it.fleet.certify(&[0, 1, 2, 3, 4], &it.run, None);
    (it, all)
}

fn of<T: Clone>(said: &[T], members: &[usize]) -> Vec<T> {
    members.iter().map(|m| said[*m].clone()).collect()
}

fn subsets() -> impl Iterator<Item = Vec<usize>> {
    (0..32_u32).map(|set| (0..5).filter(|m| set >> m & 1 == 1).collect())
}

fn count(members: &[usize], of: [usize; 3]) -> usize {
    members.iter().filter(|m| of.contains(m)).count()
}

fn both(members: &[usize]) -> bool {
    count(members, [0, 1, 2]) >= 2 && count(members, [0, 3, 4]) >= 2
}

/// The old quorum alone, the new one alone, and a majority of both together are none.
#[test]
fn a_change_is_certified_by_a_quorum_of_the_old_and_one_of_the_new() {
    let (mut it, all) = sealed();
    let (mut few, mut enough) = (0, 0);
    for members in subsets() {
        let certificate = of(&all, &members);
        // 1 stands there: to adopt it again changes nothing, and shows what a certificate is.
        let adopted = it.fleet.adopt(1, &it.run[0], &certificate);
        if both(&members) {
            assert_eq!(adopted, Ok(()), "{members:?}");
            enough += 1;
        } else {
            assert_eq!(adopted, Err(HsmError::CertificateInvalid), "{members:?}");
            let request = Request::Release { certificate };
            refused(&mut it.fleet, 0, request, HsmError::CertificateInvalid);
            few += 1;
        }
    }
    assert_eq!((few, enough), (22, 10));
    for few in [
        [0, 1].as_slice(),
        &[0, 3],
        &[1, 2, 3],
        &[1, 3, 4],
        &[0, 1, 2],
    ] {
        assert!(!both(few), "{few:?}");
    }
    let twice = of(&all, &[0, 1, 3, 3]);
    let request = Request::Release { certificate: twice };
    refused(&mut it.fleet, 0, request, HsmError::CertificateInvalid);
    it.fleet.release(0, &of(&all, &[0, 1, 3])).unwrap();
}

#[test]
fn nothing_is_proposed_above_a_change_before_its_certificate() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    let fleet = &mut it.fleet;
    let clock = strongroom_wire::entry::SignedClockChange {
        change: strongroom_wire::entry::ClockChange {
            fleet: fleet.manifest().fleet_id(),
            cell: strongroom_wire::CellId(0),
            incarnation: strongroom_wire::Incarnation(0),
            number: 1,
            time: strongroom_wire::UnixMs(1),
        },
        officers: Vec::new(),
    };
    for sealed in [&[][..], &[0], &[1], &[2, 3]] {
        // Whoever sealed it: what counts is that the leader is shown a certificate.
        let _ = fleet.certify(sealed, &it.run, None);
        named(fleet.propose(0), HsmError::Unsettled);
        named(fleet.propose_clock(0, clock.clone()), HsmError::Unsettled);
        let again = it.change.request();
        refused(fleet, 0, again, HsmError::Unsettled);
    }
    it.certified(&[0, 1, 3]);
    let next = it.fleet.propose(0).unwrap();
    assert_eq!(it.fleet.state_of(&next).before, None);
}

/// The second change waits for the first one's certificate, and not for the entry that settles it.
#[test]
fn a_second_change_follows_a_certified_one() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    it.certified(&[0, 1, 3]);
    it.fleet.enact(it.change.manifest.clone());
    it.fleet.draft();
    let change = it.fleet.change_to(0, &[0, 3, 4]);
    let run = [it.fleet.propose_members(0, &change).unwrap()];
    let state = it.fleet.state_of(&run[0]);
    assert_eq!(state.before, Some(it.change.manifest.digest()));
    let base = (
        &it.run[0].header,
        it.fleet.certify(&[0, 1, 3], &it.run, None),
    );
    it.fleet
        .join(&change.joiners[0], &run[0], base.0, &base.1)
        .unwrap();
    // {0, 1, 3} and {0, 3, 4} decide; 2 is none of them any more.
    let said = it.fleet.certify(&[0, 1, 3, 4], &run, None);
    named(
        it.fleet.release(0, &said[..2]),
        HsmError::CertificateInvalid,
    );
    it.fleet.release(0, &said[1..3]).unwrap_err();
    it.fleet.release(0, &said).unwrap();
    it.fleet.enact(change.manifest);
    for leader in [0, 3, 4] {
        goes_on(&mut it.fleet, leader);
    }
}

fn lead(fleet: &Fleet, start: &Proposal, epoch: u64, promises: &[Signed<Promised>]) -> Request {
    Request::Lead {
        epoch: strongroom_wire::Epoch(epoch),
        promises: promises.to_vec(),
        start: fleet.place_of(start),
    }
}

/// {0, 1, 2} to {0, 3, 4}; 0 sealed it alone, restarted, and everybody promised it epoch 2.
fn above() -> (Begun, Vec<Signed<Promised>>) {
    let mut it = begun(3, &[0, 3, 4]).joined();
    it.fleet.certify(&[0], &it.run, None);
    it.fleet.restart(0);
    let promises = it.fleet.promise_all(&[0, 1, 2, 3, 4], 2, 0);
    (it, promises)
}

#[test]
fn a_leader_above_an_uncertified_change_needs_promises_of_both_sets() {
    let (mut it, promises) = above();
    for members in subsets().filter(|members| members.contains(&0)) {
        if !both(&members) {
            let few = of(&promises, &members);
            let request = lead(&it.fleet, &it.run[0], 2, &few);
            refused(&mut it.fleet, 0, request, HsmError::PromisesInvalid);
        }
    }
    let enough = of(&promises, &[0, 1, 3]);
    let request = lead(&it.fleet, &it.run[0], 2, &enough);
    it.fleet.ask(0, request).unwrap();
}

/// The same where the change has a certificate that nobody shows the new leader.
#[test]
fn a_leader_above_a_change_needs_promises_of_both_sets_certified_or_not() {
    let (mut it, all) = sealed();
    it.fleet.release(0, &all).unwrap();
    it.fleet.restart(0);
    let promises = it.fleet.promise_all(&[0, 1, 2, 3, 4], 2, 0);
    for few in [[0, 1], [0, 3], [0, 4]] {
        let request = lead(&it.fleet, &it.run[0], 2, &of(&promises, &few));
        refused(&mut it.fleet, 0, request, HsmError::PromisesInvalid);
    }
    let request = lead(&it.fleet, &it.run[0], 2, &of(&promises, &[0, 2, 4]));
    it.fleet.ask(0, request).unwrap();
}

#[test]
fn the_first_entry_above_a_change_is_decided_by_both_sets_and_settles_it() {
    let (mut it, promises) = above();
    let request = lead(&it.fleet, &it.run[0], 2, &promises);
    it.fleet.ask(0, request).unwrap();
    let again = it.change.request();
    refused(&mut it.fleet, 0, again, HsmError::Unsettled);
    let first = [it.fleet.propose(0).unwrap()];
    let state = it.fleet.state_of(&first[0]);
    assert_eq!(state.before, Some(it.fleet.manifest().digest()));
    assert_eq!(state.manifest, Some(it.change.manifest.digest()));
    named(it.fleet.propose(0), HsmError::Unsettled);
    let start = &it.run[0].header;
    let said = it.fleet.certify(&[0, 1, 2, 3, 4], &first, Some(start));
    for few in [[0, 1], [0, 3], [1, 3]] {
        let certificate = of(&said, &few);
        named(
            it.fleet.release(0, &certificate),
            HsmError::CertificateInvalid,
        );
    }
    it.fleet.release(0, &of(&said, &[0, 2, 4])).unwrap();
    // From here on the new set alone decides.
    let second = [it.fleet.propose(0).unwrap()];
    assert_eq!(it.fleet.state_of(&second[0]).before, None);
    let said = it.fleet.certify(&[0, 1, 2, 3, 4], &second, None);
    for few in [[0, 1].as_slice(), &[1, 2], &[0, 1, 2], &[0, 3, 1]] {
        let certificate = of(&said, few);
        named(
            it.fleet.release(0, &certificate),
            HsmError::CertificateInvalid,
        );
    }
    it.fleet.release(0, &of(&said, &[3, 4])).unwrap();
    it.fleet.enact(it.change.manifest);
    for leader in [0, 3, 4] {
        goes_on(&mut it.fleet, leader);
    }
}

/// A quorum that knows nothing of a change goes on without it, and it may be proposed again.
#[test]
fn a_change_that_no_quorum_sealed_is_overtaken() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    it.fleet.certify(&[0, 3], &it.run, None);
    let start = it.fleet.lead(1, 2, &[1, 2]);
    assert_eq!(start, it.base);
    let over = [it.fleet.propose(1).unwrap()];
    let old = it.fleet.manifest().digest();
    assert_eq!(it.fleet.state_of(&over[0]).manifest, Some(old));
    let certificate = it.fleet.certify(&[1, 2], &over, None);
    it.fleet.release(1, &certificate).unwrap();
    // Who sealed it moves over, and nothing else comes of it.
    for m in [0, 3] {
        it.fleet.adopt(m, &over[0], &certificate).unwrap();
        named(it.fleet.notarise(m, &it.run, None), HsmError::EpochStale);
    }
    let late = it.fleet.notarise(1, &it.run, Some(&it.base));
    named(late, HsmError::EpochStale);
    // 3 is no member there: its statement counts for nothing.
    let next = [it.fleet.propose(1).unwrap()];
    let said = it.fleet.certify(&[1, 3], &next, None);
    named(it.fleet.release(1, &said), HsmError::CertificateInvalid);
    let said = it.fleet.certify(&[0, 1, 2], &next, None);
    it.fleet.release(1, &said).unwrap();
    // It holds the secret, and waits: the same change again.
    let again = [it.fleet.propose_members(1, &it.change).unwrap()];
    let joint = it.fleet.certify(&[0, 1, 3], &again, None);
    it.fleet.release(1, &joint).unwrap();
    it.fleet.enact(it.change.manifest);
    for leader in [0, 1, 3] {
        goes_on(&mut it.fleet, leader);
    }
}

/// Two changes of one epoch: one of them is decided, and the other one's joiner stays outside.
#[test]
fn of_two_changes_at_one_place_one_is_decided() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    it.fleet.certify(&[0], &it.run, None);
    it.fleet.lead(1, 2, &[1, 2]);
    it.fleet.draft();
    let rival = it.fleet.change_to(1, &[1, 2, 4]);
    let run = [it.fleet.propose_members(1, &rival).unwrap()];
    it.fleet
        .join(&rival.joiners[0], &run[0], &it.base, &it.certificate)
        .unwrap();
    let joint = it.fleet.certify(&[1, 2, 4], &run, None);
    it.fleet.release(1, &joint).unwrap();
    let lost = it.fleet.certify(&[0, 3], &it.run, None);
    for m in [1, 2, 4] {
        named(
            it.fleet.adopt(m, &it.run[0], &lost),
            HsmError::CertificateInvalid,
        );
        named(
            it.fleet.notarise(m, &it.run, Some(&it.base)),
            HsmError::EpochStale,
        );
    }
    it.fleet.adopt(0, &run[0], &joint).unwrap();
    it.fleet.enact(rival.manifest);
    for leader in [1, 2, 4] {
        goes_on(&mut it.fleet, leader);
    }
}
