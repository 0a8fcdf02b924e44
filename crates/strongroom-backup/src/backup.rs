//! Directory → tar → zstd → age → store, as a stream.
//!
//! One thread reads, compresses and encrypts; the task uploads parts beside it. The upload is
//! completed only after the thread has finished the last layer, so a snapshot that can be listed is
//! whole. Every other end (an error, a dropped future, a dead process) leaves none.

use crate::archive::Archiver;
use crate::pipe::PartWriter;
use crate::report::{Backup, Contents, Progress};
use crate::walk::Walk;
use crate::{Error, Recipient, Snapshot, SnapshotName, Store};
use object_store::{ObjectStoreExt, WriteMultipart};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// zstd's own default: 400 MB/s on a core, and age is faster.
const LEVEL: i32 = 3;
const MIB: u64 = 1 << 20;
/// Object stores want at least 5 MiB, and all parts but the last of one size.
const PART_BYTES_MIN: u64 = 8 * MIB;
/// S3 takes 10,000. The rest is for what grows meanwhile and for what does not compress.
const PARTS_MAX: u64 = 9_000;
/// Parts on their way at a time.
const UPLOADS_MAX: usize = 2;

/// Backs `directory` up into `store`, readable for the identity of `recipient` alone.
///
/// Memory: five parts of 8 MiB, more only above 70 GiB, plus the compressor. Dropping the future
/// stops it.
///
/// # Errors
/// No snapshot is made on any: [`Error::NotADirectory`], [`Error::StoreInside`], [`Error::Read`] if
/// a disk fails, [`Error::Store`], [`Error::StoreLost`]. What cannot be read for lack of
/// permission, or vanishes, is no error but a gap in the contents.
pub async fn backup(
    directory: &Path,
    store: &Store,
    recipient: &Recipient,
    progress: Arc<dyn Progress>,
) -> Result<Backup, Error> {
    let directory = checked(directory, store)?;
    let name = unused(store).await?;
    let bytes = {
        let (directory, store) = (directory.clone(), store.clone());
        let look = move || {
            store.sweep();
            measure(&directory)
        };
        joined(tokio::task::spawn_blocking(look)).await?
    };
    progress.total(bytes);
    let part_bytes = part_bytes(bytes);
    let upload = store.inner.put_multipart(&store.location(&name)).await;
    let upload = upload.map_err(|it| store.fault("beginning an upload", it))?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, part_bytes);
    let (sender, receiver) = channel(crate::pipe::WAITING_MAX);
    let recipient = recipient.clone();
    let producer = tokio::task::spawn_blocking(move || {
        produce(&directory, &recipient, sender, part_bytes, &*progress)
    });
    let sent = forward(store, receiver, &mut upload).await;
    // The receiver is gone now, so a producer that still works stops.
    let produced = joined(producer).await;
    let (sent, contents) = match (sent, produced) {
        (Ok(sent), Ok(contents)) => (sent, contents),
        (Err(error), _) | (_, Err(error)) => {
            // The first error is what matters; unfinished parts are never listed.
            let _ = upload.abort().await;
            return Err(error);
        }
    };
    let finished = upload.finish().await;
    finished.map_err(|it| store.fault("completing an upload", it))?;
    let snapshot = verified(store, name, sent).await?;
    Ok(Backup { snapshot, contents })
}

/// The directory by its real path, if it can be backed up to this store.
fn checked(directory: &Path, store: &Store) -> Result<PathBuf, Error> {
    let real = directory.canonicalize().map_err(|source| Error::Read {
        path: directory.to_owned(),
        source,
    })?;
    if !real.is_dir() {
        return Err(Error::NotADirectory(directory.to_owned()));
    }
    match &store.folder {
        Some(folder) if folder.starts_with(&real) => Err(Error::StoreInside {
            store: folder.clone(),
            directory: directory.to_owned(),
        }),
        _ => Ok(real),
    }
}

