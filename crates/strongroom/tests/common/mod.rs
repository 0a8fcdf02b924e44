//! A running `strongroom dev`, and commands against it, as a person would run them.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod contend;
pub mod fleet;
pub mod history;
pub mod load;
pub mod model;
pub mod net;

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom");

/// A vault in processes of its own; its data outlives the processes.
pub struct Dev {
    pub place: TempDir,
    child: Option<Child>,
    port: u16,
}

/// What a command printed.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The answer of a command that must succeed: its last line.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        serde_json::from_str(self.out.lines().last().unwrap_or_default()).unwrap()
    }

    /// The error object of a command that must fail with that exit code.
    #[track_caller]
    pub fn error(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        let error = self.err.lines().last().unwrap_or_default();
        serde_json::from_str::<Value>(error).unwrap()["error"].take()
    }
}

impl Dev {
    pub fn start() -> Self {
        let mut dev = Self {
            place: tempfile::tempdir().unwrap(),
            child: None,
            port: 0,
        };
        dev.again(&[]);
        dev
    }

    /// Starts it (again) on the data that is there, with further arguments.
    pub fn again(&mut self, more: &[&str]) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["--json", "dev", "--waits", "demo", "--listen"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--dir")
            .arg(self.path("vault"))
            .args(more)
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("did not start: {}", self.log()));
        let server = ready["server"].as_str().unwrap();
        self.port = server.rsplit(':').next().unwrap().parse().unwrap();
        self.child = Some(child);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// SIGKILL to the node.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGKILL to the HSM process, if it is there just now.
    pub fn kill_hsm(&self) {
        let node = self.child.as_ref().unwrap().id();
        let children = format!("/proc/{node}/task/{node}/children");
        let mut tasks = vec![std::fs::read_to_string(children).unwrap_or_default()];
        if let Ok(threads) = std::fs::read_dir(format!("/proc/{node}/task")) {
            let lists = threads
                .flatten()
                .map(|thread| thread.path().join("children"));
            tasks.extend(lists.filter_map(|list| std::fs::read_to_string(list).ok()));
        }
        for pid in tasks.iter().flat_map(|list| list.split_whitespace()) {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            // It may have ended by itself in between.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// A phone that the vault's development tenant knows.
    pub fn phone(&self, name: &str) -> PathBuf {
        let phone = self.path(name);
        std::fs::create_dir_all(&phone).unwrap();
        let made = self.path("vault/phone/profile.json");
        std::fs::copy(made, phone.join("profile.json")).unwrap();
        phone
    }

    /// Runs a command with `--json` on a phone.
    pub fn on(&self, phone: &Path, arguments: &[&str], typed: &str) -> Ran {
        run(phone, arguments, typed)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command with `--json`, and types a line if there is one.
pub fn run(phone: &Path, arguments: &[&str], typed: &str) -> Ran {
    let mut child = Command::new(PROGRAM)
        .arg("--json")
        .arg("--profile")
        .arg(phone)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks nothing closes it before the line is written.
    let _ = writeln!(child.stdin.take().unwrap(), "{typed}");
    Ran::of(child.wait_with_output().unwrap())
}
