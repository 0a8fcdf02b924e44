//! The demo's vault, five members in processes of their own, and its phones.

use super::fault;
use crate::output::Failure;
use crate::profile::{Profile, Source};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use strongroom_client::transport::Http;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What `strongroom dev --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    profile: PathBuf,
    authority: PathBuf,
    pid: u32,
    members: Vec<Member>,
}

/// One of its members.
#[derive(Clone, Deserialize)]
struct Member {
    id: u8,
    pid: u32,
    server: String,
    config: PathBuf,
}

/// What a node says of itself.
#[derive(Deserialize)]
struct Status {
    leader: Option<u8>,
    standing: Option<Standing>,
}

#[derive(Deserialize)]
struct Standing {
    index: u64,
}

/// A running vault.
pub(crate) struct Vault {
    child: Child,
    ready: Ready,
    /// Members that were killed and started again.
    revived: Vec<Child>,
}

/// Members of the fleet, and how many of them may fail.
const MEMBERS: u8 = 5;
const MAY_FAIL: usize = 2;

/// Longest wait for a vault to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

impl Vault {
    /// Starts this program as a vault with its data in `place`, recording all that it sees.
    pub(crate) async fn start(place: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(place.join("seen"))?;
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args([
                "--json",
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--waits",
                "demo",
                "--members",
                &MEMBERS.to_string(),
                "--dir",
            ])
            .arg(place.join("vault"))
            .arg("--record")
            .arg(place.join("seen/by-the-host"))
            .env("RUST_LOG", quiet())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| fault("the vault has no output"))?;
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut line));
        read.await
            .map_err(|_| fault("the vault did not start within a minute"))??;
        let ready = serde_json::from_str(&line)
            .map_err(|_| fault("the vault did not start: see what it said above"))?;
        let revived = Vec::new();
        Ok(Self {
            child,
            ready,
            revived,
        })
    }

    pub(crate) fn words(&self) -> String {
        let pids = self
            .ready
            .members
            .iter()
            .map(|member| member.pid.to_string());
        let pids: Vec<_> = pids.collect();
        format!(
            "{MEMBERS} nodes and {MEMBERS} HSMs; node processes {}",
            pids.join(", ")
        )
    }

    /// SIGKILL to the leader and to another; their HSMs go with them, whatever they are doing.
    pub(crate) async fn kill_leader_and_another(&mut self) -> Result<Vec<u8>, Failure> {
        let leader = self.leader().await?;
        let members = self.ready.members.iter();
        let mut members: Vec<_> = members.map(|member| (member.id, member.pid)).collect();
        members.sort_by_key(|(id, _)| *id != leader);
        members.truncate(MAY_FAIL);
        for (_, pid) in &members {
            signal(*pid, rustix::process::Signal::KILL)?;
        }
        Ok(members.into_iter().map(|(id, _)| id).collect())
    }

    /// Starts killed members again, and waits until they are where the others are.
    pub(crate) async fn revive(&mut self, members: &[u8]) -> Result<u64, Failure> {
        for id in members {
            let member = self
                .ready
                .members
                .iter_mut()
                .find(|member| member.id == *id);
            let member = member.ok_or_else(|| fault("no such member"))?;
            let node = Command::new(std::env::current_exe()?)
                .args(["node", "--with-parent", "--config"])
                .arg(&member.config)
                .env("RUST_LOG", quiet())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            member.pid = node.id().ok_or_else(|| fault("a member ended at once"))?;
            self.revived.push(node);
        }
        let caught_up = async {
            loop {
                let mut indices = Vec::new();
                for member in &self.ready.members {
                    let status = self.status(member).await.ok();
                    indices.push(status.and_then(|s| s.standing).map(|s| s.index));
                }
                match indices.first() {
                    Some(Some(first)) if indices.iter().all(|i| *i == Some(*first)) => {
                        return *first;
                    }
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let caught_up = tokio::time::timeout(PATIENCE, caught_up).await;
        caught_up.map_err(|_| fault("a member did not catch up within a minute"))
    }

    async fn leader(&self) -> Result<u8, Failure> {
        for member in &self.ready.members {
            let status = self.status(member).await?;
            if let Some(leader) = status.leader {
                return Ok(leader);
            }
        }
        Err(fault("nobody leads"))
    }

    async fn status(&self, member: &Member) -> Result<Status, Failure> {
        let authority = std::fs::read(&self.ready.authority)?;
        let http = Http::new(&member.server, Some(&authority));
        let http = http.map_err(strongroom_client::Error::from)?;
        let status = http.get("/v1/status").await;
        let status = status.map_err(strongroom_client::Error::from)?;
        serde_json::from_slice(&status).map_err(|_| fault("a node's status is no JSON"))
    }

    /// SIGKILL to everything; then all of it again.
    pub(crate) async fn power_cut(&mut self, place: &Path) -> Result<(), Failure> {
        for member in &self.ready.members {
            signal(member.pid, rustix::process::Signal::KILL)?;
        }
        self.child.kill().await?;
        for mut node in std::mem::take(&mut self.revived) {
            let _ = node.wait().await;
        }
        *self = Self::start(place).await?;
        Ok(())
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        signal(self.ready.pid, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait());
        let status = ended.await.map_err(|_| fault("the vault did not stop"))??;
        if status.success() {
            Ok(())
        } else {
            Err(fault(format!("the vault ended with {status}")))
        }
    }
}

/// Members die here on purpose: that the others miss them is no news. `RUST_LOG` chooses.
fn quiet() -> std::ffi::OsString {
    std::env::var_os("RUST_LOG").unwrap_or_else(|| "error".into())
}

fn signal(pid: u32, signal: rustix::process::Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).map_err(|_| fault("a process id is negative"))?;
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| fault("no process id"))?;
    Ok(rustix::process::kill_process(pid, signal).map_err(std::io::Error::from)?)
}

/// A phone: a profile for the vault's one account.
pub(crate) struct Phone {
    dir: PathBuf,
    profile: Profile,
}

impl Phone {
    pub(crate) fn new(vault: &Vault, dir: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)?;
        let made = vault.ready.profile.join("profile.json");
        std::fs::copy(made, dir.join("profile.json"))?;
        let profile = Profile::open(Some(dir))?;
        let dir = dir.to_owned();
        Ok(Self { dir, profile })
    }

    pub(crate) async fn connect(&self) -> Result<strongroom_client::Vault<Source>, Failure> {
        self.profile.connect().await
    }

    /// Everything it knew is gone.
    pub(crate) fn wipe(self) -> Result<(), Failure> {
        Ok(std::fs::remove_dir_all(self.dir)?)
    }
}

/// Another letter in the seventh place.
pub(crate) fn with_typing_error(code: &str) -> String {
    let mut letters: Vec<char> = code.chars().collect();
    if let Some(letter) = letters.get_mut(7) {
        *letter = if *letter == 'H' { 'K' } else { 'H' };
    }
    letters.into_iter().collect()
}
