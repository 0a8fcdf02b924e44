//! What the host keeps: sealed leaves, trie pages, the log, and where it stands
//! (`docs/storage.md`).
//!
//! One database with one journal. A commit cycle is one batch and one sync: what the entry before
//! changed, and the next entry of the log. Until then that change stands in memory (`applied`), and
//! the log replays it after a crash.
//!
//! Invariant: nothing enters the database that the journal has not synced. The database flushes
//! its parts one by one, whenever it likes; were there unsynced writes among them, a power cut
//! could leave one part ahead of the others.
//!
//! The log holds entries of several branches beside each other, by index and hash: the HSM may
//! stand on one until what replaces it is applied. Applied entries stay for a while, for members
//! that were away.

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable as _,
};
use minicbor::{Decode, Encode};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use strongroom_replica::{Certificate, Logged, MESSAGE_BYTES};
use strongroom_tree::prover::{PageWrite, Pages};
use strongroom_wire::entry::{EntryHeader, Proposal, State, Tip, Write};
use strongroom_wire::manifest::Bundle;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{Digest, LogIndex, RecordId, decode, encode};

/// Why the store cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed: the disk is full, or broken.
    #[error("the store failed (is the disk full?): {0}")]
    Engine(#[source] fjall::Error),
    /// Another process has it open.
    #[error(
        "the store {0} is in use: another node runs on the same data directory; stop that one, \
             or set another `data`"
    )]
    InUse(PathBuf),
    /// It cannot be opened.
    #[error("the store {0} cannot be opened: {1}; may this user write there, and is there room?")]
    Open(PathBuf, #[source] fjall::Error),
    /// Something stored is not what was written.
    #[error("the store is damaged: {0}; restore it from a copy")]
    Corrupt(&'static str),
    /// The HSM stands at an entry that the store has not.
    #[error(
        "the HSM stands at entry {anchor}, the store at {store}: one of the two was restored from \
         a copy, or they do not belong together; bring the store back that goes with the HSM"
    )]
    Behind {
        /// The HSM's entry.
        anchor: LogIndex,
        /// The store's newest.
        store: LogIndex,
    },
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Engine(error)
    }
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    leaves: Keyspace,
    pages: Keyspace,
    log: Keyspace,
    meta: Keyspace,
    tenants: Keyspace,
    applied: Arc<RwLock<Applied>>,
    /// Applied entries kept in the log.
    kept: u64,
}

/// What was applied since the last append: one entry, or those of a replay.
#[derive(Default)]
struct Applied {
    leaves: HashMap<[u8; 32], Vec<u8>>,
    /// `None`: the page is gone.
    pages: HashMap<Vec<u8>, Option<Vec<u8>>>,
    standing: Option<Standing>,
    tenants: HashMap<String, Tenant>,
    /// With a manifest that came into force.
    bundle: Option<Vec<u8>>,
    /// Keys of the entries that leave the log: of dead branches, or old enough.
    gone: Vec<Vec<u8>>,
}

/// Where a store stands: the newest applied entry, and who sealed it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Standing {
    /// Its header.
    #[n(0)]
    pub header: EntryHeader,
    /// Its state.
    #[n(1)]
    pub state: State,
    /// Its certificate; empty for the genesis, which needs none, and between entries of one run.
    #[n(2)]
    pub certificate: Certificate,
    /// The header's mark; absent in a store of an earlier version.
    #[n(3)]
    pub mark: Option<Digest>,
}

impl Standing {
    /// The header with its mark.
    pub fn proposal(&self) -> Proposal {
        Proposal {
            header: self.header.clone(),
            mark: self.mark.unwrap_or(Digest([0; 32])),
        }
    }
}

/// Applied entries that a fleet's log keeps, for members that were away for a while. Whoever was
/// away for longer takes a copy of the store.
pub const LOG_KEPT: u64 = 4096;

/// Journal kept before its parts are flushed to tables, bytes: what a restart reads at most, and
/// what the disk holds beside the tables.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

