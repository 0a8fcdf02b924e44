//! The engine: one task that turns waiting operations into entries (DESIGN §6, host duties; §11).
//!
//! ```text
//! gather → prove → Propose → append + sync → Notarise → Release → answer → apply
//! ```
//!
//! A lone operation does not wait: a batch is whatever came while the one before was committed. The
//! task owns the trie; handlers own nothing that decides. What the host gets wrong here costs
//! liveness only: the HSM refuses it by name, and the engine starts over from what is durable. An
//! HSM that dies or hangs is started again; what waited for it is told at once.

mod leader;

use crate::admission::Admission;
use crate::link::{self, HsmCommand, Link, LinkError, Open};
use crate::metrics::{READY, RESTARTS};
use crate::record::Recorder;
use crate::store::{Store, StoreError};
use leader::Leader;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_tree::prover::TrieError;
use strongroom_wire::frame::Request;
use strongroom_wire::tenant::{SignedTenantChange, TenantRefusal};
use strongroom_wire::{RecordId, TenantKey};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};

/// An evaluated operation that waits to be decided.
pub struct Operation {
    /// The HSM holds it open under this.
    pub open: Open,
    /// The record it touches.
    pub record: RecordId,
    /// The tenant it was authorised under.
    pub tenant: Option<TenantKey>,
    /// Whether the HSM has its record's leaf from `Evaluate`; if not, `Propose` brings it.
    pub evaluated: bool,
    /// How often a batch left it out.
    pub tries: u8,
    /// Where the answer goes; dropped without one, the client retries.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// What the engine is asked.
pub enum Job {
    /// A client's operation.
    Operation(Operation),
    /// A change of a tenant.
    Tenant(
        SignedTenantChange,
        oneshot::Sender<Result<(), TenantRefusal>>,
    ),
}

/// What handlers work with while the HSM is at work; none while it is not.
#[derive(Clone)]
pub struct Live {
    /// The HSM.
    pub link: Link,
    /// The store.
    pub store: Store,
}

/// Why the engine stopped or started over.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The HSM.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HSM process could not be started.
    #[error("the HSM process {0} cannot be started: {1}")]
    Start(PathBuf, #[source] std::io::Error),
    /// A page of the trie is damaged.
    #[error("a page of the trie is damaged; restore the store from a copy")]
    PageCorrupt,
    /// Host and HSM came to different roots: a fault of one of them.
    #[error("host and HSM came to different roots")]
    RootMismatch,
    /// The HSM has no fleet, or another.
    #[error(
        "the HSM in {hsm} is not a member of the fleet in {store}: one of the two was exchanged, \
         or restored without the other; put the right one back"
    )]
    NotMember {
        /// The HSM's directory.
        hsm: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
    /// A fleet cannot begin here.
    #[error(
        "the HSM in {hsm} belongs to a fleet already, but the store in {store} is empty: put its \
         store back, or begin with an empty directory"
    )]
    Taken {
        /// The HSM's directory.
        hsm: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },
    /// The node is to stop.
    #[error("the node is stopping")]
    Stopping,
}

impl From<TrieError<StoreError>> for EngineError {
    fn from(error: TrieError<StoreError>) -> Self {
        match error {
            TrieError::Store(error) => Self::Store(error),
            TrieError::PageCorrupt => Self::PageCorrupt,
        }
    }
}

impl EngineError {
    /// Whether waiting may help. `held`: this process had the store open before, and a request
    /// under way may not have let go of it yet.
    fn passes(&self, held: bool) -> bool {
        match self {
            Self::Link(_) | Self::RootMismatch | Self::Start(..) => true,
            // A full disk is got over. After any other failure the pages that a sync did not write
            // may look written to whoever reads them again: nothing may be built on them.
            Self::Store(StoreError::Engine(error)) => is_full(error),
            Self::Store(StoreError::InUse(_) | StoreError::Open(..)) => held,
            Self::Store(StoreError::Corrupt(_) | StoreError::Behind { .. }) => false,
            Self::PageCorrupt | Self::NotMember { .. } | Self::Taken { .. } => false,
            Self::Stopping => false,
        }
    }
}

