//! The demo's vault, in processes of its own, and its phones.

use super::fault;
use crate::output::Failure;
use crate::profile::{Profile, Source};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What `strongroom dev --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    server: String,
    profile: PathBuf,
    pid: u32,
}

/// A running vault.
pub(crate) struct Vault {
    child: Child,
    ready: Ready,
}

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
                "--dir",
            ])
            .arg(place.join("vault"))
            .arg("--record")
            .arg(place.join("seen/by-the-host"))
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
        Ok(Self { child, ready })
    }

    pub(crate) fn words(&self) -> String {
        format!("{} (process {})", self.ready.server, self.ready.pid)
    }

    /// SIGKILL to the node; its HSM goes with it, whatever it is doing. Then both again.
    pub(crate) async fn power_cut(&mut self, place: &Path) -> Result<(), Failure> {
        self.child.kill().await?;
        *self = Self::start(place).await?;
        Ok(())
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.ready.pid).map_err(|_| fault("a process id is negative"))?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| fault("no process id"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(std::io::Error::from)?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait());
        let status = ended.await.map_err(|_| fault("the vault did not stop"))??;
        if status.success() {
            Ok(())
        } else {
            Err(fault(format!("the vault ended with {status}")))
        }
    }
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
