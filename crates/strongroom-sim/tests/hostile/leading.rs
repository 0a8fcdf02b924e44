//! Lies about who leads (REVIEW C5).

use super::{begun, goes_on, refused};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::world::World;
use strongroom_wire::entry::{Promised, Signed};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::{Digest, Epoch, MemberId, Signature, encode};

fn resigned(mut promise: Signed<Promised>, key: &SigningKey) -> Signed<Promised> {
    let bytes = encode(&promise.statement);
    promise.signature = Signature(statement::sign(key, Label::Promised, &bytes));
    promise
}

/// From the start that an honest host would bring.
fn lead(world: &World, epoch: Epoch, promises: &[Signed<Promised>]) -> Request {
    match world.host.leading() {
        Request::Lead { start, .. } => Request::Lead {
            epoch,
            promises: promises.to_vec(),
            start,
        },
        other => panic!("no lead: {other:?}"),
    }
}

#[test]
fn who_does_not_lead_proposes_nothing() {
    let (mut world, phone, registered) = begun(70);
    let promising = world.host.promising();
    world.ask(promising);
    let now = world.now();
    let guess = phone.recover_start("wrong", phone.attempt(now), now);
    let handle = world.prepare(&guess.letter);
    let request = world.host.proposal(&[handle]);
    refused(&mut world, request, HsmError::NotLeading);
    let leading = world.host.leading();
    world.ask(leading);
    assert_eq!(
        world.propose(&[handle]),
        Ok(vec![]),
        "it waited on the desk"
    );
    world.seal().unwrap();
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 1);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn promises_that_are_none_give_no_lead() {
    let (mut world, phone, _) = begun(71);
    let promising = world.host.promising();
    world.ask(promising);
    let honest = world.host.promise().unwrap().clone();
    let epoch = honest.statement.epoch;
    let foreign = SigningKey::from_seed(&[77; 32]);
    let own = world.checkers.glass().identity();
    let changed = |change: fn(&mut Promised)| {
        let mut promise = honest.clone();
        change(&mut promise.statement);
        promise
    };
    let lies = [
        vec![],
        vec![resigned(honest.clone(), &foreign)],
        vec![honest.clone(), honest.clone()],
        // Signed as they must be, but by nobody in the manifest, for somebody else, of another
        // fleet, cell, incarnation or epoch.
        vec![resigned(changed(|it| it.member = MemberId(2)), &own)],
        vec![resigned(changed(|it| it.leader = MemberId(2)), &own)],
        vec![resigned(changed(|it| it.process.0[0] ^= 1), &own)],
        vec![resigned(changed(|it| it.fleet.0[0] ^= 1), &own)],
        vec![resigned(changed(|it| it.cell.0 += 1), &own)],
        vec![resigned(changed(|it| it.incarnation.0 += 1), &own)],
        vec![resigned(changed(|it| it.epoch.0 -= 1), &own)],
        // Its own words, changed without its key.
        vec![changed(|it| it.tip.hash = Digest([1; 32]))],
    ];
    for lie in lies {
        let request = lead(&world, epoch, &lie);
        refused(&mut world, request, HsmError::PromisesInvalid);
    }
    let leading = world.host.leading();
    assert!(matches!(world.ask(leading), Response::Leading { .. }));
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_promise_from_before_an_entry_gives_no_lead_past_it() {
    let (mut world, phone, _) = begun(72);
    let promising = world.host.promising();
    world.ask(promising);
    let honest = world.host.promise().unwrap().clone();
    let own = world.checkers.glass().identity();
    let mut stale = honest.clone();
    stale.statement.tip = world.host.committed()[0].proposal.header.tip();
    let stale = resigned(stale, &own);
    let epoch = honest.statement.epoch;
    let request = lead(&world, epoch, &[stale]);
    refused(&mut world, request, HsmError::Gap);
    let leading = world.host.leading();
    world.ask(leading);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_old_promise_gives_no_lead() {
    let (mut world, phone, _) = begun(73);
    let old = world.host.promise().unwrap().clone();
    world.host.take_the_lead();
    let request = lead(&world, old.statement.epoch, std::slice::from_ref(&old));
    refused(&mut world, request, HsmError::EpochStale);
    let newer = Epoch(world.standing().promised.0 + 1);
    let request = lead(&world, newer, &[old]);
    refused(&mut world, request, HsmError::EpochStale);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_epoch_is_promised_once() {
    let (mut world, phone, _) = begun(74);
    let promised = world.standing().promised;
    for epoch in [Epoch(0), promised] {
        for leader in [MemberId(1), MemberId(2)] {
            let request = Request::Promise {
                epoch,
                leader,
                process: world.host.process(),
            };
            refused(&mut world, request, HsmError::EpochStale);
        }
    }
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn the_epochs_are_not_used_up_by_one_message() {
    let (mut world, phone, _) = begun(78);
    let request = Request::Promise {
        epoch: Epoch(u64::MAX),
        leader: MemberId(1),
        process: world.host.process(),
    };
    refused(&mut world, request, HsmError::EpochTooFar);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_epoch_is_led_once() {
    let (mut world, phone, _) = begun(75);
    world.propose(&[]).unwrap();
    let again = world.host.leading();
    refused(&mut world, again, HsmError::EpochStale);
    goes_on(&mut world, &phone);
}

/// A leader that restarts may have proposed a chain that other members saw. A second chain in one
/// epoch is the mutant of C5 that loses a certified entry.
#[test]
fn an_epoch_is_led_once_across_a_restart() {
    let (mut world, phone, _) = begun(76);
    let promise = world.host.promise().unwrap().clone();
    let epoch = promise.statement.epoch;
    world.propose(&[]).unwrap();
    world.power_cut().unwrap();
    // The promise's tip is the member's tip: only the restart speaks against it.
    let own = world.checkers.glass().identity();
    let mut renewed = promise;
    let resumption = world.host.resumption();
    world.ask(resumption);
    renewed.statement.tip = world.standing().tip;
    let request = lead(&world, epoch, &[resigned(renewed, &own)]);
    refused(&mut world, request, HsmError::EpochStale);
    world.host.take_the_lead();
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_promise_to_another_ends_the_lead_and_drops_its_answers() {
    let (mut world, phone, registered) = begun(77);
    let now = world.now();
    let guess = phone.recover_start("wrong", phone.attempt(now), now);
    let handle = world.prepare(&guess.letter);
    world.propose(&[handle]).unwrap();
    let run = world.host.chain();
    let (epoch, leader) = (Epoch(world.standing().promised.0 + 1), MemberId(2));
    let process = world.host.process();
    world.ask(Request::Promise {
        epoch,
        leader,
        process,
    });
    assert_eq!(world.standing().held, 0, "unsealed answers are dropped");
    let request = Request::Notarise { run, start: None };
    refused(&mut world, request, HsmError::EpochStale);
    let request = world.host.proposal(&[]);
    refused(&mut world, request, HsmError::NotLeading);
    world.host.take_the_lead();
    // The phone asks again, and pays then.
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    let record = world.checkers.record(&registered.receipt.record).unwrap();
    assert_eq!(record.lineage.totals.starts, 0);
    world.send(&guess.letter);
    goes_on(&mut world, &phone);
}
