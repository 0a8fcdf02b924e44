//! One member's site: its HSM, its store, and what its host sends. Any call of HSM or disk may be
//! the last one before the power fails.

use super::disk::Store;
use super::watch::{Cut, Shared};
use crate::platform::Memory;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use strongroom_replica::{Certificate, Hands, Logged, Message, News, Trouble};
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Vault};
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{Entry, Tip};
use strongroom_wire::frame::{HsmError, ReleasedAnswer, Request, Response};
use strongroom_wire::{Digest, Handle, LogIndex, MemberId};

/// Why a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power fails.
    Power,
    /// The HSM's anchor, or the HSM.
    Hsm(HsmError),
    /// An entry does not fit what is applied.
    Root,
}

/// See the module.
pub(super) struct Site {
    pub(super) id: MemberId,
    pub(super) store: Store,
    pub(super) trie: Trie<Store>,
    vault: Vault<Memory>,
    desk: RefCell<Desk>,
    watch: Shared,
    /// Fails at the call after so many.
    pub(super) cut: Option<(u64, Cut)>,
    /// Lies: what it seals need not be on its disk.
    pub(super) lies: bool,
    pub(super) out: Vec<(MemberId, Message)>,
    pub(super) released: Vec<ReleasedAnswer>,
    pub(super) news: VecDeque<News>,
    /// In which entry an operation was decided.
    decided: HashMap<Handle, Tip>,
}

impl Site {
    pub(super) fn new(id: MemberId, vault: Vault<Memory>, store: Store, watch: Shared) -> Self {
        Self {
            id,
            trie: store.trie(),
            store,
            vault,
            desk: RefCell::default(),
            watch,
            cut: None,
            lies: false,
            out: Vec::new(),
            released: Vec::new(),
            news: VecDeque::new(),
            decided: HashMap::new(),
        }
    }

    fn strikes(&mut self) -> Option<Cut> {
        if let Some(cut) = self.watch.borrow_mut().strikes() {
            return Some(cut);
        }
        match &mut self.cut {
            Some((0, cut)) => Some(*cut),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    /// Makes a call of HSM or disk, unless the power fails before; its answer may be lost.
    fn call<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> Result<T, Fault> {
        match self.strikes() {
            Some(Cut::Before) => Err(Fault::Power),
            Some(Cut::After) => {
                call(self);
                Err(Fault::Power)
            }
            None => Ok(call(self)),
        }
    }

    /// Asks the HSM; all that it says is watched.
    pub(super) fn ask(&mut self, request: &Request) -> Response {
        let response = self.vault.handle(&self.desk, request.clone());
        let mut watch = self.watch.borrow_mut();
        if let (Response::Proposed { .. }, Request::ProposeMembers { change, .. }) =
            (&response, request)
        {
            watch.knows(change.manifest().expect("an HSM took it"));
        }
        match (&response, request) {
            (Response::Done, Request::Retire { .. }) => watch.retires(self.id),
            (Response::Promised(signed), _) => watch.promised(&signed.statement),
            (Response::Leading { start }, Request::Lead { epoch, .. }) => {
                watch.leads(*epoch, start);
            }
            (Response::Notarised(signed), _) => {
                let tip = &signed.statement.tip;
                let kept = self.lies || self.store.holds(tip);
                assert!(kept, "sealed before it was on the disk: {tip:?}");
                watch.notarised(&signed.statement);
            }
            (
                Response::Proposed {
                    proposal,
                    state,
                    writes,
                    left_out,
                },
                _,
            ) => {
                let tip = proposal.header.tip();
                watch.proposed(&Entry {
                    proposal: proposal.clone(),
                    state: state.clone(),
                    writes: writes.clone(),
                });
                if let Request::Propose { handles, .. } = request {
                    let out = |handle: &Handle| left_out.iter().any(|it| it.handle == *handle);
                    let decided = handles.iter().filter(|it| !out(it));
                    self.decided.extend(decided.map(|handle| (*handle, tip)));
                }
            }
            (Response::Released { answers }, Request::Release { certificate }) => {
                if let Some(vote) = certificate.first() {
                    watch.released(&vote.statement.tip);
                }
                for released in answers {
                    let tip = self.decided.remove(&released.handle);
                    watch.released(&tip.expect("what is answered was decided"));
                }
            }
            _ => {}
        }
        response
    }

    fn changes(logged: &Logged) -> Vec<([u8; 32], Option<[u8; 32]>)> {
        let writes = logged.entry.writes.iter();
        writes
            .map(|it| (it.key.0, Some(leaf_digest(&it.leaf).0)))
            .collect()
    }

    fn speculate(&mut self, logged: &Logged) -> Result<(), Fault> {
        let root = self.trie.apply(&Self::changes(logged));
        if root.expect("memory does not fail") != logged.header().root.0 {
            self.trie.drop_speculation();
            return Err(Fault::Root);
        }
        Ok(())
    }
}

impl Hands for Site {
    type Fault = Fault;

    fn hsm(&mut self, request: &Request) -> Result<Response, Trouble<Fault>> {
        match self.call(|site| site.ask(request)) {
            Err(fault) => Err(Trouble::Fault(fault)),
            Ok(Response::Error(error @ (HsmError::AnchorFailed | HsmError::Fault))) => {
                Err(Trouble::Fault(Fault::Hsm(error)))
            }
            Ok(Response::Error(error)) => {
                if self.watch.borrow().tracing {
                    println!("          HSM of {} refuses: {error}", self.id);
                }
                Err(Trouble::Refused(error))
            }
            Ok(response) => Ok(response),
        }
    }

    fn append(&mut self, entries: &[&Logged]) -> Result<(), Fault> {
        self.call(|site| site.store.append(entries))
    }

    fn logged(&self, index: LogIndex, hash: &Digest) -> Result<Option<Logged>, Fault> {
        Ok(self.store.logged(index, hash))
    }

    fn applied_after(&self, after: &Tip) -> Result<Option<Vec<Logged>>, Fault> {
        Ok(self.store.applied_after(after))
    }

    fn apply(&mut self, logged: &Logged, certificate: Option<&Certificate>) -> Result<(), Fault> {
        self.watch.borrow().applied(&logged.header().tip());
        self.speculate(logged)?;
        self.call(|site| {
            let pages = site.trie.commit_oldest();
            site.store.apply(logged, certificate, pages);
        })
    }

    fn empty_proof(&mut self, entries: &[&Logged]) -> Result<Vec<u8>, Fault> {
        for logged in entries {
            self.speculate(logged)?;
        }
        let proof = self.trie.prove(&[], &[]);
        self.trie.drop_speculation();
        Ok(proof.expect("memory does not fail"))
    }

    fn send(&mut self, to: MemberId, message: Message) {
        self.out.push((to, message));
    }

    fn released(&mut self, answers: Vec<ReleasedAnswer>) {
        self.released.extend(answers);
    }

    fn tell(&mut self, news: News) {
        self.news.push_back(news);
    }
}
