//! The file system as the log uses it: one call is one system call, after which the power may go.
//!
//! What is written is durable after [`Files::sync`], a name after [`Files::sync_dir`] of its
//! folder. Tests put a disk behind this trait that forgets everything else.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file system.
pub trait Files {
    /// All bytes of a file; nothing if there is none.
    ///
    /// # Errors
    /// As the system has them; so for every call here.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Creates or empties a file and writes it. Not durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of what had it. Not durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, if there is one. Not durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder in one that exists, if it is not there. Not durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// See [`Self::read`].
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// Writes a file so that after a power cut it is the old one or the new one, and after this call
/// the new one.
///
/// # Errors
/// See [`Files::read`].
pub fn put(files: &impl Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    files.write(&new, bytes)?;
    files.sync(&new)?;
    files.rename(&new, path)?;
    files.sync_dir(folder(path))
}

/// The same path with something at its end.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The folder of a file; of a lone name, the one the program runs in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::options().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Held as long as one process owns a log's directory and state: each has a lock of its own, so
/// that a copied directory does not bring a second log with the same key to life.
#[derive(Debug)]
pub struct Locks {
    _held: Vec<File>,
}

impl Locks {
    /// Takes both locks.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has one; else as the system has them.
    pub fn take(dir: &Path, state: &Path) -> io::Result<Self> {
        let mut held = Vec::new();
        for path in [dir.join("lock"), beside(state, ".lock")] {
            let file = File::create(&path)?;
            file.try_lock().map_err(|error| match error {
                fs::TryLockError::WouldBlock => {
                    let words = format!("{} is held by another process", path.display());
                    io::Error::new(io::ErrorKind::WouldBlock, words)
                }
                fs::TryLockError::Error(error) => error,
            })?;
            held.push(file);
        }
        Ok(Self { _held: held })
    }
}
