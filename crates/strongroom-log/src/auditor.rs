//! The auditor: a log, its rules, and who may submit.

use crate::files::Files;
use crate::log::{Log, LogError};
use crate::merkle::prove::ProveError;
use crate::note::SignatureLine;
use crate::proof::{Proof, ProofError};
use crate::registry::{Denied, Registry, Verdict};
use crate::submission::{Submission, Unwelcome};
use strongroom_wire::{Malformed, PublicKey};

/// Why nothing was logged, or no proof comes out.
#[derive(Debug, thiserror::Error)]
pub enum AuditorError {
    /// An entry in the log is none of ours.
    #[error("entry {index} of this log is not one of Strongroom: {error}")]
    Foreign {
        /// Which.
        index: u64,
        /// How so.
        error: Malformed,
    },
    /// Who sent it may not, or it is no submission.
    #[error(transparent)]
    Unwelcome(#[from] Unwelcome),
    /// The rules do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log refuses or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No proof could be made.
    #[error(transparent)]
    Prove(#[from] ProveError<LogError>),
    /// A proof of ours is none: a fault.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// From 0.
    pub index: u64,
    /// Whether it was logged just now; false if it stood there already.
    pub new: bool,
}

/// A log with its rules.
#[derive(Debug)]
pub struct Auditor<F> {
    log: Log<F>,
    registry: Registry,
    submitters: Vec<PublicKey>,
}

impl<F: Files> Auditor<F> {
    /// Reads all entries of a log; these keys may submit to it.
    ///
    /// # Errors
    /// [`AuditorError::Foreign`], [`AuditorError::Log`].
    pub fn new(log: Log<F>, submitters: Vec<PublicKey>) -> Result<Self, AuditorError> {
        let mut registry = Registry::default();
        for index in 0..log.size() {
            let entry = log.entry(index)?.unwrap_or_default();
            let recorded = registry.record(index, &entry);
            recorded.map_err(|error| AuditorError::Foreign { index, error })?;
        }
        Ok(Self {
            log,
            registry,
            submitters,
        })
    }

    /// Logs a submission, durably. The same one again is not logged again.
    ///
    /// # Errors
    /// [`AuditorError`].
    pub fn submit(&mut self, submission: &[u8]) -> Result<Logged, AuditorError> {
        let origin = self.log.signer().verifier().name();
        let entry = Submission::open(submission, origin, &self.submitters)?;
        let admitted = match self.registry.judge(&entry)? {
            Verdict::Known(index) => return Ok(Logged { index, new: false }),
            Verdict::New(admitted) => admitted,
        };
        let index = self.log.append(&[admitted.bytes().to_vec()])?;
        let recorded = self.registry.record(index, admitted.bytes());
        recorded.map_err(|error| AuditorError::Foreign { index, error })?;
        Ok(Logged { index, new: true })
    }

    /// The proof of an entry under the published checkpoint.
    ///
    /// # Errors
    /// [`AuditorError::Prove`], [`AuditorError::Proof`].
    pub fn proof(&self, index: u64) -> Result<Proof, AuditorError> {
        let hashes = self.log.prove_inclusion(index)?;
        Ok(Proof::new(index, hashes, self.log.checkpoint())?)
    }

    /// Publishes cosignatures; see [`Log::add_cosignatures`].
    ///
    /// # Errors
    /// [`AuditorError::Log`].
    pub fn add_cosignatures(&mut self, lines: &[SignatureLine]) -> Result<(), AuditorError> {
        Ok(self.log.add_cosignatures(lines)?)
    }

    /// The log.
    pub fn log(&self) -> &Log<F> {
        &self.log
    }
}
