//! Signed notes (C2SP signed-note): a text and lines of signatures under it.
//!
//! ```text
//! TEXT, ends in a newline; may hold empty lines
//! (an empty line: the last one of the note)
//! — KEY NAME base64(key id, 4 bytes big endian ‖ signature)
//! ```
//!
//! What an attacker controls: every byte, and how many lines of foreign signatures there are. So
//! size and lines are bounded before anything is decoded. A signature of an unknown key is ignored,
//! one of a known key that does not hold refuses the whole note: whoever made it is lying about a
//! key that we trust. The text counts for nothing until [`Note::verify`] has a known key.

mod key;

pub use key::{Cosigner, KeyError, KeyType, Signer, VerifierKey};

use crate::base64;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// Greatest note, bytes. The specification wants room for 16 signatures, each up to 5 kB (in
/// Base64: 6.7 kB); that is 107 kB beside the text.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Most signature lines; at least 16 by the specification.
pub const SIGNATURES_MAX: usize = 64;
/// What begins a signature line: em dash and space.
const SIGNATURE_PREFIX: &str = "— ";

/// Why a note was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// A signature names a known key and does not hold under it.
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// A control character other than newline, or not UTF-8.
    Characters,
    /// A signature line is not `— NAME BASE64` with more than four bytes.
    MalformedSignature,
    /// No signature is by a key that the verifier knows.
    NoKnownSignature,
    /// No empty line with at least one line of signatures, ending in a newline, behind it.
    NoSignatures,
    /// More than [`NOTE_BYTES_MAX`] bytes.
    TooLong,
    /// More than [`SIGNATURES_MAX`] signature lines.
    TooManySignatures,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature { name } => {
                write!(f, "the signature of the known key {name} does not hold")
            }
            Self::Characters => f.write_str("a note is UTF-8 without control characters"),
            Self::MalformedSignature => f.write_str("a signature line is malformed"),
            Self::NoKnownSignature => f.write_str("no signature is by a known key"),
            Self::NoSignatures => f.write_str("a note ends in an empty line and signatures"),
            Self::TooLong => write!(f, "a note has at most {NOTE_BYTES_MAX} bytes"),
            Self::TooManySignatures => write!(f, "a note has at most {SIGNATURES_MAX} signatures"),
        }
    }
}

impl core::error::Error for NoteError {}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    id: u32,
    signature: Vec<u8>,
}

impl SignatureLine {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::MalformedSignature`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        Self::read(line).ok_or(NoteError::MalformedSignature)
    }

    fn read(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        if !key::is_name(name) {
            return None;
        }
        let bytes = base64::decode(encoded)?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_string(),
            id: u32::from_be_bytes(*id),
            signature: signature.to_vec(),
        })
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// The line with its newline.
impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.signature);
        let encoded = base64::encode(&bytes);
        writeln!(f, "{SIGNATURE_PREFIX}{} {encoded}", self.name)
    }
}

/// A note that was parsed. Nothing about its signatures is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    signatures: Vec<SignatureLine>,
}

/// A signature that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification<'k> {
    /// Whose.
    pub key: &'k VerifierKey,
    /// When it was made, seconds since 1970: of a cosignature only.
    pub timestamp_s: Option<u64>,
}

impl<'a> Note<'a> {
    /// Parses a note.
    ///
    /// # Errors
    /// Every [`NoteError`] but those about known keys.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = core::str::from_utf8(bytes).map_err(|_| NoteError::Characters)?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Characters);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        // The text keeps the first of the two newlines.
        let (text, rest) = note.split_at(split + 1);
        let lines = rest.strip_prefix('\n').and_then(|it| it.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::NoSignatures)?;
        if lines.bytes().filter(|byte| *byte == b'\n').count() >= SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        let signatures = lines.split('\n').map(SignatureLine::parse);
        let signatures = signatures.collect::<Result<_, _>>()?;
        Ok(Self { text, signatures })
    }

    /// The text, its last newline included. Means nothing before [`Self::verify`].
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// All signature lines, whoever made them.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Verifies every signature by a key of `keys`; ignores the others. A key counts once, by its
    /// first signature, but none of its signatures may be bad.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`], [`NoteError::NoKnownSignature`].
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verification<'k>>, NoteError> {
        let mut verified: Vec<Verification<'k>> = Vec::new();
        for line in &self.signatures {
            let known = |key: &&VerifierKey| key.id() == line.id && key.name() == line.name;
            for key in keys.iter().filter(known) {
                let name = || line.name.clone();
                let timestamp_s = key
                    .check(self.text, &line.signature)
                    .map_err(|_| NoteError::BadSignature { name: name() })?;
                if verified.iter().all(|other| other.key != key) {
                    verified.push(Verification { key, timestamp_s });
                }
            }
        }
        if verified.is_empty() {
            return Err(NoteError::NoKnownSignature);
        }
        Ok(verified)
    }
}

/// A text and signatures as a note.
///
/// # Errors
/// What [`Note::parse`] would say of it: a text without its last newline or with control
/// characters, no signature, or too much of anything.
pub fn format(text: &str, signatures: &[SignatureLine]) -> Result<String, NoteError> {
    let mut note = String::from(text);
    note.push('\n');
    for line in signatures {
        note.push_str(&line.to_string());
    }
    let parsed = Note::parse(note.as_bytes())?;
    if parsed.text != text || parsed.signatures != signatures {
        return Err(NoteError::NoSignatures);
    }
    Ok(note)
}

#[cfg(test)]
mod tests;
