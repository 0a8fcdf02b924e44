//! Backups: a directory, encrypted on the device, in a folder or an object store (DESIGN §12).
//!
//! ```text
//! directory → tar → zstd (checksum) → age (X25519) → snapshots/<time>-<salt>.tar.zst.age
//! ```
//!
//! Without this program: `age --decrypt --identity KEY FILE | zstd -d | tar -x`.
//!
//! Invariants:
//!
//! 1. What leaves the process is encrypted. The store sees sizes and times, never names or content.
//! 2. A snapshot that can be listed is complete; none is ever overwritten.
//! 3. A restore yields the whole directory, bit for bit, or nothing.
//! 4. Memory does not grow with the size of files.
//!
//! What an attacker controls: the store (it may lose, withhold, replay, change), and, if he knows
//! the recipient, the content of archives.
//!
//! What this deliberately does not do: deduplicate (restic does, with a password from the vault),
//! keep owners, extended attributes or holes, or prove that a snapshot is the newest.
//!
//! ```no_run
//! # async fn example(secret: &[u8; 32]) -> Result<(), strongroom_backup::Error> {
//! use std::path::Path;
//! use std::sync::Arc;
//! use strongroom_backup::{Identity, Store, Which, backup, restore};
//!
//! let identity = Identity::from_secret(secret);
//! let store = Store::create("backups")?;
//! let photos = Path::new("photos");
//! backup(photos, &store, &identity.recipient(), Arc::new(())).await?;
//! let target = Path::new("restored");
//! restore(&store, &Which::Latest, &identity, target, Arc::new(())).await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod archive;
mod backup;
mod entry;
mod error;
mod extract;
mod header;
mod identity;
mod name;
mod pipe;
mod report;
mod restore;
mod staging;
mod store;
mod walk;

pub use backup::backup;
pub use error::{Error, Refusal};
pub use identity::{Identity, Recipient};
pub use name::{SnapshotName, Which};
pub use report::{Backup, Contents, Gap, Progress, Reason, Restored};
pub use restore::restore;
pub use store::{Snapshot, Store};
