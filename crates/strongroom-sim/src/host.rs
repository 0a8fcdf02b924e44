//! One member's host. It keeps what a host keeps; each step of the protocol stands by itself, as an
//! honest request that a test may change before it asks it, so that it lies at exactly one place.
//!
//! [`Host::ask`] is the only way to the vault: whatever was asked, the host keeps what the answer
//! makes it keep (entries, leaves, promises), as an honest one would.

mod requests;
mod setup;

use crate::platform::Memory;
use crate::store;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Platform as _, Vault};
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{Entry, Notarised, Promised, Proposal, Signed, State, Tip};
use strongroom_wire::frame::{HsmError, LeafBytes, ManifestBytes, Place, Request, Response};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Digest, Handle, ProcessId, RecordId, TenantKey, encode};

pub use setup::{Issuer, admin, issuer_change, manifest, operator};

/// An operation that the vault holds open.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its record.
    pub record: RecordId,
    /// Its tenant, if it is a start.
    pub tenant: Option<TenantKey>,
}

/// A copy of a host's disk.
pub struct Disk {
    pages: store::Memory,
    committed: usize,
}

/// See the module.
pub struct Host {
    /// The machine.
    pub platform: Arc<Memory>,
    vault: Vault<Memory>,
    process: ProcessId,
    desk: RefCell<Desk>,
    /// From the genesis on.
    manifests: Vec<Manifest>,
    pages: store::Memory,
    trie: Trie<store::Memory>,
    leaves: HashMap<[u8; 32], Vec<u8>>,
    versions: BTreeMap<RecordId, Vec<Vec<u8>>>,
    /// Every entry ever seen, by its hash: what a restart goes on from.
    places: HashMap<Digest, Place>,
    /// Proposed and not final, oldest first.
    chain: VecDeque<Entry>,
    committed: Vec<Entry>,
    promise: Option<Signed<Promised>>,
    certificate: Option<Signed<Notarised>>,
    operations: BTreeMap<Handle, Operation>,
    /// Operations decided, whose answers are not released.
    decided: BTreeSet<Handle>,
    epoch: u64,
}

impl Host {
    /// The newest manifest.
    ///
    /// # Panics
    /// Never: there is the genesis.
    pub fn manifest(&self) -> &Manifest {
        self.manifests.last().expect("there is the genesis")
    }

    /// Entries that are final, oldest first; void ones are not among them.
    pub fn committed(&self) -> &[Entry] {
        &self.committed
    }

    /// Entries proposed and not final.
    pub fn chain(&self) -> Vec<Proposal> {
        self.chain.iter().map(|it| it.proposal.clone()).collect()
    }

    /// The vault's start, for promises.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// The newest promise.
    pub fn promise(&self) -> Option<&Signed<Promised>> {
        self.promise.as_ref()
    }

    /// The newest notarisation.
    pub fn certificate(&self) -> Option<&Signed<Notarised>> {
        self.certificate.as_ref()
    }

    /// Operations that the vault holds open, as far as this host knows.
    pub fn operations(&self) -> &BTreeMap<Handle, Operation> {
        &self.operations
    }

    /// Operations that no batch has decided yet.
    pub fn undecided(&self) -> Vec<Handle> {
        let handles = self.operations.keys();
        handles
            .filter(|it| !self.decided.contains(it))
            .copied()
            .collect()
    }

    /// Every version of a leaf that was ever proposed, oldest first: what a hostile host keeps.
    pub fn versions(&self, key: &RecordId) -> &[Vec<u8>] {
        self.versions.get(key).map_or(&[], Vec::as_slice)
    }

    /// The entry of a hash, as an HSM is shown it.
    pub fn place(&self, hash: &Digest) -> Option<&Place> {
        self.places.get(hash)
    }

    fn learn(&mut self, proposal: &Proposal, state: &State) {
        let named = [&state.manifest, &state.before].into_iter().flatten();
        let known = |digest: &Digest| self.manifests.iter().find(|it| it.digest() == *digest);
        let manifests = named.filter_map(known).map(|it| ManifestBytes(encode(it)));
        let place = Place {
            proposal: proposal.clone(),
            state: state.clone(),
            manifests: manifests.collect(),
        };
        self.places.insert(proposal.header.hash(), place);
    }

