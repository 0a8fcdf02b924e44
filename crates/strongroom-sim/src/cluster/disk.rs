//! A host's store with what a crash does to it: the node's store, in memory (`docs/storage.md`).
//!
//! An append is synced, and takes with it what was applied before; what was applied after that is
//! lost in a crash, and found again from the log. The log keeps branches beside each other.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use strongroom_replica::{Certificate, Logged};
use strongroom_tree::prover::{PageWrite, Pages, Trie};
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{EntryHeader, Proposal, State, Tip};
use strongroom_wire::frame::{self, ManifestBytes};
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::{Digest, LogIndex, decode, encode};

/// Pages of a trie kept at hand.
const CACHE_PAGES: usize = 64;
/// Entries in one message, at most: so few that a member that was away needs several.
const MESSAGE_ENTRIES: usize = 16;

/// Where a store stands.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) proposal: Proposal,
    pub(super) state: State,
    pub(super) certificate: Certificate,
    /// From the genesis on.
    pub(super) manifests: Vec<Arc<Manifest>>,
}

impl Standing {
    pub(super) fn header(&self) -> &EntryHeader {
        &self.proposal.header
    }

    /// The place of an entry of the tail, or of the one applied last, as an HSM is shown it. None
    /// if a manifest that it names is nowhere here.
    pub(super) fn place(
        &self,
        tail: &[Logged],
        proposal: &Proposal,
        state: &State,
    ) -> frame::Place {
        let brought = tail.iter().filter_map(|it| manifest(it.manifest.as_ref()?));
        let known: Vec<_> = self.manifests.iter().cloned().chain(brought).collect();
        let named = [&state.manifest, &state.before].into_iter().flatten();
        let named = named.filter_map(|digest| known.iter().find(|it| it.digest() == *digest));
        frame::Place {
            proposal: proposal.clone(),
            state: state.clone(),
            manifests: named.map(|it| ManifestBytes(encode(&**it))).collect(),
        }
    }
}

fn manifest(signed: &SignedManifest) -> Option<Arc<Manifest>> {
    decode(&signed.manifest).ok().map(Arc::new)
}

/// What is on the disk.
#[derive(Clone)]
pub(super) struct Synced {
    pub(super) leaves: BTreeMap<[u8; 32], Vec<u8>>,
    pages: HashMap<Vec<u8>, Vec<u8>>,
    log: BTreeMap<Place, Rc<Logged>>,
    pub(super) standing: Standing,
}

/// Index and hash.
type Place = (LogIndex, Digest);

/// What was applied since the last append.
#[derive(Default)]
struct Applied {
    leaves: BTreeMap<[u8; 32], Vec<u8>>,
    pages: HashMap<Vec<u8>, Option<Vec<u8>>>,
    standing: Option<Standing>,
    gone: Vec<Place>,
}

struct Disk {
    synced: Synced,
    applied: Applied,
    kept: u64,
}

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Store(Rc<RefCell<Disk>>);

impl Store {
    /// At the genesis, keeping so many applied entries.
    pub(super) fn new(standing: Standing, kept: u64) -> Self {
        let synced = Synced {
            leaves: BTreeMap::new(),
            pages: HashMap::new(),
            log: BTreeMap::new(),
            standing,
        };
        Self(Rc::new(RefCell::new(Disk {
            synced,
            applied: Applied::default(),
            kept,
        })))
    }

    pub(super) fn trie(&self) -> Trie<Self> {
        Trie::open(self.clone(), CACHE_PAGES).expect("memory does not fail")
    }

    /// What is synced, all of one moment.
    pub(super) fn snapshot(&self) -> Synced {
        self.0.borrow().synced.clone()
    }

    /// Another disk in its place.
    pub(super) fn restore(&self, synced: &Synced) {
        let mut disk = self.0.borrow_mut();
        disk.synced = synced.clone();
        disk.applied = Applied::default();
    }

    /// Power cut.
    pub(super) fn crash(&self) {
        self.0.borrow_mut().applied = Applied::default();
    }

    pub(super) fn leaf(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let disk = self.0.borrow();
        let applied = disk.applied.leaves.get(key);
        applied.or_else(|| disk.synced.leaves.get(key)).cloned()
    }

    pub(super) fn standing(&self) -> Standing {
        let disk = self.0.borrow();
        let applied = disk.applied.standing.as_ref();
        applied.unwrap_or(&disk.synced.standing).clone()
    }

    pub(super) fn append(&self, entries: &[&Logged]) {
        let disk = &mut *self.0.borrow_mut();
        let applied = std::mem::take(&mut disk.applied);
        let synced = &mut disk.synced;
        synced.leaves.extend(applied.leaves);
        for (id, page) in applied.pages {
            match page {
                Some(page) => drop(synced.pages.insert(id, page)),
                None => drop(synced.pages.remove(&id)),
            }
        }
        if let Some(standing) = applied.standing {
            synced.standing = standing;
        }
        for place in applied.gone {
            synced.log.remove(&place);
        }
        for logged in entries {
            synced.log.insert(place(logged), Rc::new((*logged).clone()));
        }
    }

