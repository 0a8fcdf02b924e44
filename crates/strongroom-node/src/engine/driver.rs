//! One thread that drives the replica for as long as one process of the HSM lives: messages, jobs
//! and timers, one after another. It waits for the disk and the HSM where it stands; while it
//! hangs, it shows no life, and the others go on without it.

use super::host::Host;
use super::{Channels, EngineError, Job, Operation, Watched};
use crate::link::LinkError;
use crate::metrics::{self, BATCH, COMMIT};
use crate::store::StoreError;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};
use strongroom_peers::Incoming;
use strongroom_replica::{Beginning, Logged, Message, Replica, Timing};
use strongroom_wire::decode;
use strongroom_wire::entry::{Entry, Ready, Signed, SignedClockChange};
use strongroom_wire::frame::{HsmError, LeafBytes, LeftOut, Request, Response};
use strongroom_wire::limits::BATCH_MAX;
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::tenant::{SignedTenantChange, TenantChange, TenantRefusal};
use tokio::sync::oneshot;

/// How often an operation is evaluated again before its client has to.
const TRIES_MAX: u8 = 3;

pub(super) struct Driver {
    replica: Replica<Host>,
    began: Instant,
    waiting: VecDeque<Job>,
    /// Who waits for the change under way.
    change: Option<Waits>,
    /// When the entry under way was begun.
    since: Option<Instant>,
    left_out: Vec<LeftOut>,
}

/// Who waits for a change that is no operation of a client.
enum Waits {
    Tenant(oneshot::Sender<Result<(), TenantRefusal>>),
    Clock(oneshot::Sender<Result<(), HsmError>>),
    Members(oneshot::Sender<Result<(), HsmError>>),
}

/// What there is to do next.
enum Event {
    Message(Incoming),
    Jobs,
    Due,
    Stop,
    HsmGone,
}

impl Driver {
    pub(super) fn new(host: Host, beginning: Beginning) -> Result<Self, EngineError> {
        let replica = Replica::new(host, Timing::default(), beginning, 0);
        let replica = replica.ok_or(StoreError::Corrupt("the fleet bundle"))?;
        Ok(Self {
            replica,
            began: Instant::now(),
            waiting: VecDeque::new(),
            change: None,
            since: None,
            left_out: Vec::new(),
        })
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) -> Result<(), EngineError> {
        if self.replica.wakes_at() > self.now() {
            return Ok(());
        }
        // A leader whose HSM hangs shows no life: it hangs here with it, also when nothing else is
        // asked of the HSM.
        if self.replica.leads().is_some() {
            self.replica.hands().call(&Request::Inspect)?;
        }
        let now = self.now();
        self.replica.tick(now)?;
        Ok(())
    }

    /// Works until something fails, or the node stops.
    pub(super) fn work(
        &mut self,
        channels: &mut Channels,
        watched: &Watched,
    ) -> Result<(), EngineError> {
        loop {
            watched.look();
            self.tick()?;
            self.propose()?;
            self.publish(watched);
            match self.next(channels) {
                Event::Message(incoming) => self.message(&incoming)?,
                Event::Jobs => self.sync()?,
                Event::Due => {}
                Event::Stop => return Err(EngineError::Stopping),
                Event::HsmGone => return Err(LinkError::Closed.into()),
            }
            if self.replica.hands().retired {
                return Err(EngineError::Retired);
            }
            if let Some(from) = self.replica.hands().behind.take()
                && self.replica.leads().is_none()
            {
                return Err(EngineError::Behind(from));
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn publish(&self, watched: &Watched) {
        let leader = self.replica.leader();
        watched.leader.send_if_modified(|known| {
            let changed = *known != leader;
            *known = leader;
            changed
        });
    }

    /// Waits for what comes first.
    fn next(&mut self, channels: &mut Channels) -> Event {
        let due = self.replica.wakes_at().saturating_sub(self.now());
        let wakes = due < FOR_EVER;
        let due = Duration::from_millis(due);
        let takes = self.waiting.len() < BATCH_MAX;
        let job_waits = !channels.jobs.is_empty();
        let waiting = &mut self.waiting;
        let host = self.replica.hands();
        let (runtime, link) = (&host.runtime, host.link.clone());
        let Channels {
            jobs,
            messages,
            stop,
        } = channels;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = link.closed() => Event::HsmGone,
                // Its other end is gone only with the node.
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                // A flood of messages must not keep clients from their turn.
                Some(incoming) = messages.recv(), if !(takes && job_waits) => {
                    Event::Message(incoming)
                }
                job = jobs.recv(), if takes => match job {
                    Some(job) => {
                        waiting.push_back(job);
                        while waiting.len() < BATCH_MAX
                            && let Ok(job) = jobs.try_recv()
                        {
                            waiting.push_back(job);
                        }
                        Event::Jobs
                    }
                    None => Event::Stop,
                },
                () = tokio::time::sleep(due), if wakes => Event::Due,
            }
        })
    }

