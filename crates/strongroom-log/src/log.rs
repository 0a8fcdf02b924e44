//! The log in its directory: append-only, and true to what it signed through every crash.
//!
//! | file | holds |
//! | --- | --- |
//! | `checkpoint` | the newest signed checkpoint, with cosignatures |
//! | `tile/` | tiles and entry bundles (tlog-tiles), never changed |
//! | `pending` | entries that are decided and not yet signed |
//! | `lock` | held by the process that runs the log |
//! | STATE, elsewhere | text of the newest checkpoint that was ever signed, or was about to be |
//!
//! Invariant: **no two signed checkpoints disagree**, whatever is killed, cut or restored. Each
//! step is durable before the next begins:
//!
//! 1. `pending`: from here on these entries come next, and no others;
//! 2. entry bundles and tiles;
//! 3. STATE, with the new size and root: from here on no other tree of that size may be signed;
//! 4. the checkpoint is signed and written;
//! 5. `pending` is removed.
//!
//! [`Log::open`] reads everything back and compares: bundles must give the tiles, tiles the roots
//! of STATE and `checkpoint`. What was pending is carried through. A directory that was restored
//! from an older copy lacks what STATE says, and is refused. If directory *and* STATE are restored
//! from copies of one age, nobody on this machine can tell: the witnesses do, and the publisher
//! stops when one of them knows a greater tree ([`crate::witness`]). So STATE belongs on a disk of
//! its own.
//!
//! An error in the middle leaves the log halted: it is opened anew, as after a crash.

mod error;
mod pending;
mod recover;
mod tree;

pub use error::LogError;
pub use pending::APPEND_MAX;

use crate::checkpoint::Checkpoint;
use crate::files::{Files, beside, folder, put};
use crate::merkle::prove::{self, TileReader};
use crate::merkle::{Hash, empty_root};
use crate::note::{self, Note, SignatureLine, Signer};
use crate::tiles::{Level, TILE_WIDTH, Tile, entries};
use pending::Pending;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tree::{Made, Tree};

/// An open log.
#[derive(Debug)]
pub struct Log<F> {
    files: F,
    dir: PathBuf,
    state: PathBuf,
    signer: Signer,
    tree: Tree,
    /// The signed checkpoint of [`Self::tree`].
    signed: String,
    /// Folders that are durable.
    folders: BTreeSet<PathBuf>,
    halted: bool,
}

impl<F: Files> Log<F> {
    /// Makes an empty log and signs its first checkpoint. Goes on where it was interrupted.
    ///
    /// # Errors
    /// [`LogError::Exists`] if this directory or state has a log; else as [`Self::open`].
    pub fn create(files: F, dir: &Path, state: &Path, signer: Signer) -> Result<Self, LogError> {
        let empty = Checkpoint::new(signer.verifier().name(), 0, empty_root());
        let empty = empty.map_err(|_| LogError::Origin)?;
        for folder in [dir, folder(state)] {
            files.create_dir(folder).map_err(LogError::at(folder))?;
            let above = self::folder(folder);
            files.sync_dir(above).map_err(LogError::at(above))?;
        }
        let there = files.read(state).map_err(LogError::at(state))?;
        let unlike = there.is_some_and(|text| text != empty.to_string().as_bytes());
        let checkpoint = dir.join("checkpoint");
        let signed = files.read(&checkpoint).map_err(LogError::at(&checkpoint))?;
        if unlike || signed.is_some() {
            return Err(LogError::Exists);
        }
        put(&files, state, empty.to_string().as_bytes()).map_err(LogError::at(state))?;
        Self::open(files, dir, state, signer)
    }

    /// Opens a log, verifies all of it, and carries through what was pending.
    ///
    /// # Errors
    /// [`LogError`]; each says what to do. Nothing is signed then.
    pub fn open(files: F, dir: &Path, state: &Path, signer: Signer) -> Result<Self, LogError> {
        // What a killed process renamed may not be durable yet, and is about to be relied on.
        for folder in [dir, folder(state)] {
            files.sync_dir(folder).map_err(LogError::at(folder))?;
        }
        let mut log = Self {
            files,
            dir: dir.to_owned(),
            state: state.to_owned(),
            signer,
            tree: Tree::default(),
            signed: String::new(),
            folders: BTreeSet::new(),
            halted: true,
        };
        let committed = log.committed()?;
        let signed = log.signed_checkpoint()?;
        let newest = match &signed {
            Some((signed, _)) if signed.size() > committed.size() => signed,
            _ => &committed,
        };
        let known = signed.iter().map(|(signed, _)| signed).chain([&committed]);
        log.tree = log.read_back(newest.size(), &known.collect::<Vec<_>>())?;
        match &signed {
            Some((signed, note)) if signed.size() == newest.size() => {
                log.signed.clone_from(note);
                log.commit(newest)?;
            }
            _ => log.sign(newest)?,
        }
        log.carry_through()?;
        log.halted = false;
        Ok(log)
    }

