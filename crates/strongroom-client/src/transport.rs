//! HTTPS to a node: bounded, retried where a retry is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_wire::limits::ENVELOPE_BYTES_MAX;

/// What the network or the node said.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The node refused the request.
    #[error("the server refused the request ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The node's words.
        detail: String,
    },
    /// Busy for longer than this call waits.
    #[error("the server is busy; try again later: nothing more is spent by sending it again")]
    Busy,
    /// The certificate or URL is no good.
    #[error("the connection settings are wrong: {0}")]
    Settings(String),
}

/// A connection to a fleet: to one of its nodes at a time, and to the next one when that one does
/// not answer. Every node takes every request.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    bases: Arc<[String]>,
    /// The one that answered last, by its place.
    current: Arc<AtomicUsize>,
}

/// Greatest body that is read, bytes. Answers are at most the largest size class and its seal, less
/// than an envelope; a bundle with its proofs is longer.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Rounds through all nodes with one request before the caller is told.
const ROUNDS: u32 = 6;
/// Longest wait for a connection, and for an answer, where there is no other node to ask.
const ALONE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// The same where there is: one that hangs is left for the next.
const AMONG_OTHERS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// Longest wait between two tries, whatever a server asks for.
const WAIT_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(ENVELOPE_BYTES_MAX < BODY_BYTES_MAX);

impl Http {
    /// For a base URL such as `https://vault.example`. With `ca_pem` only certificates under one of
    /// these authorities are accepted; else those the system trusts.
    ///
    /// # Errors
    /// [`TransportError::Settings`].
    pub fn new(base: &str, ca_pem: Option<&[u8]>) -> Result<Self, TransportError> {
        Self::to_any(&[base.to_owned()], ca_pem)
    }

    /// For the nodes of one fleet, in the order to try them.
    ///
    /// # Errors
    /// [`TransportError::Settings`].
    pub fn to_any(bases: &[String], ca_pem: Option<&[u8]>) -> Result<Self, TransportError> {
        let settings = |e: reqwest::Error| TransportError::Settings(e.to_string());
        let (connect, answer) = match bases {
            [] => return Err(TransportError::Settings("no server is named".to_owned())),
            [_] => ALONE,
            _ => AMONG_OTHERS,
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect)
            .timeout(answer)
            .https_only(true);
        if let Some(pem) = ca_pem {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(settings)?;
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(settings)?;
        let bases = bases
            .iter()
            .map(|base| base.trim_end_matches('/').to_owned());
        Ok(Self {
            client,
            bases: bases.collect(),
            current: Arc::default(),
        })
    }

    /// Fetches bytes, for the fleet bundle.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, TransportError> {
        self.retried(|base| self.client.get(format!("{base}{path}")))
            .await
    }

    /// Posts a body.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn post(
        &self,
        path: &str,
        admission: Option<&str>,
        body: &[u8],
    ) -> Result<Vec<u8>, TransportError> {
        self.retried(|base| {
            let request = self
                .client
                .post(format!("{base}{path}"))
                .header("content-type", "application/cbor");
            let request = request.body(body.to_vec());
            match admission {
                Some(token) => request.bearer_auth(token),
                None => request,
            }
        })
        .await
    }

    /// Sends until answered. The very same bytes are sent again: the fleet answers a repeated
    /// request as it did the first time.
    async fn retried(
        &self,
        make: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, TransportError> {
        let mut wait = Duration::from_millis(100);
        for round in 1..=ROUNDS {
            let mut longest = Duration::ZERO;
            for another in 1..=self.bases.len() {
                let at = self.current.load(Ordering::Relaxed) % self.bases.len();
                let base = self.bases.get(at).map_or("", String::as_str);
                let (error, asked) = match once(make(base)).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(Failed::ForGood(error)) => return Err(error),
                    Err(Failed::ForNow(error, asked)) => (error, asked),
                };
                self.current.store(at + 1, Ordering::Relaxed);
                if round == ROUNDS && another == self.bases.len() {
                    return Err(error);
                }
                longest = longest.max(asked.unwrap_or_default());
            }
            tokio::time::sleep(longest.max(wait).min(WAIT_MAX)).await;
            wait *= 2;
        }
        Err(TransportError::Busy)
    }
}

/// A try that failed.
enum Failed {
    /// The same again would fail again.
    ForGood(TransportError),
    /// Another try may go through, after what the server asked for.
    ForNow(TransportError, Option<Duration>),
}

async fn once(request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failed> {
    let response = request.send().await.map_err(|error| {
        let words = described(&error);
        if error.is_builder() {
            Failed::ForGood(TransportError::Settings(words))
        } else {
            Failed::ForNow(TransportError::Unreachable(words), None)
        }
    })?;
    match response.status().as_u16() {
        200..=299 => body(response).await,
        429 | 503 => {
            let after = response.headers().get("retry-after");
            let seconds = after.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
            let asked = seconds.map(Duration::from_secs);
            Err(Failed::ForNow(TransportError::Busy, asked))
        }
        status => Err(Failed::ForGood(refused(status, response).await)),
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, Failed> {
    let mut out = Vec::new();
    // Broken off: what was answered is lost, and the same request is answered again.
    let broken = |e: reqwest::Error| {
        let error = TransportError::Unreachable(described(&e));
        Failed::ForNow(error, None)
    };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if out.len() + chunk.len() > BODY_BYTES_MAX {
            let words = "the answer is too long".to_owned();
            return Err(Failed::ForGood(TransportError::Unreachable(words)));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

async fn refused(status: u16, response: reqwest::Response) -> TransportError {
    let text = body(response).await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let detail = problem.and_then(|p| Some(p.get("detail")?.as_str()?.to_owned()));
    TransportError::Refused {
        status,
        detail: detail.unwrap_or_default(),
    }
}

/// The innermost cause: what a person can act on.
fn described(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
