//! Who leaves: for ever, on proof, and what those are worth who were not told.

use super::{Begun, begun, founded, goes_on, named, refused};
use strongroom_sim::fleet::{Fleet, id};
use strongroom_vault::{Blob, Platform as _};
use strongroom_wire::Epoch;
use strongroom_wire::entry::{Notarised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Phase, Request, Response};

/// {0, 1, 2} has become {0, 1, 3}: (all of it, the joint certificate, the entry above and its own).
fn replaced() -> (
    Begun,
    Vec<Signed<Notarised>>,
    Proposal,
    Vec<Signed<Notarised>>,
) {
    let mut it = begun(3, &[0, 1, 3]).joined();
    let joint = it.certified(&[0, 1, 2, 3]);
    let settling = [it.fleet.propose(0).unwrap()];
    let certificate = it.fleet.certify(&[0, 1, 3], &settling, None);
    it.fleet.release(0, &certificate).unwrap();
    it.fleet.enact(it.change.manifest.clone());
    let [settling] = settling;
    (it, joint, settling, certificate)
}

fn retire(fleet: &Fleet, entry: &Proposal, certificate: &[Signed<Notarised>]) -> Request {
    Request::Retire {
        place: fleet.place_of(entry),
        certificate: certificate.to_vec(),
    }
}

#[test]
fn a_member_retires_on_proof_only() {
    let (mut it, joint, settling, certificate) = replaced();
    let base = it.fleet.place(&it.base.hash()).proposal;
    let invalid = HsmError::CertificateInvalid;
    let mut forged = certificate.clone();
    forged[1].signature.0[0] ^= 1;
    let one = certificate[..1].to_vec();
    let twice = vec![certificate[0].clone(), certificate[0].clone()];
    for few in [vec![], one, twice, forged, joint.clone()] {
        let request = retire(&it.fleet, &settling, &few);
        refused(&mut it.fleet, 2, request, invalid);
    }
    // The change itself is no proof: a new leader may need its promise still. Nor is what names it.
    let not_yet = retire(&it.fleet, &it.run[0], &joint);
    refused(&mut it.fleet, 2, not_yet, HsmError::ManifestInvalid);
    let earlier = retire(&it.fleet, &base, &it.certificate);
    refused(&mut it.fleet, 2, earlier, HsmError::ManifestInvalid);
    // An entry that no HSM made; the certificate under another's header.
    let mut made = retire(&it.fleet, &settling, &certificate);
    if let Request::Retire { place, .. } = &mut made {
        place.proposal.mark.0[0] ^= 1;
    }
    refused(&mut it.fleet, 2, made, HsmError::EntryForged);
    let other = retire(&it.fleet, &it.run[0], &certificate);
    refused(&mut it.fleet, 2, other, invalid);
    // Nobody who stays.
    for m in [0, 1, 3] {
        let request = retire(&it.fleet, &settling, &certificate);
        refused(&mut it.fleet, m, request, HsmError::ManifestInvalid);
    }
    it.fleet.retire(2, &settling, &certificate).unwrap();
    goes_on(&mut it.fleet, 3);
}

/// What the others sealed before a joiner came does not name it either.
#[test]
fn a_joiner_does_not_leave_by_what_was_before_it() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    let base = it.fleet.place(&it.base.hash()).proposal;
    let request = retire(&it.fleet, &base, &it.certificate);
    refused(&mut it.fleet, 3, request, HsmError::ManifestInvalid);
    // Nor by what they seal where the change has not come: it may come yet.
    let start = it.fleet.lead(1, 2, &[1, 2]);
    let over = [it.fleet.propose(1).unwrap()];
    let certificate = it.fleet.certify(&[1, 2], &over, Some(&start));
    it.fleet.release(1, &certificate).unwrap();
    let request = retire(&it.fleet, &over[0], &certificate);
    refused(&mut it.fleet, 3, request, HsmError::ManifestInvalid);
    let again = [it.fleet.propose_members(1, &it.change).unwrap()];
    let joint = it.fleet.certify(&[1, 2], &again, None);
    it.fleet.adopt(3, &over[0], &certificate).unwrap();
    let third = it.fleet.notarise(3, &again, None).unwrap();
    let joint = [joint, vec![third]].concat();
    it.fleet.release(1, &joint).unwrap();
    it.fleet.enact(it.change.manifest);
    goes_on(&mut it.fleet, 3);
}

