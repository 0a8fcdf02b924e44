//! What the host keeps: sealed leaves, trie pages, the log, and where it stands
//! (`docs/storage.md`).
//!
//! One database with one journal. A commit cycle is one sync: the writes of entries already
//! released go into the journal before the next entry, unsynced, and become durable with it. The
//! log replays what a crash takes: an entry leaves the log in the same batch that applies it.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use strongroom_tree::prover::{PageWrite, Pages};
use strongroom_wire::entry::{Entry, EntryHeader, State, Tip, writes_digest};
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{LogIndex, decode, encode};

/// Why the store cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed: the disk is full, or broken.
    #[error("the store failed (is the disk full?): {0}")]
    Engine(#[source] fjall::Error),
    /// Another process has it open.
    #[error("the store is in use: another node runs on the same data directory")]
    InUse,
    /// Something stored is not what was written.
    #[error("the store is damaged: {0}; restore it from a copy")]
    Corrupt(&'static str),
    /// The HSM stands at an entry that the store has not.
    #[error(
        "the HSM stands at entry {anchor}, the store at {store}: the store was restored from an \
         older copy, or belongs to another HSM"
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
        match error {
            fjall::Error::Locked => Self::InUse,
            other => Self::Engine(other),
        }
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
}

const STANDING: &[u8] = b"standing";
const BUNDLE: &[u8] = b"bundle";

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// [`StoreError`]; also if another process has it open.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(dir).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self {
            leaves: keyspace("leaves")?,
            pages: keyspace("pages")?,
            log: keyspace("log")?,
            meta: keyspace("meta")?,
            tenants: keyspace("tenants")?,
            database,
        })
    }

    /// The sealed leaf under a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaf(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
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
        let Some(bytes) = self.meta.get(STANDING)? else {
            return Ok(None);
        };
        decode(&bytes)
            .map(Some)
            .map_err(|_| StoreError::Corrupt("the standing header"))
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
        let mut batch = self.database.batch();
        batch.insert(&self.meta, BUNDLE, bundle);
        batch.insert(&self.meta, STANDING, encode(&(header, state)));
        batch.commit()?;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// Appends an entry to the log; durable before it returns, with everything applied before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        let index = entry.proposal.header.index.0.to_be_bytes();
        self.log.insert(index, encode(entry))?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    /// Applies a released entry: its leaves, the pages it changed, where the store stands, and its
    /// removal from the log, all or nothing. Durable with the next [`Self::append`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn apply(&self, entry: &Entry, pages: Vec<PageWrite>) -> Result<(), StoreError> {
        let header = &entry.proposal.header;
        let mut batch = self.database.batch();
        for write in &entry.writes {
            batch.insert(&self.leaves, write.key.0, write.leaf.as_slice());
        }
        for (id, page) in pages {
            match page {
                Some(page) => batch.insert(&self.pages, id, page),
                None => batch.remove(&self.pages, id),
            }
        }
        batch.insert(&self.meta, STANDING, encode(&(header, &entry.state)));
        batch.remove(&self.log, header.index.0.to_be_bytes());
        Ok(batch.commit()?)
    }

    /// The logged entries after `from`, in order and linked, up to the HSM's tip; those above it
    /// are void and removed.
    ///
    /// # Errors
    /// [`StoreError::Behind`] if the tip is not among them; [`StoreError::Corrupt`].
    pub fn replay(&self, from: &EntryHeader, tip: &Tip) -> Result<Vec<Entry>, StoreError> {
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
        for key in void {
            self.log.remove(key)?;
        }
        Ok(entries)
    }

    /// Keeps a tenant in clear, for admission.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.tenants
            .insert(tenant.issuer.as_bytes(), encode(tenant))?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    /// Every tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let each = self.tenants.iter().map(|item| {
            let (_, value) = item.into_inner()?;
            decode(&value).map_err(|_| StoreError::Corrupt("a tenant"))
        });
        each.collect()
    }

    /// Bytes on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.database.disk_space()?)
    }
}

impl Pages for Store {
    type Error = StoreError;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pages.get(id)?.map(|page| page.to_vec()))
    }
}
