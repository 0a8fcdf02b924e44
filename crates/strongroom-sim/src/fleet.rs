//! A fleet of several members that share one secret by the hand-over, and their hosts' steps.
//!
//! Each step is a request to one member; who is asked, in what order, and with what, is the test's.
//! Batches are empty here: what a batch may hold is the business of `world`.

mod members;

pub use members::{Change, officer, officered};

use crate::host;
use crate::platform::Memory;
use crate::store;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Platform as _, Vault};
use strongroom_wire::entry::{
    EntryHeader, Notarised, Promised, Proposal, Signed, SignedClockChange,
};
use strongroom_wire::frame::{
    Drafted, HsmError, Inspection, ManifestBytes, Place, Request, Response, SealedSecret,
};
use strongroom_wire::manifest::{Manifest, Policy};
use strongroom_wire::{Digest, Epoch, MemberId, ProcessId, encode};

/// One member.
pub struct Member {
    /// Its machine.
    pub platform: Arc<Memory>,
    /// What it drafted.
    pub drafted: Drafted,
    vault: Vault<Memory>,
    desk: RefCell<Desk>,
}

/// See the module. A member's slot is its place in the list.
pub struct Fleet {
    /// The members.
    pub members: Vec<Member>,
    manifest: Manifest,
    /// Every entry ever seen, by its hash.
    places: HashMap<Digest, Place>,
    /// Every manifest ever shown to a vault.
    manifests: HashMap<Digest, ManifestBytes>,
    empty_proof: Vec<u8>,
}

impl Member {
    /// A blank machine that drafted its keys.
    ///
    /// # Panics
    /// If a blank vault does not draft.
    pub fn drafted(seed: u64) -> Self {
        let platform = Arc::new(Memory::new(seed));
        platform.expect_branches();
        let mut vault = Vault::start(platform.clone()).expect("an empty platform is blank");
        let desk = RefCell::new(Desk::default());
        let Response::Drafted(drafted) = vault.handle(&desk, Request::Draft) else {
            panic!("a blank vault drafts");
        };
        Self {
            platform,
            drafted,
            vault,
            desk,
        }
    }

    /// Asks its vault.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn ask(&mut self, request: Request) -> Result<Response, HsmError> {
        match self.vault.handle(&self.desk, request) {
            Response::Error(error) => Err(error),
            response => Ok(response),
        }
    }

    /// The name of its vault's start.
    pub fn process(&mut self) -> ProcessId {
        host::process(&mut self.vault, &self.desk)
    }

    /// Power cut: all RAM is gone. It waits for its tip's header.
    ///
    /// # Panics
    /// If what its platform kept is damaged.
    pub fn power_cut(&mut self) {
        self.vault = Vault::start(self.platform.clone()).expect("what it stored is whole");
        self.desk = RefCell::new(Desk::default());
    }
}

impl Fleet {
    /// A fleet of n that tolerates so many rolled back.
    pub fn new(n: usize, rollbacks: u8) -> Self {
        Self::founded(n, |manifest| manifest.rollback_tolerance = rollbacks)
    }

    /// A fleet of n under a manifest that is changed before it is founded.
    ///
    /// # Panics
    /// If a vault does not begin or join the fleet.
    pub fn founded(n: usize, change: impl FnOnce(&mut Manifest)) -> Self {
        let members = (1..).take(n).map(Member::drafted).collect();
        let mut fleet = Self::of(members);
        change(&mut fleet.manifest);
        let begun = fleet.begin(0, None).expect("a genesis of drafted keys");
        assert!(matches!(begun, Response::Standing { .. }), "{begun:?}");
        for m in 1..n {
            let secret = fleet.hand_over(0, m).expect("the manifest names it");
            let begun = fleet.begin(m, Some(secret)).expect("its fleet's secret");
            assert!(matches!(begun, Response::Standing { .. }), "{begun:?}");
        }
        fleet
    }