    pub(super) fn apply(
        &self,
        logged: &Logged,
        certificate: Option<&Certificate>,
        pages: Vec<PageWrite>,
    ) {
        let disk = &mut *self.0.borrow_mut();
        let gone = outlived(&disk.synced.log, place(logged), disk.kept);
        let before = disk.applied.standing.as_ref();
        let before = before.unwrap_or(&disk.synced.standing);
        let mut manifests = before.manifests.clone();
        manifests.extend(logged.manifest.as_ref().and_then(manifest));
        let applied = &mut disk.applied;
        let writes = logged.entry.writes.iter();
        applied
            .leaves
            .extend(writes.map(|it| (it.key.0, it.leaf.clone())));
        applied.pages.extend(pages);
        applied.standing = Some(Standing {
            proposal: logged.entry.proposal.clone(),
            state: logged.entry.state.clone(),
            certificate: certificate.cloned().unwrap_or_default(),
            manifests,
        });
        applied.gone.extend(gone);
    }

    pub(super) fn logged(&self, index: LogIndex, hash: &Digest) -> Option<Logged> {
        let disk = self.0.borrow();
        disk.synced
            .log
            .get(&(index, *hash))
            .map(|it| Logged::clone(it))
    }

    /// The logged entries after one place up to another; none if they are not all there.
    pub(super) fn chain(&self, after: &Tip, upto: &Tip) -> Option<Vec<Logged>> {
        let (mut index, mut hash) = (upto.index, upto.hash);
        let mut chain = Vec::new();
        while index > after.index {
            let logged = self.logged(index, &hash)?;
            hash = logged.header().previous;
            index = LogIndex(index.0 - 1);
            chain.push(logged);
        }
        chain.reverse();
        (index == after.index && hash == after.hash).then_some(chain)
    }

    pub(super) fn applied_after(&self, after: &Tip) -> Option<Vec<Logged>> {
        let newest = self.standing().header().tip();
        let disk = self.0.borrow();
        let mut entries: Vec<Logged> = Vec::new();
        let mut hash = after.hash;
        let from = LogIndex(after.index.0.saturating_add(1));
        let from = (from, Digest([0; 32]));
        for (place, logged) in disk.synced.log.range(from..) {
            if disk.applied.gone.contains(place) {
                continue;
            }
            if place.0 > newest.index || entries.len() >= MESSAGE_ENTRIES {
                break;
            }
            if logged.header().previous != hash {
                return None;
            }
            hash = place.1;
            entries.push(Logged::clone(logged));
        }
        (!entries.is_empty()).then_some(entries)
    }

    /// Has such an entry on the disk.
    pub(super) fn holds(&self, tip: &Tip) -> bool {
        self.logged(tip.index, &tip.hash).is_some() || self.standing().header().tip() == *tip
    }
}

impl Synced {
    /// A copy as its taker makes it: leaves, where they stand, and the log above, beside what the
    /// taker's own log has there. None if the trie that is built of it has another root, or if it
    /// is older than what the taker has: it would take sealed entries from a quorum's disks.
    pub(super) fn copied(&self, own: &Self) -> Option<Self> {
        let standing = self.standing.clone();
        let age = |it: &Self| (it.standing.header().epoch, it.standing.header().index);
        if age(self) < age(own) {
            return None;
        }
        let from = (standing.header().index.next(), Digest([0; 32]));
        let given = self.log.range(from..).filter(|(_, it)| it.is_whole());
        let log = own.log.range(from..).chain(given);
        let taken = Store::new(standing.clone(), 0);
        let mut trie = taken.trie();
        let digest = |leaf: &Vec<u8>| Some(leaf_digest(leaf).0);
        let leaves = self.leaves.iter();
        let changes: Vec<_> = leaves.map(|(key, leaf)| (*key, digest(leaf))).collect();
        trie.apply(&changes).expect("memory does not fail");
        let pages = trie.commit_oldest();
        if trie.committed_root() != standing.header().root.0 {
            return None;
        }
        let pages = pages.into_iter().filter_map(|(id, it)| Some((id, it?)));
        Some(Self {
            leaves: self.leaves.clone(),
            pages: pages.collect(),
            log: log.map(|(at, it)| (*at, it.clone())).collect(),
            standing,
        })
    }
}

impl Pages for Store {
    type Error = Infallible;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        let disk = self.0.borrow();
        if let Some(page) = disk.applied.pages.get(id) {
            return Ok(page.clone());
        }
        Ok(disk.synced.pages.get(id).cloned())
    }
}

fn place(logged: &Logged) -> Place {
    (logged.header().index, logged.header().hash())
}

/// Entries that nobody needs once this one is applied: others of its index, and old ones.
fn outlived(log: &BTreeMap<Place, Rc<Logged>>, own: Place, kept: u64) -> Vec<Place> {
    let of = |index: LogIndex| {
        let range = (index, Digest([0; 32]))..=(index, Digest([255; 32]));
        log.range(range).map(|(place, _)| *place)
    };
    let others = of(own.0).filter(|place| *place != own);
    let old = own.0.0.checked_sub(kept).map(LogIndex);
    others.chain(old.into_iter().flat_map(of)).collect()
}
