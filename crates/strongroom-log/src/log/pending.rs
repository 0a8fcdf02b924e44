//! Entries that are decided and not yet signed: written first, and always carried through.
//!
//! ```text
//! pending FIRST INDEX COUNT        decimal; ends in a newline
//! the entries, each behind its length (2 bytes, big endian)
//! SHA-256 of all before            32 bytes: a damaged disk is noticed
//! ```

use crate::base64::decimal;
use crate::tiles::{EntryLength, entries, push_entry};
use sha2::{Digest as _, Sha256};

/// Most entries in one go.
pub const APPEND_MAX: usize = 256;

/// What a `pending` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Index of the first of the entries.
    pub(super) first: u64,
    /// The entries, 1 to [`APPEND_MAX`].
    pub(super) entries: Vec<Vec<u8>>,
}

impl Pending {
    /// Size of the tree once they are in.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, EntryLength> {
        let mut bytes = format!("pending {} {}\n", self.first, self.entries.len()).into_bytes();
        for entry in &self.entries {
            push_entry(&mut bytes, entry)?;
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] wrote; nothing for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, digest) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(bytes).as_slice() != digest {
            return None;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = str::from_utf8(bytes.get(..end)?).ok()?;
        let (first, count) = line.strip_prefix("pending ")?.split_once(' ')?;
        let count = u16::try_from(decimal(count)?).ok()?;
        let entries = entries(bytes.get(end + 1..)?, count)?;
        Some(Self {
            first: decimal(first)?,
            entries: entries.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pending;

    #[test]
    fn a_damaged_file_is_noticed() {
        let pending = Pending {
            first: 7,
            entries: vec![b"one".to_vec(), Vec::new(), vec![9; 300]],
        };
        let bytes = pending.encode().unwrap();
        assert_eq!(Pending::decode(&bytes), Some(pending));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Pending::decode(&damaged), None);
            assert_eq!(Pending::decode(&bytes[..at]), None);
        }
    }
}
