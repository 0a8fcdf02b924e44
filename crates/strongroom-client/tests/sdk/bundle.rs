//! Roots and bundles: which fleet an app talks to, and how weak it may be (P4; REVIEW C3).

use super::fleet::{genesis, hsm, operator};
use super::hsm::Hsm;
use strongroom_client::{BundleError as E, Fleet, Roots};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::entry::OfficerSignature;
use strongroom_wire::manifest::{Bundle, Manifest, PlatformClass, SignedManifest};
use strongroom_wire::{FleetId, MemberId, PublicKey, Signature, decode, encode};

/// The floor that the genesis of three members just passes.
fn floor(fleet: FleetId) -> Roots {
    Roots {
        fleet,
        attempts_max: 10,
        members_min: 3,
        rollback_tolerance_min: 0,
        class_min: PlatformClass::AtRest,
    }
}

/// Checks a manifest signed by `key` under `label` against the floor for its own id.
fn check_signed(manifest: &Manifest, key: &SigningKey, label: Label) -> Option<E> {
    let bytes = encode(manifest);
    let signature = Signature(statement::sign(key, label, &bytes));
    let bundle = encode(&Bundle {
        manifest: bytes,
        operator: signature,
        history: None,
    });
    Fleet::from_bundle(&bundle, &floor(manifest.fleet_id())).err()
}

fn changed(change: impl FnOnce(&mut Manifest)) -> Option<E> {
    let mut manifest = genesis(3);
    change(&mut manifest);
    check_signed(&manifest, &operator(), Label::Manifest)
}

#[test]
fn the_fleet_of_the_roots_is_accepted() {
    let hsm = hsm();
    let fleet = Fleet::from_bundle(&hsm.bundle(), &Roots::development(hsm.fleet())).unwrap();
    assert_eq!(fleet.id(), hsm.fleet());
    assert_eq!(fleet.manifest(), &hsm.manifest);
    assert_eq!(fleet.key(), &hsm.manifest.keys[0]);
    assert_eq!(changed(|_| ()), None);
}

#[test]
fn another_fleet_is_refused_however_well_it_is_signed() {
    let hsm = hsm();
    let other = Roots::development(FleetId([1; 32]));
    assert_eq!(
        Fleet::from_bundle(&hsm.bundle(), &other).err(),
        Some(E::WrongFleet)
    );
    // The id is the digest: the same manifest with one more byte of anything is another fleet.
    let mut manifest = hsm.manifest.clone();
    manifest.admin.0[0] ^= 1;
    let twin = Hsm::new(manifest, operator());
    let roots = Roots::development(hsm.fleet());
    assert_eq!(
        Fleet::from_bundle(&twin.bundle(), &roots).err(),
        Some(E::WrongFleet)
    );
}

#[test]
fn a_later_manifest_that_claims_the_fleets_id_is_refused() {
    let refused = changed(|manifest| {
        manifest.fleet = Some(manifest.fleet_id());
        manifest.epoch = 1;
        manifest.previous = Some(manifest.digest());
    });
    assert_eq!(refused, Some(E::WrongFleet));
}

/// An officer by number.
fn officer(number: u8) -> SigningKey {
    SigningKey::from_seed(&[0xA0 + number; 32])
}

/// A genesis of two officers of three, and the next manifest, which leaves one member out.
fn history() -> (Manifest, Manifest) {
    let mut genesis = genesis(4);
    genesis.officers = (0..3).map(|n| PublicKey(officer(n).public())).collect();
    genesis.officers_threshold = 2;
    let mut next = genesis.clone();
    next.fleet = Some(genesis.fleet_id());
    next.epoch = 1;
    next.previous = Some(genesis.digest());
    next.members.pop();
    (genesis, next)
}

fn signed(manifest: &Manifest, officers: &[u8]) -> SignedManifest {
    let bytes = encode(manifest);
    let sign = |key: &SigningKey, label| Signature(statement::sign(key, label, &bytes));
    let officers = officers.iter().map(|number| OfficerSignature {
        officer: PublicKey(officer(*number).public()),
        signature: sign(&officer(*number), Label::Officers),
    });
    SignedManifest {
        officers: officers.collect(),
        operator: sign(&operator(), Label::Manifest),
        manifest: bytes.clone(),
    }
}

