//! Lies about what a quorum has sealed, and attempts to get at answers before.

use super::{begun, goes_on, refused};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::world::World;
use strongroom_wire::entry::{Notarised, Signed};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::PIPELINE_MAX;
use strongroom_wire::{Digest, Epoch, MemberId, Signature, encode};

/// A guess that is proposed and held, and what is said once its entry is sealed.
fn held(seed: u64) -> (World, strongroom_sim::phone::Phone, Signed<Notarised>) {
    let (mut world, phone, _) = begun(seed);
    let now = world.now();
    let guess = phone.recover_start("wrong", phone.attempt(now), now);
    let handle = world.prepare(&guess.letter);
    assert_eq!(world.propose(&[handle]), Ok(vec![]));
    let notarisation = world.host.notarisation();
    let Response::Notarised(signed) = world.ask(notarisation) else {
        panic!("an honest run is sealed")
    };
    (world, phone, signed)
}

fn resigned(mut statement: Signed<Notarised>, key: &SigningKey) -> Signed<Notarised> {
    let bytes = encode(&statement.statement);
    statement.signature = Signature(statement::sign(key, Label::Notarised, &bytes));
    statement
}

fn release(certificate: &[Signed<Notarised>]) -> Request {
    Request::Release {
        certificate: certificate.to_vec(),
    }
}

#[test]
fn answers_are_held_until_release() {
    let (mut world, phone, _) = held(60);
    assert_eq!(world.standing().held, 1);
    assert!(world.take_answers().is_empty(), "sealed is not released");
    // Nothing else that a host may ask lets them go.
    let requests = [
        Request::Inspect,
        Request::Hello { version: 1 },
        world.host.notarisation(),
        world.host.proposal(&[]),
    ];
    for request in requests {
        world.ask(request);
        assert!(world.take_answers().is_empty());
    }
    world.seal().unwrap();
    assert_eq!(world.take_answers().len(), 1);
    goes_on(&mut world, &phone);
}

#[test]
fn a_certificate_that_is_none_releases_nothing() {
    let (mut world, phone, honest) = held(61);
    let foreign = SigningKey::from_seed(&[77; 32]);
    let own = world.checkers.glass().identity();
    let mut flipped = honest.clone();
    flipped.signature.0[5] ^= 1;
    let by_member = |member| {
        let mut it = honest.clone();
        it.statement.member = MemberId(member);
        it
    };
    let mut other_fleet = honest.clone();
    other_fleet.statement.fleet.0[0] ^= 1;
    let mut incarnated = honest.clone();
    incarnated.statement.incarnation.0 += 1;
    let lies = [
        vec![],
        vec![flipped],
        vec![resigned(honest.clone(), &foreign)],
        // A member that the manifest does not name, by its own key and by the true member's.
        vec![resigned(by_member(2), &foreign)],
        vec![resigned(by_member(2), &own)],
        vec![honest.clone(), honest.clone()],
        vec![resigned(other_fleet, &own)],
        vec![resigned(incarnated, &own)],
    ];
    for lie in lies {
        refused(&mut world, release(&lie), HsmError::CertificateInvalid);
    }
    assert!(world.take_answers().is_empty());
    goes_on(&mut world, &phone);
}

#[test]
fn a_certificate_of_mixed_tips_releases_nothing() {
    let (mut world, phone, honest) = held(62);
    let own = world.checkers.glass().identity();
    let mut other = honest.clone();
    other.statement.tip.hash = Digest([1; 32]);
    let lie = [honest, resigned(other, &own)];
    refused(&mut world, release(&lie), HsmError::CertificateInvalid);
    goes_on(&mut world, &phone);
}

#[test]
fn a_true_certificate_for_another_branch_releases_nothing() {
    let (mut world, phone, honest) = held(63);
    let own = world.checkers.glass().identity();
    let mut hash = honest.clone();
    hash.statement.tip.hash = Digest([1; 32]);
    let mut epoch = honest.clone();
    epoch.statement.tip.epoch = Epoch(honest.statement.tip.epoch.0 + 1);
    for lie in [hash, epoch] {
        let lie = [resigned(lie, &own)];
        refused(&mut world, release(&lie), HsmError::NotOnChain);
    }
    goes_on(&mut world, &phone);
}

#[test]
fn an_older_certificate_releases_nothing() {
    let (mut world, phone, _) = begun(64);
    let old = world.host.release();
    let status = phone.status(None, world.now());
    world.send(&status);
    let again = phone.status(None, world.now());
    let handle = world.prepare(&again);
    world.propose(&[handle]).unwrap();
    refused(&mut world, old, HsmError::NotOnChain);
    goes_on(&mut world, &phone);
}

#[test]
fn a_release_twice_gives_answers_once() {
    let (mut world, phone, signed) = held(65);
    let certificate = [signed];
    world.ask(release(&certificate));
    assert_eq!(world.take_answers().len(), 1);
    let before = world.standing();
    let again = world.ask(release(&certificate));
    assert_eq!(again, Response::Released { answers: vec![] });
    assert_eq!(world.standing(), before);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_certificate_releases_its_own_chain_and_nothing_above() {
    let (mut world, phone, _) = begun(66);
    let mut letters = Vec::new();
    for _ in 0..3 {
        let status = phone.status(None, world.now());
        let handle = world.prepare(&status);
        assert_eq!(world.propose(&[handle]), Ok(vec![]));
        letters.push(status);
    }
    let run = world.host.chain()[..2].to_vec();
    world.ask(Request::Notarise { run, start: None });
    let request = world.host.release();
    world.ask(request);
    let left = world.take_answers();
    assert_eq!(left.len(), 2, "two of three");
    assert!(std::rc::Rc::ptr_eq(&left[0].0, &letters[0]));
    assert_eq!(world.standing().held, 1);
    world.seal().unwrap();
    assert_eq!(world.take_answers().len(), 1);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_full_pipeline_is_busy_before_anything_is_spent() {
    let (mut world, phone, registered) = begun(67);
    for _ in 0..PIPELINE_MAX {
        world.propose(&[]).unwrap();
    }
    let now = world.now();
    let guess = phone.recover_start("wrong", phone.attempt(now), now);
    let handle = world.prepare(&guess.letter);
    let request = world.host.proposal(&[handle]);
    refused(&mut world, request, HsmError::Busy);
    world.seal().unwrap();
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 0);
    assert_eq!(
        world.propose(&[handle]),
        Ok(vec![]),
        "it waited on the desk"
    );
    goes_on(&mut world, &phone);
}

#[test]
fn a_tenants_change_waits_in_the_same_pipeline() {
    let (mut world, phone, _) = begun(68);
    for _ in 0..PIPELINE_MAX {
        world.propose(&[]).unwrap();
    }
    let issuer = strongroom_sim::host::Issuer::new("https://third.example", 60, true);
    let creation = issuer.creation(world.host.manifest().fleet_id());
    let request = world.host.tenancy(&issuer.name, creation);
    refused(&mut world, request, HsmError::Busy);
    goes_on(&mut world, &phone);
}
