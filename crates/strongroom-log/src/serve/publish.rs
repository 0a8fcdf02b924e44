//! Asking the witnesses, over HTTP.
//!
//! A witness may say anything: that it has seen a greater tree is believed only with this log's own
//! signature under it. With that, directory and state were restored from old copies, and the log
//! stops before it signs a second history: with a quorum of q among k, nothing is logged after a
//! start until k − q + 1 have shown what they have, so one of those that cosigned the newest tree.
//!
//! Known gap: with a quorum of 0, or of a tree whose cosignatures never came, a restored copy of
//! both is not noticed. The first is for development; readers of the second have no proof of it.

use crate::auditor::Auditor;
use crate::checkpoint::Checkpoint;
use crate::files::Disk;
use crate::merkle::prove;
use crate::note::{Note, SignatureLine, VerifierKey};
use crate::settings::{Settings, SetupError};
use crate::witness::core::origin_hash;
use crate::witness::{ANSWER_BYTES_MAX, AddCheckpoint, Answer, Refused, cosignatures};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Why the log must not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// Signed by this log's key, and not its history.
    #[error(
        "{witness} has a tree of {size} entries that this log signed and does not have: directory \
         and state were restored from older copies, or the key is used elsewhere; bring the newest \
         copy back"
    )]
    Forked {
        /// Who shows it.
        witness: String,
        /// Of that size.
        size: u64,
    },
    /// The comparison needs tiles that cannot be read.
    #[error("cannot compare with {witness}: {error}")]
    Unreadable {
        /// With whom.
        witness: String,
        /// Why not.
        error: String,
    },
}

struct Asked {
    key: VerifierKey,
    url: String,
}

/// The witnesses of a log.
pub(super) struct Publisher {
    client: reqwest::Client,
    witnesses: Vec<Asked>,
    /// What each cosigned last, as far as this process knows; for each that has shown it.
    known: Mutex<BTreeMap<String, u64>>,
    /// How many must have.
    needed: usize,
}

/// One step of asking a witness.
enum Step {
    Cosigned(Vec<SignatureLine>),
    Again(u64),
    Refused(String),
    /// It says that it has another tree; its evidence is worth a look.
    Disagrees(String),
}

impl Publisher {
    pub(super) fn new(settings: &Settings, dir: &Path) -> Result<Self, SetupError> {
        let wrong = |what: String| SetupError::Settings {
            path: dir.join("auditor.toml"),
            what,
        };
        let timeout = Duration::from_millis(settings.witness_ms);
        let client = reqwest::Client::builder().timeout(timeout).build();
        let client = client.map_err(|error| wrong(error.to_string()))?;
        let mut witnesses = Vec::new();
        for witness in &settings.witnesses {
            let key = VerifierKey::parse(&witness.key);
            witnesses.push(Asked {
                key: key.map_err(|error| wrong(error.to_string()))?,
                url: witness.url.trim_end_matches('/').to_owned(),
            });
        }
        Ok(Self {
            client,
            witnesses,
            known: Mutex::default(),
            needed: match settings.quorum {
                0 => 0,
                quorum => (settings.witnesses.len() + 1).saturating_sub(quorum),
            },
        })
    }

    /// How many witnesses there are.
    pub(super) fn witnesses(&self) -> usize {
        self.witnesses.len()
    }

    /// Compares this log with what the witnesses have that have not shown it yet; true if enough
    /// have.
    pub(super) async fn compare(&self, auditor: &Auditor<Disk>) -> Result<bool, Unpublished> {
        for witness in &self.witnesses {
            if self.known(witness).is_none() {
                self.evidence(witness, auditor).await?;
            }
        }
        let shown = self.known.lock().map_or(0, |known| known.len());
        Ok(shown >= self.needed)
    }

    /// Whether enough have shown what they have.
    pub(super) fn is_compared(&self) -> bool {
        self.known
            .lock()
            .is_ok_and(|known| known.len() >= self.needed)
    }

    fn known(&self, witness: &Asked) -> Option<u64> {
        let known = self.known.lock().ok()?;
        known.get(witness.key.name()).copied()
    }

