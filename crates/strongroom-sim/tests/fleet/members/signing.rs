//! Which manifest may follow, and who must want it.

use super::{begun, founded, goes_on, named, refused};
use strongroom_crypto::statement::{self, Label};
use strongroom_sim::fleet::{Change, Fleet, id, officer};
use strongroom_wire::frame::{HsmError, Request};
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::{Digest, KeyId, PublicKey, Signature, encode};

/// A fleet of three that 0 leads, and a change that takes 3 in, honest.
fn honest() -> (Fleet, Change) {
    let mut fleet = founded(3);
    goes_on(&mut fleet, 0);
    fleet.draft();
    let change = fleet.change_to(0, &[0, 1, 3]);
    (fleet, change)
}

fn propose(change: &SignedManifest, honest: &Change) -> Request {
    Request::ProposeMembers {
        change: change.clone(),
        ready: honest.ready.clone(),
    }
}

/// The hand-over of the same change to the joiner.
fn hand_over(fleet: &Fleet, next: Option<&SignedManifest>) -> Request {
    let drafted = fleet.members[3].drafted.clone();
    Request::HandOver {
        member: id(3),
        key: drafted.handover,
        signature: drafted.signature,
        next: next.cloned(),
    }
}

/// Neither proposed nor, which would give it the secret, handed over.
#[track_caller]
fn neither(fleet: &mut Fleet, honest: &Change, change: &SignedManifest, error: HsmError) {
    refused(fleet, 0, propose(change, honest), error);
    let request = hand_over(fleet, Some(change));
    refused(fleet, 0, request, error);
}

#[test]
fn too_few_officers_or_others_change_nobody() {
    let (mut fleet, honest) = honest();
    let manifest = &honest.manifest;
    let mut forged = honest.signed.clone();
    forged.officers[1].signature.0[0] ^= 1;
    let mut label = honest.signed.clone();
    let bytes = encode(manifest);
    label.officers[0].signature = Signature(statement::sign(&officer(1), Label::Clock, &bytes));
    let mut other = honest.signed.clone();
    let changed = Manifest {
        not_after: Some(strongroom_wire::UnixMs(9)),
        ..manifest.clone()
    };
    let signed = Fleet::signed(&changed, &[]);
    (other.manifest, other.operator) = (signed.manifest, signed.operator);
    let mut lies = vec![forged, label, other];
    let few: [&[u8]; 7] = [&[], &[1], &[1, 1], &[1, 2, 1], &[1, 9], &[8, 9], &[1, 2, 9]];
    lies.extend(few.map(|signers| Fleet::signed(manifest, signers)));
    for lie in lies {
        neither(&mut fleet, &honest, &lie, HsmError::OfficersInvalid);
    }
    fleet.propose_members(0, &honest).unwrap();
}

/// Who signs from then on is for those to say who sign now.
#[test]
fn the_officers_of_the_next_manifest_alone_change_nobody() {
    let (mut fleet, _) = honest();
    let mut manifest = fleet.naming(&[0, 1, 3]);
    manifest.officers = [7, 8].map(|it| PublicKey(officer(it).public())).into();
    let change = fleet.change_under(0, manifest.clone());
    let theirs = Fleet::signed(&manifest, &[7, 8]);
    neither(&mut fleet, &change, &theirs, HsmError::OfficersInvalid);
    let run = [fleet.propose_members(0, &change).unwrap()];
    let base = fleet.place(&run[0].header.previous).proposal;
    let certificate = fleet.certify(&[0, 1], std::slice::from_ref(&base), None);
    fleet
        .join(&change.joiners[0], &run[0], &base.header, &certificate)
        .unwrap();
    let joint = fleet.certify(&[0, 1, 3], &run, None);
    fleet.release(0, &joint).unwrap();
    fleet.enact(manifest);
    // From now on it is for them.
    let next = fleet.naming(&[0, 1]);
    let signed = |officers: &[u8]| Change {
        manifest: next.clone(),
        signed: Fleet::signed(&next, officers),
        joiners: Vec::new(),
        ready: Vec::new(),
    };
    named(
        fleet.propose_members(0, &signed(&[1, 2])),
        HsmError::OfficersInvalid,
    );
    fleet.propose_members(0, &signed(&[7, 8])).unwrap();
}

#[test]
fn without_officers_nobody_changes_members() {
    let mut fleet = Fleet::new(3, 0);
    goes_on(&mut fleet, 0);
    let manifest = fleet.naming(&[0, 1]);
    for officers in [&[][..], &[1], &[1, 2]] {
        let request = Request::ProposeMembers {
            change: Fleet::signed(&manifest, officers),
            ready: Vec::new(),
        };
        refused(&mut fleet, 0, request, HsmError::OfficersInvalid);
    }
}

