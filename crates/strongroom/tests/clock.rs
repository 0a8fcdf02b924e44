//! Clocks of real HSM processes that jump to 2036 or ten years back, at one site and at all: the
//! others go on, the doctor names it, and officers set the fleet's time right.
//!
//! `libfaketime` changes what the wall clock of one process says; monotonic clocks stay. An HSM
//! reads its clock through it, started by its node as any other program: a jump is other words
//! in a file and the death of the HSM, which its node starts again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::contend::Contenders;
use common::fleet::{Fleet, patiently, signal};
use common::load::{Door, through};
use common::run;
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::Command;
use strongroom_client::wire::Slot;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::{BackupKeys, Error};
use strongroom_node::Config;

/// Where a clock starts when its HSM does, as `libfaketime` spells it.
const AHEAD: &str = "@2036-01-01 00:00:00";
const BEHIND: &str = "@2016-01-01 00:00:00";
const RIGHT: &str = "+0";

/// Starts an HSM by the clock that the file says which is its first argument.
const START: &str = r#"
clock=$(cat "$1"); shift
library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1) || exit 1
export LD_PRELOAD="$library" FAKETIME="$clock" DONT_FAKE_MONOTONIC=1
exec "$@"
"#;

/// A running fleet of three, each HSM with a clock of its own.
fn with_clocks() -> Fleet {
    let library = "ls /usr/lib/*/faketime/libfaketimeMT.so.1";
    let there = Command::new("sh").args(["-c", library]).status();
    assert!(there.unwrap().success(), "apt-get install faketime");
    let mut fleet = Fleet::founded(3, common::PROGRAM);
    for at in 0..3 {
        std::fs::write(clock(&fleet, at), RIGHT).unwrap();
        let file = clock(&fleet, at).display().to_string();
        let member = &fleet.members[at];
        let mut config = Config::read(&member.config).unwrap();
        let command = ["/bin/sh", "-c", START, "hsm", &file, common::PROGRAM, "hsm"];
        config.hsm = Some(command.map(str::to_owned).to_vec());
        std::fs::write(&member.config, config.to_toml()).unwrap();
        fleet.start(at);
    }
    fleet.all_well(3);
    fleet
}

fn clock(fleet: &Fleet, at: usize) -> PathBuf {
    fleet.place.path().join(format!("clock-{at}"))
}

/// Sets a member's clock, which takes a new HSM process.
fn jump(fleet: &Fleet, at: usize, to: &str) {
    std::fs::write(clock(fleet, at), to).unwrap();
    let before = patiently("its HSM is there", || fleet.hsm(at));
    signal(before, Signal::KILL);
    patiently("its node starts it again", || {
        fleet.hsm(at).filter(|now| *now != before)
    });
}

/// Until the doctor says, or no longer says, that the clocks are apart.
fn doctor_says(fleet: &Fleet, apart: bool) {
    patiently("the doctor compares the clocks", || {
        let faults = fleet.examined()?["faults"].to_string();
        (faults.contains("clocks are") == apart).then_some(())
    });
}

#[test]
fn a_clock_of_2036_or_2016_at_one_site_stops_nobody() {
    let mut fleet = with_clocks();
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    load.go_on("with right clocks", 20);
    // One that leads before it has sealed anything knows its own clock only.
    load.let_tokens_fail();
    for (year, to) in [("2016", BEHIND), ("2036", AHEAD)] {
        let leader = fleet.leader();
        for (role, at) in [("the leader", leader), ("a follower", (leader + 1) % 3)] {
            jump(&fleet, at, to);
            load.go_on(&format!("the clock of {role} is of {year}"), 40);
            doctor_says(&fleet, true);
            if role == "a follower" && to == AHEAD {
                elect(&mut fleet, at, &load);
            }
            jump(&fleet, at, RIGHT);
            fleet.all_well(3);
            load.go_on("it is right again", 20);
        }
    }
    load.judge();
}

/// Kills whoever leads until that member, whose clock is ahead, has led, and was one of two that
/// work.
fn elect(fleet: &mut Fleet, ahead: usize, load: &Contenders) {
    let led = |fleet: &Fleet| fleet.log(ahead).matches(r#""message":"leads""#).count();
    let before = led(fleet);
    for _ in 0..40 {
        let leader = fleet.leader();
        if leader != ahead {
            fleet.kill(leader);
            load.go_on("an election with one clock ahead", 10);
            fleet.start(leader);
        }
        patiently("all three work", || {
            (fleet.examined()?["working"] == 3).then_some(())
        });
        if led(fleet) > before {
            load.go_on("the one with the clock ahead has led", 20);
            return;
        }
    }
    panic!("no election in 40 went so");
}

/// What a recovery comes to, tried until the network lets it through.
async fn recovered(door: &Door) -> Result<BackupKeys, Error> {
    let vault = door.account("an account").await;
    loop {
        match vault.recover(b"a code", Slot(0)).await {
            Ok(recovered) => return Ok(recovered.keys),
            Err(Error::Transport(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn clocks_of_2036_at_all_sites_are_set_right_by_an_officer() {
    let fleet = with_clocks();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let door = Door::of(&fleet.profile());
    let registered = runtime.block_on(async {
        let vault = door.account("an account").await;
        through(|| vault.register(b"a code", b"", Slot(0), None)).await
    });
    (0..3).for_each(|at| jump(&fleet, at, AHEAD));
    // By their time every token has expired: nobody is answered, and nothing is spent.
    patiently("it is 2036 for the fleet", || {
        let refused = runtime.block_on(recovered(&door));
        matches!(refused, Err(Error::Refused(Refusal::WrongTokenOrTenant))).then_some(())
    });
    (0..3).for_each(|at| jump(&fleet, at, RIGHT));
    let founders = fleet.place.path().join("founders.json");
    let command = ["fleet", "clock", "--officer", founders.to_str().unwrap()];
    patiently("an officer sets the time", || {
        (run(&fleet.profile(), &command, "").code == 0).then_some(())
    });
    let keys = runtime.block_on(recovered(&door)).unwrap();
    assert_eq!(*keys.age_secret(), *registered.keys.age_secret());
    fleet.all_well(3);
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    load.go_on("the fleet's time is right again", 40);
    load.judge();
}
