//! A copy of another host's store, for one that was away longer than logs go back, whose store is
//! older than its HSM, or that lost its disk.
//!
//! The giver reads one snapshot of its database, part by part. The taker builds leaves and trie in
//! a directory beside its own, checks the root against the header, and puts the copy in place of
//! its store. A giver that lies gives a root that is not the header's, or a header without a
//! quorum's certificate: both are seen here. What is older than the own store is no copy of the
//! fleet's. The own store goes when the HSM stands on the copy, and comes back if it will not.

use crate::api::Shared;
use crate::engine::{EngineError, Job};
use crate::forward::{Ask, Told};
use crate::problem::Problem;
use crate::roster::Roster;
use crate::store::{Snapshot, Standing, Store, StoreError};
use minicbor::{Decode, Encode};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strongroom_peers::Peers;
use strongroom_replica::{Logged, certified};
use strongroom_tree::prover::Trie;
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::Write;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{MemberId, RecordId, decode, encode};
use tokio::sync::oneshot;

/// Which part of which copy.
#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct Part {
    /// Names the copy; drawn by the taker.
    #[n(0)]
    copy: u64,
    /// The last key of the part before; none for the first part.
    #[n(1)]
    after: Option<RecordId>,
}

/// A part.
#[derive(Encode, Decode)]
struct Given {
    /// With the first part.
    #[n(0)]
    head: Option<Head>,
    /// In order of their keys.
    #[n(1)]
    leaves: Vec<Write>,
    /// Whether it is the last part.
    #[n(2)]
    last: bool,
}

/// What a store holds beside its leaves.
#[derive(Encode, Decode)]
struct Head {
    #[cbor(n(0), with = "minicbor::bytes")]
    bundle: Vec<u8>,
    #[n(1)]
    standing: Standing,
    #[n(2)]
    tenants: Vec<Tenant>,
    /// Logged after that: the taker's HSM may stand there already.
    #[n(3)]
    log: Vec<Logged>,
}

/// Copies under way at once. A taker that went away loses its place to the next.
const COPIES_MAX: usize = 2;
/// Bytes of leaves in a part, about.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// For one part.
const PATIENCE: Duration = Duration::from_secs(30);

/// Snapshots that others copy from.
#[derive(Default)]
pub(crate) struct Copies(Mutex<HashMap<u64, Snapshot>>);

impl Copies {
    fn forget(&self, copy: u64) {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.remove(&copy);
    }
}

/// Gives a part.
pub(crate) async fn give(shared: &Shared, part: &Part) -> Result<Vec<u8>, Problem> {
    let store = shared.live.borrow().as_ref().map(|live| live.store.clone());
    let store = store.ok_or_else(Problem::lost)?;
    if part.after.is_none() {
        // What is in memory only may be all that has a certificate.
        let (done, synced) = oneshot::channel();
        let queued = shared.jobs.try_send(Job::Sync(done));
        queued.map_err(|_| Problem::busy())?;
        synced.await.map_err(|_| Problem::lost())?;
    }
    let snapshot = {
        let mut copies = shared
            .copies
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if part.after.is_none() {
            while copies.len() >= COPIES_MAX {
                let Some(old) = copies.keys().next().copied() else {
                    break;
                };
                copies.remove(&old);
            }
            copies.insert(part.copy, store.snapshot());
        }
        // Gone: the taker begins again.
        copies.get(&part.copy).cloned().ok_or_else(Problem::busy)?
    };
    let (copy, part) = (part.copy, part.clone());
    let given = tokio::task::spawn_blocking(move || read(&store, &snapshot, &part));
    let given = given.await.map_err(|_| Problem::fault())?;
    let given = given.map_err(|error| {
        tracing::error!(%error, "the store cannot be copied");
        Problem::fault()
    })?;
    if given.last {
        // What is overwritten and deleted stays on the disk for as long as a snapshot has it.
        shared.copies.forget(copy);
    }
    Ok(encode(&given))
}

