//! The anchor fails, is lost, or is put back from a copy.

use super::{begun, goes_on, refused};
use strongroom_sim::platform::AnchorFault;
use strongroom_sim::world::World;
use strongroom_wire::entry::Proposal;
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::manifest::Policy;
use strongroom_wire::{Epoch, MemberId};

fn notarise(run: Vec<Proposal>) -> Request {
    Request::Notarise { run, start: None }
}

/// A member whose anchor failed says so when it is greeted, and does nothing else.
#[track_caller]
fn has_halted(world: &mut World) {
    let requests = [
        world.host.notarisation(),
        world.host.release(),
        world.host.promising(),
        world.host.proposal(&[]),
        world.host.resumption(),
        Request::Inspect,
    ];
    for request in requests {
        let response = world.ask(request);
        assert_eq!(response, Response::Error(HsmError::WrongPhase));
    }
    let hello = world.ask(Request::Hello { version: 1 });
    assert_eq!(hello, Response::Error(HsmError::AnchorFailed));
    assert!(world.take_answers().is_empty(), "nothing leaves");
}

/// A guess is on its way when the anchor fails; whether it was stored, only the restart tells.
#[test]
fn a_failed_anchor_write_halts_the_member_until_a_restart() {
    for (fault, stored) in [
        (AnchorFault::Refused, false),
        (AnchorFault::Unacknowledged, true),
    ] {
        let (mut world, phone, registered) = begun(81);
        let now = world.now();
        let guess = phone.recover_start("wrong", phone.attempt(now), now);
        let handle = world.prepare(&guess.letter);
        world.propose(&[handle]).unwrap();
        let run = world.host.chain();
        world.host.platform.fail_next_swap(fault);
        let response = world.ask(notarise(run.clone()));
        assert_eq!(response, Response::Error(HsmError::AnchorFailed));
        has_halted(&mut world);
        world.restart().unwrap();
        let tip = world.standing().tip;
        assert_eq!(tip == run[0].header.tip(), stored);
        // Its answer died with the process. The retry costs nothing where it is spent already.
        let again = phone.recover_again(guess, world.now());
        world.send(&again.letter);
        let record = world.checkers.record(&registered.receipt.record).unwrap();
        assert_eq!(record.lineage.totals.starts, 1);
        world.propose(&[]).unwrap();
        goes_on(&mut world, &phone);
    }
}

#[test]
fn a_promise_that_is_not_anchored_is_not_made() {
    for fault in [AnchorFault::Refused, AnchorFault::Unacknowledged] {
        let (mut world, phone, _) = begun(82);
        world.host.platform.fail_next_swap(fault);
        let promising = world.host.promising();
        let response = world.ask(promising);
        assert_eq!(response, Response::Error(HsmError::AnchorFailed));
        has_halted(&mut world);
        world.restart().unwrap();
        world.propose(&[]).unwrap();
        goes_on(&mut world, &phone);
    }
}

#[test]
fn a_member_without_its_anchor_does_not_start() {
    let (mut world, phone, _) = begun(83);
    let kept = world.host.platform.snapshot();
    world.host.platform.lose_anchor();
    assert_eq!(world.power_cut(), Err(HsmError::AnchorFailed));
    world.host.platform.restore(&kept);
    world.restart().unwrap();
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_anchor_put_back_under_a_running_member_stops_it() {
    let (mut world, _, _) = begun(84);
    let old = world.host.platform.snapshot();
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    world.propose(&[]).unwrap();
    let run = world.host.chain();
    world.host.platform.restore(&old);
    let response = world.ask(notarise(run));
    assert_eq!(response, Response::Error(HsmError::AnchorFailed));
    has_halted(&mut world);
}

/// Two copies of one member lead the same epoch on two branches: each entry is marked, of the right
/// epoch and index, and hangs on the other's.
#[test]
fn a_copy_seals_nothing_that_hangs_on_its_twins_branch() {
    let (mut world, _, _) = begun(87);
    let (machine, disk) = (world.host.platform.snapshot(), world.host.copy_disk());
    world.checkers.expect_copies();
    let now = world.now();
    // The later clock first, so that it is not time that speaks against its entries.
    let twin = |world: &mut World, ahead| {
        world.host.platform.restore(&machine);
        world.host.restore_disk(&disk);
        world.power_cut().unwrap();
        let resumption = world.host.resumption();
        world.ask(resumption);
        let (epoch, leader) = (Epoch(7), MemberId(1));
        let process = world.host.process();
        world.ask(Request::Promise {
            epoch,
            leader,
            process,
        });
        let leading = world.host.leading();
        world.ask(leading);
        world.host.platform.set_wall_clock(now.plus(ahead));
        for _ in 0..2 {
            world.propose(&[]).unwrap();
        }
        world.host.chain()
    };
    let first = twin(&mut world, 2);
    world.seal().unwrap();
    let second = twin(&mut world, 1);
    let run = vec![second[0].clone()];
    assert!(matches!(world.ask(notarise(run)), Response::Notarised(_)));
    assert_eq!(first[1].header.epoch, second[1].header.epoch);
    assert_eq!(first[1].header.index, second[1].header.index);
    let run = vec![first[1].clone()];
    refused(&mut world, notarise(run), HsmError::Stale);
    world.seal().unwrap();
}

fn three_guesses() -> Policy {
    Policy {
        attempts_max: 3,
        ..Policy::default()
    }
}

/// What a platform without a true anchor cannot stop (DESIGN §8, class *none*): disk, anchor and
/// all are put back, and the guesses with them. The documentation claims P1 for no such platform.
#[test]
fn a_copy_of_disk_and_anchor_brings_guesses_back_and_only_an_anchor_could_tell() {
    let mut world = World::with_policy(85, three_guesses());
    let phone = world.phone(&strongroom_sim::world::bearer(), "user");
    let registered = world.register(&phone, "right", None);
    let (machine, disk) = (world.host.platform.snapshot(), world.host.copy_disk());
    world.checkers.expect_copies();
    for _ in 0..2 {
        world.host.platform.restore(&machine);
        world.host.restore_disk(&disk);
        world.restart().unwrap();
        for left in (0..3).rev() {
            let (_, started) = world.guessed(&phone, "wrong");
            assert_eq!(started.attempts_left, left);
        }
    }
    let (record, generation) = (registered.receipt.record, registered.receipt.generation);
    assert_eq!(
        world.checkers.answered(record, generation),
        6,
        "twice three"
    );
}

/// The same attack where the anchor is true: the copy does not start from where it was.
#[test]
fn a_copy_of_the_disk_alone_brings_nothing_back() {
    let mut world = World::with_policy(86, three_guesses());
    let phone = world.phone(&strongroom_sim::world::bearer(), "user");
    world.register(&phone, "right", None);
    let disk = world.host.copy_disk();
    let old = world.host.resumption();
    world.guessed(&phone, "wrong");
    let newest = world.host.copy_disk();
    world.power_cut().unwrap();
    world.host.restore_disk(&disk);
    let response = world.ask(old);
    assert_eq!(response, Response::Error(HsmError::AnchorMismatch));
    world.host.restore_disk(&newest);
    world.restart().unwrap();
    let (_, started) = world.guessed(&phone, "wrong");
    assert_eq!(started.attempts_left, 1);
}
