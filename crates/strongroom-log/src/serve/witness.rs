//! A witness of other logs, over HTTP: `POST /add-checkpoint`, `GET /HASH/checkpoint`.
//!
//! Its directory holds `key` (mode 0600), `witness.toml`, and for each log a file named by the hash
//! of its origin with the newest checkpoint that was cosigned.

use super::problem::Problem;
use super::{REQUEST, ServeError, bind, serve};
use crate::files::{Disk, Files as _, Locks, put};
use crate::note::{Cosigner, VerifierKey};
use crate::settings::{SetupError, key_text, named, new_seed, write_key};
use crate::witness::REQUEST_BYTES_MAX;
use crate::witness::core::{Reply, Witness, WitnessState, origin_hash};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path as UrlPath, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// `witness.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: SocketAddr,
    #[serde(default)]
    logs: Vec<String>,
}

/// One file for each log.
#[derive(Debug)]
struct Recorded(PathBuf);

impl WitnessState for Recorded {
    type Error = io::Error;

    fn latest(&self, origin: &str) -> io::Result<Option<String>> {
        let bytes = Disk.read(&self.0.join(origin_hash(origin)))?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(io::Error::other)
    }

    fn record(&mut self, origin: &str, checkpoint: &str) -> io::Result<()> {
        put(
            &Disk,
            &self.0.join(origin_hash(origin)),
            checkpoint.as_bytes(),
        )
    }
}

struct Shared {
    witness: Mutex<Witness<Recorded>>,
    _locks: Locks,
}

/// A witness that is bound and not yet running.
pub struct WitnessService {
    shared: Arc<Shared>,
    listener: TcpListener,
    key: VerifierKey,
}

/// Makes a witness's directory: key and configuration.
///
/// # Errors
/// [`SetupError`].
pub fn create_witness(dir: &Path, name: &str) -> Result<VerifierKey, SetupError> {
    std::fs::create_dir_all(dir).map_err(SetupError::at(dir))?;
    let key = match key_text(dir) {
        Err(SetupError::NoLog(_)) => {
            let seed = new_seed(dir)?;
            let key = named(dir, Cosigner::new(name, &seed))?;
            write_key(dir, &key.private_text())?;
            key
        }
        text => named(dir, Cosigner::parse(text?.trim_end()))?,
    };
    if key.verifier().name() != name {
        return Err(SetupError::OtherOrigin(key.verifier().name().to_owned()));
    }
    let settings = dir.join("witness.toml");
    if !settings.exists() {
        let text = "# Where to listen: HTTP, for a server in front of it that speaks HTTPS.\n\
                    listen = \"127.0.0.1:7412\"\n\n\
                    # Keys of the logs to watch, NAME+ID+BASE64.\n\
                    logs = []\n";
        put(&Disk, &settings, text.as_bytes()).map_err(SetupError::at(&settings))?;
    }
    Ok(key.verifier().clone())
}

impl WitnessService {
    /// Opens a witness's directory and binds its address.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn open(dir: &Path) -> Result<Self, ServeError> {
        let path = dir.join("witness.toml");
        let text = std::fs::read_to_string(&path).map_err(SetupError::at(&path))?;
        let wrong = |what: String| SetupError::Settings {
            path: path.clone(),
            what,
        };
        let settings: Settings = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let cosigner = named(dir, Cosigner::parse(key_text(dir)?.trim_end()))?;
        let key = cosigner.verifier().clone();
        let log = |text: &String| {
            let what = |error| wrong(format!("log {text:?}: {error}"));
            VerifierKey::parse(text).map_err(what)
        };
        let logs = settings.logs.iter().map(log).collect::<Result<_, _>>()?;
        let locks = Locks::take(dir, &dir.join("witness")).map_err(SetupError::at(dir))?;
        let witness = Witness::new(cosigner, logs, Recorded(dir.to_owned()));
        let witness = witness.map_err(|error| wrong(error.to_string()))?;
        let shared = Shared {
            witness: Mutex::new(witness),
            _locks: locks,
        };
        Ok(Self {
            shared: Arc::new(shared),
            listener: bind(settings.listen)?,
            key,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system has them.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The witness's key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let routes = Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .route("/{hash}/checkpoint", get(checkpoint))
            .fallback(|| async { Problem::not_found() })
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(self.shared);
        serve(self.listener, routes, stop).await
    }
}

async fn add_checkpoint(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Problem> {
    let body = tokio::time::timeout(REQUEST, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| Problem::busy())??;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs());
    answer(shared, move |witness| witness.add_checkpoint(&body, now_s)).await
}

async fn checkpoint(
    State(shared): State<Arc<Shared>>,
    UrlPath(hash): UrlPath<String>,
) -> Result<Response, Problem> {
    answer(shared, move |witness| witness.latest(&hash)).await
}

/// One request at a time, and off the threads that wait for the network.
async fn answer<E: std::fmt::Debug + Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&mut Witness<Recorded>) -> Result<Reply, E> + Send + 'static,
) -> Result<Response, Problem> {
    let done = tokio::task::spawn_blocking(move || match shared.witness.lock() {
        Ok(mut witness) => work(&mut witness).map_err(|error| format!("{error:?}")),
        Err(_) => Err("a request before this one failed".to_owned()),
    });
    let reply = match done.await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            tracing::error!(error, "the witness's state failed");
            return Err(Problem::fault());
        }
        Err(_) => return Err(Problem::fault()),
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = [
        (header::CONTENT_TYPE, reply.content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((status, headers, reply.body).into_response())
}
