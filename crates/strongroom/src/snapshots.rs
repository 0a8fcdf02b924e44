//! `backup`, `restore` and `snapshots`: the key on this device, a store, and a bar that moves.

use crate::cli::{Backup, Restore, Store as StoreOption};
use crate::output::{Failure, Kind, Output};
use crate::profile::Profile;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::Arc;
use strongroom_backup::{Contents, Error, Identity, Progress, Store, Which};
use strongroom_client::BackupKeys;
use strongroom_client::wire::Slot;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Damaged(_)
            | Error::Hostile { .. }
            | Error::NotABackup
            | Error::WrongIdentity
            | Error::StoreLost { .. } => Kind::Damaged,
            Error::BadSnapshotName(_)
            | Error::NoFolder(_)
            | Error::NotADirectory(_)
            | Error::NoSuchSnapshot { .. }
            | Error::NoSnapshots(_)
            | Error::StoreInside { .. }
            | Error::TargetInUse(_)
            | Error::TargetUnnamed(_)
            | Error::UnknownStore(_) => Kind::Usage,
            _ => Kind::Fault,
        };
        Self::new(kind, error.to_string())
    }
}

/// Draws on standard error; nothing in JSON mode or where nobody looks.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(output: Output) -> Arc<Self> {
        let bar = if output.json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Arc::new(Self(bar))
    }
}

impl Progress for Bar {
    fn total(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn bytes(&self, more: u64) {
        self.0.inc(more);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The identity that a key's backups are encrypted to.
pub(crate) fn identity(keys: &BackupKeys) -> Identity {
    Identity::from_secret(&keys.age_secret())
}

fn gaps(contents: &Contents, output: Output) {
    for gap in &contents.gaps {
        // Names may hold anything, a terminal's commands too.
        output.note(&format!("{}: {}", gap.path.escape_debug(), gap.reason));
    }
}

/// `backup`.
pub(crate) async fn backup(
    profile: &Profile,
    options: &Backup,
    output: Output,
) -> Result<(), Failure> {
    let keys = profile.needed_keys(Slot(options.slot.slot))?;
    let store = Store::create(&options.store.store)?;
    let recipient = identity(&keys).recipient();
    let done =
        strongroom_backup::backup(&options.dir, &store, &recipient, Bar::new(output)).await?;
    gaps(&done.contents, output);
    output.answer(&done, || {
        format!(
            "Backed up {} files, {} bytes, as {}: {} bytes encrypted.",
            done.contents.files,
            done.contents.bytes,
            done.snapshot.name,
            done.snapshot.stored_bytes
        )
    });
    let unread =
        |gap: &&strongroom_backup::Gap| gap.reason == strongroom_backup::Reason::Unreadable;
    match done.contents.gaps.iter().filter(unread).count() {
        0 => Ok(()),
        count => Err(Failure::new(
            Kind::Incomplete,
            format!("the backup stands, but without {count} entries that could not be read"),
        )),
    }
}

/// `restore`.
pub(crate) async fn restore(
    profile: &Profile,
    options: &Restore,
    output: Output,
) -> Result<(), Failure> {
    let keys = profile.needed_keys(Slot(options.slot.slot))?;
    let store = Store::open(&options.store.store)?;
    let which = match &options.snapshot {
        Some(name) => name.parse()?,
        None => Which::Latest,
    };
    let (target, bar): (&Path, _) = (&options.target, Bar::new(output));
    let done = strongroom_backup::restore(&store, &which, &identity(&keys), target, bar).await?;
    gaps(&done.contents, output);
    output.answer(&done, || {
        format!(
            "Restored {} files, {} bytes, from {}.",
            done.contents.files, done.contents.bytes, done.snapshot.name
        )
    });
    Ok(())
}

/// `snapshots`.
pub(crate) async fn list(options: &StoreOption, output: Output) -> Result<(), Failure> {
    let snapshots = Store::open(&options.store)?.list().await?;
    output.answer(&snapshots, || {
        let lines = snapshots
            .iter()
            .map(|snapshot| format!("{}  {:>12} bytes", snapshot.name, snapshot.stored_bytes));
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            "No snapshots yet.".to_owned()
        } else {
            lines.join("\n")
        }
    });
    Ok(())
}
