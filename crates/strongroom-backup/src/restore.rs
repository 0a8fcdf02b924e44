//! Store → age → zstd → tar → directory, as a stream.
//!
//! Every layer must reach its end: the archive its marker, zstd its checksum, age the MAC of its
//! last chunk, the store its last byte. Only then the directory gets its name. So a snapshot that
//! was cut or changed at any byte restores to nothing.

use crate::backup::joined;
use crate::extract::Extractor;
use crate::pipe::{PartReader, WAITING_MAX};
use crate::report::{Contents, Progress, Restored};
use crate::staging::Staging;
use crate::{Error, Identity, Snapshot, Store, Which};
use age::DecryptError;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetResultPayload};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::{Sender, channel};

/// Asked from the store at once. Small requests survive slow lines; the store retries each.
const PART_BYTES: u64 = 8 << 20;
/// zstd's limit for streams: an archive cannot ask for more memory than 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// Restores a snapshot to `target`, which must be missing or an empty directory; the directory it
/// lies in must be there.
///
/// Memory: three parts of 8 MiB, the window of the compressor, and the names of all directories.
/// Dropping the future stops it and leaves nothing.
///
/// # Errors
/// The target is as before on any: [`Error::WrongIdentity`], [`Error::NotABackup`],
/// [`Error::Damaged`], [`Error::Hostile`], [`Error::TargetInUse`], [`Error::Write`],
/// [`Error::Store`], [`Error::NoSnapshots`], [`Error::NoSuchSnapshot`].
pub async fn restore(
    store: &Store,
    which: &Which,
    identity: &Identity,
    target: &Path,
    progress: Arc<dyn Progress>,
) -> Result<Restored, Error> {
    let snapshot = store.find(which).await?;
    progress.total(snapshot.stored_bytes);
    let (sender, receiver) = channel(WAITING_MAX);
    let consumer = {
        let (identity, target) = (identity.age(), target.to_owned());
        let progress = Arc::clone(&progress);
        tokio::task::spawn_blocking(move || {
            consume(PartReader::new(receiver), &identity, &target, &*progress)
        })
    };
    let fetched = fetch(store, &snapshot, sender, &*progress).await;
    let consumed = joined(consumer).await;
    // What fails to arrive looks damaged from inside: the outer fault is the true one.
    fetched?;
    Ok(Restored {
        snapshot,
        contents: consumed?,
    })
}

/// Sends the object in parts, until the receiver has enough. Consumes the sender on every path.
async fn fetch(
    store: &Store,
    snapshot: &Snapshot,
    sender: Sender<Vec<u8>>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let location = store.location(&snapshot.name);
    let mut at = 0;
    while at < snapshot.stored_bytes {
        let end = (at + PART_BYTES).min(snapshot.stored_bytes);
        let part = part(store, &location, at..end, snapshot.stored_bytes).await?;
        if part.is_empty() {
            break;
        }
        at += part.len() as u64;
        progress.bytes(part.len() as u64);
        if sender.send(part).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Gets a range, and no more: a store must not fill our memory.
async fn part(
    store: &Store,
    location: &ObjectPath,
    range: Range<u64>,
    whole: u64,
) -> Result<Vec<u8>, Error> {
    let fault = |error| store.fault("downloading", error);
    let wanted = range.end - range.start;
    let mut options = GetOptions::default();
    if wanted != whole {
        // Some servers answer a range that is the whole as if it were none.
        options.range = Some(range.into());
    }
    let found = store
        .inner
        .get_opts(location, options)
        .await
        .map_err(fault)?;
    if found.range.end - found.range.start > wanted {
        return Err(Error::Damaged(io::Error::other("it grew")));
    }
    let mut part = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    if let GetResultPayload::File(..) = found.payload {
        // As a stream a file comes in small pieces, each from another thread.
        part.extend_from_slice(&found.bytes().await.map_err(fault)?);
        return Ok(part);
    }
    let mut pieces = found.into_stream();
    while let Some(piece) = pieces.try_next().await.map_err(fault)? {
        part.extend_from_slice(&piece);
        if part.len() as u64 > wanted {
            return Err(Error::Damaged(io::Error::other("it grew")));
        }
    }
    Ok(part)
}

/// The thread's work: all layers from the outermost inwards, then each to its end.
fn consume(
    parts: impl Read,
    identity: &age::x25519::Identity,
    target: &Path,
    progress: &dyn Progress,
) -> Result<Contents, Error> {
    let decryptor = age::Decryptor::new(parts).map_err(sorted)?;
    let identities = std::iter::once(identity as &dyn age::Identity);
    let decrypted = decryptor.decrypt(identities).map_err(sorted)?;
    let mut plain = zstd::Decoder::new(decrypted).map_err(Error::Damaged)?;
    plain
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(Error::Damaged)?;
    let staging = Staging::new(target)?;
    let extractor = Extractor::new(staging.path(), progress);
    let (plain, contents) = extractor.extract(plain)?;
    // The decoder has read to its end already, so it has met age's end as well; whoever changes
    // a layer between shall not lose that.
    let mut rest = plain.finish();
    if rest.read(&mut [0]).map_err(Error::Damaged)? != 0 {
        return Err(Error::Damaged(io::Error::other("bytes after the end")));
    }
    staging.publish()?;
    Ok(contents)
}

/// Whose fault is it that age does not open it?
fn sorted(error: DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys => Error::WrongIdentity,
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => Error::NotABackup,
        DecryptError::Io(source) => Error::Damaged(source),
        other => Error::Damaged(io::Error::other(other)),
    }
}
