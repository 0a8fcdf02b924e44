//! Handing an entry to the auditor: signed by somebody whose key stands in its configuration.
//!
//! ```cddl
//! submission = [submitted: bytes .cbor submitted, submitter: public-key, signature]
//! submitted = [origin: tstr, entry: bytes]
//! ```
//!
//! Signed under the label `strongroom/v1 log submission`. The origin binds it to one log. It may be
//! replayed by anybody, and then names an entry that is logged already.

use crate::tiles::ENTRY_BYTES_MAX;
use minicbor::{Decode, Encode};
use strongroom_crypto::statement::{Label, SigningKey, sign, verify};
use strongroom_wire::{Malformed, PublicKey, Signature, decode, encode};

/// Greatest submission, bytes: an entry, an origin, a key, a signature, CBOR.
pub const SUBMISSION_BYTES_MAX: usize = ENTRY_BYTES_MAX + 2048;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Submitted {
    /// Which log it is for.
    #[n(0)]
    pub origin: String,
    /// The entry's bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub entry: Vec<u8>,
}

/// An entry, who wants it logged, and where.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Submission {
    /// Canonical bytes of [`Submitted`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub submitted: Vec<u8>,
    /// By whom.
    #[n(1)]
    pub submitter: PublicKey,
    /// Ed25519, label `strongroom/v1 log submission`.
    #[n(2)]
    pub signature: Signature,
}

/// Why a submission is not looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// Not a submission.
    #[error("not a submission: {0}")]
    Malformed(Malformed),
    /// For another log.
    #[error("the submission is for another log than this one")]
    Origin,
    /// By a key that may not submit here.
    #[error("that key may not submit here; its place is `submitters` in the configuration")]
    Submitter,
    /// The signature does not hold.
    #[error("the submission's signature does not hold")]
    Signature,
}

impl Submission {
    /// Signs an entry for a log.
    pub fn sign(key: &SigningKey, origin: &str, entry: &[u8]) -> Self {
        let submitted = encode(&Submitted {
            origin: origin.to_owned(),
            entry: entry.to_vec(),
        });
        let signature = sign(key, Label::LogSubmission, &submitted);
        Self {
            submitted,
            submitter: PublicKey(key.public()),
            signature: Signature(signature),
        }
    }

    /// The bytes to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a submission and gives its entry, if one of these keys signed it for this log.
    ///
    /// # Errors
    /// [`Unwelcome`].
    pub fn open(
        bytes: &[u8],
        origin: &str,
        submitters: &[PublicKey],
    ) -> Result<Vec<u8>, Unwelcome> {
        if bytes.len() > SUBMISSION_BYTES_MAX {
            return Err(Unwelcome::Malformed(Malformed::OutOfBounds));
        }
        let submission: Self = decode(bytes).map_err(Unwelcome::Malformed)?;
        if !submitters.contains(&submission.submitter) {
            return Err(Unwelcome::Submitter);
        }
        let (key, signature) = (&submission.submitter.0, &submission.signature.0);
        verify(key, Label::LogSubmission, &submission.submitted, signature)
            .map_err(|_| Unwelcome::Signature)?;
        let submitted: Submitted = decode(&submission.submitted).map_err(Unwelcome::Malformed)?;
        match submitted.origin == origin {
            true => Ok(submitted.entry),
            false => Err(Unwelcome::Origin),
        }
    }
}
