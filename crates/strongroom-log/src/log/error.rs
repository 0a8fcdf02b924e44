//! What can go wrong with a log, and what to do then.

use crate::note::NoteError;
use crate::tiles::{EntryLength, Tile};
use std::io;
use std::path::{Path, PathBuf};

/// Why the log refuses, or halted.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No entries, or more than [`super::APPEND_MAX`].
    #[error("1 to {} entries are appended at once", super::APPEND_MAX)]
    Count,
    /// A file is not what this log wrote there.
    #[error("{0} is damaged or not of this log; bring a good copy back, a mirror has one")]
    Damaged(PathBuf),
    /// Entries, state and checkpoint do not make one history.
    #[error(
        "the entries make another tree of {size} entries than was signed; nothing more is signed: \
         find out which copy is the right one"
    )]
    Disagrees {
        /// Of which size.
        size: u64,
    },
    /// An entry is too long.
    #[error(transparent)]
    Entry(EntryLength),
    /// There is a log already.
    #[error("here is a log already, or its state; choose another directory, or serve it")]
    Exists,
    /// An error before left the log between two states.
    #[error("the log halted after an error; start it again")]
    Halted,
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A part of the tree that was signed is not here.
    #[error(
        "{tile} is missing, and this log has signed a tree of {size} entries: the directory was \
         restored from an older copy; bring the newest one back, a mirror has it"
    )]
    Missing {
        /// Which part.
        tile: Tile,
        /// Of a tree of this size.
        size: u64,
    },
    /// The state is gone.
    #[error(
        "{0} is missing: it says which tree was signed last; put the first three lines of the \
         newest checkpoint there that witnesses and mirrors know"
    )]
    NoState(PathBuf),
    /// The signed checkpoint or its cosignatures make no note.
    #[error(transparent)]
    Note(NoteError),
    /// State or checkpoint belong to another log than the key.
    #[error("state, checkpoint and key are not of one log")]
    Origin,
}

impl LogError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn damaged(path: &Path) -> Self {
        Self::Damaged(path.to_owned())
    }
}