const STANDING: &[u8] = b"standing";
const BUNDLE: &[u8] = b"bundle";
const FOUNDING: &[u8] = b"founding";

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// [`StoreError`]; also if another process has it open.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(dir)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => StoreError::InUse(dir.to_owned()),
                other => StoreError::Open(dir.to_owned(), other),
            })?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self {
            leaves: keyspace("leaves")?,
            pages: keyspace("pages")?,
            log: keyspace("log")?,
            meta: keyspace("meta")?,
            tenants: keyspace("tenants")?,
            applied: Arc::default(),
            kept: 0,
            database,
        })
    }

    /// Keeps so many applied entries in the log.
    #[must_use]
    pub fn keeping(mut self, kept: u64) -> Self {
        self.kept = kept;
        self
    }

    /// The sealed leaf under a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaf(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(leaf) = self.applied().leaves.get(key) {
            return Ok(Some(leaf.clone()));
        }
        Ok(self.leaves.get(key)?.map(|leaf| leaf.to_vec()))
    }

    /// The fleet's bundle, once there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bundle(&self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(bundle) = &self.applied().bundle {
            return Ok(Some(bundle.clone()));
        }
        Ok(self.meta.get(BUNDLE)?.map(|bytes| bytes.to_vec()))
    }

    /// Where the store stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standing(&self) -> Result<Option<Standing>, StoreError> {
        if let Some(standing) = &self.applied().standing {
            return Ok(Some(standing.clone()));
        }
        let Some(bytes) = self.meta.get(STANDING)? else {
            return Ok(None);
        };
        let standing = decode(&bytes);
        standing
            .map(Some)
            .map_err(|_| StoreError::Corrupt("the standing header"))
    }

    /// The bundle of a founding that was begun, and may have been cut short.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn founding(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.meta.get(FOUNDING)?.map(|bytes| bytes.to_vec()))
    }

    /// Puts a new fleet's bundle down before the HSM is bound to it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_founding(&self, bundle: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, FOUNDING, bundle);
        Ok(batch.commit()?)
    }

    /// Keeps a new fleet's bundle and genesis.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn found(&self, bundle: &[u8], standing: &Standing) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, BUNDLE, bundle);
        batch.insert(&self.meta, STANDING, encode(standing));
        batch.remove(&self.meta, FOUNDING);
        Ok(batch.commit()?)
    }

    fn applied(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends entries to the log, beside those of other branches; durable before it returns, with
    /// everything applied before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&self, entries: &[&Logged]) -> Result<(), StoreError> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        self.put_applied(&mut batch);
        for logged in entries {
            let header = logged.header();
            batch.insert(
                &self.log,
                log_key(header.index, &header.hash()),
                encode(*logged),
            );
        }
        batch.commit()?;
        // It can be read in the database by now. Whoever looks finds it in one of the two.
        let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
        *applied = Applied::default();
        Ok(())
    }

    fn put_applied(&self, batch: &mut OwnedWriteBatch) {
        let applied = self.applied();
        for (key, leaf) in &applied.leaves {
            batch.insert(&self.leaves, *key, leaf.as_slice());
        }
        for (id, page) in &applied.pages {
            match page {
                Some(page) => batch.insert(&self.pages, id.as_slice(), page.as_slice()),
                None => batch.remove(&self.pages, id.as_slice()),
            }
        }
        if let Some(standing) = &applied.standing {
            batch.insert(&self.meta, STANDING, encode(standing));
        }
        if let Some(bundle) = &applied.bundle {
            batch.insert(&self.meta, BUNDLE, bundle.as_slice());
        }
        for (issuer, tenant) in &applied.tenants {
            batch.insert(&self.tenants, issuer.as_bytes(), encode(tenant));
        }
        for key in &applied.gone {
            batch.remove(&self.log, key.as_slice());
        }
    }

    /// Applies a certified entry: its leaves, the pages it changed, where the store stands, its
    /// tenant in clear if it made or changed one. Readable at once, durable with the next
    /// [`Self::append`], all or nothing; until then the log has the entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn apply(
        &self,
        logged: &Logged,
        certificate: Option<&Certificate>,
        pages: Vec<PageWrite>,
    ) -> Result<(), StoreError> {
        let header = logged.header();
        let gone = self.outlived(header)?;
        let bundle = self.bundle_after(logged)?;
        let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = &logged.tenant {
            applied
                .tenants
                .insert(tenant.issuer.clone(), tenant.clone());
        }
        for write in &logged.entry.writes {
            applied.leaves.insert(write.key.0, write.leaf.clone());
        }
        applied.pages.extend(pages);
        applied.standing = Some(Standing {
            header: header.clone(),
            state: logged.entry.state.clone(),
            certificate: certificate.cloned().unwrap_or_default(),
            mark: Some(logged.entry.proposal.mark),
        });
        applied.bundle = bundle.or(applied.bundle.take());
        applied.gone.extend(gone);
        Ok(())
    }

    /// The bundle with the manifest that an entry puts in force, if it does.
    fn bundle_after(&self, logged: &Logged) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(change) = &logged.manifest else {
            return Ok(None);
        };
        let bundle = self
            .bundle()?
            .and_then(|bytes| decode::<Bundle>(&bytes).ok());
        let bundle = bundle.ok_or(StoreError::Corrupt("the fleet bundle"))?;
        Ok(Some(encode(&bundle.after(change))))
    }

    /// Keys of the entries that nobody needs once this one is applied: others of its index, and
    /// those that have been kept long enough.
    fn outlived(&self, header: &EntryHeader) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut gone = Vec::new();
        let own = log_key(header.index, &header.hash());
        for item in self.log.prefix(header.index.0.to_be_bytes()) {
            let key = item.key()?;
            if self.kept == 0 || key[..] != own {
                gone.push(key.to_vec());
            }
        }
        if let Some(old) = header
            .index
            .0
            .checked_sub(self.kept)
            .filter(|_| self.kept > 0)
        {
            for item in self.log.prefix(old.to_be_bytes()) {
                gone.push(item.key()?.to_vec());
            }
        }
        Ok(gone)
    }

    /// The logged entry of that place and hash, of any branch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn logged(&self, index: LogIndex, hash: &Digest) -> Result<Option<Logged>, StoreError> {
        let Some(bytes) = self.log.get(log_key(index, hash))? else {
            return Ok(None);
        };
        let logged: Logged =
            decode(&bytes).map_err(|_| StoreError::Corrupt("an entry of the log"))?;
        // The name is the header's; writes and state are vouched for by it.
        if logged.header().hash() != *hash || !logged.is_whole() {
            return Err(StoreError::Corrupt("an entry of the log"));
        }
        Ok(Some(logged))
    }

    /// The logged entries after one place up to another, in order; none if they are not all there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chain(&self, after: &Tip, upto: &Tip) -> Result<Option<Vec<Logged>>, StoreError> {
        let (mut index, mut hash) = (upto.index, upto.hash);
        let mut chain = Vec::new();
        while index > after.index {
            let Some(logged) = self.logged(index, &hash)? else {
                return Ok(None);
            };
            hash = logged.header().previous;
            index = LogIndex(index.0 - 1);
            chain.push(logged);
        }
        chain.reverse();
        Ok((index == after.index && hash == after.hash).then_some(chain))
    }

    /// Applied entries after one of them, about [`MESSAGE_BYTES`] of them; none if the log does not
    /// go back so far, or the place is on no branch that was applied.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn applied_after(&self, after: &Tip) -> Result<Option<Vec<Logged>>, StoreError> {
        let Some(standing) = self.standing()? else {
            return Ok(None);
        };
        let newest = standing.header.tip();
        let gone: Vec<Vec<u8>> = self.applied().gone.clone();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut hash = after.hash;
        // Another host names the place, and may name any.
        let Some(from) = after.index.0.checked_add(1) else {
            return Ok(None);
        };
        for item in self.log.range(from.to_be_bytes()..) {
            let (key, value) = item.into_inner()?;
            if gone.iter().any(|gone| gone[..] == key[..]) {
                continue;
            }
            let logged: Logged =
                decode(&value).map_err(|_| StoreError::Corrupt("an entry of the log"))?;
            let header = logged.header();
            if header.index > newest.index || bytes > MESSAGE_BYTES {
                break;
            }
            if header.previous != hash {
                return Ok(None);
            }
            hash = header.hash();
            bytes += value.len();
            entries.push(logged);
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    /// The database as it is now, for a copy: what is synced, all of one moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Arc::new(self.database.snapshot()))
    }

    /// Where the store stood at a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standing_in(&self, snapshot: &Snapshot) -> Result<Standing, StoreError> {
        let bytes = snapshot.0.get(&self.meta, STANDING)?;
        let standing = bytes.and_then(|bytes| decode(&bytes).ok());
        standing.ok_or(StoreError::Corrupt("the standing header"))
    }

    /// What a snapshot's log holds above where it stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_in(&self, snapshot: &Snapshot) -> Result<Vec<Logged>, StoreError> {
        let from = self
            .standing_in(snapshot)?
            .header
            .index
            .next()
            .0
            .to_be_bytes();
        let logged = snapshot.0.range::<&[u8], _>(&self.log, from.as_slice()..);
        let logged = logged.map(|item| {
            let (_, value) = item.into_inner()?;
            decode(&value).map_err(|_| StoreError::Corrupt("an entry of the log"))
        });
        logged.collect()
    }

    /// Leaves of a snapshot in order of their keys, after one of them, about so many bytes; and
    /// whether there are no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaves_in(
        &self,
        snapshot: &Snapshot,
        after: Option<&[u8; 32]>,
        bytes_max: usize,
    ) -> Result<(Vec<Write>, bool), StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |after| Excluded(after.as_slice()));
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        for item in snapshot
            .0
            .range::<&[u8], _>(&self.leaves, (from, Unbounded))
        {
            if bytes > bytes_max {
                return Ok((leaves, false));
            }
            let (key, leaf) = item.into_inner()?;
            let key = key[..].try_into();
            let key = RecordId(key.map_err(|_| StoreError::Corrupt("a leaf's key"))?);
            bytes += leaf.len();
            let leaf = leaf.to_vec();
            leaves.push(Write { key, leaf });
        }
        Ok((leaves, true))
    }

    /// Puts a part of a copy down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_copied(&self, leaves: &[Write], pages: Vec<PageWrite>) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for write in leaves {
            batch.insert(&self.leaves, write.key.0, write.leaf.as_slice());
        }
        for (id, page) in pages {
            match page {
                Some(page) => batch.insert(&self.pages, id, page),
                None => batch.remove(&self.pages, id),
            }
        }
        Ok(batch.commit()?)
    }

    /// Puts tenants of a copy down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_tenants(&self, tenants: &[Tenant]) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for tenant in tenants {
            batch.insert(&self.tenants, tenant.issuer.as_bytes(), encode(tenant));
        }
        Ok(batch.commit()?)
    }

    /// A tenant in clear, for admission.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tenant(&self, issuer: &str) -> Result<Option<Tenant>, StoreError> {
        if let Some(tenant) = self.applied().tenants.get(issuer) {
            return Ok(Some(tenant.clone()));
        }
        let Some(bytes) = self.tenants.get(issuer.as_bytes())? else {
            return Ok(None);
        };
        let tenant = decode(&bytes).map_err(|_| StoreError::Corrupt("a tenant"))?;
        Ok(Some(tenant))
    }

    /// Every tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let stored = self.tenants.iter().map(|item| {
            let (_, value) = item.into_inner()?;
            decode(&value).map_err(|_| StoreError::Corrupt("a tenant"))
        });
        let stored: Vec<Tenant> = stored.collect::<Result<_, StoreError>>()?;
        let applied = self.applied();
        let mut tenants: HashMap<String, Tenant> = stored
            .into_iter()
            .map(|tenant| (tenant.issuer.clone(), tenant))
            .collect();
        tenants.extend(applied.tenants.clone());
        Ok(tenants.into_values().collect())
    }

    /// Bytes on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.database.disk_space()?)
    }

    /// Bytes of the journal on disk: bounded, however many records there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn journal_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.database.journal_disk_space()?)
    }
}

/// A moment of a store.
#[derive(Clone)]
pub struct Snapshot(Arc<fjall::Snapshot>);

/// Entries in order of their index; of one index, by hash.
fn log_key(index: LogIndex, hash: &Digest) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&index.0.to_be_bytes());
    key[8..].copy_from_slice(&hash.0);
    key
}

impl Pages for Store {
    type Error = StoreError;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(page) = self.applied().pages.get(id) {
            return Ok(page.clone());
        }
        Ok(self.pages.get(id)?.map(|page| page.to_vec()))
    }
}
