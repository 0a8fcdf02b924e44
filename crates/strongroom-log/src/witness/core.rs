//! A witness: remembers the newest tree of each log that it watches, and cosigns what continues it.
//!
//! Without IO: request bytes and the time come in, status and body go out; what has to survive goes
//! through [`WitnessState`], durable **before** the cosignature is given out. One request at a time
//! (`&mut self`), so that none is checked against what another one is about to replace.
//!
//! Who may be lying: the log, and anybody who sends requests. What this does not do: read entries.
//! Known gap: a witness whose state came back from an older copy cosigns a fork from there on. Who
//! counts witnesses counts it as broken; a quorum stands as long as enough others are not.

use super::AddCheckpoint;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::verify_consistency;
use crate::note::{self, Cosigner, KeyError, KeyType, Note, VerifierKey};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// What a witness must not forget.
pub trait WitnessState {
    /// What can go wrong.
    type Error;

    /// The newest checkpoint recorded for a log.
    ///
    /// # Errors
    /// As the state has them.
    fn latest(&self, origin: &str) -> Result<Option<String>, Self::Error>;

    /// Records a signed checkpoint in place of the one before. Durable when this returns.
    ///
    /// # Errors
    /// As the state has them; then nothing is cosigned.
    fn record(&mut self, origin: &str, checkpoint: &str) -> Result<(), Self::Error>;
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Its type.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}

impl Reply {
    fn new(status: u16, body: impl Into<String>) -> Self {
        let content_type = match status {
            409 => "text/x.tlog.size",
            _ => "text/plain; charset=utf-8",
        };
        Self {
            status,
            content_type,
            body: body.into(),
        }
    }
}

/// A witness with its key and the logs it watches.
#[derive(Debug)]
pub struct Witness<S> {
    cosigner: Cosigner,
    logs: Vec<VerifierKey>,
    state: S,
}

/// What was recorded is no checkpoint: the state is damaged, or its own error.
#[derive(Debug, PartialEq, Eq)]
pub enum StateError<E> {
    /// The state's own error.
    State(E),
    /// What it gave is no checkpoint of that log.
    Damaged,
}

impl<S: WitnessState> Witness<S> {
    /// A witness of these logs. A log may have several keys; its origin is their name.
    ///
    /// # Errors
    /// [`KeyError::Type`] for a key that is not of type 0x01.
    pub fn new(cosigner: Cosigner, logs: Vec<VerifierKey>, state: S) -> Result<Self, KeyError> {
        if logs.iter().any(|key| key.kind() != KeyType::Ed25519) {
            return Err(KeyError::Type);
        }
        Ok(Self {
            cosigner,
            logs,
            state,
        })
    }

    /// Answers `POST add-checkpoint` at a time in seconds since 1970.
    ///
    /// # Errors
    /// [`StateError`]; answer 500, nothing was cosigned.
    pub fn add_checkpoint(
        &mut self,
        body: &[u8],
        now_s: u64,
    ) -> Result<Reply, StateError<S::Error>> {
        let refused = |status, words: &str| Ok(Reply::new(status, format!("{words}\n")));
        let Ok(request) = AddCheckpoint::parse(body) else {
            return refused(400, "not an add-checkpoint request");
        };
        let Ok(note) = Note::parse(request.checkpoint.as_bytes()) else {
            return refused(400, "the checkpoint is not a signed note");
        };
        let checkpoint = Checkpoint::parse(note.text());
        let origin = note.text().split('\n').next().unwrap_or_default();
        let of_log = self.logs.iter().filter(|key| key.name() == origin);
        let keys: Vec<VerifierKey> = of_log.cloned().collect();
        if keys.is_empty() {
            return refused(404, "this witness does not watch that log");
        }
        if note.verify(&keys).is_err() {
            return refused(
                403,
                "not signed by the log, or one of its signatures is bad",
            );
        }
        let checkpoint = match checkpoint {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::EmptyRoot) => {
                return refused(422, "an empty tree has another root");
            }
            Err(_) => return refused(400, "the note is not a checkpoint"),
        };
        if request.old_size > checkpoint.size() {
            return refused(400, "the old size is greater than the tree");
        }
        let known = self.known(origin)?;
        if request.old_size != known.size() {
            return Ok(Reply::new(409, format!("{}\n", known.size())));
        }
        let (old, new) = (known.root(), checkpoint.root());
        let proof = &request.proof;
        if verify_consistency(known.size(), old, checkpoint.size(), new, proof).is_err() {
            return refused(422, "the tree does not continue the one cosigned before");
        }
        self.cosign(&note, &keys, now_s)
    }

    /// Records, then signs.
    fn cosign(
        &mut self,
        note: &Note<'_>,
        keys: &[VerifierKey],
        now_s: u64,
    ) -> Result<Reply, StateError<S::Error>> {
        // A time of zero would say that none is meant.
        let line = self.cosigner.cosign(note.text(), now_s.max(1));
        let by_log = |line: &&note::SignatureLine| {
            let same = |key: &VerifierKey| key.id() == line.id() && key.name() == line.name();
            keys.iter().any(same)
        };
        let mut lines: Vec<_> = note.signatures().iter().filter(by_log).cloned().collect();
        lines.push(line.clone());
        let kept = note::format(note.text(), &lines).map_err(|_| StateError::Damaged)?;
        let origin = keys.first().map_or("", VerifierKey::name);
        self.state
            .record(origin, &kept)
            .map_err(StateError::State)?;
        Ok(Reply::new(200, format!("{line}")))
    }

    /// The newest tree that was cosigned; the empty one if there is none.
    fn known(&self, origin: &str) -> Result<Checkpoint, StateError<S::Error>> {
        let latest = self.state.latest(origin).map_err(StateError::State)?;
        let Some(latest) = latest else {
            let empty = Checkpoint::new(origin, 0, crate::merkle::empty_root());
            return empty.map_err(|_| StateError::Damaged);
        };
        let note = Note::parse(latest.as_bytes()).ok();
        let checkpoint = note.and_then(|note| Checkpoint::parse(note.text()).ok());
        let checkpoint = checkpoint.filter(|it| it.origin() == origin);
        checkpoint.ok_or(StateError::Damaged)
    }

    /// Answers `GET HASH/checkpoint`, where the hash is SHA-256 of a log's origin in lower-case
    /// hexadecimal: the newest checkpoint with the log's signature and this witness's.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn latest(&self, origin_hash: &str) -> Result<Reply, StateError<S::Error>> {
        let named = |key: &&VerifierKey| self::origin_hash(key.name()) == origin_hash;
        let latest = match self.logs.iter().find(named) {
            Some(log) => self.state.latest(log.name()).map_err(StateError::State)?,
            None => None,
        };
        Ok(match latest {
            Some(checkpoint) => Reply::new(200, checkpoint),
            None => Reply::new(404, "no checkpoint of that log\n"),
        })
    }

    /// The public half of the witness's key.
    pub fn verifier(&self) -> &VerifierKey {
        self.cosigner.verifier()
    }
}

/// The name of a log in a witness's URLs: SHA-256 of its origin, lower-case hexadecimal.
pub fn origin_hash(origin: &str) -> String {
    let hash = Sha256::digest(origin.as_bytes());
    hash.iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
