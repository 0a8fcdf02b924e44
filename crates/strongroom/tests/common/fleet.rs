//! A fleet whose members are processes of a test: killed, hung, stopped and started again.

use super::{PROGRAM, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A fleet founded by `dev`, whose members are processes of this test afterwards.
pub struct Fleet {
    pub place: TempDir,
    pub members: Vec<Member>,
}

pub struct Member {
    pub config: PathBuf,
    pub node: Option<Child>,
    /// The program, and what stands before it: another one that starts it.
    pub program: Vec<String>,
}

impl Fleet {
    /// Founded and running.
    pub fn of(members: u8) -> Self {
        let mut fleet = Self::founded(members, PROGRAM);
        (0..fleet.members.len()).for_each(|at| fleet.start(at));
        fleet
    }

    /// Founded by that program; no member runs.
    pub fn founded(members: u8, program: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut dev = Command::new(program)
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
        let configs = configs.filter_map(|member| member["config"].as_str());
        let members = configs.map(|config| Member {
            config: PathBuf::from(config),
            node: None,
            program: vec![program.to_owned()],
        });
        Self {
            members: members.collect(),
            place,
        }
    }

    /// A fleet of one, with a line for others; it does not run.
    pub fn alone() -> Self {
        let mut fleet = Self::founded(1, PROGRAM);
        let place = fleet.place.path();
        let profile = std::fs::read(place.join("phone/profile.json")).unwrap();
        let profile: Value = serde_json::from_slice(&profile).unwrap();
        let listen = profile["server"].as_str().unwrap();
        let listen = listen.trim_start_matches("https://");
        let config = place.join("node.toml");
        let data = place.join("data");
        let text = format!(
            "listen = \"{listen}\"\ndata = \"{}\"\n[peers]\nlisten = \"{}\"\n",
            data.display(),
            free()
        );
        std::fs::write(&config, text).unwrap();
        fleet.members = vec![Member {
            config,
            node: None,
            program: vec![PROGRAM.to_owned()],
        }];
        fleet
    }

    pub fn profile(&self) -> PathBuf {
        self.place.path().join("phone")
    }

    pub fn start(&mut self, at: usize) {
        self.start_with(at, &[]);
    }

    /// Starts it with further arguments.
    pub fn start_with(&mut self, at: usize, more: &[&str]) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.place.path().join(format!("log-{at}")))
            .unwrap();
        let member = &mut self.members[at];
        let node = Command::new(&member.program[0])
            .args(&member.program[1..])
            .args(["node", "--with-parent", "--config"])
            .arg(&member.config)
            .args(more)
            .env("RUST_LOG", "strongroom_node=info,warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        assert!(member.node.replace(node).is_none(), "it was stopped before");
    }

    pub fn kill(&mut self, at: usize) {
        let mut node = self.members[at].node.take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self, at: usize) {
        let mut node = self.members[at].node.take().unwrap();
        signal(node.id(), Signal::TERM);
        assert!(node.wait().unwrap().success(), "it stops in order");
    }

    pub fn node(&self, at: usize) -> u32 {
        self.members[at].node.as_ref().unwrap().id()
    }

    /// The member's HSM process; none while it is being started again.
    pub fn hsm(&self, at: usize) -> Option<u32> {
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
    pub fn examined(&self) -> Option<Value> {
        let ran = run(&self.profile(), &["fleet", "doctor"], "");
        serde_json::from_str(ran.out.lines().last()?).ok()
    }

    /// Until that many members are well, and nothing is wrong with any.
    pub fn all_well(&self, members: u64) {
        patiently("all are well, at one entry and root", || {
            let examined = self.examined()?;
            let well = examined["faults"].as_array()?.is_empty();
            (well && examined["working"] == members).then_some(())
        });
    }

    /// What a member has written since the test began.
    pub fn log(&self, at: usize) -> String {
        let log = self.place.path().join(format!("log-{at}"));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// The place of the member that leads.
    pub fn leader(&self) -> usize {
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
                let log = self.log(at);
                let lines: Vec<&str> = log.lines().rev().take(12).collect();
                eprintln!("member {}:", at + 1);
                lines.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself in between.
    let _ = kill_process(pid, signal);
}

/// Asks again until there is an answer; a test that waits for ever says for what.
pub fn patiently<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited in vain: {what}");
}

/// An address that was free just now. Its port is none that outgoing connections get: one of those
/// could take it while a member is down.
pub fn free() -> String {
    let drawn = std::iter::repeat_with(|| RandomState::new().build_hasher().finish());
    let addresses = drawn.map(|drawn| format!("127.0.0.1:{}", 12_000 + drawn % 20_000));
    let mut free = addresses.filter(|address| TcpListener::bind(address).is_ok());
    free.next().unwrap()
}