fn read(store: &Store, snapshot: &Snapshot, part: &Part) -> Result<Given, StoreError> {
    let head = match part.after {
        Some(_) => None,
        None => Some(Head {
            bundle: store
                .bundle()?
                .ok_or(StoreError::Corrupt("the fleet bundle"))?,
            standing: store.standing_in(snapshot)?,
            tenants: store.tenants()?,
            log: store.log_in(snapshot)?,
        }),
    };
    let after = part.after.map(|key| key.0);
    let (leaves, last) = store.leaves_in(snapshot, after.as_ref(), PART_BYTES)?;
    Ok(Given { head, leaves, last })
}

/// Who takes a copy.
pub(crate) struct Taker<'a> {
    /// The own store; none may be there.
    pub(crate) own: &'a Path,
    /// The bundle that is known to be the fleet's; the giver's may be a later one.
    pub(crate) bundle: &'a [u8],
    /// The line to the others.
    pub(crate) peers: &'a Peers,
}

/// What the own store has that a copy must not lose.
#[derive(Default)]
struct Kept {
    standing: Option<Standing>,
    /// Above where it stands: the HSM may have sealed it, and a certificate may rest on it.
    log: Vec<Logged>,
}

impl Taker<'_> {
    /// Copies the store of another host in place of the own one, which nothing has open. The own
    /// one stays beside it until the HSM stood on the copy ([`confirm`], [`undo`]).
    ///
    /// # Errors
    /// [`EngineError`]; the own store stands as it was.
    pub(crate) async fn take(&self, from: MemberId) -> Result<(), EngineError> {
        let kept = self.kept()?;
        let beside = beside(self.own, "copy");
        let _ = std::fs::remove_dir_all(&beside);
        let taken = self.fill(from, &beside, kept).await;
        if taken.is_err() {
            let _ = std::fs::remove_dir_all(&beside);
            return taken;
        }
        put_in_place(self.own).map_err(EngineError::InPlace)?;
        tracing::info!(%from, "the store was copied");
        Ok(())
    }

    fn kept(&self) -> Result<Kept, EngineError> {
        if !self.own.exists() {
            return Ok(Kept::default());
        }
        // A request that is still reading there would go on in the copy's place; then this fails.
        let store = Store::open(self.own)?;
        let standing = store.standing()?;
        let log = match standing {
            Some(_) => store.log_in(&store.snapshot())?,
            None => Vec::new(),
        };
        Ok(Kept { standing, log })
    }

    /// The bundle that goes with a copy: the giver's, if it is the known one or follows it.
    fn bundle_of(&self, given: &[u8]) -> Option<Roster> {
        let known = Roster::of(self.bundle).ok()?;
        let given = Roster::of_fleet(given, known.fleet())?;
        let at = usize::try_from(known.manifest.epoch).ok()?;
        let follows = given.chain.get(at) == Some(&known.manifest);
        let newer = given.manifest.epoch > known.manifest.epoch;
        follows.then_some(if newer { given } else { known })
    }

    /// A quorum sealed where the copy stands, and that is no older than where the own store does.
    fn may_stand(roster: &Roster, copied: &Standing, own: Option<&Standing>) -> bool {
        let tip = copied.header.tip();
        let sealed = certified(&copied.state, &roster.chain, &copied.certificate);
        let whole = copied.header.state == copied.state.digest();
        let place = |standing: &Standing| (standing.header.epoch, standing.header.index);
        sealed == Some(tip) && whole && own.is_none_or(|own| place(copied) >= place(own))
    }

    async fn fill(&self, from: MemberId, dir: &Path, kept: Kept) -> Result<(), EngineError> {
        let broken = || EngineError::Copy(from);
        let store = Store::open(dir)?;
        let mut trie = Trie::open(store.clone(), 4096)?;
        let copy = u64::from(std::process::id()) << 32 ^ now();
        let (mut after, mut head) = (None, None);
        loop {
            let ask = encode(&Ask::Copy(Part { copy, after }));
            let told = self.peers.ask(from, ask, PATIENCE).await;
            let told = told.map_err(|_| broken())?;
            let Ok(Told::Answer(given)) = decode::<Told>(&told) else {
                return Err(broken());
            };
            let given: Given = decode(&given).map_err(|_| broken())?;
            head = head.or(given.head);
            after = given.leaves.last().map(|write| write.key).or(after);
            let changes: Vec<_> = given
                .leaves
                .iter()
                .map(|write| (write.key.0, Some(leaf_digest(&write.leaf).0)))
                .collect();
            trie.apply(&changes)?;
            let pages = trie.commit_oldest();
            store.put_copied(&given.leaves, pages)?;
            if given.last {
                break;
            }
            if given.leaves.is_empty() {
                return Err(broken());
            }
        }
        let head = head.ok_or_else(broken)?;
        let root = trie.committed_root() == head.standing.header.root.0;
        let roster = self.bundle_of(&head.bundle).ok_or_else(broken)?;
        if !root || !Self::may_stand(&roster, &head.standing, kept.standing.as_ref()) {
            return Err(broken());
        }
        store.put_tenants(&head.tenants)?;
        let above = |logged: &&Logged| logged.header().index > head.standing.header.index;
        let theirs = head.log.iter().filter(|logged| logged.is_whole());
        let log: Vec<&Logged> = theirs.chain(&kept.log).filter(above).collect();
        store.append(&log)?;
        // Last: a store without it has no fleet.
        Ok(store.found(&roster.bundle, &head.standing)?)
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn beside(store: &Path, what: &str) -> PathBuf {
    store.with_extension(what)
}

/// Two renames; a cut between them is mended by [`mend`].
fn put_in_place(store: &Path) -> std::io::Result<()> {
    let old = beside(store, "old");
    let _ = std::fs::remove_dir_all(&old);
    if store.exists() {
        std::fs::rename(store, &old)?;
    }
    std::fs::rename(beside(store, "copy"), store)?;
    match store.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The HSM stands on the copy: what was there before goes.
pub(crate) fn confirm(store: &Path) {
    let _ = std::fs::remove_dir_all(beside(store, "old"));
}

/// The HSM would not stand on the copy: what was there before comes back, if there was anything.
pub(crate) fn undo(store: &Path) -> std::io::Result<()> {
    let old = beside(store, "old");
    if old.exists() {
        let _ = std::fs::remove_dir_all(store);
        std::fs::rename(&old, store)?;
    }
    Ok(())
}

/// Ends what a cut left: the old store is back, unless the copy is in place.
pub(crate) fn mend(store: &Path) -> std::io::Result<()> {
    if store.exists() {
        return Ok(());
    }
    undo(store)
}

#[cfg(test)]
mod tests {
    use super::{beside, confirm, mend, put_in_place, undo};
    use std::path::Path;

    fn put(dir: &Path, word: &str) {
        std::fs::create_dir_all(dir).expect("a directory");
        std::fs::write(dir.join("file"), word).expect("a file");
    }

    fn word(dir: &Path) -> Option<String> {
        std::fs::read_to_string(dir.join("file")).ok()
    }

    #[test]
    fn wherever_a_copy_is_cut_short_one_whole_store_is_in_place() {
        let place = tempfile::tempdir().expect("a directory");
        let store = place.path().join("store");
        let (copy, old) = (beside(&store, "copy"), beside(&store, "old"));
        put(&store, "own");
        put(&copy, "a part");
        // Before the first rename.
        mend(&store).expect("nothing to do");
        assert_eq!(word(&store).as_deref(), Some("own"));
        // Between the two.
        std::fs::rename(&store, &old).expect("renamed");
        mend(&store).expect("it is put back");
        assert_eq!(word(&store).as_deref(), Some("own"));
        assert!(!old.exists());
        // After both: the old one stays until the HSM stands on the copy.
        put(&copy, "copied");
        put(&old, "left of another time");
        put_in_place(&store).expect("it is put in place");
        mend(&store).expect("nothing to do");
        assert_eq!(word(&store).as_deref(), Some("copied"));
        assert_eq!(word(&old).as_deref(), Some("own"));
        // It would not.
        undo(&store).expect("it is put back");
        assert_eq!(word(&store).as_deref(), Some("own"));
        // It does.
        put(&copy, "copied again");
        put_in_place(&store).expect("it is put in place");
        confirm(&store);
        assert_eq!(word(&store).as_deref(), Some("copied again"));
        assert!(!copy.exists() && !old.exists());
    }

    #[test]
    fn a_new_directory_has_nothing_to_mend() {
        let place = tempfile::tempdir().expect("a directory");
        let store = place.path().join("store");
        mend(&store).expect("nothing to do");
        assert!(!store.exists());
    }
}