    /// Asks the vault, and keeps what the answer makes an honest host keep.
    ///
    /// # Panics
    /// If vault and host arrive at different roots: one of them is wrong.
    pub fn ask(&mut self, request: Request) -> Response {
        let tip = match &request {
            Request::Release { certificate } => certificate.first().map(|it| it.statement.tip),
            _ => None,
        };
        let handles = match &request {
            Request::Forget { handles } | Request::Propose { handles, .. } => handles.clone(),
            Request::Evaluate { handle, .. } => vec![*handle],
            _ => Vec::new(),
        };
        let response = self.vault.handle(&self.desk, request);
        match &response {
            Response::Opened {
                handle,
                record,
                tenant,
            } => {
                let (record, tenant) = (*record, *tenant);
                self.operations
                    .insert(*handle, Operation { record, tenant });
            }
            Response::Proposed { left_out, .. } => {
                let out = |handle: &Handle| left_out.iter().any(|it| it.handle == *handle);
                self.decided
                    .extend(handles.into_iter().filter(|handle| !out(handle)));
                self.keep(response.clone());
            }
            Response::Notarised(signed) => self.certificate = Some(signed.clone()),
            Response::Promised(signed) => {
                self.epoch = self.epoch.max(signed.statement.epoch.0);
                self.promise = Some(signed.clone());
                self.keep_only(&signed.statement.tip.clone());
            }
            Response::Leading { start } => self.keep_only(&start.clone()),
            Response::Released { answers } => {
                for released in answers {
                    self.decided.remove(&released.handle);
                    self.operations.remove(&released.handle);
                }
                self.commit(&tip.expect("a release has a certificate"));
            }
            Response::Done | Response::Evaluated { answer: Some(_) } => {
                for handle in handles {
                    self.operations.remove(&handle);
                }
            }
            _ => {}
        }
        response
    }

    fn keep(&mut self, response: Response) {
        let Response::Proposed {
            proposal,
            state,
            writes,
            ..
        } = response
        else {
            return;
        };
        let mut changes = Vec::new();
        for write in &writes {
            let digest = leaf_digest(&write.leaf).0;
            self.leaves.insert(digest, write.leaf.clone());
            let versions = self.versions.entry(write.key).or_default();
            versions.push(write.leaf.clone());
            changes.push((write.key.0, Some(digest)));
        }
        let root = self.trie.apply(&changes).expect("memory does not fail");
        assert_eq!(
            root, proposal.header.root.0,
            "host and HSM have other tries"
        );
        self.learn(&proposal, &state);
        self.chain.push_back(Entry {
            proposal,
            state,
            writes,
        });
    }

    /// Makes entries up to this one final.
    fn commit(&mut self, tip: &Tip) {
        let place = |it: &Entry| it.proposal.header.tip() == *tip;
        let Some(at) = self.chain.iter().position(place) else {
            return;
        };
        for entry in self.chain.drain(..=at) {
            self.pages.write(self.trie.commit_oldest());
            self.committed.push(entry);
        }
    }

    /// The vault dropped what it had proposed above this one.
    fn keep_only(&mut self, tip: &Tip) {
        self.commit(tip);
        self.trie.drop_speculation();
        self.chain.clear();
        for handle in std::mem::take(&mut self.decided) {
            self.operations.remove(&handle);
        }
    }

    /// The leaf that stands under a key now, speculation included.
    pub fn leaf(&mut self, key: &[u8; 32]) -> Option<LeafBytes> {
        let digest = self.trie.get(key).expect("memory does not fail")?;
        self.leaves.get(&digest).cloned().map(LeafBytes)
    }

    /// One proof for all of these keys.
    pub fn prove(&mut self, keys: &[[u8; 32]]) -> Vec<u8> {
        self.trie.prove(keys, &[]).expect("memory does not fail")
    }