    /// Drafted members and a manifest that names them; the first one drafted the fleet's secret.
    ///
    /// # Panics
    /// If memory fails.
    pub fn of(members: Vec<Member>) -> Self {
        let mut manifest = host::manifest(&members[0].drafted, Policy::default());
        let slot = manifest.members[0].clone();
        let slots = (0..).zip(&members);
        manifest.members = slots
            .map(|(id, it)| strongroom_wire::manifest::Member {
                id: MemberId(id),
                identity: it.drafted.identity,
                ..slot.clone()
            })
            .collect();
        let mut trie = Trie::open(store::Memory::default(), 64).expect("memory does not fail");
        Self {
            members,
            manifest,
            places: HashMap::new(),
            manifests: HashMap::new(),
            empty_proof: trie.prove(&[], &[]).expect("memory does not fail"),
        }
    }

    /// The same members under another manifest, for those that have not begun.
    #[must_use]
    pub fn under(self, manifest: Manifest) -> Self {
        Self { manifest, ..self }
    }

    /// The manifest in force.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The entry of a hash, as an HSM is shown it.
    ///
    /// # Panics
    /// If no vault showed it.
    pub fn place(&self, hash: &Digest) -> Place {
        self.places[hash].clone()
    }

    /// The entry of index 0.
    ///
    /// # Panics
    /// If nobody began the fleet.
    pub fn genesis(&self) -> Proposal {
        let mut places = self.places.values();
        let found = places.find(|place| place.proposal.header.index.0 == 0);
        found.expect("it began").proposal.clone()
    }

    /// Where a proposal stands.
    ///
    /// # Panics
    /// If no vault showed it.
    pub fn place_of(&self, entry: &Proposal) -> Place {
        self.place(&entry.header.hash())
    }