    /// Does what needs no leader.
    fn sync(&mut self) -> Result<(), EngineError> {
        let is_sync = |job: &Job| matches!(job, Job::Sync(_));
        while let Some(at) = self.waiting.iter().position(is_sync) {
            if let Some(Job::Sync(done)) = self.waiting.remove(at) {
                self.replica.hands().store.append(&[])?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn message(&mut self, incoming: &Incoming) -> Result<(), EngineError> {
        let now = self.now();
        match Message::from_bytes(&incoming.body) {
            Ok(message) => self.replica.receive(now, incoming.from, message),
            Err(error) => {
                tracing::warn!(from = %incoming.from, %error, "a message of another version?");
                Ok(())
            }
        }
    }

    /// Proposes what waits, while this host leads and nothing else is under way.
    fn propose(&mut self) -> Result<(), EngineError> {
        if self.replica.leads().is_none() {
            // They come again, here or at another host.
            self.waiting.clear();
            self.change = None;
            self.since = None;
            return Ok(());
        }
        while self.replica.is_ready() {
            if let Some(since) = self.since.take() {
                ::metrics::histogram!(COMMIT).record(since.elapsed().as_secs_f64());
            }
            match self.change.take() {
                Some(Waits::Tenant(answer)) => drop(answer.send(Ok(()))),
                Some(Waits::Clock(answer) | Waits::Members(answer)) => {
                    let _ = answer.send(Ok(()));
                }
                None => {}
            }
            let mut operations = self.again()?;
            let mut proposed = false;
            while operations.len() < BATCH_MAX
                && let Some(job) = self.waiting.pop_front()
            {
                match job {
                    Job::Operation(operation) => {
                        if operation.open.is_on(&self.replica.hands().link) {
                            operations.push(operation);
                        }
                        // Else it was opened in a process that is gone. Here its handle names
                        // another's operation.
                    }
                    Job::Tenant(change, answer) if operations.is_empty() => {
                        self.change_tenant(change, answer)?;
                        proposed = true;
                        break;
                    }
                    Job::Clock(change, answer) if operations.is_empty() => {
                        self.change_clock(change, answer)?;
                        proposed = true;
                        break;
                    }
                    Job::Members(change, ready, answer) if operations.is_empty() => {
                        self.change_members(change, ready, answer)?;
                        proposed = true;
                        break;
                    }
                    Job::Sync(_) => {}
                    change @ (Job::Tenant(..) | Job::Clock(..) | Job::Members(..)) => {
                        self.waiting.push_front(change);
                        break;
                    }
                }
            }
            if !operations.is_empty() {
                self.batch(operations)?;
            } else if !proposed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decides one batch, and has it replicated.
    fn batch(&mut self, operations: Vec<Operation>) -> Result<(), EngineError> {
        self.since = Some(Instant::now());
        let host = self.replica.hands();
        let keys: HashSet<[u8; 32]> = operations
            .iter()
            .flat_map(|o| std::iter::once(o.record.0).chain(o.tenant.map(|tenant| tenant.0)))
            .collect();
        let keys: Vec<[u8; 32]> = keys.into_iter().collect();
        let proof = host.trie.prove(&keys, &[])?;
        let handles = operations.iter().map(|o| o.open.handle()).collect();
        let mut leaves = Vec::new();
        for operation in operations.iter().filter(|operation| !operation.evaluated) {
            leaves.extend(host.store.leaf(&operation.record.0)?.map(LeafBytes));
        }
        let propose = Request::Propose {
            handles,
            proof,
            leaves,
        };
        let Response::Proposed {
            proposal,
            state,
            writes,
            left_out,
        } = host.call(&propose)?
        else {
            return Err(LinkError::Unexpected.into());
        };
        let count = u64::try_from(operations.len()).unwrap_or(u64::MAX);
        ::metrics::histogram!(BATCH).record(metrics::float(count));
        let named = operations.into_iter().map(|o| (o.open.handle(), o));
        host.under_way = named.collect();
        self.left_out = left_out;
        let entry = Entry {
            proposal,
            state,
            writes,
        };
        self.replica.replicate(entry.into())
    }

    /// Evaluates what was left out once more, with the leaf as it is now; gives up after three
    /// times.
    fn again(&mut self) -> Result<Vec<Operation>, EngineError> {
        let left = std::mem::take(&mut self.replica.hands().left);
        let mut waiting = Vec::with_capacity(left.len());
        for mut operation in left {
            operation.tries += 1;
            let handle = operation.open.handle();
            let known = self.left_out.iter().any(|left| left.handle == handle);
            if operation.tries > TRIES_MAX || !known {
                continue;
            }
            let host = self.replica.hands();
            let evaluate = Request::Evaluate {
                handle,
                record: host.store.leaf(&operation.record.0)?.map(LeafBytes),
                tenant: match operation.tenant {
                    Some(tenant) => host.store.leaf(&tenant.0)?.map(LeafBytes),
                    None => None,
                },
            };
            match host.call(&evaluate) {
                Ok(_) => {
                    operation.evaluated = true;
                    waiting.push(operation);
                }
                Err(LinkError::Hsm(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(waiting)
    }

    fn change_tenant(
        &mut self,
        change: SignedTenantChange,
        answer: oneshot::Sender<Result<(), TenantRefusal>>,
    ) -> Result<(), EngineError> {
        let Ok(parsed) = decode::<TenantChange>(&change.change) else {
            let _ = answer.send(Err(TenantRefusal::Invalid));
            return Ok(());
        };
        let host = self.replica.hands();
        let issuer = parsed.issuer().to_owned();
        let Response::TenantKey(key) = host.call(&Request::TenantKeyOf { issuer })? else {
            return Err(LinkError::Unexpected.into());
        };
        let propose = Request::ProposeTenant {
            change,
            proof: host.trie.prove(&[key.0], &[])?,
            leaf: host.store.leaf(&key.0)?.map(LeafBytes),
        };
        match host.call(&propose)? {
            Response::TenantRefused(refusal) => {
                let _ = answer.send(Err(refusal));
                Ok(())
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
                let tenant = crate::admission::changed(&host.store, parsed)?;
                self.change = Some(Waits::Tenant(answer));
                let manifest = None;
                self.replica.replicate(Logged {
                    entry,
                    tenant,
                    manifest,
                })
            }
            _ => Err(LinkError::Unexpected.into()),
        }
    }

    fn change_clock(
        &mut self,
        change: SignedClockChange,
        answer: oneshot::Sender<Result<(), HsmError>>,
    ) -> Result<(), EngineError> {
        let host = self.replica.hands();
        match host.call(&Request::ProposeClock { change }) {
            Ok(Response::Proposed {
                proposal,
                state,
                writes,
                ..
            }) => {
                let entry = Entry {
                    proposal,
                    state,
                    writes,
                };
                self.change = Some(Waits::Clock(answer));
                self.replica.replicate(entry.into())
            }
            Err(LinkError::Hsm(error)) => {
                let _ = answer.send(Err(error));
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(LinkError::Unexpected.into()),
        }
    }

    fn change_members(
        &mut self,
        change: SignedManifest,
        ready: Vec<Signed<Ready>>,
        answer: oneshot::Sender<Result<(), HsmError>>,
    ) -> Result<(), EngineError> {
        let host = self.replica.hands();
        let request = Request::ProposeMembers {
            change: change.clone(),
            ready,
        };
        match host.call(&request) {
            Ok(Response::Proposed {
                proposal,
                state,
                writes,
                ..
            }) => {
                let entry = Entry {
                    proposal,
                    state,
                    writes,
                };
                self.change = Some(Waits::Members(answer));
                self.replica.replicate(Logged {
                    manifest: Some(change),
                    ..entry.into()
                })
            }
            Err(LinkError::Hsm(error)) => {
                let _ = answer.send(Err(error));
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(LinkError::Unexpected.into()),
        }
    }
}

/// A wait that never ends, ms.
const FOR_EVER: u64 = u64::MAX / 4;
