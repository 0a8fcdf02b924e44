//! The engine: one task that turns waiting operations into entries (DESIGN §6, host duties; §11).
//!
//! ```text
//! gather → prove → Propose → send, append + sync, Notarise → votes → Release → answer → apply
//! ```
//!
//! A lone operation does not wait: a batch is whatever came while the one before was under way. One
//! thread (`driver`) owns trie and replica; handlers own nothing that decides. What the host gets
//! wrong here costs liveness only: the HSM refuses it by name, and the engine starts over from what
//! is durable. An HSM that dies or hangs is started again; what waited for it is told at once.

mod driver;
mod host;
mod resume;

use crate::admission::Admission;
use crate::copy;
use crate::link::{self, HsmCommand, Link, LinkError, Open};
use crate::metrics::{READY, RESTARTS};
use crate::record::Recorder;
use crate::roster::Rosters;
use crate::store::{Store, StoreError};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strongroom_peers::{Incoming, Peers};
use strongroom_tree::prover::TrieError;
use strongroom_wire::entry::{Ready, Signed, SignedClockChange};
use strongroom_wire::frame::{HsmError, Request};
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::tenant::{SignedTenantChange, TenantRefusal};
use strongroom_wire::{MemberId, RecordId, TenantKey};
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
    /// The officers' word on the fleet's time.
    Clock(SignedClockChange, oneshot::Sender<Result<(), HsmError>>),
    /// Put what was applied on the disk now, with its certificate: for a copy, which is read there.
    Sync(oneshot::Sender<()>),
    /// Another manifest, and the word of those who join.
    Members(
        SignedManifest,
        Vec<Signed<Ready>>,
        oneshot::Sender<Result<(), HsmError>>,
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
    /// The configuration.
    #[error("configuration: {0}")]
    Settings(String),
    /// The thread that drives the engine cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// No log reaches this store: it must be copied from another host.
    #[error("this store is so far behind that it must be copied from member {0}")]
    Behind(MemberId),
    /// A copy is whole, but cannot be put in place.
    #[error("the copied store cannot be put in place of the own one: {0}")]
    InPlace(#[source] std::io::Error),
    /// A copy of another host's store broke off, or is none.
    #[error("the store of member {0} could not be copied")]
    Copy(MemberId),
    /// The HSM is no member any more.
    #[error(
        "this member was removed from the fleet, and its HSM erased the fleet's secret: the node \
         can be taken away"
    )]
    Retired,
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
            Self::Retired => false,
            Self::Behind(_) | Self::Copy(_) => true,
            Self::Settings(_) | Self::Thread(_) | Self::InPlace(_) | Self::Stopping => false,
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
    /// Applied entries that a fleet's log keeps.
    pub log_kept: u64,
    /// Learns of tenants as they are committed.
    pub admission: Arc<Admission>,
    /// This member.
    pub member: MemberId,
    /// The fleet.
    pub rosters: Rosters,
    /// Where what a joiner was handed lies.
    pub data: PathBuf,
    /// The other hosts; none where there is no line to any.
    pub peers: Option<Peers>,
    /// Writes down what passes.
    pub recorder: Recorder,
}

/// What comes to the engine.
pub struct Channels {
    /// From handlers.
    pub jobs: mpsc::Receiver<Job>,
    /// From other hosts.
    pub messages: mpsc::Receiver<Incoming>,
    /// Turns true when the node is to stop.
    pub stop: watch::Receiver<bool>,
}

