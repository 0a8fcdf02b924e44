//! The officers' changes of the clock.

use super::{MINUTE, goes_on, refused};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::fleet::Fleet;
use strongroom_vault::Platform as _;
use strongroom_wire::entry::{ClockChange, Kind, OfficerSignature, SignedClockChange};
use strongroom_wire::frame::{HsmError, Request};
use strongroom_wire::{PublicKey, Signature, UnixMs, encode};

const YEAR: u64 = 365 * 24 * 60 * MINUTE;

fn officer(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A fleet of three with the officers 1, 2 and 3, of whom two are needed.
fn officered() -> Fleet {
    Fleet::founded(3, |manifest| {
        manifest.officers = [1, 2, 3].map(|it| PublicKey(officer(it).public())).into();
        manifest.officers_threshold = 2;
    })
}

fn signed(change: &ClockChange, officers: &[u8]) -> SignedClockChange {
    let bytes = encode(change);
    let sign = |seed: &u8| OfficerSignature {
        officer: PublicKey(officer(*seed).public()),
        signature: Signature(statement::sign(&officer(*seed), Label::Clock, &bytes)),
    };
    SignedClockChange {
        change: change.clone(),
        officers: officers.iter().map(sign).collect(),
    }
}

fn change(fleet: &Fleet, number: u64, time: UnixMs) -> ClockChange {
    ClockChange {
        fleet: fleet.manifest().fleet_id(),
        cell: strongroom_wire::CellId(0),
        incarnation: strongroom_wire::Incarnation(0),
        number,
        time,
    }
}

fn now(fleet: &Fleet, m: usize) -> UnixMs {
    fleet.members[m].platform.wall_clock()
}

/// Member 0 leads, and the fleet has sealed the time of now.
fn leading() -> Fleet {
    let mut fleet = officered();
    goes_on(&mut fleet, 0);
    fleet
}

#[test]
fn officers_set_the_clock_back_and_forward() {
    let mut fleet = leading();
    let before = now(&fleet, 0);
    for (number, time) in [(1, UnixMs(before.0 - YEAR)), (2, before)] {
        let change = signed(&change(&fleet, number, time), &[1, 3]);
        let entry = fleet.propose_clock(0, change).unwrap();
        assert_eq!((entry.header.kind, entry.header.time), (Kind::Clock, time));
        let run = [entry];
        let certificate = fleet.certify(&[0, 1, 2], &run, None);
        fleet.release(0, &certificate).unwrap();
        assert_eq!(fleet.state_of(&run[0]).clock_changes, number);
        // Time goes on from there, at its pace, not from where it was.
        for member in &fleet.members {
            member.platform.pass(5000);
        }
        let next = [fleet.propose(0).unwrap()];
        assert!(next[0].header.time > time);
        assert!(next[0].header.time <= time.plus(MINUTE));
        fleet.certify(&[0, 1, 2], &next, None);
    }
    goes_on(&mut fleet, 1);
}

#[test]
fn a_change_is_not_replayed_nor_skipped_nor_another_fleets() {
    let mut fleet = leading();
    let time = now(&fleet, 0);
    let first = signed(&change(&fleet, 1, time), &[1, 2]);
    let run = [fleet.propose_clock(0, first.clone()).unwrap()];
    let honest = change(&fleet, 2, time);
    let changed = |to: fn(&mut ClockChange)| {
        let mut change = honest.clone();
        to(&mut change);
        signed(&change, &[1, 2])
    };
    let lies = |sealed: &str| {
        let lies = [
            first.clone(),
            changed(|it| it.number = 0),
            changed(|it| it.number = 3),
            changed(|it| it.fleet.0[0] ^= 1),
            changed(|it| it.cell.0 += 1),
            changed(|it| it.incarnation.0 += 1),
        ];
        (sealed.to_owned(), lies)
    };
    for (when, lies) in [lies("speculated"), lies("sealed")] {
        for change in lies {
            let request = Request::ProposeClock { change };
            refused(&mut fleet, 0, request, HsmError::ClockChangeInvalid);
        }
        if when == "speculated" {
            fleet.certify(&[0, 1, 2], &run, None);
        }
    }
    fleet.propose_clock(0, signed(&honest, &[2, 3])).unwrap();
}

#[test]
fn too_few_officers_or_others_set_nothing() {
    let mut fleet = leading();
    let honest = change(&fleet, 1, now(&fleet, 0));
    let mut forged = signed(&honest, &[1, 2]);
    forged.officers[1].signature.0[0] ^= 1;
    let mut other = signed(&honest, &[1, 2]);
    other.change.time = UnixMs(5);
    let mut label = signed(&honest, &[1, 2]);
    let bytes = encode(&honest);
    label.officers[0].signature = Signature(statement::sign(&officer(1), Label::Manifest, &bytes));
    let lies = [
        signed(&honest, &[]),
        signed(&honest, &[1]),
        signed(&honest, &[1, 1]),
        signed(&honest, &[1, 2, 1]),
        signed(&honest, &[1, 9]),
        signed(&honest, &[1, 2, 9]),
        forged,
        other,
        label,
    ];
    for change in lies {
        let request = Request::ProposeClock { change };
        refused(&mut fleet, 0, request, HsmError::ClockChangeInvalid);
    }
    fleet.propose_clock(0, signed(&honest, &[3, 1])).unwrap();
}

#[test]
fn without_officers_nobody_sets_the_clock() {
    let mut fleet = Fleet::new(3, 0);
    goes_on(&mut fleet, 0);
    for officers in [&[][..], &[1]] {
        let change = signed(&change(&fleet, 1, now(&fleet, 0)), officers);
        let request = Request::ProposeClock { change };
        refused(&mut fleet, 0, request, HsmError::ClockChangeInvalid);
    }
}

#[test]
fn officers_set_no_time_ahead_of_the_clocks() {
    let mut fleet = leading();
    let ahead = now(&fleet, 0).plus(MINUTE + 1);
    let change = signed(&change(&fleet, 1, ahead), &[1, 2]);
    let request = Request::ProposeClock {
        change: change.clone(),
    };
    refused(&mut fleet, 0, request, HsmError::ClockChangeInvalid);
    // A leader whose clock is ahead proposes it; the others do not seal it.
    fleet.members[0].platform.set_wall_clock(ahead);
    let run = [fleet.propose_clock(0, change).unwrap()];
    for m in [1, 2] {
        assert_eq!(fleet.notarise(m, &run, None), Err(HsmError::TooEarly));
    }
    assert_eq!(
        fleet.propose_clock(1, signed(&self::change(&fleet, 1, ahead), &[1, 2])),
        Err(HsmError::NotLeading)
    );
}

/// Entries proposed while a change waits for its seal are sealed with it by those whose clocks are
/// right, however far it set time back.
#[test]
fn what_is_proposed_above_a_change_is_sealed_with_it() {
    let mut fleet = leading();
    let back = UnixMs(now(&fleet, 0).0 - YEAR);
    let change = signed(&change(&fleet, 1, back), &[1, 2]);
    let clock = fleet.propose_clock(0, change).unwrap();
    let run = [clock, fleet.propose(0).unwrap(), fleet.propose(0).unwrap()];
    assert_eq!(run[2].header.time, back, "time stands still until then");
    let certificate = fleet.certify(&[0, 1, 2], &run, None);
    fleet.release(0, &certificate).unwrap();
    goes_on(&mut fleet, 1);
}

/// The gap of decision 0010: a member that started with a clock years ahead seals that time, and no
/// later entry goes back. With the officers one does, and every member goes on from there.
/// One member seals a time of its own alone. Built upon, it would be everybody's, and nobody else
/// could seal an entry any more.
#[test]
fn a_jump_of_years_at_one_site_stays_there() {
    let mut fleet = officered();
    let right = now(&fleet, 1);
    let platform = fleet.members[0].platform.clone();
    platform.set_wall_clock(right.plus(9 * YEAR));
    fleet.lead(0, 1, &[0, 1]);
    let wrong = [fleet.propose(0).unwrap()];
    fleet.notarise(0, &wrong, None).unwrap();
    assert_eq!(fleet.notarise(1, &wrong, None), Err(HsmError::TooEarly));
    let promises = fleet.promise_all(&[0, 1], 2, 1);
    let leading = fleet.leading(2, &promises);
    assert_eq!(fleet.ask(1, leading), Err(HsmError::TooEarly));
    // A quorum that does not know of it goes on, and takes the other along.
    let start = fleet.lead(1, 3, &[1, 2]);
    let run = [fleet.propose(1).unwrap()];
    assert!(run[0].header.time < wrong[0].header.time);
    let certificate = fleet.certify(&[0, 1, 2], &run, Some(&start));
    fleet.release(1, &certificate).unwrap();
    platform.set_wall_clock(right);
    goes_on(&mut fleet, 2);
}

#[test]
fn a_jump_of_years_at_all_sites_heals_by_a_change_of_the_clock() {
    let mut fleet = officered();
    let right = now(&fleet, 1);
    for member in &fleet.members {
        member.platform.set_wall_clock(right.plus(9 * YEAR));
    }
    goes_on(&mut fleet, 0);
    let tip = fleet.inspect(0).tip;
    let wrong = fleet.place(&tip.hash).proposal.header.time;
    assert!(wrong > right.plus(8 * YEAR));
    for member in &fleet.members {
        member.platform.set_wall_clock(right);
    }
    // Time stands still, and the vault does not.
    goes_on(&mut fleet, 1);
    let tip = fleet.inspect(0).tip;
    assert_eq!(fleet.place(&tip.hash).proposal.header.time, wrong);
    let start = fleet.lead(1, 3, &[0, 1, 2]);
    let change = signed(&change(&fleet, 1, right), &[2, 3]);
    let run = [
        fleet.propose_clock(1, change).unwrap(),
        fleet.propose(1).unwrap(),
    ];
    let certificate = fleet.certify(&[0, 1, 2], &run, Some(&start));
    fleet.release(1, &certificate).unwrap();
    for leader in 0..3 {
        for member in &fleet.members {
            member.platform.pass(1000);
        }
        goes_on(&mut fleet, leader);
        let tip = fleet.inspect(leader).tip;
        let time = fleet.place(&tip.hash).proposal.header.time;
        assert_eq!(time, now(&fleet, leader), "time is right, and goes on");
    }
}
