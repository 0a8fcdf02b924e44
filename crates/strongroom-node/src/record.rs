//! Writes down all that this host sees, for people who want to look for a secret in it: development
//! only. What TLS hides from the network the host sees in clear, so this is more than its traffic.
//!
//! Each item: kind (one byte), length (4 bytes, big endian), bytes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What an item is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Seen {
    /// The admission token of a request.
    Token = b't',
    /// A request's body.
    Request = b'q',
    /// An answer's body.
    Answer = b'a',
    /// A frame to the HSM.
    ToHsm = b'>',
    /// A frame from the HSM.
    FromHsm = b'<',
}

/// A recording, or none.
#[derive(Clone, Default)]
pub struct Recorder(Option<Arc<Mutex<File>>>);

impl Recorder {
    /// Appends to a file of mode 0600.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    /// Writes one item, if recording.
    pub fn record(&self, seen: Seen, bytes: &[u8]) {
        let Some(file) = &self.0 else { return };
        let mut item = Vec::with_capacity(bytes.len() + 5);
        item.push(seen as u8);
        item.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        item.extend_from_slice(bytes);
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&item) {
            tracing::warn!(%error, "the recording of what this host sees has a gap");
        }
    }
}