/// A name that the store does not have: nothing is ever overwritten.
async fn unused(store: &Store) -> Result<SnapshotName, Error> {
    loop {
        let name = SnapshotName::now()?;
        if store.size(&name).await?.is_none() {
            return Ok(name);
        }
    }
}

/// Bytes in files.
fn measure(directory: &Path) -> Result<u64, Error> {
    let walk = Walk::new(directory).map_err(|source| Error::Read {
        path: directory.to_owned(),
        source,
    })?;
    let files = walk.filter_map(|visit| visit.found.ok().filter(|it| it.is_file()));
    Ok(files.fold(0, |sum, file| file.len().saturating_add(sum)))
}

/// Parts grow with the whole, in MiB, so that their number stays below what stores take.
fn part_bytes(total: u64) -> usize {
    let bytes = total.div_ceil(PARTS_MAX).div_ceil(MIB).saturating_mul(MIB);
    usize::try_from(bytes.max(PART_BYTES_MIN)).unwrap_or(usize::MAX)
}

/// The thread's work: all layers, each finished from the innermost outwards.
fn produce(
    directory: &Path,
    recipient: &Recipient,
    sender: Sender<Vec<u8>>,
    part_bytes: usize,
    progress: &dyn Progress,
) -> Result<Contents, Error> {
    let parts = PartWriter::new(sender, part_bytes);
    let recipients = std::iter::once(recipient.age() as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients)
        .map_err(|it| Error::Pipeline(std::io::Error::other(it)))?;
    let encrypted = encryptor.wrap_output(parts).map_err(Error::Pipeline)?;
    let mut compressed = zstd::Encoder::new(encrypted, LEVEL).map_err(Error::Pipeline)?;
    compressed.include_checksum(true).map_err(Error::Pipeline)?;
    let (compressed, contents) = Archiver::new(directory, compressed, progress).write()?;
    let mut encrypted = compressed.finish().map_err(Error::Pipeline)?;
    encrypted.flush().map_err(Error::Pipeline)?;
    let parts = encrypted.finish().map_err(Error::Pipeline)?;
    parts.finish().map_err(Error::Pipeline)?;
    Ok(contents)
}

/// Uploads what comes; gives the number of bytes. Consumes the receiver on every path.
async fn forward(
    store: &Store,
    mut receiver: Receiver<Vec<u8>>,
    upload: &mut WriteMultipart,
) -> Result<u64, Error> {
    let mut sent = 0;
    while let Some(part) = receiver.recv().await {
        let ready = upload.wait_for_capacity(UPLOADS_MAX).await;
        ready.map_err(|it| store.fault("uploading", it))?;
        sent += part.len() as u64;
        upload.put(part.into());
    }
    Ok(sent)
}

/// The store must have kept what was sent; half a snapshot is worse than none.
async fn verified(store: &Store, name: SnapshotName, sent: u64) -> Result<Snapshot, Error> {
    let kept = store.size(&name).await?.unwrap_or(0);
    if kept == sent {
        return Ok(Snapshot {
            name,
            stored_bytes: sent,
        });
    }
    if kept > 0 {
        store.forget(&name).await?;
    }
    Err(Error::StoreLost {
        name,
        store: store.shown().to_owned(),
        sent,
        kept,
    })
}

/// The outcome of a thread; its panic goes on here.
pub(crate) async fn joined<T>(
    thread: tokio::task::JoinHandle<Result<T, Error>>,
) -> Result<T, Error> {
    match thread.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::Pipeline(std::io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_for_any_store() {
        assert_eq!(part_bytes(0), 8 << 20);
        assert_eq!(part_bytes(1 << 36), 8 << 20);
        for total in [1 << 37, 1 << 40, 5 << 40] {
            let part = part_bytes(total) as u64;
            assert!(part.is_multiple_of(MIB) && total.div_ceil(part) <= PARTS_MAX);
        }
    }
}
