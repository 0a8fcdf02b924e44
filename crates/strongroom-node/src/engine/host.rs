//! The replica's hands: the HSM behind its link, the store with the trie, the other hosts.

use super::{EngineError, Operation};
use crate::admission::Admission;
use crate::join;
use crate::link::{Link, LinkError};
use crate::metrics::{self, REPLICA_EVENTS};
use crate::roster::Rosters;
use crate::store::Store;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_peers::Peers;
use strongroom_replica::{Certificate, Hands, Logged, Message, News, Trouble};
use strongroom_tree::prover::Trie;
use strongroom_wire::entry::Tip;
use strongroom_wire::frame::{HsmError, ReleasedAnswer, Request, Response};
use strongroom_wire::{Digest, Handle, LogIndex, MemberId};
use tokio::runtime::Runtime;

pub(super) struct Host {
    /// Of this thread alone: it waits for the HSM here, and for nothing else.
    pub(super) runtime: Runtime,
    pub(super) link: Link,
    pub(super) store: Store,
    pub(super) trie: Trie<Store>,
    pub(super) admission: Arc<Admission>,
    pub(super) peers: Option<Peers>,
    pub(super) rosters: Rosters,
    pub(super) data: PathBuf,
    /// What the entry under way was proposed for.
    pub(super) under_way: HashMap<Handle, Operation>,
    /// Operations that the newest entry left out.
    pub(super) left: Vec<Operation>,
    /// Whoever this host must copy the store from.
    pub(super) behind: Option<MemberId>,
    /// Its HSM left the fleet.
    pub(super) retired: bool,
}

impl Host {
    /// Calls the HSM.
    pub(super) fn call(&self, request: &Request) -> Result<Response, LinkError> {
        self.runtime.block_on(self.link.call(request))
    }

    fn changes(logged: &Logged) -> Vec<([u8; 32], Option<[u8; 32]>)> {
        let digest = strongroom_wire::answer::leaf_digest;
        let writes = logged.entry.writes.iter();
        writes.map(|w| (w.key.0, Some(digest(&w.leaf).0))).collect()
    }

    /// Takes an entry into the trie, as speculation; the trie must come to the entry's root.
    fn speculate(&mut self, logged: &Logged) -> Result<(), EngineError> {
        let root = self.trie.apply(&Self::changes(logged))?;
        if root != logged.header().root.0 {
            self.trie.drop_speculation();
            return Err(EngineError::RootMismatch);
        }
        Ok(())
    }
}

impl Hands for Host {
    type Fault = EngineError;

    fn hsm(&mut self, request: &Request) -> Result<Response, Trouble<EngineError>> {
        self.call(request).map_err(|error| match error {
            LinkError::Hsm(error @ (HsmError::AnchorFailed | HsmError::Fault)) => {
                Trouble::Fault(LinkError::Hsm(error).into())
            }
            LinkError::Hsm(error) => Trouble::Refused(error),
            error => Trouble::Fault(error.into()),
        })
    }

    fn append(&mut self, entries: &[&Logged]) -> Result<(), EngineError> {
        self.store.append(entries)?;
        for change in entries.iter().filter_map(|logged| logged.manifest.as_ref()) {
            // Its members take part in deciding it: they must be reached before it is applied.
            if let Ok(manifest) = change.manifest() {
                self.rosters.expect(manifest);
            }
        }
        Ok(())
    }

    fn logged(&self, index: LogIndex, hash: &Digest) -> Result<Option<Logged>, EngineError> {
        Ok(self.store.logged(index, hash)?)
    }

    fn applied_after(&self, after: &Tip) -> Result<Option<Vec<Logged>>, EngineError> {
        Ok(self.store.applied_after(after)?)
    }

    fn apply(
        &mut self,
        logged: &Logged,
        certificate: Option<&Certificate>,
    ) -> Result<(), EngineError> {
        self.speculate(logged)?;
        let pages = self.trie.commit_oldest();
        self.store.apply(logged, certificate, pages)?;
        if logged.tenant.is_some() {
            self.admission.refresh(&self.store)?;
        }
        if logged.manifest.is_some()
            && let Some(bundle) = self.store.bundle()?
        {
            self.rosters.put_in_force(&bundle)?;
        }
        metrics::standing(logged.header(), &logged.entry.state);
        Ok(())
    }

    fn empty_proof(&mut self, entries: &[&Logged]) -> Result<Vec<u8>, EngineError> {
        for logged in entries {
            self.speculate(logged)?;
        }
        let proof = self.trie.prove(&[], &[]);
        self.trie.drop_speculation();
        Ok(proof?)
    }

    fn send(&mut self, to: MemberId, message: Message) {
        // What does not go out now is sent again with the next beat. What waited for a host that is
        // away would be old when it is back.
        if let Some(peers) = self.peers.as_ref().filter(|peers| peers.reachable(to)) {
            peers.send(to, message.to_bytes());
        }
    }

    fn released(&mut self, answers: Vec<ReleasedAnswer>) {
        for ReleasedAnswer { handle, answer } in answers {
            if let Some(operation) = self.under_way.remove(&handle) {
                operation.open.settle();
                // A client that went away retries with the same ids.
                let _ = operation.answer.send(answer.0);
            }
        }
        self.left
            .extend(self.under_way.drain().map(|(_, left)| left));
    }

    fn tell(&mut self, news: News) {
        let name = match news {
            News::Leads(epoch) => {
                tracing::info!(%epoch, "leads");
                "leads"
            }
            News::Deposed(epoch) => {
                tracing::warn!(%epoch, "leads no more");
                // What was proposed may be decided all the same: their clients ask again.
                self.under_way.clear();
                self.left.clear();
                "deposed"
            }
            News::Follows(leader, epoch) => {
                tracing::info!(%leader, %epoch, "follows");
                "follows"
            }
            News::Behind(member) => {
                tracing::warn!(%member, "nobody's log goes back so far: a copy is needed");
                self.behind = Some(member);
                "behind"
            }
            News::Refused(error) => {
                tracing::warn!(%error, "the HSM refused a step of replication");
                "refused"
            }
            News::Joined => {
                tracing::info!("the HSM is a member of the fleet");
                join::joined(&self.data);
                "joined"
            }
            News::Retired => {
                tracing::warn!("the HSM left the fleet, and erased its secret");
                self.retired = true;
                "retired"
            }
        };
        ::metrics::counter!(REPLICA_EVENTS, "event" => name).increment(1);
    }
}
