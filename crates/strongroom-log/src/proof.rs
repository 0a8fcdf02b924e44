//! Proofs of inclusion that stand for themselves (C2SP tlog-proof).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64             left out if there is none; means nothing, nobody signs it
//! index INDEX              decimal, from 0
//! BASE64(HASH)             the inclusion proof, from the leaf's sibling up
//! (an empty line)
//! the signed checkpoint, as it is
//! ```
//!
//! A client gets it with the fleet's bundle and asks nobody. What an attacker controls: every byte.

use crate::base64;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{Hash, MerkleError, PROOF_HASHES_MAX, leaf_hash, verify_inclusion};
use crate::note::{NOTE_BYTES_MAX, Note, NoteError};
use crate::policy::{Distrust, TrustedLog, VerifiedCheckpoint};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// Most extra data, bytes. Ours has none.
pub const EXTRA_BYTES_MAX: usize = 4096;
/// Greatest proof, bytes: a note, 63 hashes of 45 letters, extra data in Base64, and four lines.
pub const PROOF_BYTES_MAX: usize =
    NOTE_BYTES_MAX + 45 * PROOF_HASHES_MAX + EXTRA_BYTES_MAX / 3 * 4 + 128;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why bytes are no proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The signed checkpoint at its end is none.
    Checkpoint(CheckpointError),
    /// `extra` is not followed by Base64 of at most [`EXTRA_BYTES_MAX`] bytes.
    Extra,
    /// A line of the inclusion proof is not 32 bytes in Base64.
    Hash,
    /// It does not begin with the format's name.
    Header,
    /// No line `index` with a decimal number in its one form.
    Index,
    /// No empty line before the checkpoint, or not UTF-8.
    Lines,
    /// The note at its end is malformed.
    Note(NoteError),
    /// More than [`PROOF_BYTES_MAX`] bytes or [`PROOF_HASHES_MAX`] hashes.
    TooLong,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => error.fmt(f),
            Self::Extra => f.write_str("the proof's extra data is malformed"),
            Self::Hash => f.write_str("a hash of the proof is not 32 bytes in Base64"),
            Self::Header => write!(f, "the proof does not begin with {HEADER}"),
            Self::Index => f.write_str("the proof has no line with an index"),
            Self::Lines => f.write_str("the proof is not lines, an empty one and a checkpoint"),
            Self::Note(error) => error.fmt(f),
            Self::TooLong => f.write_str("the proof is longer than any tree needs"),
        }
    }
}

impl core::error::Error for ProofError {}

/// Why a proof does not show that an entry is in a trusted log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotIncluded {
    /// The checkpoint is not believed.
    Distrust(Distrust),
    /// The checkpoint is, and the inclusion proof does not hold for this entry.
    Merkle(MerkleError),
}

impl fmt::Display for NotIncluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrust(error) => error.fmt(f),
            Self::Merkle(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NotIncluded {}

/// A proof that was parsed. Nothing about it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: String,
}

impl Proof {
    /// From its parts, without extra data.
    ///
    /// # Errors
    /// [`ProofError::TooLong`], [`ProofError::Note`], [`ProofError::Checkpoint`].
    pub fn new(index: u64, hashes: Vec<Hash>, checkpoint: &str) -> Result<Self, ProofError> {
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(ProofError::TooLong);
        }
        let note = Note::parse(checkpoint.as_bytes()).map_err(ProofError::Note)?;
        Checkpoint::parse(note.text()).map_err(ProofError::Checkpoint)?;
        Ok(Self {
            extra: None,
            index,
            hashes,
            checkpoint: checkpoint.to_string(),
        })
    }

    /// Parses a proof.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong);
        }
        let text = core::str::from_utf8(bytes).map_err(|_| ProofError::Lines)?;
        let (lines, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Lines)?;
        let mut lines = lines.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Header);
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.map(extra_data).transpose()?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(base64::decimal).ok_or(ProofError::Index)?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(ProofError::TooLong);
            }
            hashes.push(base64::decode_hash(line).ok_or(ProofError::Hash)?);
        }
        let mut proof = Self::new(index, hashes, checkpoint)?;
        proof.extra = extra;
        Ok(proof)
    }

    /// Extra data, which nobody vouches for.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Where the entry is said to stand.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The signed checkpoint.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Verifies that `entry` is in the log.
    ///
    /// # Errors
    /// [`NotIncluded`].
    pub fn verify(&self, log: &TrustedLog, entry: &[u8]) -> Result<Inclusion, NotIncluded> {
        let checkpoint = log.verify(self.checkpoint.as_bytes());
        let checkpoint = checkpoint.map_err(NotIncluded::Distrust)?;
        let (size, root) = (checkpoint.size(), checkpoint.root());
        verify_inclusion(&leaf_hash(entry), self.index, size, root, &self.hashes)
            .map_err(NotIncluded::Merkle)?;
        Ok(Inclusion {
            index: self.index,
            checkpoint,
        })
    }
}

/// The text that [`Proof::parse`] reads.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", base64::encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

fn extra_data(line: &str) -> Result<Vec<u8>, ProofError> {
    let data = line.strip_prefix("extra ").and_then(base64::decode);
    data.filter(|data| data.len() <= EXTRA_BYTES_MAX)
        .ok_or(ProofError::Extra)
}

/// Shown: an entry stands at an index of a trusted log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    index: u64,
    checkpoint: VerifiedCheckpoint,
}

impl Inclusion {
    /// Where the entry stands, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Under which checkpoint.
    pub fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }
}