    /// The whole round for one envelope, honestly: its answer, or the vault's error.
    ///
    /// # Errors
    /// Whatever the vault refuses.
    ///
    /// # Panics
    /// If the vault answers with something that no step of the round has.
    pub fn serve(&mut self, envelope: &[u8]) -> Result<Vec<u8>, HsmError> {
        let handle = match self.open(envelope) {
            Response::Opened { handle, .. } => handle,
            Response::Evaluated {
                answer: Some(answer),
            } => return Ok(answer.0),
            other => return Err(error(other)),
        };
        let evaluation = self.evaluation(handle);
        match self.ask(evaluation) {
            Response::Evaluated { answer: None } => {}
            Response::Evaluated {
                answer: Some(answer),
            } => return Ok(answer.0),
            other => return Err(error(other)),
        }
        let proposal = self.proposal(&[handle]);
        match self.ask(proposal) {
            Response::Proposed { left_out, .. } => assert!(left_out.is_empty(), "{left_out:?}"),
            other => return Err(error(other)),
        }
        let answers = self.seal()?;
        let ours = answers.into_iter().find(|(of, _)| *of == handle);
        Ok(ours.expect("its own answer is among those released").1)
    }

    /// A copy of what is on this host's disk now.
    pub fn copy_disk(&self) -> Disk {
        Disk {
            pages: self.pages.copy(),
            committed: self.committed.len(),
        }
    }

    /// Puts an old disk back. What the host ever saw it still knows: leaves, headers, answers.
    ///
    /// # Panics
    /// If the copy is damaged.
    pub fn restore_disk(&mut self, disk: &Disk) {
        self.pages = disk.pages.copy();
        self.trie = Trie::open(self.pages.clone(), 64).expect("memory does not fail");
        self.committed.truncate(disk.committed);
        self.chain.clear();
    }

    /// Opens an envelope.
    pub fn open(&mut self, envelope: &[u8]) -> Response {
        self.ask(Request::Open {
            envelope: envelope.to_vec(),
        })
    }

    /// Notarises and releases everything, honestly: all answers.
    ///
    /// # Errors
    /// Whatever the vault refuses.
    ///
    /// # Panics
    /// If the vault answers with something that neither step has.
    pub fn seal(&mut self) -> Result<Vec<(Handle, Vec<u8>)>, HsmError> {
        match self.ask(self.notarisation()) {
            Response::Notarised(_) => {}
            other => return Err(error(other)),
        }
        match self.ask(self.release()) {
            Response::Released { answers } => Ok(answers
                .into_iter()
                .map(|it| (it.handle, it.answer.0))
                .collect()),
            other => Err(error(other)),
        }
    }

    /// Promises itself a new epoch and leads it, honestly: the last response.
    pub fn take_the_lead(&mut self) -> Response {
        match self.ask(self.promising()) {
            Response::Promised(_) => self.ask(self.leading()),
            other => other,
        }
    }

    /// Power cut: the desk and all RAM are gone. What is above the anchor is void.
    ///
    /// # Errors
    /// What the vault says to what the platform kept.
    pub fn power_cut(&mut self) -> Result<(), HsmError> {
        self.vault = Vault::start(self.platform.clone())?;
        self.desk = RefCell::new(Desk::default());
        self.process = process(&mut self.vault, &self.desk);
        self.operations.clear();
        if let Some(anchor) = self.platform.anchor().expect("memory does not fail") {
            self.epoch = self.epoch.max(anchor.promised.0);
            self.keep_only(&anchor.tip);
        }
        Ok(())
    }
}

/// The name of a vault's start, from its welcome.
pub(crate) fn process(vault: &mut Vault<Memory>, desk: &RefCell<Desk>) -> ProcessId {
    let version = strongroom_wire::frame::FRAME_VERSION;
    match vault.handle(desk, Request::Hello { version }) {
        Response::Welcome(welcome) => welcome.process,
        other => panic!("a vault that started welcomes: {other:?}"),
    }
}

fn error(response: Response) -> HsmError {
    match response {
        Response::Error(error) => error,
        other => panic!("no step of an honest round answers that: {other:?}"),
    }
}
