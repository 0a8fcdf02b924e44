//! What must survive a crash of the app: small values under names, replaced atomically.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Durable, atomic storage for a few small values. Values hold secrets: give it the device's own
/// protected storage.
pub trait Journal: Send + Sync {
    /// The value put last.
    ///
    /// # Errors
    /// The storage's own.
    fn get(&self, name: &str) -> std::io::Result<Option<Vec<u8>>>;

    /// Replaces a value; durable before it returns.
    ///
    /// # Errors
    /// The storage's own; the old value then stands.
    fn put(&self, name: &str, value: &[u8]) -> std::io::Result<()>;

    /// Removes a value.
    ///
    /// # Errors
    /// The storage's own.
    fn remove(&self, name: &str) -> std::io::Result<()>;

    /// Puts a value where none is; false if one is there. Override it where two processes share
    /// the storage: here another one's value may come in between.
    ///
    /// # Errors
    /// The storage's own.
    fn put_new(&self, name: &str, value: &[u8]) -> std::io::Result<bool> {
        let free = self.get(name)?.is_none();
        if free {
            self.put(name, value)?;
        }
        Ok(free)
    }

    /// Removes a value if it is `own`: what another process put there meanwhile stays. Override it
    /// where two processes share the storage.
    ///
    /// # Errors
    /// The storage's own.
    fn remove_own(&self, name: &str, own: &[u8]) -> std::io::Result<()> {
        let there = self.get(name)?.map(Zeroizing::new);
        if there.is_some_and(|there| bool::from(there.as_slice().ct_eq(own))) {
            self.remove(name)?;
        }
        Ok(())
    }
}

/// A journal in memory: for tests, and for devices about to be wiped.
#[derive(Default)]
pub struct MemoryJournal(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryJournal {
    /// What is there, by name.
    pub fn names(&self) -> Vec<String> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.keys().cloned().collect()
    }
}

impl Journal for MemoryJournal {
    fn get(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned())
    }

    fn put(&self, name: &str, value: &[u8]) -> std::io::Result<()> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        Ok(())
    }
}

/// A journal in a directory of mode 0700: one file of mode 0600 for each value, replaced by rename.
pub struct FileJournal(PathBuf);

impl FileJournal {
    /// Opens or makes the directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        Ok(Self(dir.to_owned()))
    }

    /// Holds back every other writer, of any process, until the file is dropped.
    fn locked(&self) -> std::io::Result<std::fs::File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.0.join(".lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Replaces a value while the lock is held.
    fn replace(&self, name: &str, value: &[u8]) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let temporary = self.0.join(format!("{name}.new"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(value)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.0.join(name))?;
        std::fs::File::open(&self.0)?.sync_all()
    }
}

impl Journal for FileJournal {
    fn get(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn put(&self, name: &str, value: &[u8]) -> std::io::Result<()> {
        // Two processes writing one value share its temporary file: one after the other.
        let _locked = self.locked()?;
        self.replace(name, value)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            // A key that was forgotten must not come back after a power cut.
            removed => removed.and_then(|()| std::fs::File::open(&self.0)?.sync_all()),
        }
    }

    fn put_new(&self, name: &str, value: &[u8]) -> std::io::Result<bool> {
        let _locked = self.locked()?;
        let free = self.get(name)?.is_none();
        if free {
            self.replace(name, value)?;
        }
        Ok(free)
    }

    fn remove_own(&self, name: &str, own: &[u8]) -> std::io::Result<()> {
        let _locked = self.locked()?;
        let there = self.get(name)?.map(Zeroizing::new);
        if there.is_some_and(|there| bool::from(there.as_slice().ct_eq(own))) {
            self.remove(name)?;
        }
        Ok(())
    }
}