    /// Asks a member, and keeps what any host would keep.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn ask(&mut self, m: usize, request: Request) -> Result<Response, HsmError> {
        match &request {
            Request::Genesis { manifest, .. } => self.learn(manifest),
            Request::ProposeMembers { change, .. } => self.learn(&change.manifest),
            _ => {}
        }
        let response = self.members[m].ask(request)?;
        if let Response::Standing { proposal, state }
        | Response::Proposed {
            proposal, state, ..
        } = &response
        {
            let named = [&state.manifest, &state.before].into_iter().flatten();
            let manifests = named.map(|digest| self.manifests[digest].clone());
            let place = Place {
                proposal: proposal.clone(),
                state: state.clone(),
                manifests: manifests.collect(),
            };
            self.places.insert(proposal.header.hash(), place);
        }
        Ok(response)
    }

    fn learn(&mut self, manifest: &[u8]) {
        if let Ok(known) = strongroom_wire::decode::<Manifest>(manifest) {
            let bytes = ManifestBytes(manifest.to_vec());
            self.manifests.insert(known.digest(), bytes);
        }
    }

    /// Has a member begin the fleet, with its own secret or one handed over.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn begin(&mut self, m: usize, secret: Option<SealedSecret>) -> Result<Response, HsmError> {
        let manifest = encode(&self.manifest);
        self.ask(m, Request::Genesis { manifest, secret })
    }

    /// Has one member seal the secret to another.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn hand_over(&mut self, from: usize, to: usize) -> Result<SealedSecret, HsmError> {
        let Drafted {
            handover,
            signature,
            ..
        } = self.members[to].drafted.clone();
        let request = Request::HandOver {
            member: id(to),
            key: handover,
            signature,
            next: None,
        };
        self.handed_over(from, request)
    }

    /// Has a member promise an epoch to a leader's process of now.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn promise(
        &mut self,
        m: usize,
        epoch: u64,
        leader: usize,
    ) -> Result<Signed<Promised>, HsmError> {
        let request = Request::Promise {
            epoch: Epoch(epoch),
            leader: id(leader),
            process: self.members[leader].process(),
        };
        match self.ask(m, request)? {
            Response::Promised(promise) => Ok(promise),
            other => panic!("a promise was to come: {other:?}"),
        }
    }

    /// The promises of these members.
    ///
    /// # Panics
    /// If one refuses.
    pub fn promise_all(
        &mut self,
        members: &[usize],
        epoch: u64,
        leader: usize,
    ) -> Vec<Signed<Promised>> {
        let promise = |m: &usize| self.promise(*m, epoch, leader).expect("a newer epoch");
        members.iter().map(promise).collect()
    }

    /// Honest: lead on these promises, from the newest tip among them.
    ///
    /// # Panics
    /// If there are none, or no vault showed that tip.
    pub fn leading(&self, epoch: u64, promises: &[Signed<Promised>]) -> Request {
        let tips = promises.iter().map(|it| it.statement.tip);
        let newest = tips.max_by_key(|it| (it.epoch, it.index));
        Request::Lead {
            epoch: Epoch(epoch),
            promises: promises.to_vec(),
            start: self.place(&newest.expect("a promise").hash),
        }
    }

    /// Has a member lead an epoch that these members promise it; gives the header of its start.
    ///
    /// # Panics
    /// If one refuses.
    pub fn lead(&mut self, leader: usize, epoch: u64, members: &[usize]) -> EntryHeader {
        let promises = self.promise_all(members, epoch, leader);
        let leading = self.leading(epoch, &promises);
        match self.ask(leader, leading).expect("a quorum promised") {
            Response::Leading { start } => self.place(&start.hash).proposal.header,
            other => panic!("a start was to come: {other:?}"),
        }
    }

    /// Has a leader propose an empty batch.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn propose(&mut self, leader: usize) -> Result<Proposal, HsmError> {
        let request = Request::Propose {
            handles: Vec::new(),
            proof: self.empty_proof.clone(),
            leaves: Vec::new(),
        };
        self.proposed(leader, request)
    }

    /// Has a leader propose a change of the clock.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn propose_clock(
        &mut self,
        leader: usize,
        change: SignedClockChange,
    ) -> Result<Proposal, HsmError> {
        self.proposed(leader, Request::ProposeClock { change })
    }

    fn proposed(&mut self, leader: usize, request: Request) -> Result<Proposal, HsmError> {
        match self.ask(leader, request)? {
            Response::Proposed { proposal, .. } => Ok(proposal),
            other => panic!("a proposal was to come: {other:?}"),
        }
    }

    /// Has a member seal a run, from a leader's start where it stands elsewhere.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn notarise(
        &mut self,
        m: usize,
        run: &[Proposal],
        start: Option<&EntryHeader>,
    ) -> Result<Signed<Notarised>, HsmError> {
        let request = Request::Notarise {
            run: run.to_vec(),
            start: start.cloned(),
        };
        match self.ask(m, request)? {
            Response::Notarised(statement) => Ok(statement),
            other => panic!("a statement was to come: {other:?}"),
        }
    }

    /// The statements of these members for the end of a run.
    ///
    /// # Panics
    /// If one refuses.
    pub fn certify(
        &mut self,
        members: &[usize],
        run: &[Proposal],
        start: Option<&EntryHeader>,
    ) -> Vec<Signed<Notarised>> {
        let seal = |m: &usize| self.notarise(*m, run, start).expect("an honest run");
        members.iter().map(seal).collect()
    }

    /// Shows a leader a certificate.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn release(
        &mut self,
        leader: usize,
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let certificate = certificate.to_vec();
        self.ask(leader, Request::Release { certificate })
            .map(|_| ())
    }

    /// Shows a member an entry and its certificate.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn adopt(
        &mut self,
        m: usize,
        entry: &Proposal,
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let request = Request::Adopt {
            place: self.place_of(entry),
            certificate: certificate.to_vec(),
        };
        self.ask(m, request).map(|_| ())
    }

    /// Honest: go on where a member's anchor stands.
    ///
    /// # Panics
    /// If no vault showed its entry.
    pub fn resumption(&self, m: usize) -> Request {
        let anchor = self.members[m].platform.anchor();
        let anchor = anchor.expect("memory does not fail").expect("a member");
        Request::Resume {
            place: self.place(&anchor.tip.hash),
            certificate: Vec::new(),
        }
    }

    /// Cuts a member's power, and has it go on from its anchor.
    ///
    /// # Panics
    /// If it does not.
    pub fn restart(&mut self, m: usize) {
        self.members[m].power_cut();
        let resumption = self.resumption(m);
        self.ask(m, resumption).expect("its own anchor's tip");
    }

    /// Numbers of a member.
    ///
    /// # Panics
    /// If it does not stand.
    pub fn inspect(&mut self, m: usize) -> Inspection {
        match self.ask(m, Request::Inspect) {
            Ok(Response::Inspection(inspection)) => inspection,
            other => panic!("a member that stands is inspected: {other:?}"),
        }
    }
}

/// The slot of a place in the list.
pub fn id(m: usize) -> MemberId {
    MemberId(u8::try_from(m).expect("a handful"))
}
