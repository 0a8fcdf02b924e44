//! Going on from another member's copy, by its certificate.

use super::goes_on;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::fleet::Fleet;
use strongroom_vault::Platform as _;
use strongroom_wire::entry::{Notarised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, ManifestBytes, Request, Response};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Digest, Epoch, PublicKey, Signature, encode};

/// 0 and 1 sealed two entries and 2 has seen none: (fleet, entries, certificates of each).
fn behind() -> (Fleet, [Proposal; 2], [Vec<Signed<Notarised>>; 2]) {
    let mut fleet = Fleet::new(3, 0);
    fleet.lead(0, 1, &[0, 1]);
    let run = [(); 2].map(|()| fleet.propose(0).unwrap());
    let certificates = [0, 1].map(|at| fleet.certify(&[0, 1], &run[at..=at], None));
    (fleet, run, certificates)
}

fn resume(fleet: &Fleet, entry: &Proposal, certificate: &[Signed<Notarised>]) -> Request {
    Request::Resume {
        place: fleet.place_of(entry),
        certificate: certificate.to_vec(),
    }
}

/// Refused while it waits; then the truth.
#[track_caller]
fn refused(fleet: &mut Fleet, m: usize, lie: Request, error: HsmError) {
    let anchor = fleet.members[m].platform.anchor();
    assert_eq!(fleet.ask(m, lie), Err(error));
    assert_eq!(fleet.members[m].platform.anchor(), anchor);
}

#[test]
fn a_member_whose_host_lost_its_disk_resumes_from_a_certificate() {
    let (mut fleet, run, certificates) = behind();
    fleet.members[2].power_cut();
    let request = resume(&fleet, &run[1], &certificates[1]);
    let stands = fleet.ask(2, request).unwrap();
    assert!(matches!(stands, Response::Standing { .. }));
    let after = fleet.inspect(2);
    assert_eq!((after.tip, after.promised), (run[1].header.tip(), Epoch(1)));
    // It is in the anchor: an older one is not gone on from any more.
    fleet.members[2].power_cut();
    let older = resume(&fleet, &run[0], &certificates[0]);
    refused(&mut fleet, 2, older, HsmError::Stale);
    let bare = resume(&fleet, &run[0], &[]);
    refused(&mut fleet, 2, bare, HsmError::AnchorMismatch);
    let own = fleet.resumption(2);
    fleet.ask(2, own).unwrap();
    goes_on(&mut fleet, 2);
}

#[test]
fn without_a_whole_certificate_it_waits() {
    let (mut fleet, run, certificates) = behind();
    fleet.members[2].power_cut();
    let statement = certificates[1][0].clone();
    let lies = [
        vec![statement.clone()],
        vec![statement.clone(), statement],
        certificates[0].clone(),
    ];
    for lie in lies {
        let lie = resume(&fleet, &run[1], &lie);
        refused(&mut fleet, 2, lie, HsmError::CertificateInvalid);
    }
    let newer = resume(&fleet, &run[1], &[]);
    refused(&mut fleet, 2, newer, HsmError::AnchorMismatch);
    let own = fleet.resumption(2);
    fleet.ask(2, own).unwrap();
    goes_on(&mut fleet, 1);
}

/// A host writes a manifest whose members' keys it has itself, and certifies with them what it
/// likes. Neither a genesis of its own nor a later epoch of this fleet is believed.
#[test]
fn a_forged_manifest_with_a_certificate_of_its_own_is_refused() {
    let (mut fleet, run, _) = behind();
    let key = SigningKey::from_seed(&[66; 32]);
    let genesis = |manifest: &mut Manifest| {
        manifest.members.truncate(1);
        manifest.members[0].identity = PublicKey(SigningKey::from_seed(&[66; 32]).public());
    };
    let later = |manifest: &mut Manifest| {
        // The fleet's id while it is still the genesis: nothing else may speak against it.
        let genesis = manifest.digest();
        manifest.fleet = Some(manifest.fleet_id());
        manifest.previous = Some(genesis);
        manifest.epoch = 1;
    };
    for how in [
        &[&genesis as &dyn Fn(&mut Manifest)][..],
        &[&later, &genesis],
    ] {
        let mut manifest = fleet.manifest().clone();
        how.iter().for_each(|change| change(&mut manifest));
        let mut place = fleet.place_of(&run[1]);
        place.state.manifest = Some(manifest.digest());
        place.manifests = vec![ManifestBytes(encode(&manifest))];
        let header = &mut place.proposal.header;
        header.state = place.state.digest();
        header.epoch = Epoch(9);
        let statement = Notarised {
            fleet: header.fleet,
            cell: header.cell,
            incarnation: header.incarnation,
            member: manifest.members[0].id,
            tip: header.tip(),
        };
        let bytes = encode(&statement);
        let signature = Signature(statement::sign(&key, Label::Notarised, &bytes));
        let certificate = vec![Signed {
            statement,
            signature,
        }];
        fleet.members[2].power_cut();
        // With the mark of the entry that it was made of, with none, and under that very entry.
        let mut none = place.clone();
        none.proposal.mark = Digest([0; 32]);
        let mut under = fleet.place_of(&run[1]);
        under.manifests.clone_from(&place.manifests);
        let (forged, mismatch) = (HsmError::EntryForged, HsmError::AnchorMismatch);
        for (place, error) in [(place, forged), (none, forged), (under, mismatch)] {
            let certificate = certificate.clone();
            let lie = Request::Resume { place, certificate };
            refused(&mut fleet, 2, lie, error);
        }
    }
    let own = fleet.resumption(2);
    fleet.ask(2, own).unwrap();
    goes_on(&mut fleet, 1);
}
