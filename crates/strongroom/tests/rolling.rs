//! Members stopped and started again one by one, as for an upgrade, under load: no registration is
//! refused, no answer is lost, and what clients were told is one history.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::PROGRAM;
use common::contend::Contenders;
use common::fleet::{Fleet, patiently};
use common::load::{Door, newcomers};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// People who register for the first time, one after the other. None may be refused.
struct Newcomers {
    runtime: tokio::runtime::Runtime,
    running: tokio::task::JoinHandle<()>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Newcomers {
    fn at(door: Door) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let running = runtime.spawn(newcomers(door, stop.clone(), done.clone()));
        Self {
            runtime,
            running,
            stop,
            done,
        }
    }

    fn go_on(&self, what: &str, more: u64) {
        let target = self.done.load(Ordering::Relaxed) + more;
        patiently(what, || {
            assert!(!self.running.is_finished(), "a newcomer was refused");
            (self.done.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.running).unwrap();
        self.done.load(Ordering::Relaxed)
    }
}

/// Each member in turn, the leader last: stopped, and started as that program. The next one when
/// the doctor has nothing to say.
fn roll(fleet: &mut Fleet, program: &str, load: &Contenders, newcomers: &Newcomers) {
    let members = fleet.members.len();
    let leader = fleet.leader();
    for step in 1..=members {
        let at = (leader + step) % members;
        fleet.stop(at);
        let what = format!("member {} is stopped", at + 1);
        load.go_on(&what, 15);
        newcomers.go_on(&what, 1);
        fleet.members[at].program = vec![program.to_owned()];
        fleet.start(at);
        fleet.all_well(members as u64);
    }
}

#[test]
fn members_restarted_one_by_one_lose_no_answer_and_refuse_no_registration() {
    let mut fleet = Fleet::of(5);
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    let newcomers = Newcomers::at(Door::of(&fleet.profile()));
    load.go_on("with all five", 15);
    roll(&mut fleet, PROGRAM, &load, &newcomers);
    println!("{} newcomers", newcomers.end());
    load.judge();
}

/// The program of an older commit, which `cargo xtask nightly` builds and names.
fn old_program() -> String {
    let named = std::env::var_os("STRONGROOM_OLD_BINARY").map(PathBuf::from);
    let Some(old) = named else {
        println!(
            "STRONGROOM_OLD_BINARY is not set: this program stands for the old one too. \
             `cargo xtask nightly` runs it with that of the commit before."
        );
        return PROGRAM.to_owned();
    };
    assert!(old.is_file(), "there is no program {}", old.display());
    old.to_str().unwrap().to_owned()
}

#[test]
fn a_fleet_of_the_commit_before_is_upgraded_one_by_one_under_load() {
    let old = old_program();
    let mut fleet = Fleet::founded(3, &old);
    (0..3).for_each(|at| fleet.start(at));
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    let newcomers = Newcomers::at(Door::of(&fleet.profile()));
    load.go_on("with three old ones", 15);
    roll(&mut fleet, PROGRAM, &load, &newcomers);
    load.go_on("with three new ones", 15);
    // And back: what the new ones have written the old ones read, as long as nobody said otherwise.
    roll(&mut fleet, &old, &load, &newcomers);
    println!("{} newcomers", newcomers.end());
    load.judge();
}