fn phase(fleet: &mut Fleet, m: usize) -> Phase {
    match fleet.ask(m, Request::Hello { version: 1 }) {
        Ok(Response::Welcome(welcome)) => welcome.phase,
        other => panic!("hello is answered: {other:?}"),
    }
}

/// Asks a retired member for everything.
#[track_caller]
fn says_nothing(it: &mut Begun, m: usize, settling: &Proposal, proof: &[Signed<Notarised>]) {
    let fleet = &mut it.fleet;
    let retired = Phase::Retired {
        fleet: fleet.manifest().fleet_id(),
    };
    assert_eq!(phase(fleet, m), retired);
    let platform = fleet.members[m].platform.clone();
    for blob in [Blob::Member, Blob::Draft] {
        assert_eq!(platform.load(blob), Ok(None), "{blob:?}");
    }
    let anchor = platform.anchor();
    let place = fleet.place_of(settling);
    let drafted = fleet.members[0].drafted.clone();
    let requests = [
        Request::Draft,
        Request::Genesis {
            manifest: strongroom_wire::encode(fleet.manifest()),
            secret: None,
        },
        Request::Resume {
            place: place.clone(),
            certificate: proof.to_vec(),
        },
        Request::Promise {
            epoch: Epoch(9),
            leader: id(0),
            process: fleet.members[0].process(),
        },
        Request::Notarise {
            run: it.run.to_vec(),
            start: None,
        },
        Request::Adopt {
            place: place.clone(),
            certificate: proof.to_vec(),
        },
        Request::Retire {
            place: place.clone(),
            certificate: proof.to_vec(),
        },
        Request::HandOver {
            member: id(0),
            key: drafted.handover,
            signature: drafted.signature,
            next: None,
        },
        Request::Inspect,
        it.change.request(),
    ];
    for request in requests {
        assert_eq!(fleet.ask(m, request), Err(HsmError::WrongPhase));
    }
    assert_eq!(platform.anchor(), anchor);
    assert!(anchor.unwrap().unwrap().retired);
}

#[test]
fn a_retired_member_answers_nothing_for_ever_and_keeps_no_secret() {
    let (mut it, _, settling, certificate) = replaced();
    it.fleet.retire(2, &settling, &certificate).unwrap();
    says_nothing(&mut it, 2, &settling, &certificate);
    for _ in 0..2 {
        it.fleet.members[2].power_cut();
        says_nothing(&mut it, 2, &settling, &certificate);
    }
    goes_on(&mut it.fleet, 1);
}

/// Order: anchor, then the secrets. The power fails between the two, or the host puts them back.
#[test]
fn a_start_ends_a_retirement_that_was_cut_short() {
    let (mut it, _, settling, certificate) = replaced();
    let platform = it.fleet.members[2].platform.clone();
    let member = platform.load(Blob::Member).unwrap().unwrap();
    it.fleet.retire(2, &settling, &certificate).unwrap();
    for blob in [Blob::Member, Blob::Draft] {
        platform.store(blob, &member).unwrap();
        it.fleet.members[2].power_cut();
        says_nothing(&mut it, 2, &settling, &certificate);
    }
}

#[test]
fn the_anchor_is_retired_before_anything_is_erased() {
    let (mut it, _, settling, certificate) = replaced();
    let platform = it.fleet.members[2].platform.clone();
    let member = platform.load(Blob::Member);
    platform.fail_next_swap(strongroom_sim::platform::AnchorFault::Refused);
    let failed = it.fleet.retire(2, &settling, &certificate);
    assert_eq!(failed, Err(HsmError::AnchorFailed));
    assert_eq!(platform.load(Blob::Member), member);
    it.fleet.restart(2);
    it.fleet.retire(2, &settling, &certificate).unwrap();
    says_nothing(&mut it, 2, &settling, &certificate);
}

