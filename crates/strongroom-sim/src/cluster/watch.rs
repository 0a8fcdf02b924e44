//! What all members did, seen from above: one history, and nothing outside it.
//!
//! | asserts | when |
//! | --- | --- |
//! | a member seals one entry at a place of an epoch, and promises an epoch once | each statement |
//! | an epoch has one chain | each proposal |
//! | a leader's start is at or above whatever a quorum sealed before | each Lead |
//! | sealed entries are one chain | each statement |
//! | a host has on its disk what its HSM seals | each notarisation of an honest host |
//! | who retired is no member, and says nothing | each statement |
//! | answers leave for sealed entries only | each release |
//! | applied entries are the sealed ones | each application |
//!
//! A member that was rolled back may say things twice; of these there are R at most.

use super::promises::Promises;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use strongroom_wire::entry::{Entry, EntryHeader, Notarised, Promised, Tip};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Digest, Epoch, LogIndex, MemberId, ProcessId};

/// Before or after the call that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The call is not made.
    Before,
    /// The call is made; its answer is lost.
    After,
}

/// Shared by all sites of one cluster.
pub(super) type Shared = Rc<RefCell<Watch>>;

/// See the module.
pub(super) struct Watch {
    /// All that were ever proposed.
    manifests: HashMap<Digest, Manifest>,
    genesis: Digest,
    retired: BTreeSet<MemberId>,
    pub(super) tracing: bool,
    pub(super) promises: Promises,
    /// Calls of HSMs and disks so far, over all members.
    pub(super) calls: u64,
    /// Where the power fails everywhere.
    pub(super) cut: Option<(u64, Cut)>,
    pub(super) struck: bool,
    pub(super) rolled_back: BTreeSet<MemberId>,
    headers: HashMap<Digest, EntryHeader>,
    entries: HashMap<Digest, Entry>,
    votes: HashMap<Digest, BTreeSet<MemberId>>,
    sealed: HashMap<(MemberId, Epoch, LogIndex), Digest>,
    promised: HashMap<(MemberId, Epoch), ProcessId>,
    /// The newest entry proposed in each epoch.
    ends: BTreeMap<Epoch, Digest>,
    history: Vec<Tip>,
}

