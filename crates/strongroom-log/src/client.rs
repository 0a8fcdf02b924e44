//! Submitting to an auditor's log over HTTP, and verifying the proof that comes back.
//!
//! The same bytes may be sent as often as it takes: they are logged once.

use crate::policy::TrustedLog;
use crate::proof::{Inclusion, NotIncluded, PROOF_BYTES_MAX, Proof, ProofError};
use crate::submission::{Submission, Submitted};
use serde::Deserialize;
use std::time::Duration;
use strongroom_wire::{Malformed, decode};

/// Tries, where the log asks to be asked again.
const TRIES: u32 = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for an answer: the log waits for its witnesses.
const ANSWER: Duration = Duration::from_secs(60);

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// No connection, or it broke. Send it again.
    #[error("the log cannot be reached: {0}")]
    Unreachable(String),
    /// It asks to be asked again, for longer than this call does.
    #[error("the log answers: {0}")]
    Busy(String),
    /// It refuses, for ever unless something is changed.
    #[error("the log refuses ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Name of the problem.
        name: String,
        /// In words.
        detail: String,
    },
    /// What it gave is no proof.
    #[error("the log's answer is no proof: {0}")]
    Malformed(ProofError),
    /// What it gave proves nothing.
    #[error("the log's proof does not hold: {0}")]
    NotIncluded(NotIncluded),
    /// The submission has no entry: a fault of the caller.
    #[error("the submission is malformed: {0}")]
    Submission(Malformed),
}

#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

/// Submits an entry and gives the proof, verified: of this entry, under a checkpoint that this
/// policy believes.
///
/// # Errors
/// [`SubmitError`].
pub async fn submit(
    url: &str,
    submission: &Submission,
    log: &TrustedLog,
) -> Result<(Proof, Inclusion), SubmitError> {
    let submitted: Submitted = decode(&submission.submitted).map_err(SubmitError::Submission)?;
    let broken = |error: reqwest::Error| SubmitError::Unreachable(error.to_string());
    let client = reqwest::Client::builder()
        .timeout(ANSWER)
        .build()
        .map_err(broken)?;
    let url = format!("{}/submit", url.trim_end_matches('/'));
    let mut tries = 1;
    let proof = loop {
        match once(&client, &url, submission).await {
            Err(SubmitError::Busy(_)) if tries < TRIES => tries += 1,
            result => break result?,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let proof = Proof::parse(&proof).map_err(SubmitError::Malformed)?;
    let inclusion = proof
        .verify(log, &submitted.entry)
        .map_err(SubmitError::NotIncluded)?;
    Ok((proof, inclusion))
}

async fn once(
    client: &reqwest::Client,
    url: &str,
    submission: &Submission,
) -> Result<Vec<u8>, SubmitError> {
    let broken = |error: reqwest::Error| SubmitError::Unreachable(error.to_string());
    let sent = client.post(url).body(submission.to_bytes()).send().await;
    let mut response = sent.map_err(broken)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > PROOF_BYTES_MAX {
            return Err(SubmitError::Malformed(ProofError::TooLong));
        }
    }
    if status == 200 {
        return Ok(body);
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let (name, detail) = match problem {
        Some(problem) => (problem.title, problem.detail),
        None => (String::new(), "without a reason".to_owned()),
    };
    match status {
        502..=504 => Err(SubmitError::Busy(detail)),
        _ => Err(SubmitError::Refused {
            status,
            name,
            detail,
        }),
    }
}