/// The bundle of a genesis after changes, whatever they are, for the fleet of the genesis.
fn after(genesis: &Manifest, changes: &[SignedManifest]) -> Option<E> {
    let first = signed(genesis, &[]);
    let bundle = Bundle {
        manifest: first.manifest,
        operator: first.operator,
        history: None,
    };
    let bundle = changes
        .iter()
        .fold(bundle, |bundle, change| bundle.after(change));
    Fleet::from_bundle(&encode(&bundle), &floor(genesis.fleet_id())).err()
}

#[test]
fn a_later_manifest_is_accepted_as_its_officers_signed_it() {
    let (genesis, next) = history();
    assert_eq!(after(&genesis, &[signed(&next, &[0, 1])]), None);
    // And one more, by the officers of that one.
    let mut third = next.clone();
    third.epoch = 2;
    third.previous = Some(next.digest());
    third.policy.attempts_max -= 1;
    let changes = [signed(&next, &[0, 1]), signed(&third, &[1, 2])];
    assert_eq!(after(&genesis, &changes), None);
    // Nor where the operator of the one between did not sign it.
    let mut unsigned = changes.clone();
    unsigned[0].operator = Signature([0; 64]);
    assert_eq!(after(&genesis, &unsigned), Some(E::WrongFleet));
    // Not without the one between.
    assert_eq!(after(&genesis, &changes[1..]), Some(E::WrongFleet));
    // Nor where another genesis is put under it.
    let mut other = genesis.clone();
    other.admin.0[0] ^= 1;
    assert_eq!(after(&other, &changes), Some(E::WrongFleet));
}

#[test]
fn a_later_manifest_that_too_few_officers_signed_is_refused() {
    let (genesis, next) = history();
    for officers in [&[0][..], &[], &[0, 0], &[0, 3], &[0, 1, 4]] {
        let change = signed(&next, officers);
        assert_eq!(
            after(&genesis, &[change]),
            Some(E::WrongFleet),
            "{officers:?}"
        );
    }
    // Officers that it names itself are none of the genesis.
    let mut own = next.clone();
    own.officers = vec![
        PublicKey(officer(7).public()),
        PublicKey(officer(8).public()),
    ];
    assert_eq!(
        after(&genesis, &[signed(&own, &[7, 8])]),
        Some(E::WrongFleet)
    );
    // Signed, but for something else.
    let mut change = signed(&next, &[0, 1]);
    let bytes = change.manifest.clone();
    let wrong = statement::sign(&officer(1), Label::Clock, &bytes);
    change.officers[1].signature = Signature(wrong);
    assert_eq!(after(&genesis, &[change]), Some(E::WrongFleet));
}

#[test]
fn a_later_manifest_that_loosens_the_fleet_is_refused_whoever_signed_it() {
    let (genesis, next) = history();
    let loosened: [fn(&mut Manifest); 9] = [
        |m| m.policy.register_ticket_ms += 1,
        |m| m.policy.recover_ticket_ms += 1,
        |m| {
            (m.members[0].id, m.members[0].identity) = (MemberId(200), PublicKey([7; 32]));
        },
        |m| m.policy.attempts_max = 10,
        |m| m.opaque.0[0] ^= 1,
        |m| m.keys[0].public[0] ^= 1,
        |m| m.rollback_tolerance = 0,
        |m| m.members[0].identity.0[0] ^= 1,
        |m| m.epoch = 2,
    ];
    let mut strict = genesis.clone();
    strict.policy.attempts_max = 5;
    strict.rollback_tolerance = 1;
    for change in loosened {
        let mut next = Manifest {
            fleet: Some(strict.fleet_id()),
            previous: Some(strict.digest()),
            policy: strict.policy.clone(),
            rollback_tolerance: 1,
            ..next.clone()
        };
        assert_eq!(after(&strict, &[signed(&next, &[0, 1])]), None);
        change(&mut next);
        let refused = after(&strict, &[signed(&next, &[0, 1])]);
        assert!(
            matches!(refused, Some(E::WrongFleet | E::Malformed)),
            "{refused:?}"
        );
    }
}

