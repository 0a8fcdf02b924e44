//! Reading a log back: what was signed, whether the entries make it, and what is still to be done.
//!
//! Whoever may be lying: the disk, and the person who restored it.

use super::pending::Pending;
use super::tree::{Made, Tree};
use super::{Log, LogError};
use crate::checkpoint::Checkpoint;
use crate::files::Files;
use crate::note::Note;
use crate::tiles::{Level, TILE_WIDTH, Tile, entries};

impl<F: Files> Log<F> {
    /// The newest checkpoint that may have been signed.
    pub(super) fn committed(&self) -> Result<Checkpoint, LogError> {
        let text = self
            .files
            .read(&self.state)
            .map_err(LogError::at(&self.state))?;
        let text = text.ok_or_else(|| LogError::NoState(self.state.clone()))?;
        let checkpoint = String::from_utf8(text).ok();
        let checkpoint = checkpoint.and_then(|text| Checkpoint::parse(&text).ok());
        let checkpoint = checkpoint.ok_or_else(|| LogError::damaged(&self.state))?;
        self.of_this_log(&checkpoint)?;
        Ok(checkpoint)
    }

    /// The checkpoint in the directory, and its note.
    pub(super) fn signed_checkpoint(&self) -> Result<Option<(Checkpoint, String)>, LogError> {
        let path = self.dir.join("checkpoint");
        let Some(bytes) = self.files.read(&path).map_err(LogError::at(&path))? else {
            return Ok(None);
        };
        let own = [self.signer.verifier().clone()];
        let note = Note::parse(&bytes)
            .ok()
            .filter(|note| note.verify(&own).is_ok());
        let note = note.ok_or_else(|| LogError::damaged(&path))?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|_| LogError::damaged(&path))?;
        self.of_this_log(&checkpoint)?;
        let text = String::from_utf8(bytes).map_err(|_| LogError::damaged(&path))?;
        Ok(Some((checkpoint, text)))
    }

    fn of_this_log(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        match checkpoint.origin() == self.signer.verifier().name() {
            true => Ok(()),
            false => Err(LogError::Origin),
        }
    }

    /// Builds the tree of so many entries from the bundles and compares every tile, and the roots
    /// of the checkpoints that are known.
    pub(super) fn read_back(&self, size: u64, known: &[&Checkpoint]) -> Result<Tree, LogError> {
        let mut tree = Tree::default();
        let mut made = Made::new();
        let check = |tree: &Tree| {
            let differs = |it: &&&Checkpoint| it.size() == tree.size() && *it.root() != tree.root();
            match known.iter().find(differs) {
                Some(_) => Err(LogError::Disagrees { size: tree.size() }),
                None => Ok(()),
            }
        };
        check(&tree)?;
        let bundles = size.div_ceil(TILE_WIDTH);
        for index in 0..bundles {
            let tile = Tile::in_tree(Level::Entries, index, size);
            let tile = tile.ok_or(LogError::Disagrees { size })?;
            let bundle = self.tile(tile)?.ok_or(LogError::Missing { tile, size })?;
            let entries = entries(&bundle, tile.width());
            let entries = entries.ok_or_else(|| LogError::damaged(&self.path(tile)))?;
            for entry in entries {
                tree.push(entry, &mut made).map_err(LogError::Entry)?;
                check(&tree)?;
            }
            self.compare(std::mem::take(&mut made), size)?;
        }
        self.compare(tree.partial(0), size)?;
        Ok(tree)
    }

    fn compare(&self, made: Made, size: u64) -> Result<(), LogError> {
        for (tile, bytes) in made {
            let there = self.tile(tile)?.ok_or(LogError::Missing { tile, size })?;
            if there != bytes {
                return Err(LogError::damaged(&self.path(tile)));
            }
        }
        Ok(())
    }

    /// Appends what a crash left pending; forgets what is in the log already.
    pub(super) fn carry_through(&mut self) -> Result<(), LogError> {
        let path = self.dir.join("pending");
        let Some(bytes) = self.files.read(&path).map_err(LogError::at(&path))? else {
            return Ok(());
        };
        let pending = Pending::decode(&bytes).ok_or_else(|| LogError::damaged(&path))?;
        if pending.end() <= self.tree.size() {
            return self.forget_pending();
        }
        if pending.first != self.tree.size() {
            return Err(LogError::Disagrees {
                size: pending.first,
            });
        }
        self.finish(&pending)
    }
}
