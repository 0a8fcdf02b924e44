//! Where snapshots lie: a folder or an object store, and what is in it.
//!
//! Layout: `[PATH/]snapshots/<name>.tar.zst.age`, one object for each snapshot.
//!
//! - Objects are written once, under their final name, and only when complete: a folder renames
//!   (`fsync` before and after), an object store completes a multipart upload. What is listed
//!   is whole.
//! - A killed process leaves unfinished parts behind, which are not listed. In a folder the next
//!   backup removes them after a day; a bucket wants a lifecycle rule for incomplete uploads.
//! - What does not carry a snapshot's name is not ours: never listed, never touched.
//! - The store may lose, withhold, replay or change everything. Changes are found on restore;
//!   that the newest snapshot is shown is not promised by anyone.

use crate::name::SUFFIX;
use crate::{Error, SnapshotName, Which};
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The folder within the store.
const FOLDER: &str = "snapshots";

/// For one request, with the body: a part of 8 MiB at 30 kB/s. The default is 30 seconds.
const REQUEST_TIMEOUT: &str = "5 minutes";

/// Nobody has written to an unfinished file for so long: its process is dead.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A place for snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
    path: ObjectPath,
    shown: String,
    /// Known for a folder, so that it is not backed up into itself.
    pub(crate) folder: Option<PathBuf>,
}

/// A snapshot in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name, which begins with the time it was taken.
    pub name: SnapshotName,
    /// Its size in the store, compressed and encrypted, in bytes.
    pub stored_bytes: u64,
}

