//! Lies about the history to be sealed, and about time.

use super::{begun, goes_on, refused};
use strongroom_sim::world::World;
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::entry::Proposal;
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::PIPELINE_MAX;
use strongroom_wire::{Digest, Epoch, LogIndex, MemberId, UnixMs};

const MINUTE: u64 = 60_000;
const YEAR: u64 = 365 * 24 * 60 * MINUTE;

/// Proposes so many entries.
fn proposed(world: &mut World, count: usize) -> Vec<Proposal> {
    for _ in 0..count {
        world.propose(&[]).unwrap();
    }
    world.host.chain()
}

fn notarise(run: &[Proposal]) -> Request {
    Request::Notarise {
        run: run.to_vec(),
        start: None,
    }
}

#[test]
fn a_header_of_the_hosts_own_is_forged() {
    let (mut world, phone, _) = begun(40);
    let honest = proposed(&mut world, 1).remove(0);
    let changes: [fn(&mut Proposal); 7] = [
        |it| it.header.root = Digest([1; 32]),
        |it| it.header.state = Digest([1; 32]),
        |it| it.header.time = UnixMs(it.header.time.0 + 1),
        |it| it.header.index = LogIndex(it.header.index.0 + 1),
        |it| it.header.epoch = Epoch(it.header.epoch.0 + 1),
        |it| it.header.previous = Digest([1; 32]),
        |it| it.mark = Digest([1; 32]),
    ];
    for change in changes {
        let mut forged = honest.clone();
        change(&mut forged);
        refused(&mut world, notarise(&[forged]), HsmError::EntryForged);
    }
    goes_on(&mut world, &phone);
}

#[test]
fn the_mark_of_another_header_is_forged() {
    let (mut world, phone, _) = begun(41);
    let chain = proposed(&mut world, 2);
    let mut forged = chain[0].clone();
    forged.mark = chain[1].mark;
    refused(&mut world, notarise(&[forged]), HsmError::EntryForged);
    goes_on(&mut world, &phone);
}

#[test]
fn another_fleets_entry_is_forged() {
    let (mut world, phone, _) = begun(42);
    let theirs = proposed(&mut World::new(43), 1);
    world.propose(&[]).unwrap();
    refused(&mut world, notarise(&theirs), HsmError::EntryForged);
    goes_on(&mut world, &phone);
}

#[test]
fn a_gap_is_named() {
    let (mut world, phone, _) = begun(44);
    let chain = proposed(&mut world, 3);
    refused(&mut world, notarise(&chain[1..]), HsmError::Gap);
    let holed = [chain[0].clone(), chain[2].clone()];
    refused(&mut world, notarise(&holed), HsmError::Gap);
    refused(&mut world, notarise(&[]), HsmError::Gap);
    goes_on(&mut world, &phone);
}

#[test]
fn a_reordered_or_repeating_run_is_refused() {
    let (mut world, phone, _) = begun(45);
    let chain = proposed(&mut world, 2);
    let reordered = [chain[1].clone(), chain[0].clone()];
    refused(&mut world, notarise(&reordered), HsmError::Gap);
    let repeating = [chain[0].clone(), chain[0].clone()];
    refused(&mut world, notarise(&repeating), HsmError::Stale);
    goes_on(&mut world, &phone);
}