impl Watch {
    pub(super) fn new(manifest: Manifest, genesis: EntryHeader, promises: Promises) -> Self {
        Self {
            genesis: manifest.digest(),
            manifests: HashMap::from([(manifest.digest(), manifest)]),
            retired: BTreeSet::new(),
            tracing: false,
            promises,
            calls: 0,
            cut: None,
            struck: false,
            rolled_back: BTreeSet::new(),
            history: vec![genesis.tip()],
            headers: HashMap::from([(genesis.hash(), genesis)]),
            entries: HashMap::new(),
            votes: HashMap::new(),
            sealed: HashMap::new(),
            promised: HashMap::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Whether the power fails everywhere at this call.
    pub(super) fn strikes(&mut self) -> Option<Cut> {
        self.calls += 1;
        let (_, cut) = self.cut.filter(|(at, _)| *at == self.calls)?;
        self.struck = true;
        Some(cut)
    }

    /// The newest sealed entry.
    pub(super) fn newest(&self) -> Tip {
        *self.history.last().expect("the genesis is there")
    }

    pub(super) fn is_sealed(&self, tip: &Tip) -> bool {
        self.sealed_at(tip.index) == Some(tip)
    }

    fn sealed_at(&self, index: LogIndex) -> Option<&Tip> {
        self.history.get(usize::try_from(index.0).ok()?)
    }

    pub(super) fn proposed(&mut self, entry: &Entry) {
        let header = &entry.proposal.header;
        let hash = header.hash();
        if let Some(end) = self.ends.insert(header.epoch, hash) {
            let one = end == header.previous;
            assert!(one, "{:?} has two chains", header.epoch);
        }
        self.promises.proposed(entry);
        self.headers.insert(hash, header.clone());
        self.entries.insert(hash, entry.clone());
    }

    /// A manifest that officers signed.
    pub(super) fn knows(&mut self, manifest: Manifest) {
        self.manifests.insert(manifest.digest(), manifest);
    }

    /// A member left: whatever it says after that, it must not.
    pub(super) fn retires(&mut self, member: MemberId) {
        let left = !self.in_force().members.iter().any(|it| it.id == member);
        assert!(left, "{member:?} retired, and is a member");
        self.retired.insert(member);
    }

    fn speaks(&self, member: MemberId) {
        let silent = self.retired.contains(&member) && !self.rolled_back.contains(&member);
        assert!(!silent, "{member:?} had retired, and speaks");
    }

    /// The manifest of the newest sealed entry.
    pub(super) fn in_force(&self) -> &Manifest {
        let entry = self.entries.get(&self.newest().hash);
        let named = entry.and_then(|it| it.state.manifest);
        &self.manifests[&named.unwrap_or(self.genesis)]
    }

    /// Whoever was a member at some sealed entry.
    pub(super) fn ever_named(&self) -> BTreeSet<MemberId> {
        let sealed = self
            .history
            .iter()
            .filter_map(|tip| self.entries.get(&tip.hash));
        let named = sealed.filter_map(|it| it.state.manifest);
        let named: BTreeSet<Digest> = named.chain([self.genesis]).collect();
        let members = named.iter().flat_map(|it| &self.manifests[it].members);
        members.map(|it| it.id).collect()
    }

    /// Whether a quorum of each manifest that the entry names said so.
    fn is_quorum(&self, hash: &Digest) -> bool {
        let Some(entry) = self.entries.get(hash) else {
            return false;
        };
        let votes = &self.votes[hash];
        let named = [entry.state.manifest, entry.state.before];
        named.iter().flatten().all(|digest| {
            let manifest = &self.manifests[digest];
            let of_it = votes.iter().filter(|m| manifest.member(**m).is_some());
            of_it.count() >= manifest.quorum()
        })
    }

    pub(super) fn promised(&mut self, it: &Promised) {
        self.speaks(it.member);
        let before = self.promised.insert((it.member, it.epoch), it.process);
        let again = before.is_some() && !self.rolled_back.contains(&it.member);
        assert!(!again, "{:?} promised {:?} twice", it.member, it.epoch);
    }

    /// A member leads; whatever was sealed in earlier epochs must be at or below its start.
    pub(super) fn leads(&self, epoch: Epoch, start: &Tip) {
        let earlier = self.history.iter().rfind(|tip| tip.epoch < epoch);
        let earlier = earlier.expect("the genesis is there");
        let mut at = *start;
        while at.index > earlier.index {
            at = self.before(&at);
        }
        assert_eq!(at, *earlier, "a start passes over what is sealed");
    }

    fn before(&self, tip: &Tip) -> Tip {
        let header = self.headers.get(&tip.hash).expect("every entry was seen");
        self.headers[&header.previous].tip()
    }

    pub(super) fn notarised(&mut self, it: &Notarised) {
        let (member, tip) = (it.member, it.tip);
        self.speaks(member);
        let place = (member, tip.epoch, tip.index);
        let before = self.sealed.insert(place, tip.hash);
        let two = before.is_some_and(|hash| hash != tip.hash);
        let honest = !self.rolled_back.contains(&member);
        assert!(!(two && honest), "{member:?} sealed two entries at {tip:?}");
        self.votes.entry(tip.hash).or_default().insert(member);
        if self.is_quorum(&tip.hash) {
            self.certified(&tip);
        }
    }

    /// A quorum sealed it: it and all below it are final.
    fn certified(&mut self, tip: &Tip) {
        let mut fresh = Vec::new();
        let mut at = *tip;
        while at.index > self.newest().index {
            fresh.push(at);
            at = self.before(&at);
        }
        let one = self.is_sealed(&at);
        assert!(one, "two histories: {at:?} and {:?}", self.newest());
        for tip in fresh.into_iter().rev() {
            self.history.push(tip);
            self.promises.committed(&self.entries[&tip.hash]);
        }
    }

    pub(super) fn released(&self, tip: &Tip) {
        assert!(
            self.is_sealed(tip),
            "released by what no quorum sealed: {tip:?}"
        );
    }

    pub(super) fn applied(&self, tip: &Tip) {
        assert!(
            self.is_sealed(tip),
            "applied what no quorum sealed: {tip:?}"
        );
    }
}