impl Channels {
    /// Until the node is to stop.
    async fn stopped(&mut self) {
        // Its other end is gone only with the node.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }
}

/// What handlers look at.
#[derive(Clone)]
pub struct Watched {
    /// The HSM at work.
    pub live: watch::Sender<Option<Live>>,
    /// Who leads.
    pub leader: watch::Sender<Option<MemberId>>,
    /// When the driver last looked around, ms since the epoch of [`Watched::began`].
    pub looked: Arc<AtomicU64>,
    /// The start of this node.
    pub began: Instant,
}

impl Watched {
    /// Nothing is there yet; with what handlers look through.
    pub(crate) fn new() -> (
        Self,
        watch::Receiver<Option<Live>>,
        watch::Receiver<Option<MemberId>>,
    ) {
        let (live, live_out) = watch::channel(None);
        let (leader, leader_out) = watch::channel(None);
        let watched = Self {
            live,
            leader,
            looked: Arc::default(),
            began: Instant::now(),
        };
        (watched, live_out, leader_out)
    }

    /// The driver looks around.
    pub(crate) fn look(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.looked.store(now, Ordering::Relaxed);
    }

    /// Takes the lead from a driver that hangs in its HSM or its disk: it shows the other hosts no
    /// life either, and they go on without it. It says so itself when it comes back.
    async fn watch(&self, member: MemberId) {
        loop {
            tokio::time::sleep(HUNG / 2).await;
            let looked = Duration::from_millis(self.looked.load(Ordering::Relaxed));
            let hangs = self.began.elapsed().saturating_sub(looked) > HUNG;
            let leads = *self.leader.borrow() == Some(member);
            if hangs && leads {
                self.leader.send_replace(None);
            }
        }
    }
}

/// A driver that leads looks around several times as often.
const HUNG: Duration = Duration::from_millis(700);

/// Runs until the node stops: starts the HSM, works, and starts over after a failure that may pass.
///
/// # Errors
/// A failure that does not pass by waiting.
pub async fn run(
    settings: Arc<Settings>,
    channels: Channels,
    watched: Watched,
) -> Result<(), EngineError> {
    let (guard, member) = (watched.clone(), settings.member);
    let alone = settings.peers.is_none();
    tokio::select! {
        ended = cycles(settings, channels, watched) => ended,
        () = guard.watch(member), if !alone => Ok(()),
    }
}

async fn cycles(
    settings: Arc<Settings>,
    mut channels: Channels,
    watched: Watched,
) -> Result<(), EngineError> {
    let mut wait = Duration::from_millis(50);
    let mut held = false;
    loop {
        let began = Instant::now();
        let (returned, ended) = cycle(&settings, channels, &watched, &mut held).await;
        channels = returned;
        let error = match ended {
            Ok(()) | Err(EngineError::Stopping) => return Ok(()),
            Err(error) => error,
        };
        if refused_copy(&error) {
            // Back to what was there before the copy, if there was one.
            copy::undo(&settings.store).map_err(EngineError::InPlace)?;
        }
        let mended = tokio::select! {
            mended = mended(&settings, began, error) => mended,
            () = channels.stopped() => return Ok(()),
        };
        let error = match mended {
            Ok(()) => continue,
            Err(error) => error,
        };
        if !error.passes(held) {
            tracing::error!(%error, "the engine stopped");
            return Err(error);
        }
        tracing::warn!(%error, "starting the HSM again");
        metrics::counter!(RESTARTS).increment(1);
        // Whoever waits is told at once; nothing they did not pay for is lost. One that comes
        // later with a handle of the old process is told by the driver.
        while let Ok(job) = channels.jobs.try_recv() {
            drop(job);
        }
        wait = if began.elapsed() > Duration::from_secs(10) {
            Duration::from_millis(50)
        } else {
            (wait * 2).min(Duration::from_secs(5))
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = channels.stopped() => return Ok(()),
        }
    }
}

/// Whether the HSM would not stand on the store: on a copy, it may be the giver's fault.
fn refused_copy(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Link(LinkError::Hsm(_))
            | EngineError::Store(StoreError::Behind { .. } | StoreError::Corrupt(_))
            | EngineError::PageCorrupt
            | EngineError::NotMember { .. }
    )
}

