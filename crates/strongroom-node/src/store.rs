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

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use strongroom_tree::prover::{PageWrite, Pages};
use strongroom_wire::entry::{Entry, EntryHeader, Kind, State, Tip, writes_digest};
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{LogIndex, decode, encode};

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
    pending: Keyspace,
    applied: Arc<RwLock<Applied>>,
}

/// What was applied since the last append: one entry, or those of a replay.
#[derive(Default)]
struct Applied {
    leaves: HashMap<[u8; 32], Vec<u8>>,
    /// `None`: the page is gone.
    pages: HashMap<Vec<u8>, Option<Vec<u8>>>,
    standing: Option<(EntryHeader, State)>,
    tenants: HashMap<String, Tenant>,
    /// Indices of the entries that leave the log.
    entries: Vec<LogIndex>,
}

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
            pending: keyspace("pending")?,
            applied: Arc::default(),
            database,
        })
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
        Ok(self.meta.get(BUNDLE)?.map(|bytes| bytes.to_vec()))
    }

    /// Where the store stands: the newest applied entry's header and state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standing(&self) -> Result<Option<(EntryHeader, State)>, StoreError> {
        if let Some(standing) = &self.applied().standing {
            return Ok(Some(standing.clone()));
        }
        let Some(bytes) = self.meta.get(STANDING)? else {
            return Ok(None);
        };
        decode(&bytes)
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
    pub fn found(
        &self,
        bundle: &[u8],
        header: &EntryHeader,
        state: &State,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, BUNDLE, bundle);
        batch.insert(&self.meta, STANDING, encode(&(header, state)));
        batch.remove(&self.meta, FOUNDING);
        Ok(batch.commit()?)
    }

    fn applied(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry to the log; durable before it returns, with everything applied before.
    /// The entry of a tenant takes the tenant in clear with it: the leaf is sealed, and without
    /// the clear copy no user of the tenant would ever be admitted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&self, entry: &Entry, tenant: Option<&Tenant>) -> Result<(), StoreError> {
        let index = entry.proposal.header.index.0.to_be_bytes();
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        self.put_applied(&mut batch);
        batch.insert(&self.log, index, encode(entry));
        match tenant {
            Some(tenant) => batch.insert(&self.pending, index, encode(tenant)),
            // An entry that became void may have left one there.
            None if entry.proposal.header.kind == Kind::Tenant => {
                batch.remove(&self.pending, index);
            }
            None => {}
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
        if let Some((header, state)) = &applied.standing {
            batch.insert(&self.meta, STANDING, encode(&(header, state)));
        }
        for (issuer, tenant) in &applied.tenants {
            batch.insert(&self.tenants, issuer.as_bytes(), encode(tenant));
        }
        for index in &applied.entries {
            batch.remove(&self.log, index.0.to_be_bytes());
            if !applied.tenants.is_empty() {
                batch.remove(&self.pending, index.0.to_be_bytes());
            }
        }
    }

    /// Applies a released entry: its leaves, the pages it changed, where the store stands, its
    /// tenant in clear if it made or changed one, and its removal from the log. Readable at once,
    /// durable with the next [`Self::append`], all or nothing; until then the log has the entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn apply(&self, entry: &Entry, pages: Vec<PageWrite>) -> Result<(), StoreError> {
        let header = &entry.proposal.header;
        let tenant = match header.kind {
            Kind::Tenant => self.pending.get(header.index.0.to_be_bytes())?,
            Kind::Genesis | Kind::Batch => None,
        };
        let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = tenant {
            let tenant: Tenant =
                decode(&bytes).map_err(|_| StoreError::Corrupt("a pending tenant"))?;
            applied.tenants.insert(tenant.issuer.clone(), tenant);
        }
        for write in &entry.writes {
            applied.leaves.insert(write.key.0, write.leaf.clone());
        }
        applied.pages.extend(pages);
        applied.standing = Some((header.clone(), entry.state.clone()));
        applied.entries.push(header.index);
        Ok(())
    }

    /// The logged entries after `from`, in order and linked, up to the HSM's tip; those above it
    /// are void and removed.
    ///
    /// # Errors
    /// [`StoreError::Behind`] if the tip is not among them; [`StoreError::Corrupt`].
    pub fn replay(&self, from: &EntryHeader, tip: &Tip) -> Result<Vec<Entry>, StoreError> {
        // It drops what the database has applied; what stands in memory only would be lost with it.
        assert!(
            self.applied().entries.is_empty(),
            "a log is replayed before anything is applied"
        );
        let mut entries = Vec::new();
        let mut void = Vec::new();
        let mut newest = from.tip();
        for item in self.log.iter() {
            let (key, value) = item.into_inner()?;
            let entry: Entry =
                decode(&value).map_err(|_| StoreError::Corrupt("an entry of the log"))?;
            let header = &entry.proposal.header;
            if header.index > tip.index || header.index <= from.index {
                void.push(key);
                continue;
            }
            if header.previous != newest.hash || header.writes != writes_digest(&entry.writes) {
                return Err(StoreError::Corrupt("the log's chain"));
            }
            newest = header.tip();
            entries.push(entry);
        }
        if newest != *tip {
            return Err(StoreError::Behind {
                anchor: tip.index,
                store: newest.index,
            });
        }
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for key in void {
            batch.remove(&self.pending, key.clone());
            batch.remove(&self.log, key);
        }
        batch.commit()?;
        Ok(entries)
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

impl Pages for Store {
    type Error = StoreError;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(page) = self.applied().pages.get(id) {
            return Ok(page.clone());
        }
        Ok(self.pages.get(id)?.map(|page| page.to_vec()))
    }
}
