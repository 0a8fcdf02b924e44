//! One process of the HSM at work as leader: entries one after another until something fails.

use super::{EngineError, Job, Operation, Settings};
use crate::admission::Admission;
use crate::link::{Link, LinkError};
use crate::metrics::{self, BATCH, COMMIT};
use crate::store::{Store, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use strongroom_tree::prover::Trie;
use strongroom_wire::entry::{Entry, EntryHeader, State};
use strongroom_wire::frame::{FRAME_VERSION, LeafBytes, LeftOut, Phase, Request, Response};
use strongroom_wire::limits::BATCH_MAX;
use strongroom_wire::manifest::Bundle;
use strongroom_wire::tenant::{SignedTenantChange, Tenant, TenantRefusal};
use strongroom_wire::{Epoch, Handle, decode};
use tokio::sync::{mpsc, oneshot};

/// Pages of the trie kept in memory, each about 2 KiB; twice as many at most.
const CACHE_PAGES: usize = 16 * 1024;

/// How often an operation is evaluated again before its client has to.
const TRIES_MAX: u8 = 3;

pub(super) struct Leader {
    link: Link,
    store: Store,
    trie: Trie<Store>,
    admission: Arc<Admission>,
}

impl Leader {
    /// Brings store and HSM to the same entry, and leads.
    pub(super) async fn resume(
        settings: &Settings,
        store: Store,
        link: Link,
    ) -> Result<Self, EngineError> {
        let stranger = || EngineError::NotMember {
            hsm: settings.hsm_dir.clone(),
            store: settings.store.clone(),
        };
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
            return Err(stranger());
        };
        let (applied, state) = store.standing()?.ok_or_else(stranger)?;
        if applied.fleet != fleet {
            return Err(stranger());
        }
        let mut trie = Trie::open(store.clone(), CACHE_PAGES)?;
        let (mut header, mut state): (EntryHeader, State) = (applied, state);
        for entry in store.replay(&header, &tip)? {
            apply(&store, &mut trie, &entry)?;
            (header, state) = (entry.proposal.header, entry.state);
        }
        // An entry of a tenant may be among those replayed.
        settings.admission.refresh(&store)?;
        let bundle = store.bundle()?.ok_or_else(stranger)?;
        let bundle: Bundle =
            decode(&bundle).map_err(|_| StoreError::Corrupt("the fleet bundle"))?;
        let resume = Request::Resume {
            header: header.clone(),
            state: state.clone(),
            manifest: bundle.manifest,
        };
        let Response::Standing { .. } = link.call(&resume).await? else {
            return Err(LinkError::Unexpected.into());
        };
        lead(&link, Epoch(promised.0.saturating_add(1))).await?;
        metrics::standing(&header, &state);
        tracing::info!(index = header.index.0, "the HSM stands and leads");
        let admission = settings.admission.clone();
        Ok(Self {
            link,
            store,
            trie,
            admission,
        })
    }

    /// Works until something fails.
    pub(super) async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), EngineError> {
        let mut gathered = Vec::with_capacity(BATCH_MAX);
        loop {
            if jobs.recv_many(&mut gathered, BATCH_MAX).await == 0 {
                return Err(EngineError::Stopping);
            }
            let mut operations = Vec::with_capacity(gathered.len());
            for job in gathered.drain(..) {
                match job {
                    Job::Operation(operation) if operation.open.is_on(&self.link) => {
                        operations.push(operation);
                    }
                    // Opened in a process that is gone. Here its handle names another's operation.
                    Job::Operation(stale) => drop(stale),
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
            .map(|operation| operation.open.handle())
            .collect();
        let mut leaves = Vec::new();
        for operation in operations.iter().filter(|operation| !operation.evaluated) {
            leaves.extend(self.store.leaf(&operation.record.0)?.map(LeafBytes));
        }
        let request = Request::Propose {
            handles,
            proof,
            leaves,
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
        let count = u64::try_from(operations.len()).unwrap_or(u64::MAX);
        ::metrics::histogram!(BATCH).record(metrics::float(count));
        let answers = self.commit(entry, None).await?;
        ::metrics::histogram!(COMMIT).record(began.elapsed().as_secs_f64());
        let mut waiting: Vec<Operation> = Vec::new();
        let mut answers: std::collections::HashMap<Handle, Vec<u8>> = answers.into_iter().collect();
        for operation in operations {
            match answers.remove(&operation.open.handle()) {
                Some(answer) => {
                    operation.open.settle();
                    // A client that went away retries with the same ids.
                    let _ = operation.answer.send(answer);
                }
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
        let handle = operation.open.handle();
        let known = left_out.iter().any(|left| left.handle == handle);
        if operation.tries > TRIES_MAX || !known {
            return Ok(None);
        }
        let evaluate = Request::Evaluate {
            handle,
            record: self.store.leaf(&operation.record.0)?.map(LeafBytes),
            tenant: match operation.tenant {
                Some(tenant) => self.store.leaf(&tenant.0)?.map(LeafBytes),
                None => None,
            },
        };
        match self.link.call(&evaluate).await {
            Ok(_) => {
                operation.evaluated = true;
                Ok(Some(operation))
            }
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
                let entry = Entry {
                    proposal,
                    state,
                    writes,
                };
                let tenant = crate::admission::changed(&self.store, parsed)?;
                self.commit(entry, tenant).await?;
                self.admission.refresh(&self.store)?;
                let _ = answer.send(Ok(()));
            }
            _ => return Err(LinkError::Unexpected.into()),
        }
        Ok(())
    }

    /// Makes an entry durable, has it sealed, and gives the answers it paid for.
    async fn commit(
        &mut self,
        entry: Entry,
        tenant: Option<Tenant>,
    ) -> Result<Vec<(Handle, Vec<u8>)>, EngineError> {
        let (store, appended) = (self.store.clone(), entry.clone());
        // Synced before the HSM anchors it: no anchor ever stands at an entry that no disk has.
        tokio::task::spawn_blocking(move || store.append(&appended, tenant.as_ref()))
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
        metrics::standing(&entry.proposal.header, &entry.state);
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