/// Copies the store from another host, where that is what is wrong.
async fn mended(
    settings: &Settings,
    began: Instant,
    error: EngineError,
) -> Result<(), EngineError> {
    let Some(peers) = &settings.peers else {
        return Err(error);
    };
    let from: Vec<MemberId> = match error {
        EngineError::Behind(from) => vec![from],
        // The HSM stands at something this store has not: whoever has it will do. Not the same one
        // first each time: it may be the one that lies.
        EngineError::Store(StoreError::Behind { .. }) => {
            let roster = settings.rosters.now();
            let members = roster.manifest.members.iter().map(|member| member.id);
            let mut others: Vec<_> = members.filter(|m| *m != settings.member).collect();
            let first = Instant::now().duration_since(began).subsec_nanos();
            let count = others.len().max(1);
            others.rotate_left(usize::try_from(first).unwrap_or(0) % count);
            others
        }
        error => return Err(error),
    };
    let roster = settings.rosters.now();
    let taker = copy::Taker {
        own: &settings.store,
        bundle: &roster.bundle,
        peers,
    };
    for from in &from {
        match taker.take(*from).await {
            Ok(()) => return Ok(()),
            Err(failed) => tracing::warn!(%failed, "no copy"),
        }
    }
    // Whoever could give one may be away: it is tried again.
    Err(EngineError::Copy(
        from.first().copied().unwrap_or(settings.member),
    ))
}

async fn cycle(
    settings: &Arc<Settings>,
    channels: Channels,
    watched: &Watched,
    held: &mut bool,
) -> (Channels, Result<(), EngineError>) {
    let started = Store::open(&settings.store).map_err(EngineError::from);
    let started = started.and_then(|store| {
        *held = true;
        let (silence, recorder) = (settings.hsm_silence, settings.recorder.clone());
        link::start(&settings.hsm, &settings.hsm_dir, silence, recorder)
            .map(|(link, child)| (store, link, child))
            .map_err(|error| EngineError::Start(settings.hsm.program.clone(), error))
    });
    let (store, link, mut child) = match started {
        Ok(started) => started,
        Err(error) => return (channels, Err(error)),
    };
    let beats = tokio::spawn(heartbeat(link.clone(), settings.hsm_silence));
    let (channels, worked) = work(settings, store, link, channels, watched).await;
    beats.abort();
    watched.live.send_replace(None);
    watched.leader.send_replace(None);
    metrics::gauge!(READY).set(0.0);
    if matches!(worked, Err(EngineError::Link(LinkError::Closed))) {
        report_end(settings, &mut child).await;
    }
    // The process must be gone before its directory is locked again.
    let _ = child.kill().await;
    (channels, worked)
}

/// Has a thread drive the replica until something fails.
async fn work(
    settings: &Arc<Settings>,
    store: Store,
    link: Link,
    mut channels: Channels,
    watched: &Watched,
) -> (Channels, Result<(), EngineError>) {
    let (done, ended) = oneshot::channel();
    let (settings, watched) = (settings.clone(), watched.clone());
    std::thread::spawn(move || {
        let worked = drive(&settings, store, link, &mut channels, &watched);
        let _ = done.send((channels, worked));
    });
    ended
        .await
        .expect("a panic of the driver is a fault of ours")
}

fn drive(
    settings: &Settings,
    store: Store,
    link: Link,
    channels: &mut Channels,
    watched: &Watched,
) -> Result<(), EngineError> {
    let mut driver = resume::resume(settings, store.clone(), link.clone())?;
    copy::confirm(&settings.store);
    // Alone it leads from here on: whoever comes first is not told to come again.
    driver.tick()?;
    watched.live.send_replace(Some(Live { link, store }));
    metrics::gauge!(READY).set(1.0);
    driver.work(channels, watched)
}

/// Asks now and then, so that an HSM that hangs is found out when nobody else asks.
async fn heartbeat(link: Link, silence: Duration) {
    loop {
        tokio::time::sleep(silence / 2).await;
        // A call without an answer gives the link up, and the driver sees that.
        let asked = link.call(&Request::Inspect).await;
        if !matches!(asked, Ok(_) | Err(LinkError::Hsm(_))) {
            return;
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
