//! Five members in ten processes, killed, stopped and started again under load: nothing
//! acknowledged is lost, no guess is spent twice, and the rest go on while two are away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::fleet::{Fleet, patiently, signal};
use common::load::{Door, live};
use common::{PROGRAM, run};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Clients that change codes and recover until they are told to stop.
struct Load {
    runtime: tokio::runtime::Runtime,
    clients: Vec<tokio::task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Load {
    fn on(profile: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let clients = (0..4).map(|n| {
            // Each has a connection of its own: they find the leader by themselves.
            let door = Arc::new(Door::of(profile));
            let name = format!("account {n}");
            runtime.spawn(live(door, name, stop.clone(), done.clone()))
        });
        let clients = clients.collect();
        Self {
            runtime,
            clients,
            stop,
            done,
        }
    }

    /// Until so many more recoveries were answered.
    fn goes_on(&self, what: &str, more: u64) {
        let target = self.done.load(Ordering::Relaxed) + more;
        patiently(what, || {
            assert!(
                !self.clients.iter().any(|c| c.is_finished()),
                "a client gave up: {what}"
            );
            (self.done.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            self.runtime.block_on(client).unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

fn rounds() -> u64 {
    let set = std::env::var("STRONGROOM_KILLS").ok();
    set.map_or(14, |text| text.parse().unwrap())
}

#[test]
fn members_die_hang_and_come_back_and_clients_see_nothing_but_waits() {
    let mut fleet = Fleet::of(5);
    let load = Load::on(&fleet.profile());
    load.goes_on("with all five", 4);
    for round in 0..rounds() {
        let leader = fleet.leader();
        let other = (leader + 1) % 5;
        match round % 7 {
            0 => {
                fleet.kill(leader);
                load.goes_on("the leader's node was killed", 4);
                fleet.start(leader);
            }
            1 => {
                if let Some(hsm) = fleet.hsm(leader) {
                    signal(hsm, Signal::KILL);
                }
                load.goes_on("the leader's HSM was killed", 4);
            }
            2 => {
                let hsm = fleet.hsm(leader);
                hsm.iter().for_each(|hsm| signal(*hsm, Signal::STOP));
                load.goes_on("the leader's HSM hangs", 4);
                hsm.iter().for_each(|hsm| signal(*hsm, Signal::CONT));
            }
            3 => {
                signal(fleet.node(leader), Signal::STOP);
                load.goes_on("the leader's node hangs", 4);
                signal(fleet.node(leader), Signal::CONT);
            }
            4 => {
                fleet.kill(other);
                load.goes_on("a follower was killed", 4);
                fleet.start(other);
            }
            5 => {
                fleet.kill(leader);
                fleet.kill(other);
                load.goes_on("two were killed, one of them the leader", 4);
                fleet.start(other);
                fleet.start(leader);
            }
            _ => {
                (0..5).for_each(|at| fleet.kill(at));
                (0..5).for_each(|at| fleet.start(at));
                load.goes_on("the power was cut everywhere", 4);
            }
        }
    }
    let recoveries = load.end();
    fleet.all_well(5);
    println!("{} faults, {recoveries} recoveries", rounds());
}

#[test]
fn three_of_five_away_answers_nothing_and_loses_nothing() {
    let mut fleet = Fleet::of(5);
    let load = Load::on(&fleet.profile());
    load.goes_on("with all five", 2);
    (0..3).for_each(|at| fleet.kill(at));
    patiently("the two that are left know of no leader", || {
        let examined = fleet.examined()?;
        examined["leader"].is_null().then_some(())
    });
    fleet.start(1);
    load.goes_on("three are back", 4);
    fleet.start(0);
    fleet.start(2);
    load.end();
}

#[test]
fn a_lost_store_is_begun_anew_from_another_member() {
    let mut fleet = Fleet::of(3);
    let load = Load::on(&fleet.profile());
    load.goes_on("with all three", 2);
    fleet.kill(0);
    load.goes_on("one is away", 2);
    let config = fleet.members[0].config.clone();
    let store = config.parent().unwrap().join("data/store");
    std::fs::remove_dir_all(&store).unwrap();
    let bundle = fleet.place.path().join("bundle");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    std::fs::write(
        &bundle,
        runtime.block_on(Door::of(&fleet.profile()).bundle()),
    )
    .unwrap();
    let node = Command::new(PROGRAM)
        .args(["node", "--with-parent", "--config"])
        .arg(&config)
        .arg("--reseed")
        .arg(&bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    fleet.members[0].node = Some(node);
    fleet.all_well(3);
    load.goes_on("all three are back", 2);
    load.end();
}

#[test]
fn officers_set_the_clock_back_and_forward() {
    let fleet = Fleet::of(3);
    let founders = fleet.place.path().join("founders.json");
    let founders = founders.to_str().unwrap();
    let set = |time: &[&str]| {
        let command = [&["fleet", "clock", "--officer", founders], time].concat();
        run(&fleet.profile(), &command, "")
    };
    // What was applied last may be read from the log again, once somebody leads.
    fleet.leader();
    let long_ago = 1_000_000_000_000_u64;
    let back = set(&["--time", &long_ago.to_string()]).json();
    assert!(back["before_ms"].as_u64().unwrap() > long_ago);
    let forward = set(&[]).json();
    let before = forward["before_ms"].as_u64().unwrap();
    assert!(
        before >= long_ago && before < long_ago + 600_000,
        "time went on from there"
    );
    // Beyond every member's own clock: refused, and nothing changes.
    set(&["--time", &u64::MAX.to_string()]).error(4);
    let load = Load::on(&fleet.profile());
    load.goes_on("the fleet's time is right again", 2);
    load.end();
}