#[test]
fn what_is_below_the_tip_is_stale_and_the_tip_may_be_said_again() {
    let (mut world, phone, _) = begun(46);
    let chain = proposed(&mut world, 2);
    world.seal().unwrap();
    refused(&mut world, notarise(&chain[..1]), HsmError::Stale);
    let before = world.standing();
    let said = world.host.certificate().cloned().unwrap();
    let again = world.ask(notarise(&chain[1..]));
    assert_eq!(again, Response::Notarised(said), "the very same statement");
    assert_eq!(world.standing(), before, "no new anchor write");
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn of_two_entries_at_one_index_one_is_sealed() {
    let (mut world, phone, _) = begun(47);
    let first = proposed(&mut world, 1);
    world.host.take_the_lead();
    world.host.platform.pass(5);
    let second = proposed(&mut world, 1);
    assert_eq!(first[0].header.index, second[0].header.index);
    assert_ne!(first[0].header.hash(), second[0].header.hash());
    refused(&mut world, notarise(&first), HsmError::EpochStale);
    world.seal().unwrap();
    refused(&mut world, notarise(&first), HsmError::EpochStale);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_run_across_two_branches_is_stale() {
    let (mut world, phone, _) = begun(48);
    let first = proposed(&mut world, 1);
    world.host.take_the_lead();
    world.host.platform.pass(5);
    let second = proposed(&mut world, 2);
    let mixed = [second[0].clone(), first[0].clone()];
    refused(&mut world, notarise(&mixed), HsmError::Stale);
    let mixed = [first[0].clone(), second[1].clone()];
    refused(&mut world, notarise(&mixed), HsmError::EpochStale);
    goes_on(&mut world, &phone);
}

#[test]
fn a_run_over_the_limit_is_refused() {
    let (mut world, phone, _) = begun(49);
    let mut chain = proposed(&mut world, PIPELINE_MAX);
    chain.push(chain[0].clone());
    refused(&mut world, notarise(&chain), HsmError::BatchTooLarge);
    goes_on(&mut world, &phone);
}

#[test]
fn an_entry_of_an_older_epoch_is_refused() {
    let (mut world, phone, _) = begun(50);
    let old = proposed(&mut world, 1);
    let (epoch, leader) = (Epoch(world.standing().promised.0 + 5), MemberId(2));
    let process = world.host.process();
    world.ask(Request::Promise {
        epoch,
        leader,
        process,
    });
    refused(&mut world, notarise(&old), HsmError::EpochStale);
    world.host.take_the_lead();
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn an_entry_from_the_future_is_too_early_and_good_later() {
    let (mut world, phone, _) = begun(51);
    let now = world.now();
    world.host.platform.set_wall_clock(now.plus(MINUTE / 2));
    let ahead = proposed(&mut world, 1);
    assert_eq!(ahead[0].header.time, now.plus(MINUTE / 2));
    // The clock is set right, further back than the skew that is allowed.
    world
        .host
        .platform
        .set_wall_clock(UnixMs(now.0 - 2 * MINUTE));
    refused(&mut world, notarise(&ahead), HsmError::TooEarly);
    world.host.platform.set_wall_clock(now);
    goes_on(&mut world, &phone);
}

#[test]
fn a_clock_set_to_2036_moves_one_entry_by_a_minute() {
    let (mut world, phone, _) = begun(52);
    let before = world.host.committed().last().unwrap().proposal.header.time;
    let now = world.now();
    world.host.platform.set_wall_clock(now.plus(9 * YEAR));
    let entry = proposed(&mut world, 1).remove(0);
    assert!(entry.header.time <= before.plus(MINUTE));
    world.seal().unwrap();
    world.host.platform.set_wall_clock(now);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

#[test]
fn a_clock_set_to_2036_moves_many_entries_by_a_minute_in_all() {
    let (mut world, _, _) = begun(53);
    let before = world.host.committed().last().unwrap().proposal.header.time;
    let now = world.now();
    world.host.platform.set_wall_clock(now.plus(9 * YEAR));
    for _ in 0..10 {
        world.propose(&[]).unwrap();
        world.seal().unwrap();
    }
    let after = world.host.committed().last().unwrap().proposal.header.time;
    assert!(
        after <= before.plus(MINUTE),
        "ten entries without a tick of the timer gained {} ms",
        after.0 - before.0
    );
}

/// Phones keep the right time. A leader that is years ahead goes on in the fleet's time, for all
/// that it does: a registration's first step too, which no entry holds.
#[test]
fn a_registration_begins_in_the_fleets_time_under_a_clock_of_2036() {
    let (mut world, phone, registered) = begun(57);
    let right = world.now();
    world.host.platform.set_wall_clock(right.plus(9 * YEAR));
    let registering = phone.register_start("another", right);
    let answer = world.send(&registering.letter);
    let Answer::RegisterStarted(started) = answer else {
        panic!("a registration was to begin: {answer:?}");
    };
    let made = (&registered.owner.root, phone.op(right));
    let finish = phone.register_finish(registering, &started, made, Some(&registered.owner));
    world.receipt(&finish.unwrap());
    // Time goes on by the timer, for tokens as for all else.
    let late = phone.register_start("a third", right);
    world.host.platform.pass(60 * MINUTE);
    let refused = Answer::Refused(Refusal::WrongTokenOrTenant);
    assert_eq!(world.send(&late.letter), refused);
}

/// Decision 0010: the timer of a paused machine stands still, and its clock is stepped on
/// afterwards. Fresh tokens must not come from the future for ever.
#[test]
fn a_machine_that_was_paused_catches_up_with_its_clock() {
    let (mut world, _, _) = begun(55);
    let hour = 60 * MINUTE;
    let now = world.now();
    world.host.platform.set_wall_clock(now.plus(hour));
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    let lag = |world: &World| {
        let time = world.host.committed().last().unwrap().proposal.header.time;
        world.now().0 - time.0
    };
    assert!(lag(&world) >= hour - 2 * MINUTE, "it is behind at first");
    world.host.platform.pass(hour);
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    assert_eq!(lag(&world), 0, "an hour of pause is over after an hour");
}

#[test]
fn a_clock_set_back_stops_time_and_not_the_vault() {
    let (mut world, phone, _) = begun(54);
    let before = world.host.committed().last().unwrap().proposal.header.time;
    let now = world.now();
    world.host.platform.set_wall_clock(UnixMs(now.0 - YEAR));
    let entry = proposed(&mut world, 1).remove(0);
    assert_eq!(entry.header.time, before);
    world.seal().unwrap();
    world.host.platform.set_wall_clock(now);
    world.propose(&[]).unwrap();
    goes_on(&mut world, &phone);
}

/// DESIGN §6: after a restart the own clock is the only bound. Against the machine's clock nothing
/// else is promised: waits get shorter, the guess bound does not depend on it.
#[test]
fn after_a_restart_only_the_own_clock_bounds_time() {
    let (mut world, _, _) = begun(55);
    let far = world.now().plus(9 * YEAR);
    world.host.platform.set_wall_clock(far);
    world.restart().unwrap();
    let entry = proposed(&mut world, 1).remove(0);
    assert_eq!(entry.header.time, far);
}
