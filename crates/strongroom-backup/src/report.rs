//! What a person is told: progress while it runs, and afterwards what was done and what was not.

use crate::Snapshot;
use serde::Serialize;
use std::path::Path;

/// Watches a backup or a restore. Called from another thread, often: it must be quick.
pub trait Progress: Send + Sync {
    /// How much there is: on backup bytes in files, on restore bytes in the store. Called once,
    /// before the others. A directory in use may turn out larger or smaller.
    fn total(&self, bytes: u64) {
        let _ = bytes;
    }

    /// So many bytes more are through.
    fn bytes(&self, more: u64) {
        let _ = more;
    }

    /// This entry, relative to the directory, comes now.
    fn entry(&self, path: &Path) {
        let _ = path;
    }
}

/// Nobody watches.
impl Progress for () {}

/// What a backup or a restore went through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Regular files, each once.
    pub files: u64,
    /// Directories below the top one.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of a file that has several.
    pub hard_links: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// Where snapshot and directory differ. Empty is what one wants to see.
    pub gaps: Vec<Gap>,
}

/// A finished backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// What now lies in the store.
    pub snapshot: Snapshot,
    /// What is in it.
    pub contents: Contents,
}

/// A finished restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What was restored.
    pub snapshot: Snapshot,
    /// What was in it.
    pub contents: Contents,
}

/// An entry that is missing or not exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The path relative to the directory; what is not text is replaced.
    pub path: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Why an entry is missing or not exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Written to while it was read: the copy may mix old and new, and ends in zeros if the
    /// file became shorter. Back up again when it is at rest.
    Changed,
    /// On restore: set-user-ID or set-group-ID was left off, because the owner is another.
    Privilege,
    /// A socket, a FIFO or a device: left out.
    Special,
    /// No permission, or too long a path: left out.
    Unreadable,
    /// Gone between listing and reading: left out.
    Vanished,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed while it was read; back up again",
            Self::Privilege => "restored without its set-user-ID or set-group-ID bit",
            Self::Special => "left out: a socket, FIFO or device",
            Self::Unreadable => "left out: cannot be read; check its permissions",
            Self::Vanished => "left out: it vanished meanwhile",
        })
    }
}

impl Contents {
    pub(crate) fn gap(&mut self, path: &Path, reason: Reason) {
        self.gaps.push(Gap {
            path: path.display().to_string(),
            reason,
        });
    }
}
