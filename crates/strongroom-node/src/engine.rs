//! The engine: one task that turns waiting operations into entries (DESIGN §6, host duties; §11).
//!
//! ```text
//! gather → prove → Propose → append + sync → Notarise → Release → answer → apply
//! ```
//!
//! A lone operation does not wait: a batch is whatever came while the one before was committed. The
//! task owns the trie; handlers own nothing that decides. What the host gets wrong here costs
//! liveness only: the HSM refuses it by name, and the engine starts over from what is durable.

use crate::link::{self, HsmCommand, Link, LinkError};
use crate::record::Recorder;
use crate::store::{Store, StoreError};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use strongroom_tree::prover::{Trie, TrieError};
use strongroom_wire::entry::{Entry, EntryHeader, State};
use strongroom_wire::frame::{
    FRAME_VERSION, HsmError, LeafBytes, LeftOut, Phase, Request, Response,
};
use strongroom_wire::limits::BATCH_MAX;
use strongroom_wire::manifest::Bundle;
use strongroom_wire::tenant::{SignedTenantChange, TenantRefusal};
use strongroom_wire::{Epoch, Handle, RecordId, TenantKey, decode};
use tokio::sync::{mpsc, oneshot, watch};

/// An evaluated operation that waits to be decided.
pub struct Operation {
    /// Its handle inside the HSM.
    pub handle: Handle,
    /// The record it touches.
    pub record: RecordId,
    /// The tenant it was authorised under.
    pub tenant: Option<TenantKey>,
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
    /// Where the chain stood when the HSM was started.
    pub header: EntryHeader,
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
    #[error("the HSM process cannot be started: {0}")]
    Start(std::io::Error),
    /// A page of the trie is damaged.
    #[error("a page of the trie is damaged; restore the store from a copy")]
    PageCorrupt,
    /// Host and HSM came to different roots: a fault of one of them.
    #[error("host and HSM came to different roots")]
    RootMismatch,
    /// The HSM has no fleet, or another.
    #[error("the HSM is not a member of this store's fleet")]
    NotMember,
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
    /// Whether waiting may help.
    fn passes(&self) -> bool {
        match self {
            Self::Link(_) | Self::RootMismatch | Self::Start(_) => true,
            Self::Store(StoreError::Engine(_)) => true,
            Self::Store(_) | Self::PageCorrupt | Self::NotMember | Self::Stopping => false,
        }
    }
}

/// Pages of the trie kept in memory, each about 2 KiB; twice as many at most.
const CACHE_PAGES: usize = 16 * 1024;

/// Where the engine finds its parts.
pub struct Settings {
    /// The store's directory.
    pub store: PathBuf,
    /// The HSM's directory.
    pub hsm_dir: PathBuf,
    /// The HSM's program.
    pub hsm: HsmCommand,
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
    loop {
        let began = Instant::now();
        let error = match cycle(&settings, &mut jobs, &live).await {
            Ok(()) | Err(EngineError::Stopping) => return Ok(()),
            Err(error) => error,
        };
        live.send_replace(None);
        if !error.passes() {
            tracing::error!(%error, "the engine stopped");
            return Err(error);
        }
        tracing::warn!(%error, "starting the HSM again");
        metrics::counter!("strongroom_engine_restarts_total").increment(1);
        // Whoever waits is told at once; nothing they did not pay for is lost.
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
) -> Result<(), EngineError> {
    let store = Store::open(&settings.store)?;
    let (link, mut child) =
        link::start(&settings.hsm, &settings.hsm_dir, settings.recorder.clone())
            .map_err(EngineError::Start)?;
    let mut engine = Engine::resume(store, link).await?;
    live.send_replace(Some(Live {
        link: engine.link.clone(),
        store: engine.store.clone(),
        header: engine.header.clone(),
    }));
    let worked = tokio::select! {
        worked = engine.work(jobs) => worked,
        _ = child.wait() => Err(EngineError::Link(LinkError::Closed)),
    };
    live.send_replace(None);
    // The process must be gone before its directory is locked again.
    let _ = child.kill().await;
    worked
}

struct Engine {
    link: Link,
    store: Store,
    trie: Trie<Store>,
    header: EntryHeader,
}

impl Engine {
    /// Brings store and HSM to the same entry, and leads.
    async fn resume(store: Store, link: Link) -> Result<Self, EngineError> {
        let Response::Welcome(welcome) = link
            .call(&Request::Hello {
                version: FRAME_VERSION,
            })
            .await?
        else {
            return Err(LinkError::Unexpected.into());
        };
        let Phase::Waiting {
            tip,
            promised,
            fleet,
        } = welcome.phase
        else {
            return Err(EngineError::NotMember);
        };
        let (applied, state) = store.standing()?.ok_or(EngineError::NotMember)?;
        if applied.fleet != fleet {
            return Err(EngineError::NotMember);
        }
        let mut trie = Trie::open(store.clone(), CACHE_PAGES)?;
        let (mut header, mut state): (EntryHeader, State) = (applied, state);
        for entry in store.replay(&header, &tip)? {
            apply(&store, &mut trie, &entry)?;
            (header, state) = (entry.proposal.header, entry.state);
        }
        let bundle = store.bundle()?.ok_or(EngineError::NotMember)?;
        let bundle: Bundle =
            decode(&bundle).map_err(|_| StoreError::Corrupt("the fleet bundle"))?;
        let resume = Request::Resume {
            header: header.clone(),
            state,
            manifest: bundle.manifest,
        };
        let Response::Standing { .. } = link.call(&resume).await? else {
            return Err(LinkError::Unexpected.into());
        };
        lead(&link, Epoch(promised.0.saturating_add(1))).await?;
        tracing::info!(index = header.index.0, "the HSM stands and leads");
        Ok(Self {
            link,
            store,
            trie,
            header,
        })
    }