fn is_full(error: &fjall::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let full = |error: &std::io::Error| matches!(error.kind(), StorageFull | QuotaExceeded);
    match error {
        fjall::Error::Io(error) => full(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => full(error),
        // A write failed before, which named its fault then.
        fjall::Error::Poisoned => true,
        _ => false,
    }
}

/// Where the engine finds its parts.
pub struct Settings {
    /// The store's directory.
    pub store: PathBuf,
    /// The HSM's directory.
    pub hsm_dir: PathBuf,
    /// The HSM's program.
    pub hsm: HsmCommand,
    /// A call that the HSM does not answer for so long gives it up.
    pub hsm_silence: Duration,
    /// Learns of tenants as they are committed.
    pub admission: Arc<Admission>,
    /// Writes down what passes.
    pub recorder: Recorder,
}

/// Runs until the node stops: starts the HSM, works, and starts over after a failure that may pass.
///
/// # Errors
/// A failure that does not pass by waiting.
pub async fn run(
    settings: Settings,
    mut jobs: mpsc::Receiver<Job>,
    live: watch::Sender<Option<Live>>,
) -> Result<(), EngineError> {
    let mut wait = Duration::from_millis(50);
    let mut held = false;
    loop {
        let began = Instant::now();
        let error = match cycle(&settings, &mut jobs, &live, &mut held).await {
            Ok(()) | Err(EngineError::Stopping) => return Ok(()),
            Err(error) => error,
        };
        if !error.passes(held) {
            tracing::error!(%error, "the engine stopped");
            return Err(error);
        }
        tracing::warn!(%error, "starting the HSM again");
        metrics::counter!(RESTARTS).increment(1);
        // Whoever waits is told at once; nothing they did not pay for is lost. One that comes
        // later with a handle of the old process is told by `Leader::work`.
        while let Ok(job) = jobs.try_recv() {
            drop(job);
        }
        wait = if began.elapsed() > Duration::from_secs(10) {
            Duration::from_millis(50)
        } else {
            (wait * 2).min(Duration::from_secs(5))
        };
        tokio::time::sleep(wait).await;
    }
}

async fn cycle(
    settings: &Settings,
    jobs: &mut mpsc::Receiver<Job>,
    live: &watch::Sender<Option<Live>>,
    held: &mut bool,
) -> Result<(), EngineError> {
    let store = Store::open(&settings.store)?;
    *held = true;
    let silence = settings.hsm_silence;
    let recorder = settings.recorder.clone();
    let (link, mut child) = link::start(&settings.hsm, &settings.hsm_dir, silence, recorder)
        .map_err(|error| EngineError::Start(settings.hsm.program.clone(), error))?;
    let worked = tokio::select! {
        worked = lead(settings, store, &link, jobs, live) => worked,
        () = link.closed() => Err(LinkError::Closed.into()),
        silent = heartbeat(&link, silence) => Err(silent.into()),
    };
    live.send_replace(None);
    metrics::gauge!(READY).set(0.0);
    if matches!(worked, Err(EngineError::Link(LinkError::Closed))) {
        report_end(settings, &mut child).await;
    }
    // The process must be gone before its directory is locked again.
    let _ = child.kill().await;
    worked
}

async fn lead(
    settings: &Settings,
    store: Store,
    link: &Link,
    jobs: &mut mpsc::Receiver<Job>,
    live: &watch::Sender<Option<Live>>,
) -> Result<(), EngineError> {
    let mut leader = Leader::resume(settings, store.clone(), link.clone()).await?;
    let link = link.clone();
    live.send_replace(Some(Live { link, store }));
    metrics::gauge!(READY).set(1.0);
    leader.work(jobs).await
}

/// Asks now and then, so that an HSM that hangs is found out when nobody else asks.
async fn heartbeat(link: &Link, silence: Duration) -> LinkError {
    loop {
        tokio::time::sleep(silence / 2).await;
        match link.call(&Request::Inspect).await {
            Ok(_) | Err(LinkError::Hsm(_)) => {}
            Err(error) => return error,
        }
    }
}

/// Says why the process ended, if it did by itself.
async fn report_end(settings: &Settings, child: &mut Child) {
    // It closes its socket a moment before it is gone.
    let ended = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
    if let Ok(Ok(status)) = ended {
        let (dir, meaning) = (settings.hsm_dir.display(), meaning(status));
        tracing::error!(%status, hsm_dir = %dir, "the HSM process ended: {meaning}");
    }
}

/// What its exit codes mean (see `strongroom-hsm --help`).
fn meaning(status: ExitStatus) -> &'static str {
    match status.code() {
        None => "it was killed, or stopped itself on a failed assertion",
        Some(2) => "its arguments are wrong; see `hsm` in node.toml",
        Some(3) => "its directory is in use by another process",
        Some(4) => "its directory is damaged or incomplete; restore it, or replace this member",
        Some(5) => "its sandbox could not be set up; see its own words on standard error",
        Some(6) => "host and HSM broke the framing; are they of one version?",
        Some(_) => "see its own words on standard error",
    }
}

#[cfg(test)]
mod tests {
    use super::EngineError;
    use crate::store::StoreError;
    use std::io::{Error, ErrorKind};

    /// After a sync that failed, what was not written may look written until the next boot.
    #[test]
    fn a_full_disk_is_waited_out_and_a_broken_one_is_not() {
        let passes = |kind: ErrorKind| {
            let error = fjall::Error::Io(Error::from(kind));
            EngineError::Store(StoreError::Engine(error)).passes(true)
        };
        assert!(passes(ErrorKind::StorageFull) && passes(ErrorKind::QuotaExceeded));
        for kind in [
            ErrorKind::Other,
            ErrorKind::PermissionDenied,
            ErrorKind::TimedOut,
        ] {
            assert!(!passes(kind), "{kind}");
        }
    }
}