    /// Cosignatures of the published checkpoint, verified, by whichever witnesses give them.
    pub(super) async fn ask(
        &self,
        auditor: &Auditor<Disk>,
    ) -> Result<Vec<SignatureLine>, Unpublished> {
        let mut asked = tokio::task::JoinSet::new();
        for (at, witness) in self.witnesses.iter().enumerate() {
            let first = self.first_request(witness, auditor);
            let (client, url) = (self.client.clone(), witness.url.clone());
            asked.spawn(async move { (at, post(&client, &url, first).await) });
        }
        let mut lines = Vec::new();
        while let Some(answered) = asked.join_next().await {
            let Ok((at, answer)) = answered else { continue };
            let Some(witness) = self.witnesses.get(at) else {
                continue;
            };
            let name = witness.key.name();
            let step = match step(witness, auditor, answer) {
                Step::Again(old) => {
                    let request = request(auditor, old).unwrap_or_default();
                    step(
                        witness,
                        auditor,
                        post(&self.client, &witness.url, request).await,
                    )
                }
                step => step,
            };
            match step {
                Step::Cosigned(more) => {
                    self.remember(name, auditor.log().size());
                    lines.extend(more);
                }
                Step::Again(_) => tracing::warn!(witness = name, "names one size, then another"),
                Step::Refused(error) => tracing::warn!(witness = name, error, "no cosignature"),
                Step::Disagrees(error) => {
                    tracing::error!(witness = name, error, "no cosignature");
                    self.evidence(witness, auditor).await?;
                }
            }
        }
        Ok(lines)
    }

    fn first_request(&self, witness: &Asked, auditor: &Auditor<Disk>) -> String {
        request(auditor, self.known(witness).unwrap_or(0)).unwrap_or_default()
    }

    fn remember(&self, name: &str, size: u64) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(name.to_owned(), size);
        }
    }

    /// Fetches what the witness has of this log. What this log's key has not signed is no evidence.
    async fn evidence(&self, witness: &Asked, auditor: &Auditor<Disk>) -> Result<(), Unpublished> {
        let own = auditor.log().signer().verifier();
        let url = format!("{}/{}/checkpoint", witness.url, origin_hash(own.name()));
        let name = witness.key.name();
        let body = match self.client.get(&url).send().await {
            Ok(response) if response.status().is_success() => body(response).await,
            Ok(response) if response.status().as_u16() == 404 => {
                self.remember(name, 0);
                return Ok(());
            }
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(error) => Err(error.to_string()),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(witness = name, error, "shows no checkpoint of this log");
                return Ok(());
            }
        };
        let Some(theirs) = signed_by(own, &body) else {
            tracing::warn!(
                witness = name,
                "shows a checkpoint that this log has not signed"
            );
            return Ok(());
        };
        let (witness, size) = (name.to_owned(), theirs.size());
        match contains(auditor, &theirs) {
            Ok(true) => self.remember(name, size),
            Ok(false) => return Err(Unpublished::Forked { witness, size }),
            Err(error) => return Err(Unpublished::Unreadable { witness, error }),
        }
        Ok(())
    }
}

fn signed_by(own: &VerifierKey, body: &[u8]) -> Option<Checkpoint> {
    let note = Note::parse(body).ok()?;
    note.verify(std::slice::from_ref(own)).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    (checkpoint.origin() == own.name()).then_some(checkpoint)
}

/// Whether this log has that tree in its own.
fn contains(auditor: &Auditor<Disk>, theirs: &Checkpoint) -> Result<bool, String> {
    let log = auditor.log();
    if theirs.size() > log.size() {
        return Ok(false);
    }
    let root = prove::prefix_root(log, theirs.size(), log.size());
    root.map(|root| root == *theirs.root())
        .map_err(|error| error.to_string())
}

fn request(auditor: &Auditor<Disk>, old_size: u64) -> Option<String> {
    let log = auditor.log();
    let proof = log.prove_consistency(old_size.min(log.size())).ok()?;
    let request = AddCheckpoint {
        old_size: old_size.min(log.size()),
        proof,
        checkpoint: log.checkpoint().to_owned(),
    };
    Some(request.to_string())
}

async fn post(client: &reqwest::Client, url: &str, request: String) -> Result<Answer, String> {
    let url = format!("{url}/add-checkpoint");
    let response = client.post(url).body(request).send().await;
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    Ok(Answer::parse(status, &body(response).await?))
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too long".to_owned());
        }
    }
    Ok(body)
}

fn step(witness: &Asked, auditor: &Auditor<Disk>, answer: Result<Answer, String>) -> Step {
    let log = auditor.log();
    match answer {
        Ok(Answer::Cosigned(lines)) => {
            let text = Note::parse(log.checkpoint().as_bytes()).map(|note| note.text());
            let text = text.unwrap_or_default();
            match cosignatures(text, &lines, std::slice::from_ref(&witness.key)) {
                Ok(lines) => Step::Cosigned(lines),
                Err(error) => Step::Refused(error.to_string()),
            }
        }
        Ok(Answer::Conflict(size)) if size > log.size() => {
            Step::Disagrees(format!("it has cosigned {size} entries"))
        }
        Ok(Answer::Conflict(size)) => Step::Again(size),
        Ok(Answer::Refused(Refused::Inconsistent)) => {
            Step::Disagrees(Refused::Inconsistent.to_string())
        }
        Ok(Answer::Refused(refused)) => Step::Refused(refused.to_string()),
        Err(error) => Step::Refused(error),
    }
}