#[test]
fn no_byte_of_a_bundle_can_be_changed() {
    let hsm = hsm();
    let (bundle, roots) = (hsm.bundle(), Roots::development(hsm.fleet()));
    for at in 0..bundle.len() {
        let mut tampered = bundle.clone();
        tampered[at] ^= 1;
        let refused = Fleet::from_bundle(&tampered, &roots).err();
        assert!(refused.is_some(), "byte {at}");
        assert_ne!(
            refused,
            Some(E::BelowFloor),
            "byte {at}: judged before it was authentic"
        );
    }
    for end in 0..bundle.len() {
        let refused = Fleet::from_bundle(&bundle[..end], &roots).err();
        assert_eq!(refused, Some(E::Malformed), "cut at {end}");
    }
    let longer = [bundle.as_slice(), &[0]].concat();
    assert_eq!(
        Fleet::from_bundle(&longer, &roots).err(),
        Some(E::Malformed)
    );
}

#[test]
fn a_signature_of_another_key_or_over_something_else_is_none() {
    let manifest = genesis(3);
    let stranger = SigningKey::from_seed(&[8; 32]);
    let refused = check_signed(&manifest, &stranger, Label::Manifest);
    assert_eq!(refused, Some(E::Signature));
    let refused = check_signed(&manifest, &operator(), Label::TenantCreate);
    assert_eq!(refused, Some(E::Signature));
    let hsm = hsm();
    let mut bundle: Bundle = decode(&hsm.bundle()).unwrap();
    bundle.operator = Signature([0; 64]);
    let refused = Fleet::from_bundle(&encode(&bundle), &Roots::development(hsm.fleet()));
    assert_eq!(refused.err(), Some(E::Signature));
}

#[test]
fn a_fleet_below_the_floor_is_refused_on_each_count() {
    let mut roots = floor(genesis(3).fleet_id());
    let bundle = |manifest: &Manifest| {
        let bytes = encode(manifest);
        let signature = statement::sign(&operator(), Label::Manifest, &bytes);
        encode(&Bundle {
            manifest: bytes,
            operator: Signature(signature),
            history: None,
        })
    };
    // Fewer guesses than the manifest allows.
    roots.attempts_max = 9;
    let refused = Fleet::from_bundle(&bundle(&genesis(3)), &roots).err();
    assert_eq!(refused, Some(E::BelowFloor));
    assert_eq!(changed(|m| m.policy.attempts_max = 1), None);
    assert_eq!(changed(|m| m.members.truncate(2)), Some(E::BelowFloor));
    // An R below the floor: three members with R = 0, where R = 1 is asked.
    roots.attempts_max = 10;
    roots.rollback_tolerance_min = 1;
    let refused = Fleet::from_bundle(&bundle(&genesis(3)), &roots).err();
    assert_eq!(refused, Some(E::BelowFloor));
    let mut tolerant = genesis(3);
    tolerant.rollback_tolerance = 1;
    roots.fleet = tolerant.fleet_id();
    assert!(Fleet::from_bundle(&bundle(&tolerant), &roots).is_ok());
    // One weak member is the fleet's class.
    let weak = changed(|m| m.members[2].class = PlatformClass::None);
    assert_eq!(weak, Some(E::BelowFloor));
    assert_eq!(
        changed(|m| m.members[2].class = PlatformClass::Isolating),
        None
    );
}

#[test]
fn a_manifest_that_breaks_a_rule_is_malformed() {
    let broken: [fn(&mut Manifest); 6] = [
        |m| m.policy.attempts_max = 11,
        |m| m.policy.attempts_max = 0,
        |m| m.members[1].id = m.members[0].id,
        |m| m.members[1].identity = m.members[0].identity,
        |m| m.rollback_tolerance = 3,
        |m| m.keys.clear(),
    ];
    for change in broken {
        assert_eq!(changed(change), Some(E::Malformed));
    }
    for bytes in [b"".as_slice(), b"{}", b"<html>", &[0xff; 99]] {
        let roots = Roots::development(FleetId([1; 32]));
        assert_eq!(Fleet::from_bundle(bytes, &roots).err(), Some(E::Malformed));
    }
}
