//! Five members in ten processes, killed, stopped and started again under load: nothing
//! acknowledged is lost, no guess is spent twice, and the rest go on while two are away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::load::{Door, live};
use common::{PROGRAM, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A fleet founded by `dev`, whose members are processes of this test afterwards.
struct Fleet {
    place: TempDir,
    members: Vec<Member>,
}

struct Member {
    config: PathBuf,
    node: Option<Child>,
}

impl Fleet {
    fn of(members: u8) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut dev = Command::new(PROGRAM)
            .args([
                "--json",
                "dev",
                "--waits",
                "demo",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--members", &members.to_string(), "--dir"])
            .arg(place.path())
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = dev.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        signal(dev.id(), Signal::TERM);
        assert!(
            dev.wait().unwrap().success(),
            "dev stops in order, its members with it"
        );
        let configs = ready["members"].as_array().unwrap().iter();
        let configs = configs.map(|member| PathBuf::from(member["config"].as_str().unwrap()));
        let members = configs.map(|config| Member { config, node: None });
        let mut fleet = Self {
            members: members.collect(),
            place,
        };
        (0..fleet.members.len()).for_each(|at| fleet.start(at));
        fleet
    }

    fn profile(&self) -> PathBuf {
        self.place.path().join("phone")
    }

    fn start(&mut self, at: usize) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.place.path().join(format!("log-{at}")))
            .unwrap();
        let member = &mut self.members[at];
        let node = Command::new(PROGRAM)
            .args(["node", "--with-parent", "--config"])
            .arg(&member.config)
            .env("RUST_LOG", "strongroom_node=info,warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        assert!(member.node.replace(node).is_none(), "it was stopped before");
    }

    fn kill(&mut self, at: usize) {
        let mut node = self.members[at].node.take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    fn node(&self, at: usize) -> u32 {
        self.members[at].node.as_ref().unwrap().id()
    }

    /// The member's HSM process; none while it is being started again.
    fn hsm(&self, at: usize) -> Option<u32> {
        let node = self.node(at);
        let threads = std::fs::read_dir(format!("/proc/{node}/task")).ok()?;
        let lists = threads
            .flatten()
            .map(|thread| thread.path().join("children"));
        let lists = lists.filter_map(|list| std::fs::read_to_string(list).ok());
        let pids: Vec<u32> = lists
            .flat_map(|list| {
                list.split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect::<Vec<_>>()
            })
            .collect();
        pids.first().copied()
    }

    /// What the doctor says, whatever the exit code.
    fn examined(&self) -> Option<Value> {
        let ran = run(&self.profile(), &["fleet", "doctor"], "");
        serde_json::from_str(ran.out.lines().last()?).ok()
    }

    /// The place of the member that leads.
    fn leader(&self) -> usize {
        patiently("somebody leads", || {
            let leader = self.examined()?["leader"].as_u64()?;
            usize::try_from(leader - 1).ok()
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut node) = member.node.take() {
                signal(node.id(), Signal::CONT);
                let _ = node.kill();
                let _ = node.wait();
            }
        }
        if std::thread::panicking() {
            for at in 0..self.members.len() {
                let log = self.place.path().join(format!("log-{at}"));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(12).collect();
                eprintln!("member {}:", at + 1);
                lines.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself in between.
    let _ = kill_process(pid, signal);
}

/// Asks again until there is an answer; a test that waits for ever says for what.
fn patiently<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited in vain: {what}");
}

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
    patiently("all five are well, at one entry and root", || {
        let examined = fleet.examined()?;
        let well = examined["faults"].as_array()?.is_empty() && examined["working"] == 5;
        well.then_some(())
    });
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
    patiently("it stands where the others stand", || {
        let examined = fleet.examined()?;
        let well = examined["faults"].as_array()?.is_empty() && examined["working"] == 3;
        well.then_some(())
    });
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
