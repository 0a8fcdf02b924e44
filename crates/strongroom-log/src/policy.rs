//! Whom a verifier believes: one log, and m of k witnesses.
//!
//! A log that is broken into can sign two trees. Witnesses see both, and each signs one. With a
//! quorum of more than half of the witnesses, no two trees that disagree are both accepted unless a
//! witness is broken too.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{Hash, MerkleError, verify_consistency};
use crate::note::{KeyType, Note, NoteError, Verification, VerifierKey};
use alloc::vec::Vec;
use core::fmt;

/// Why a policy makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Two keys with one public key, or with one name and id: one party would count twice.
    Duplicate,
    /// The log's key is not of type 0x01, or a witness's not of type 0x04.
    KeyType,
    /// More cosignatures are wanted than there are witnesses.
    Quorum {
        /// Wanted.
        wanted: usize,
        /// Witnesses.
        witnesses: usize,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("two keys of the policy are one"),
            Self::KeyType => {
                f.write_str("a log's key has type 0x01 (Ed25519), a witness's 0x04 (cosignature)")
            }
            Self::Quorum { wanted, witnesses } => {
                write!(
                    f,
                    "{wanted} cosignatures wanted, {witnesses} witnesses known"
                )
            }
        }
    }
}

impl core::error::Error for PolicyError {}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// The note is malformed, or a signature of a known key is bad.
    Note(NoteError),
    /// The text is no checkpoint.
    Checkpoint(CheckpointError),
    /// Witnesses signed it, the log did not.
    LogSignature,
    /// It names another log than the one whose key signed it.
    Origin,
    /// Too few witnesses cosigned.
    Quorum {
        /// Cosignatures that hold.
        have: usize,
        /// Wanted.
        wanted: usize,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => error.fmt(f),
            Self::Checkpoint(error) => error.fmt(f),
            Self::LogSignature => f.write_str("the log has not signed this checkpoint"),
            Self::Origin => f.write_str("the checkpoint is of another log than its signature"),
            Self::Quorum { have, wanted } => {
                write!(f, "{have} witnesses cosigned, {wanted} are needed")
            }
        }
    }
}

impl core::error::Error for Distrust {}

impl From<NoteError> for Distrust {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

impl From<CheckpointError> for Distrust {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

/// A log that is trusted as far as enough of these witnesses have looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedLog {
    /// The log's key first, then the witnesses'.
    keys: Vec<VerifierKey>,
    quorum: usize,
}

impl TrustedLog {
    /// A log, its witnesses, and how many of them must have cosigned: 0 believes the log alone.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(
        log: VerifierKey,
        witnesses: Vec<VerifierKey>,
        quorum: usize,
    ) -> Result<Self, PolicyError> {
        let cosigns = |key: &VerifierKey| key.kind() == KeyType::Cosignature;
        if log.kind() != KeyType::Ed25519 || !witnesses.iter().all(cosigns) {
            return Err(PolicyError::KeyType);
        }
        if quorum > witnesses.len() {
            return Err(PolicyError::Quorum {
                wanted: quorum,
                witnesses: witnesses.len(),
            });
        }
        let mut keys = Vec::from([log]);
        keys.extend(witnesses);
        let same = |a: &VerifierKey, b: &VerifierKey| {
            a.public() == b.public() || (a.name() == b.name() && a.id() == b.id())
        };
        let twice =
            |(at, key): (usize, &VerifierKey)| keys.iter().skip(at + 1).any(|o| same(key, o));
        if keys.iter().enumerate().any(twice) {
            return Err(PolicyError::Duplicate);
        }
        Ok(Self { keys, quorum })
    }

    /// The log's origin, which is the name of its key.
    pub fn origin(&self) -> &str {
        self.keys.first().map_or("", VerifierKey::name)
    }

    /// Verifies a signed checkpoint.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn verify(&self, note: &[u8]) -> Result<VerifiedCheckpoint, Distrust> {
        let note = Note::parse(note)?;
        let verified = note.verify(&self.keys)?;
        let is_log = |it: &&Verification<'_>| it.key.kind() == KeyType::Ed25519;
        if !verified.iter().any(|it| is_log(&it)) {
            return Err(Distrust::LogSignature);
        }
        let cosigned_s: Vec<u64> = verified.iter().filter_map(|it| it.timestamp_s).collect();
        if cosigned_s.len() < self.quorum {
            return Err(Distrust::Quorum {
                have: cosigned_s.len(),
                wanted: self.quorum,
            });
        }
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin() != self.origin() {
            return Err(Distrust::Origin);
        }
        Ok(VerifiedCheckpoint {
            checkpoint,
            cosigned_s,
        })
    }
}

/// A checkpoint that its log signed and a quorum of witnesses cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    cosigned_s: Vec<u64>,
}

impl VerifiedCheckpoint {
    /// How many entries.
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// Merkle tree hash of them.
    pub fn root(&self) -> &Hash {
        self.checkpoint.root()
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        self.checkpoint.origin()
    }

    /// When known witnesses cosigned, seconds since 1970, one for each. By their clocks.
    pub fn cosigned_s(&self) -> &[u64] {
        &self.cosigned_s
    }

    /// Verifies that this tree continues an older one of the same log.
    ///
    /// # Errors
    /// [`MerkleError`]; if `older` is of another log, [`MerkleError::Range`].
    pub fn verify_continues(&self, older: &Self, proof: &[Hash]) -> Result<(), MerkleError> {
        if self.origin() != older.origin() {
            return Err(MerkleError::Range);
        }
        verify_consistency(older.size(), older.root(), self.size(), self.root(), proof)
    }
}
