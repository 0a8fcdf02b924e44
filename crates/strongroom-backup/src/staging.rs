//! A directory that becomes visible under its name only when it is whole.
//!
//! It is built beside the target, so that one rename moves it; the kernel replaces an empty
//! directory by a rename and nothing else. Dropped before that, it is removed. Only a killed
//! process leaves it behind, as `.NAME.restoring-xxxxxxxx`.

use crate::Error;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory under construction.
pub(crate) struct Staging {
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Staging {
    /// Makes it, for its owner alone. The target must be missing or an empty directory.
    pub(crate) fn new(target: &Path) -> Result<Self, Error> {
        let unnamed = || Error::TargetUnnamed(target.to_owned());
        // A link to an empty directory means that directory.
        let real = match target.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => absolute(target)?,
            Err(error) => return Err(fault(target, error)),
        };
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(unnamed());
        };
        match fs::read_dir(&real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::TargetInUse(target.to_owned()));
            }
            Err(error) => return Err(fault(&real, error)),
            Ok(mut names) => {
                if names.next().is_some() {
                    return Err(Error::TargetInUse(target.to_owned()));
                }
            }
        }
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(Error::Random)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".restoring-{:08x}", u32::from_be_bytes(salt)));
        let path = parent.join(hidden);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| fault(&path, error))?;
        Ok(Self {
            path,
            target: real,
            published: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything durable, then visible.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        let directory = File::open(&self.path).map_err(|error| fault(&self.path, error))?;
        sync(&directory).map_err(|error| fault(&self.path, error))?;
        fs::rename(&self.path, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                Error::TargetInUse(self.target.clone())
            }
            _ => fault(&self.target, error),
        })?;
        self.published = true;
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| fault(parent, error))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            open_up(&self.path);
            // Nothing can be done about a failure here, and the error that led here is told.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// One call for all files instead of one for each.
#[cfg(target_os = "linux")]
fn sync(directory: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(directory)?)
}

#[cfg(not(target_os = "linux"))]
fn sync(directory: &File) -> io::Result<()> {
    directory.sync_all()
}

/// Restored modes may forbid removal: opens every directory to its owner.
fn open_up(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Says what the entry itself is: a link is not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn absolute(target: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(target).map_err(|error| fault(target, error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Error::TargetUnnamed(target.to_owned()));
    };
    let parent = parent
        .canonicalize()
        .map_err(|error| fault(parent, error))?;
    Ok(parent.join(name))
}

fn fault(path: &Path, source: io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        source,
    }
}