/// 2 was removed, and its host does not tell it.
#[test]
fn what_a_removed_member_says_counts_for_nothing() {
    let (mut it, _, settling, _) = replaced();
    let fleet = &mut it.fleet;
    // A vote: it seals what it is shown.
    let run = [fleet.propose(0).unwrap()];
    fleet
        .notarise(2, &[settling, run[0].clone()], None)
        .unwrap();
    let said = fleet.certify(&[0, 1, 2], &run, None);
    for with in [[0, 2], [1, 2]] {
        let certificate = with.map(|m| said[m].clone());
        named(fleet.release(0, &certificate), HsmError::CertificateInvalid);
        named(
            fleet.adopt(3, &run[0], &certificate),
            HsmError::CertificateInvalid,
        );
    }
    fleet.release(0, &said[..2]).unwrap();
    // A promise, to another and to itself.
    let promises = fleet.promise_all(&[0, 2], 2, 0);
    let leading = fleet.leading(2, &promises);
    refused(fleet, 0, leading, HsmError::PromisesInvalid);
    let promises = fleet.promise_all(&[0, 1, 2], 3, 2);
    let leading = fleet.leading(3, &promises[1..]);
    refused(fleet, 2, leading, HsmError::PromisesInvalid);
    goes_on(fleet, 1);
}

/// Its operator keeps the machine, and puts back a copy from when it was a member.
#[test]
fn a_rolled_back_copy_of_a_removed_member_changes_nothing() {
    let mut it = begun(3, &[0, 1, 3]);
    let copy = it.fleet.members[2].platform.snapshot();
    it = it.joined();
    it.certified(&[0, 1, 2, 3]);
    let settling = [it.fleet.propose(0).unwrap()];
    let certificate = it.fleet.certify(&[0, 1, 3], &settling, None);
    it.fleet.release(0, &certificate).unwrap();
    it.fleet.enact(it.change.manifest.clone());
    it.fleet.retire(2, &settling[0], &certificate).unwrap();
    it.fleet.members[2].platform.roll_back(&copy);
    it.fleet.restart(2);
    assert_eq!(it.fleet.inspect(2).tip, it.base.tip());
    // It takes the old set's word for the lead, and each of the others has moved on.
    for other in [0, 1] {
        let promised = [2, other].map(|m| it.fleet.inspect(m).promised.0);
        let epoch = promised[0].max(promised[1]) + 1;
        let promises = it.fleet.promise_all(&[other, 2], epoch, 2);
        let leading = it.fleet.leading(epoch, &promises);
        refused(&mut it.fleet, 2, leading, HsmError::PromisesInvalid);
        let mut old = it.fleet.leading(epoch, &promises[1..]);
        if let Request::Lead { promises: all, .. } = &mut old {
            all.clone_from(&promises);
        }
        refused(&mut it.fleet, 2, old, HsmError::Gap);
        // Nor does its own vote help a rival of the change.
        named(
            it.fleet.notarise(other, &it.run, None),
            HsmError::EpochStale,
        );
    }
    goes_on(&mut it.fleet, 3);
    it.fleet.retire(2, &settling[0], &certificate).unwrap();
}

/// Who led the change is among those who leave.
#[test]
fn a_leader_that_removed_itself_is_none_any_more() {
    let mut fleet = founded(3);
    fleet.draft();
    let (settling, certificate) = fleet.change_members(2, &[0, 1, 3]);
    assert!(matches!(phase(&mut fleet, 2), Phase::Retired { .. }));
    named(
        fleet.retire(2, &settling, &certificate),
        HsmError::WrongPhase,
    );
    goes_on(&mut fleet, 0);
}
