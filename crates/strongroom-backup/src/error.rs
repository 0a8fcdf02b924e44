//! What can go wrong, sorted by whose fault it is, each with what to do about it.

use crate::SnapshotName;
use std::io;
use std::path::PathBuf;

/// Why a backup or a restore did not happen. Nothing is half done: after a failed backup no new
/// snapshot is listed, after a failed restore the target is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // Misuse.
    /// Not `age1…`.
    #[error("this is not a recipient: expected a text that begins with age1")]
    BadRecipient,
    /// Neither `latest` nor a name.
    #[error("{0:?} is not a snapshot: say latest, or a name from the list of snapshots")]
    BadSnapshotName(String),
    /// The folder of the store is missing or is not a folder.
    #[error("no backups at {0}: there is no such folder. Check the place, or make a backup first")]
    NoFolder(PathBuf),
    /// What to back up is no directory.
    #[error("{0} is not a directory: name the directory to back up")]
    NotADirectory(PathBuf),
    /// The named snapshot is not in the store.
    #[error("no snapshot {name} in {store}: see the list of snapshots")]
    NoSuchSnapshot {
        /// What was asked for.
        name: SnapshotName,
        /// Where.
        store: String,
    },
    /// There is nothing to restore.
    #[error("no snapshot in {0} yet: make a backup first, or check the place")]
    NoSnapshots(String),
    /// The store's folder is part of what it shall hold.
    #[error("the store {store} lies inside {directory} and would back up itself: choose another")]
    StoreInside {
        /// The store's folder.
        store: PathBuf,
        /// The directory to back up.
        directory: PathBuf,
    },
    /// Restoring never overwrites.
    #[error("{0} exists and is not an empty directory: restore to a new or an empty one")]
    TargetInUse(PathBuf),
    /// The target has no name of its own (`/`, `..`).
    #[error("{0} cannot be restored to: name a new directory")]
    TargetUnnamed(PathBuf),
    /// Not a folder, `file:` or `s3:`.
    #[error("{0}: is not a place that backups can go to; give a folder or s3://BUCKET/PATH")]
    UnknownStore(String),

    // The backup, or who holds it.
    /// Cut short, flipped, or never finished; found by a MAC, a checksum or a missing end.
    #[error(
        "the snapshot is damaged or incomplete ({0}); nothing was restored. Try another snapshot"
    )]
    Damaged(#[source] io::Error),
    /// The archive is authentic, but holds what no backup of ours holds.
    #[error(
        "the archive was refused at {path}: {rule}; nothing was restored. Do not trust its source"
    )]
    Hostile {
        /// The entry, with what is not text replaced.
        path: String,
        /// The rule it breaks.
        rule: Refusal,
    },
    /// No age header.
    #[error("the file is not an encrypted backup, or its first bytes are damaged")]
    NotABackup,
    /// The header is for another key.
    #[error(
        "this key does not open the snapshot: it is for another key, or its first bytes are damaged"
    )]
    WrongIdentity,

    // The machine.
    /// Something to back up cannot be read.
    #[error("reading {path}: {source}; no snapshot was made")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Compressing or encrypting failed, or the runtime is shutting down.
    #[error("compressing and encrypting: {0}; no snapshot was made")]
    Pipeline(#[source] io::Error),
    /// The system gives no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The store does not do what it was asked.
    #[error("{doing} in {store}: {source}")]
    Store {
        /// The operation.
        doing: &'static str,
        /// Where.
        store: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// The store holds another number of bytes than was sent.
    #[error("{store} kept {kept} bytes of {sent}: the snapshot {name} was removed; try again")]
    StoreLost {
        /// The snapshot.
        name: SnapshotName,
        /// Where.
        store: String,
        /// Bytes sent.
        sent: u64,
        /// Bytes found afterwards.
        kept: u64,
    },
    /// The restored tree cannot be written.
    #[error("writing {path}: {source}; what stood there before is as it was")]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A rule that every entry of an archive keeps. Our own archives cannot break one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Begins with `/`.
    #[error("its path is absolute")]
    Absolute,
    /// Empty where a name must be, or with a zero byte.
    #[error("its path is empty or holds a zero byte")]
    BadPath,
    /// The time is not a decimal number of seconds.
    #[error("its time is malformed")]
    BadTime,
    /// A record that this program never writes.
    #[error("it carries an unknown extension")]
    Extension,
    /// A device, a FIFO, a sparse file and so on.
    #[error("it is neither a file, a directory nor a link")]
    Kind,
    /// A hard link to what is not a regular file restored before.
    #[error("it links to something that is not a restored file")]
    LinkTarget,
    /// The directory it lies in was not restored before.
    #[error("it lies in a directory that the archive does not have")]
    NoDirectory,
    /// Holds `..`.
    #[error("its path leads upwards (..)")]
    Parent,
    /// Two entries of the same path.
    #[error("it occurs twice")]
    Repeated,
    /// Extensions above 1 MiB.
    #[error("its name or its extensions are too long")]
    TooLong,
    /// A symbolic link stands where a directory should be.
    #[error("it leads through a symbolic link")]
    ThroughSymlink,
}