    /// Appends entries and gives the index of the first. When this returns, they are durable and a
    /// signed checkpoint covers them.
    ///
    /// # Errors
    /// [`LogError::Entry`], [`LogError::Count`]: nothing has happened. Anything else halts the log:
    /// open it again.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<u64, LogError> {
        if self.halted {
            return Err(LogError::Halted);
        }
        if entries.is_empty() || entries.len() > APPEND_MAX {
            return Err(LogError::Count);
        }
        let pending = Pending {
            first: self.tree.size(),
            entries: entries.to_vec(),
        };
        let bytes = pending.encode().map_err(LogError::Entry)?;
        self.halted = true;
        let path = self.dir.join("pending");
        put(&self.files, &path, &bytes).map_err(LogError::at(&path))?;
        self.finish(&pending)?;
        self.halted = false;
        Ok(pending.first)
    }

    /// Steps 2 to 5.
    fn finish(&mut self, pending: &Pending) -> Result<(), LogError> {
        let mut tree = self.tree.clone();
        let mut made = Made::new();
        for entry in &pending.entries {
            tree.push(entry, &mut made).map_err(LogError::Entry)?;
        }
        made.extend(tree.partial(self.tree.size()));
        for (tile, bytes) in made {
            self.put_tile(tile, &bytes)?;
        }
        let origin = self.signer.verifier().name();
        let checkpoint = Checkpoint::new(origin, tree.size(), tree.root());
        self.sign(&checkpoint.map_err(|_| LogError::Origin)?)?;
        self.tree = tree;
        self.forget_pending()
    }

    /// Written again even if it is there: a killed process may not have made it durable.
    fn put_tile(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), LogError> {
        if self.tile(tile)?.is_some_and(|there| there != bytes) {
            return Err(LogError::damaged(&self.path(tile)));
        }
        let path = self.path(tile);
        let mut above: Vec<&Path> = folder(&path).ancestors().collect();
        above.retain(|folder| folder.starts_with(&self.dir) && **folder != self.dir);
        for new in above.into_iter().rev() {
            if !self.folders.contains(new) {
                self.files.create_dir(new).map_err(LogError::at(new))?;
                let parent = folder(new);
                self.files.sync_dir(parent).map_err(LogError::at(parent))?;
                self.folders.insert(new.to_owned());
            }
        }
        put(&self.files, &path, bytes).map_err(LogError::at(&path))
    }

    /// The promise to sign no other tree of that size, before [`Self::sign`] keeps it.
    fn commit(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        let text = checkpoint.to_string();
        put(&self.files, &self.state, text.as_bytes()).map_err(LogError::at(&self.state))
    }

    /// Commits to a checkpoint, signs and publishes it.
    fn sign(&mut self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        self.commit(checkpoint)?;
        let text = checkpoint.to_string();
        let signed = note::format(&text, &[self.signer.sign(&text)]);
        self.publish(signed.map_err(LogError::Note)?)
    }

    fn publish(&mut self, signed: String) -> Result<(), LogError> {
        let path = self.dir.join("checkpoint");
        put(&self.files, &path, signed.as_bytes()).map_err(LogError::at(&path))?;
        self.signed = signed;
        Ok(())
    }

    fn forget_pending(&self) -> Result<(), LogError> {
        let path = self.dir.join("pending");
        self.files.remove(&path).map_err(LogError::at(&path))?;
        self.files
            .sync_dir(&self.dir)
            .map_err(LogError::at(&self.dir))
    }

    /// Adds cosignatures to the published checkpoint, in place of older ones by the same keys. They
    /// must be verified; they change nothing that the log has signed.
    ///
    /// # Errors
    /// [`LogError::Note`], [`LogError::Io`].
    pub fn add_cosignatures(&mut self, lines: &[SignatureLine]) -> Result<(), LogError> {
        if self.halted {
            return Err(LogError::Halted);
        }
        let note = Note::parse(self.signed.as_bytes()).map_err(LogError::Note)?;
        let same = |a: &SignatureLine, b: &SignatureLine| a.name() == b.name() && a.id() == b.id();
        let kept = note.signatures().iter();
        let kept = kept.filter(|old| lines.iter().all(|new| !same(old, new)));
        let all: Vec<SignatureLine> = kept.chain(lines).cloned().collect();
        let signed = note::format(note.text(), &all).map_err(LogError::Note)?;
        self.publish(signed)
    }

    /// The published checkpoint, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.signed
    }

    /// How many entries.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The log's key.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The entry at an index.
    ///
    /// # Errors
    /// [`LogError::Missing`], [`LogError::Damaged`], [`LogError::Io`].
    pub fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        let size = self.tree.size();
        if index >= size {
            return Ok(None);
        }
        let tile = Tile::in_tree(Level::Entries, index / TILE_WIDTH, size);
        let tile = tile.ok_or(LogError::Disagrees { size })?;
        let bundle = self.tile(tile)?.ok_or(LogError::Missing { tile, size })?;
        let entries = entries(&bundle, tile.width());
        let entries = entries.ok_or_else(|| LogError::damaged(&self.path(tile)))?;
        let at = usize::try_from(index % TILE_WIDTH).ok();
        Ok(at
            .and_then(|at| entries.get(at))
            .map(|entry| entry.to_vec()))
    }

    /// The inclusion proof of an entry in the published tree.
    ///
    /// # Errors
    /// [`prove::ProveError`].
    pub fn prove_inclusion(&self, index: u64) -> Result<Vec<Hash>, prove::ProveError<LogError>> {
        prove::inclusion(self, index, self.tree.size())
    }

    /// The proof that the published tree continues an older one.
    ///
    /// # Errors
    /// [`prove::ProveError`].
    pub fn prove_consistency(&self, old: u64) -> Result<Vec<Hash>, prove::ProveError<LogError>> {
        prove::consistency(self, old, self.tree.size())
    }

    fn path(&self, tile: Tile) -> PathBuf {
        self.dir.join(tile.path())
    }

    fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.path(tile);
        self.files.read(&path).map_err(LogError::at(&path))
    }
}

impl<F: Files> TileReader for Log<F> {
    type Error = LogError;

    fn read(&self, tile: Tile) -> Result<Vec<u8>, LogError> {
        let size = self.tree.size();
        self.tile(tile)?.ok_or(LogError::Missing { tile, size })
    }
}

/// Where the state of a log lies unless it is said otherwise: in its directory, which protects from
/// crashes and not from a restored copy.
pub fn default_state(dir: &Path) -> PathBuf {
    beside(&dir.join("signed"), ".state")
}