impl Store {
    /// Opens a store to write to: a folder (made if missing) or `s3://BUCKET/PATH`, for which
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and so on count.
    ///
    /// # Errors
    /// [`Error::UnknownStore`] for another scheme; [`Error::Write`], [`Error::Store`].
    pub fn create(place: &str) -> Result<Self, Error> {
        match scheme(place)? {
            Scheme::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|source| Error::Write {
                    path: folder.to_owned(),
                    source,
                })?;
                Self::folder(folder)
            }
            Scheme::S3 => Self::s3(place),
        }
    }

    /// Opens a store to read from. Makes nothing.
    ///
    /// # Errors
    /// [`Error::NoFolder`]; [`Error::UnknownStore`] for another scheme; [`Error::Store`].
    pub fn open(place: &str) -> Result<Self, Error> {
        match scheme(place)? {
            Scheme::Folder(folder) => Self::folder(folder),
            Scheme::S3 => Self::s3(place),
        }
    }

    /// Opens an existing folder.
    ///
    /// # Errors
    /// [`Error::NoFolder`] if it is missing.
    pub fn folder(folder: &Path) -> Result<Self, Error> {
        let missing = |_| Error::NoFolder(folder.to_owned());
        let real = folder.canonicalize().map_err(missing)?;
        if !real.is_dir() {
            return Err(Error::NoFolder(folder.to_owned()));
        }
        let shown = folder.display().to_string();
        let inner = LocalFileSystem::new_with_prefix(&real).map_err(|source| Error::Store {
            doing: "opening the store",
            store: shown.clone(),
            source,
        })?;
        Ok(Self {
            inner: Arc::new(inner.with_fsync(true)),
            path: ObjectPath::default(),
            shown,
            folder: Some(real),
        })
    }

    /// Uses any object store; `shown` is what messages call it.
    pub fn object_store(inner: Arc<dyn ObjectStore>, path: &str, shown: &str) -> Self {
        Self {
            inner,
            path: ObjectPath::from(path),
            shown: shown.to_owned(),
            folder: None,
        }
    }

    fn s3(place: &str) -> Result<Self, Error> {
        let mut builder = AmazonS3Builder::from_env().with_url(place);
        if std::env::var_os("AWS_TIMEOUT").is_none() {
            let key = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
            builder = builder.with_config(key, REQUEST_TIMEOUT);
        }
        let inner = builder.build().map_err(|source| Error::Store {
            doing: "opening the store",
            store: place.to_owned(),
            source,
        })?;
        let path = place.splitn(4, '/').nth(3).unwrap_or_default();
        Ok(Self::object_store(Arc::new(inner), path, place))
    }

    /// The complete snapshots, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self) -> Result<Vec<Snapshot>, Error> {
        let folder = self.path.clone().join(FOLDER);
        let mut objects = self.inner.list(Some(&folder));
        let mut snapshots = Vec::new();
        loop {
            let object = objects.try_next().await;
            let Some(object) = object.map_err(|it| self.fault("listing snapshots", it))? else {
                break;
            };
            let name = object
                .location
                .filename()
                .filter(|name| name.ends_with(SUFFIX));
            if let Some(name) = name.and_then(|name| name.parse::<SnapshotName>().ok())
                && object.location == self.location(&name)
            {
                snapshots.push(Snapshot {
                    name,
                    stored_bytes: object.size,
                });
            }
        }
        snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(snapshots)
    }

    /// Finds one snapshot.
    ///
    /// # Errors
    /// [`Error::NoSnapshots`], [`Error::NoSuchSnapshot`], [`Error::Store`].
    pub async fn find(&self, which: &Which) -> Result<Snapshot, Error> {
        let name = match which {
            Which::Latest => {
                let latest = self.list().await?.pop();
                return latest.ok_or_else(|| Error::NoSnapshots(self.shown.clone()));
            }
            Which::Named(name) => name,
        };
        match self.size(name).await? {
            Some(stored_bytes) => Ok(Snapshot {
                name: name.clone(),
                stored_bytes,
            }),
            None => Err(self.no_such(name)),
        }
    }

    /// Deletes one snapshot for good.
    ///
    /// # Errors
    /// [`Error::NoSuchSnapshot`], [`Error::Store`].
    pub async fn forget(&self, name: &SnapshotName) -> Result<(), Error> {
        if self.size(name).await?.is_none() {
            return Err(self.no_such(name));
        }
        let deleted = self.inner.delete(&self.location(name)).await;
        deleted.map_err(|it| self.fault("deleting a snapshot", it))
    }

    /// Removes what killed processes left in a folder (`NAME.tar.zst.age#1`). It only takes space,
    /// so failures are of no interest.
    pub(crate) fn sweep(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        let entries = std::fs::read_dir(folder.join(FOLDER));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let unfinished = name.to_str().and_then(|name| name.split_once('#'));
            let ours = unfinished.is_some_and(|(name, number)| {
                name.ends_with(SUFFIX)
                    && name.parse::<SnapshotName>().is_ok()
                    && number.bytes().all(|byte| byte.is_ascii_digit())
            });
            let modified = entry.metadata().and_then(|it| it.modified()).ok();
            let age = modified.and_then(|it| it.elapsed().ok());
            if ours && age.is_some_and(|age| age > ABANDONED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The size of a snapshot in bytes, if it is there.
    pub(crate) async fn size(&self, name: &SnapshotName) -> Result<Option<u64>, Error> {
        match self.inner.head(&self.location(name)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.fault("looking for a snapshot", source)),
        }
    }

    pub(crate) fn location(&self, name: &SnapshotName) -> ObjectPath {
        self.path.clone().join(FOLDER).join(name.object())
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn fault(&self, doing: &'static str, source: object_store::Error) -> Error {
        Error::Store {
            doing,
            store: self.shown.clone(),
            source,
        }
    }

    fn no_such(&self, name: &SnapshotName) -> Error {
        Error::NoSuchSnapshot {
            name: name.clone(),
            store: self.shown.clone(),
        }
    }
}

enum Scheme<'a> {
    Folder(&'a Path),
    S3,
}

/// A place without `://` is a folder, whatever characters it has.
fn scheme(place: &str) -> Result<Scheme<'_>, Error> {
    match place.split_once("://") {
        None => Ok(Scheme::Folder(Path::new(place))),
        Some(("file", folder)) => Ok(Scheme::Folder(Path::new(folder))),
        Some(("s3", _)) => Ok(Scheme::S3),
        Some((other, _)) => Err(Error::UnknownStore(other.to_owned())),
    }
}
