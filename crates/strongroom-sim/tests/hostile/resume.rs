//! Lies about where it stood before the restart.

use super::{begun, goes_on};
use strongroom_sim::world::World;
use strongroom_wire::frame::{HsmError, ManifestBytes, Phase, Place, Request, Response};
use strongroom_wire::limits::PIPELINE_MAX;
use strongroom_wire::{Digest, encode};

/// What it says of its life; the one question that a waiting member answers.
fn phase(world: &mut World) -> Phase {
    match world.ask(Request::Hello { version: 1 }) {
        Response::Welcome(welcome) => welcome.phase,
        other => panic!("hello is answered: {other:?}"),
    }
}

/// Cuts the power, tells the lie, and then the truth.
#[track_caller]
fn lied(seed: u64, error: HsmError, lie: impl FnOnce(&World, Request) -> Request) {
    let (mut world, phone, _) = begun(seed);
    world.power_cut().unwrap();
    let before = phase(&mut world);
    let lie = lie(&world, world.host.resumption());
    assert_eq!(world.ask(lie), Response::Error(error));
    assert_eq!(phase(&mut world), before, "it still waits at its anchor");
    world.restart().unwrap();
    goes_on(&mut world, &phone);
}

/// What the honest resumption shows.
fn shown(request: Request) -> Place {
    match request {
        Request::Resume { place, .. } => place,
        other => panic!("no resumption: {other:?}"),
    }
}

fn resume(place: Place) -> Request {
    Request::Resume {
        place,
        certificate: Vec::new(),
    }
}

#[test]
fn rolled_back_state_is_not_resumed() {
    lied(2, HsmError::AnchorMismatch, |world, truth| {
        let older = &world.host.committed()[0];
        resume(Place {
            proposal: older.proposal.clone(),
            state: older.state.clone(),
            ..shown(truth)
        })
    });
}

#[test]
fn a_stale_header_with_the_newest_state_is_not_resumed() {
    lied(3, HsmError::AnchorMismatch, |world, truth| {
        resume(Place {
            proposal: world.host.committed()[0].proposal.clone(),
            ..shown(truth)
        })
    });
}

#[test]
fn another_fleets_header_is_not_resumed() {
    lied(4, HsmError::AnchorMismatch, |_, _| {
        World::new(5).host.resumption()
    });
}

#[test]
fn a_wrong_state_preimage_is_not_resumed() {
    lied(6, HsmError::AnchorMismatch, |_, truth| {
        let mut place = shown(truth);
        place.state.tenants = 1;
        resume(place)
    });
}

#[test]
fn another_fleets_manifest_is_not_resumed() {
    lied(7, HsmError::AnchorMismatch, |_, truth| {
        let manifests = shown(World::new(8).host.resumption()).manifests;
        resume(Place {
            manifests,
            ..shown(truth)
        })
    });
}

#[test]
fn bytes_that_are_no_manifest_are_not_resumed_from_nor_is_none() {
    for bytes in [Some(0), None] {
        lied(9, HsmError::AnchorMismatch, |_, truth| {
            let mut place = shown(truth);
            match bytes {
                Some(byte) => place.manifests[0].0.push(byte),
                None => place.manifests.clear(),
            }
            resume(place)
        });
    }
}

/// A tip that names another manifest before its own is another tip.
#[test]
fn a_change_that_the_tip_does_not_have_is_not_resumed() {
    lied(17, HsmError::AnchorMismatch, |_, truth| {
        let mut place = shown(truth);
        place.state.before = place.state.manifest;
        place.manifests.push(place.manifests[0].clone());
        resume(place)
    });
}

#[test]
fn c3_a_loosened_manifest_is_not_resumed_however_it_is_wrapped() {
    // As it is; with a state that names it; with a header that names that state.
    for wrapped in 0..3 {
        lied(10, HsmError::AnchorMismatch, |world, truth| {
            let mut place = shown(truth);
            let mut manifest = world.host.manifest().clone();
            manifest.previous = Some(manifest.digest());
            manifest.fleet = Some(manifest.fleet_id());
            manifest.epoch = 1;
            manifest.policy.reset_wait_ms = 1;
            manifest.policy.delays_ms = Vec::new();
            manifest.policy.slots_max = 200;
            if wrapped > 0 {
                place.state.manifest = Some(manifest.digest());
                place.state.manifest_epoch = 1;
            }
            if wrapped > 1 {
                place.proposal.header.state = place.state.digest();
            }
            place.manifests = vec![ManifestBytes(encode(&manifest))];
            resume(place)
        });
    }
}

#[test]
fn a_standing_member_is_not_resumed_again() {
    let (mut world, phone, _) = begun(11);
    let again = world.host.resumption();
    super::refused(&mut world, again, HsmError::WrongPhase);
    let manifest = encode(world.host.manifest());
    super::refused(
        &mut world,
        Request::Genesis {
            manifest,
            secret: None,
        },
        HsmError::WrongPhase,
    );
    super::refused(&mut world, Request::Draft, HsmError::WrongPhase);
    goes_on(&mut world, &phone);
}

#[test]
fn a_member_that_waits_does_nothing_else() {
    let (mut world, phone, _) = begun(12);
    let ask = [
        world.host.promising(),
        world.host.leading(),
        world.host.proposal(&[]),
        world.host.notarisation(),
        world.host.release(),
        Request::Open {
            envelope: phone.last().unwrap().envelope.clone(),
        },
        Request::Inspect,
    ];
    world.power_cut().unwrap();
    for request in ask {
        let response = world.ask(request);
        assert_eq!(response, Response::Error(HsmError::WrongPhase));
    }
    world.restart().unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn what_was_proposed_and_not_sealed_is_void_after_a_restart() {
    let (mut world, phone, _) = begun(13);
    for _ in 0..PIPELINE_MAX {
        world.propose(&[]).unwrap();
    }
    let void = world.host.chain();
    let tip = world.standing().tip;
    world.restart().unwrap();
    assert_eq!(world.standing().tip, tip);
    super::refused(
        &mut world,
        Request::Notarise {
            run: void,
            start: None,
        },
        HsmError::EpochStale,
    );
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn another_members_keys_do_not_begin_this_fleet() {
    let (mut world, phone, _) = begun(14);
    let mut manifest = World::new(15).host.manifest().clone();
    manifest.members[0].measurement = Digest([1; 32]);
    let blank = std::sync::Arc::new(strongroom_sim::platform::Memory::new(16));
    let mut vault = strongroom_vault::Vault::start(blank).unwrap();
    let desk = std::cell::RefCell::new(strongroom_vault::Desk::default());
    vault.handle(&desk, Request::Draft);
    let genesis = Request::Genesis {
        manifest: encode(&manifest),
        secret: None,
    };
    let response = vault.handle(&desk, genesis);
    assert_eq!(response, Response::Error(HsmError::ManifestInvalid));
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}
