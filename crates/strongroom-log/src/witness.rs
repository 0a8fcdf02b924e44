//! Asking witnesses for cosignatures (C2SP tlog-witness), without IO: bytes out, bytes in.
//!
//! `POST PREFIX/add-checkpoint`:
//!
//! ```text
//! old SIZE                 of the newest tree that this witness cosigned; 0 if none is known
//! BASE64(HASH)             consistency proof from there, at most 63 lines
//! (an empty line)
//! the signed checkpoint
//! ```
//!
//! | status | body | meaning |
//! | --- | --- | --- |
//! | 200 | signature lines | cosigned |
//! | 400 | | the request is malformed, or its old size greater than the tree |
//! | 403 | | not signed by a key that this witness trusts for the log |
//! | 404 | | the log is unknown to it |
//! | 409 | size, newline | it has cosigned another size; ask again from there |
//! | 422 | | the proof does not hold: for the witness, the log has forked |
//!
//! The other side, a witness itself, is in [`core`]. Who may be lying: each for the other.

pub mod core;

use crate::base64;
use crate::merkle::{Hash, PROOF_HASHES_MAX};
use crate::note::{self, NOTE_BYTES_MAX, Note, SIGNATURES_MAX, SignatureLine, VerifierKey};
use ::core::fmt;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// Greatest request, bytes: a note, 63 hashes of 45 letters, the first line.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 45 * PROOF_HASHES_MAX + 32;
/// Greatest answer, bytes: signatures, as in a note.
pub const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX;

/// A request that is none: not an old size, hashes, an empty line and a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRequest;

impl fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request is an old size, a consistency proof, an empty line, a checkpoint")
    }
}

impl ::core::error::Error for MalformedRequest {}

/// An `add-checkpoint` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the proof begins at.
    pub old_size: u64,
    /// Consistency proof, at most [`PROOF_HASHES_MAX`] hashes.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// Parses a request. The note at its end is not looked at.
    ///
    /// # Errors
    /// [`MalformedRequest`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedRequest> {
        Self::read(bytes).ok_or(MalformedRequest)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(bytes).ok()?;
        let (lines, checkpoint) = text.split_once("\n\n")?;
        let mut lines = lines.split('\n');
        let old_size = base64::decimal(lines.next()?.strip_prefix("old ")?)?;
        let proof: Option<Vec<Hash>> = lines.map(base64::decode_hash).collect();
        let proof = proof.filter(|proof| proof.len() <= PROOF_HASHES_MAX)?;
        Some(Self {
            old_size,
            proof,
            checkpoint: checkpoint.to_string(),
        })
    }
}

/// The request's body.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.proof {
            writeln!(f, "{}", base64::encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: signature lines, not verified. See [`cosignatures`].
    Cosigned(Vec<SignatureLine>),
    /// 409: the newest tree that it cosigned has this size.
    Conflict(u64),
    /// Any other status.
    Refused(Refused),
}

/// Why a witness cosigns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 422: the consistency proof does not hold against what it cosigned before.
    Inconsistent,
    /// 200 or 409 with a body that is not what the specification says.
    Malformed,
    /// 400: it does not understand the request.
    Request,
    /// Another status.
    Status(u16),
    /// 404: it does not watch this log.
    UnknownLog,
    /// 403: it knows other keys for this log.
    UnknownKey,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inconsistent => {
                f.write_str("the witness has cosigned another history of this log (422)")
            }
            Self::Malformed => f.write_str("the witness's answer is malformed"),
            Self::Request => f.write_str("the witness does not understand the request (400)"),
            Self::Status(status) => write!(f, "the witness answers with status {status}"),
            Self::UnknownLog => f.write_str("the witness does not watch this log (404)"),
            Self::UnknownKey => f.write_str("the witness knows other keys for this log (403)"),
        }
    }
}

impl ::core::error::Error for Refused {}

impl Answer {
    /// Reads an answer.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let read = match status {
            200 => signature_lines(body).map(Self::Cosigned),
            409 => conflict(body).map(Self::Conflict),
            400 => Some(Self::Refused(Refused::Request)),
            403 => Some(Self::Refused(Refused::UnknownKey)),
            404 => Some(Self::Refused(Refused::UnknownLog)),
            422 => Some(Self::Refused(Refused::Inconsistent)),
            other => Some(Self::Refused(Refused::Status(other))),
        };
        read.unwrap_or(Self::Refused(Refused::Malformed))
    }
}

fn signature_lines(body: &[u8]) -> Option<Vec<SignatureLine>> {
    if body.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let lines = str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let lines: Vec<&str> = lines.split('\n').collect();
    if lines.len() > SIGNATURES_MAX {
        return None;
    }
    lines
        .into_iter()
        .map(|line| SignatureLine::parse(line).ok())
        .collect()
}

fn conflict(body: &[u8]) -> Option<u64> {
    base64::decimal(str::from_utf8(body).ok()?.strip_suffix('\n')?)
}

/// Of the lines that a witness gave, those by its known keys, all verified over this checkpoint's
/// text. Lines of unknown keys are dropped; a bad one of a known key, or none at all, spoils the
/// answer.
///
/// # Errors
/// [`note::NoteError`].
pub fn cosignatures(
    text: &str,
    lines: &[SignatureLine],
    witnesses: &[VerifierKey],
) -> Result<Vec<SignatureLine>, note::NoteError> {
    let whole = note::format(text, lines)?;
    Note::parse(whole.as_bytes())?.verify(witnesses)?;
    let known = |line: &&SignatureLine| {
        let same = |key: &VerifierKey| key.id() == line.id() && key.name() == line.name();
        witnesses.iter().any(same)
    };
    Ok(lines.iter().filter(known).cloned().collect())
}