#[test]
fn a_manifest_that_may_not_follow_is_refused_however_many_sign() {
    let (mut fleet, honest) = honest();
    let lies: [fn(&mut Manifest); 19] = [
        |it| it.policy.slots_max += 1,
        |it| it.policy.delays_ms.clear(),
        |it| it.policy.reset_wait_ms = 1,
        |it| it.keys[0].id = KeyId(2),
        |it| it.keys[0].public[0] ^= 1,
        |it| it.opaque = PublicKey([9; 32]),
        |it| it.rollback_tolerance = 1,
        |it| it.officers_threshold = 0,
        |it| it.epoch = 0,
        |it| it.epoch = 2,
        |it| it.previous = Some(Digest([1; 32])),
        |it| it.previous = None,
        |it| it.fleet = Some(strongroom_wire::FleetId([1; 32])),
        |it| it.members[1].identity = PublicKey([9; 32]),
        |it| it.members[1].platform = "nitro".to_owned(),
        |it| it.members[1].measurement = Digest([9; 32]),
        // A joiner in the slot that 2 leaves, and one of whom there are two.
        |it| it.members[2].id = id(2),
        |it| it.members[2].identity = it.members[0].identity,
        |it| it.members.clear(),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        let mut manifest = honest.manifest.clone();
        lie(&mut manifest);
        let signed = Fleet::signed(&manifest, &[1, 2, 3]);
        println!("lie {at}");
        neither(&mut fleet, &honest, &signed, HsmError::ManifestInvalid);
    }
    let mut bytes = honest.signed.clone();
    bytes.manifest.push(0);
    neither(&mut fleet, &honest, &bytes, HsmError::ManifestInvalid);
    // The operator that it names did not sign it.
    let mut forged = honest.signed.clone();
    forged.operator.0[0] ^= 1;
    neither(&mut fleet, &honest, &forged, HsmError::ManifestInvalid);
    let mut other = honest.manifest.clone();
    other.operator = PublicKey([1; 32]);
    let other = Fleet::signed(&other, &[1, 2, 3]);
    neither(&mut fleet, &honest, &other, HsmError::ManifestInvalid);
    fleet.propose_members(0, &honest).unwrap();
}

/// Also the number of one that left long ago: what it signed under it must not be another's.
#[test]
fn a_members_number_is_never_given_again() {
    let mut fleet = founded(3);
    for _ in 0..2 {
        fleet.draft();
    }
    fleet.change_members(0, &[0, 1, 2, 3]);
    fleet.change_members(0, &[0, 1, 2]);
    fleet.change_members(0, &[0, 1]);
    goes_on(&mut fleet, 0);
    for number in [2, 3] {
        let mut manifest = fleet.naming(&[0, 1, 4]);
        manifest.members[2].id = id(number);
        let request = Request::ProposeMembers {
            change: Fleet::signed(&manifest, &[1, 2]),
            ready: Vec::new(),
        };
        refused(&mut fleet, 0, request, HsmError::ManifestInvalid);
    }
    let drafted = fleet.members[4].drafted.clone();
    let mut manifest = fleet.naming(&[0, 1, 4]);
    manifest.members[2].id = id(3);
    let request = Request::HandOver {
        member: id(3),
        key: drafted.handover,
        signature: drafted.signature,
        next: Some(Fleet::signed(&manifest, &[1, 2])),
    };
    refused(&mut fleet, 0, request, HsmError::ManifestInvalid);
    fleet.change_members(0, &[0, 1, 4]);
    goes_on(&mut fleet, 4);
}

/// The change of a manifest that is in force already, or of one before it.
#[test]
fn a_change_is_not_made_twice() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    it.certified(&[0, 1, 3]);
    let again = it.change.request();
    refused(&mut it.fleet, 0, again, HsmError::ManifestInvalid);
    it.fleet.enact(it.change.manifest.clone());
    it.fleet.change_members(0, &[0, 1]);
    goes_on(&mut it.fleet, 0);
    let again = it.change.request();
    refused(&mut it.fleet, 0, again, HsmError::ManifestInvalid);
}

#[test]
fn the_secret_goes_to_nobody_whom_no_signed_manifest_names() {
    let (mut fleet, honest) = honest();
    let request = hand_over(&fleet, None);
    refused(&mut fleet, 0, request, HsmError::HandoverInvalid);
    let unsigned = Fleet::signed(&honest.manifest, &[]);
    let request = hand_over(&fleet, Some(&unsigned));
    refused(&mut fleet, 0, request, HsmError::OfficersInvalid);
    // Signed, and it names somebody else.
    let without = Fleet::signed(&fleet.naming(&[0, 1]), &[1, 2]);
    let request = hand_over(&fleet, Some(&without));
    refused(&mut fleet, 0, request, HsmError::HandoverInvalid);
    // Named, and the key is another's.
    let mut stolen = hand_over(&fleet, Some(&honest.signed));
    if let Request::HandOver { key, .. } = &mut stolen {
        key.clone_from(&fleet.members[1].drafted.handover);
    }
    refused(&mut fleet, 0, stolen, HsmError::HandoverInvalid);
    fleet.hand_over_next(0, 3, Some(&honest.signed)).unwrap();
}
