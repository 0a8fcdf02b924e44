//! Disks that are full or slow, of a fleet of one and of one member among others, and a store that
//! is older than its HSM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::contend::Contenders;
use common::fleet::{Fleet, patiently, signal};
use common::load::Door;
use common::{Dev, run};
use rustix::process::Signal;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

#[test]
fn a_store_restored_from_a_copy_under_a_newer_anchor_is_refused_and_the_right_one_goes_on() {
    let mut dev = Dev::start();
    let phone = dev.phone("phone");
    dev.kill();
    let (store, old) = (dev.path("vault/data/store"), dev.path("old"));
    copy(&store, &old);
    dev.again(&[]);
    dev.on(&phone, &["register", "--stretching", "light"], "")
        .json();
    dev.kill();
    std::fs::rename(&store, dev.path("right")).unwrap();
    copy(&old, &store);
    let refused = Command::new(common::PROGRAM)
        .args(["dev", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dev.path("vault"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("older") || words.contains("copy"), "{words}");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(dev.path("right"), &store).unwrap();
    dev.again(&[]);
    let status = dev.on(&phone, &["status"], "").json();
    assert_eq!(status["attempts_left"], 10);
}

/// A small file system of its own, unmounted on drop.
struct Small(PathBuf);

impl Small {
    fn mount(place: &Path) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(place)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(place.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_is_got_over_without_help() {
    let mut dev = Dev::start();
    dev.kill();
    std::fs::remove_dir_all(dev.path("vault")).unwrap();
    let Some(_small) = Small::mount(&dev.path("vault")) else {
        println!("LEFT OUT: mounting a small file system needs root");
        return;
    };
    dev.again(&[]);
    let phone = dev.phone("phone");
    let made = dev
        .on(&phone, &["register", "--stretching", "light"], "")
        .json();
    let code = made["code"].as_str().unwrap().to_owned();
    // Fill it to the last byte.
    let filler = dev.path("vault/filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", filler.display()))
        .stderr(Stdio::null())
        .status();
    let second = dev.phone("second");
    let mut refused = 0;
    for _ in 0..40 {
        let ran = dev.on(&second, &["recover"], &code);
        if ran.code != 0 {
            assert_eq!(ran.error(5)["kind"], "unreachable", "{}", ran.err);
            refused += 1;
            break;
        }
    }
    assert!(refused > 0, "the disk never became full");
    std::fs::remove_file(&filler).unwrap();
    let back = std::time::Instant::now();
    while run(&second, &["recover"], &code).code != 0 {
        assert!(
            back.elapsed().as_secs() < 60,
            "it did not come back: {}",
            dev.log()
        );
    }
    // Each run of the program is a guess of its own; the last one proved right restores them.
    let status = dev.on(&phone, &["status"], "").json();
    assert_eq!(status["attempts_left"], 10);
}

/// Fills a file system to the last byte, and gives the file that does.
fn fill(place: &Path) -> PathBuf {
    let path = place.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let part = vec![0; size];
        while filler.write_all(&part).is_ok() {}
    }
    path
}

/// Stops whoever leads until that member does, or until another one than that does.
fn make_lead(fleet: &mut Fleet, member: usize, leads: bool) {
    for _ in 0..40 {
        let leader = fleet.leader();
        if (leader == member) == leads {
            return;
        }
        fleet.kill(leader);
        patiently("another one leads", || {
            let now = fleet.examined()?["leader"].as_u64()?;
            (now != leader as u64 + 1).then_some(())
        });
        fleet.start(leader);
        fleet.all_well(3);
    }
    panic!("no election in 40 went so");
}

#[test]
fn a_full_disk_at_one_site_is_told_there_and_the_others_go_on() {
    let mut fleet = Fleet::founded(3, common::PROGRAM);
    let data = fleet.members[0].config.with_file_name("data");
    let moved = data.with_file_name("moved");
    std::fs::rename(&data, &moved).unwrap();
    let Some(_small) = Small::mount(&data) else {
        println!("LEFT OUT: mounting a small file system needs root");
        return;
    };
    copy(&moved.join("."), &data);
    (0..3).for_each(|at| fleet.start(at));
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    load.go_on("with space everywhere", 20);
    let words = "(is the disk full?)";
    for leads in [false, true] {
        let role = if leads { "the leader" } else { "a follower" };
        make_lead(&mut fleet, 0, leads);
        let before = fleet.log(0).matches(words).count();
        let filler = fill(&data);
        patiently("the member says what is wrong", || {
            (fleet.log(0).matches(words).count() > before).then_some(())
        });
        load.go_on(&format!("the disk of {role} is full"), 60);
        std::fs::remove_file(filler).unwrap();
        // Nobody starts it again: it has waited.
        fleet.all_well(3);
        load.go_on("there is space again", 20);
    }
    load.judge();
}

/// How many entries a member has applied.
fn applied(profile: &Path, at: usize) -> u64 {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let http = Door::to(profile, at).http();
    patiently("a member says where it stands", || {
        let status = runtime.block_on(http.get("/v1/status")).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        status["applied"]["index"].as_u64()
    })
}

/// Makes each sync of a running member's node and HSM take so much longer, until it is dropped.
struct Slow {
    strace: Child,
    log: PathBuf,
}

impl Slow {
    fn down(fleet: &Fleet, at: usize, delay_ms: u64) -> Self {
        let log = fleet.place.path().join("syncs");
        let hsm = patiently("its HSM is there", || fleet.hsm(at));
        let calls = "fsync,fdatasync,sync_file_range";
        let strace = Command::new("strace")
            .args(["-f", "-qq", "--trace", calls, "--output"])
            .arg(&log)
            .arg(format!("--inject={calls}:delay_enter={delay_ms}ms"))
            .args(["-p", &fleet.node(at).to_string(), "-p", &hsm.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let slow = Self { strace, log };
        patiently("it syncs, and slowly", || (slow.syncs() > 0).then_some(()));
        slow
    }

    /// How many syncs have begun.
    fn syncs(&self) -> u64 {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("sync(")).count() as u64
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Asked to end it lets go of them; killed it might not.
        signal(self.strace.id(), Signal::TERM);
        let _ = self.strace.wait();
    }
}

#[test]
fn a_slow_disk_at_one_site_holds_up_nobody_else() {
    let fleet = Fleet::of(3);
    let load = Contenders::on(|| Door::of(&fleet.profile()), 3, 2);
    load.go_on("with quick disks", 40);
    let leader = fleet.leader();
    let slow = Slow::down(&fleet, (leader + 1) % 3, 400);
    let profile = fleet.profile();
    let (entries_before, syncs_before) = (applied(&profile, leader), slow.syncs());
    load.go_on("a follower's syncs take 400 ms more", 120);
    let entries = applied(&profile, leader) - entries_before;
    let syncs = slow.syncs() - syncs_before;
    println!("{entries} entries while it synced {syncs} times");
    // An entry that waits for a member waits for one sync of it at least.
    assert!(entries > 2 * syncs, "the fleet waited for its slowest disk");
    drop(slow);
    fleet.all_well(3);
    let slow = Slow::down(&fleet, fleet.leader(), 400);
    load.go_on("the leader's syncs take 400 ms more", 40);
    drop(slow);
    fleet.all_well(3);
    load.judge();
}