    async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), EngineError> {
        let mut gathered = Vec::with_capacity(BATCH_MAX);
        loop {
            if jobs.recv_many(&mut gathered, BATCH_MAX).await == 0 {
                return Err(EngineError::Stopping);
            }
            let mut operations = Vec::with_capacity(gathered.len());
            for job in gathered.drain(..) {
                match job {
                    Job::Operation(operation) => operations.push(operation),
                    Job::Tenant(change, answer) => self.tenant(change, answer).await?,
                }
            }
            while !operations.is_empty() {
                operations = self.batch(operations).await?;
            }
        }
    }

    /// Decides one batch; gives back what must be tried again.
    async fn batch(&mut self, operations: Vec<Operation>) -> Result<Vec<Operation>, EngineError> {
        let began = Instant::now();
        let keys: HashSet<[u8; 32]> = operations
            .iter()
            .flat_map(|o| std::iter::once(o.record.0).chain(o.tenant.map(|tenant| tenant.0)))
            .collect();
        let keys: Vec<[u8; 32]> = keys.into_iter().collect();
        let proof = self.trie.prove(&keys, &[])?;
        let handles = operations
            .iter()
            .map(|operation| operation.handle)
            .collect();
        let request = Request::Propose {
            handles,
            proof,
            leaves: Vec::new(),
        };
        let (entry, left_out) = match self.link.call(&request).await? {
            Response::Proposed {
                proposal,
                state,
                writes,
                left_out,
            } => (
                Entry {
                    proposal,
                    state,
                    writes,
                },
                left_out,
            ),
            _ => return Err(LinkError::Unexpected.into()),
        };
        metrics::histogram!("strongroom_batch_operations").record(count(operations.len()));
        let answers = self.commit(entry).await?;
        metrics::histogram!("strongroom_commit_seconds").record(began.elapsed().as_secs_f64());
        let mut waiting: Vec<Operation> = Vec::new();
        let mut answers: std::collections::HashMap<Handle, Vec<u8>> = answers.into_iter().collect();
        for operation in operations {
            match answers.remove(&operation.handle) {
                // A client that went away retries with the same ids.
                Some(answer) => drop(operation.answer.send(answer)),
                None => waiting.extend(self.again(operation, &left_out).await?),
            }
        }
        Ok(waiting)
    }

    /// Evaluates an operation again with the leaf as it is now; gives up after three times.
    async fn again(
        &self,
        mut operation: Operation,
        left_out: &[LeftOut],
    ) -> Result<Option<Operation>, EngineError> {
        operation.tries += 1;
        let known = left_out.iter().any(|left| left.handle == operation.handle);
        if operation.tries > 3 || !known {
            let forget = Request::Forget {
                handles: vec![operation.handle],
            };
            self.link.call(&forget).await?;
            return Ok(None);
        }
        let evaluate = Request::Evaluate {
            handle: operation.handle,
            record: self.store.leaf(&operation.record.0)?.map(LeafBytes),
            tenant: match operation.tenant {
                Some(tenant) => self.store.leaf(&tenant.0)?.map(LeafBytes),
                None => None,
            },
        };
        match self.link.call(&evaluate).await {
            Ok(_) => Ok(Some(operation)),
            Err(LinkError::Hsm(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn tenant(
        &mut self,
        change: SignedTenantChange,
        answer: oneshot::Sender<Result<(), TenantRefusal>>,
    ) -> Result<(), EngineError> {
        let Ok(parsed) = decode::<strongroom_wire::tenant::TenantChange>(&change.change) else {
            let _ = answer.send(Err(TenantRefusal::Invalid));
            return Ok(());
        };
        let issuer = parsed.issuer().to_owned();
        let Response::TenantKey(key) = self.link.call(&Request::TenantKeyOf { issuer }).await?
        else {
            return Err(LinkError::Unexpected.into());
        };
        let leaf = self.store.leaf(&key.0)?.map(LeafBytes);
        let proof = self.trie.prove(&[key.0], &[])?;
        match self
            .link
            .call(&Request::ProposeTenant {
                change,
                proof,
                leaf,
            })
            .await?
        {
            Response::TenantRefused(refusal) => {
                let _ = answer.send(Err(refusal));
            }
            Response::Proposed {
                proposal,
                state,
                writes,
                ..
            } => {
                self.commit(Entry {
                    proposal,
                    state,
                    writes,
                })
                .await?;
                crate::admission::keep(&self.store, parsed)?;
                let _ = answer.send(Ok(()));
            }
            _ => return Err(LinkError::Unexpected.into()),
        }
        Ok(())
    }

    /// Makes an entry durable, has it sealed, and gives the answers it paid for.
    async fn commit(&mut self, entry: Entry) -> Result<Vec<(Handle, Vec<u8>)>, EngineError> {
        let (store, appended) = (self.store.clone(), entry.clone());
        // Synced before the HSM anchors it: no anchor ever stands at an entry that no disk has.
        tokio::task::spawn_blocking(move || store.append(&appended))
            .await
            .map_err(|_| EngineError::Stopping)??;
        let run = vec![entry.proposal.clone()];
        let Response::Notarised(notarised) = self.link.call(&Request::Notarise { run }).await?
        else {
            return Err(LinkError::Unexpected.into());
        };
        let release = Request::Release {
            certificate: vec![notarised],
        };
        let Response::Released { answers } = self.link.call(&release).await? else {
            return Err(LinkError::Unexpected.into());
        };
        apply(&self.store, &mut self.trie, &entry)?;
        metrics::gauge!("strongroom_index").set(count_u64(entry.proposal.header.index.0));
        self.header = entry.proposal.header;
        Ok(answers
            .into_iter()
            .map(|a| (a.handle, a.answer.0))
            .collect())
    }
}

/// Applies an entry to trie and store; the trie must come to the entry's root.
fn apply(store: &Store, trie: &mut Trie<Store>, entry: &Entry) -> Result<(), EngineError> {
    let digest = strongroom_wire::answer::leaf_digest;
    let changes: Vec<_> = entry
        .writes
        .iter()
        .map(|w| (w.key.0, Some(digest(&w.leaf).0)))
        .collect();
    let root = trie.apply(&changes)?;
    if root != entry.proposal.header.root.0 {
        trie.drop_speculation();
        return Err(EngineError::RootMismatch);
    }
    let pages = trie.commit_oldest();
    Ok(store.apply(entry, pages)?)
}

/// Promise and lead, as the only member.
async fn lead(link: &Link, epoch: Epoch) -> Result<(), EngineError> {
    let leader = crate::genesis::ONLY_MEMBER;
    let Response::Promised(promise) = link.call(&Request::Promise { epoch, leader }).await? else {
        return Err(LinkError::Unexpected.into());
    };
    match link
        .call(&Request::Lead {
            epoch,
            promises: vec![promise],
        })
        .await?
    {
        Response::Leading { .. } => Ok(()),
        _ => Err(LinkError::Unexpected.into()),
    }
}

/// Whether a refusal means "nothing was spent, try again".
pub fn is_busy(error: LinkError) -> bool {
    matches!(
        error,
        LinkError::Closed | LinkError::Hsm(HsmError::Busy | HsmError::WrongPhase)
    )
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
fn count_u64(number: u64) -> f64 {
    number as f64
}
