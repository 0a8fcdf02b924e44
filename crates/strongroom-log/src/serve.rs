//! The service of the log: static files for everybody, submissions from those who may.
//!
//! | request | answer | cached |
//! | --- | --- | --- |
//! | `GET /checkpoint` | the signed checkpoint, `text/plain; charset=utf-8` | no |
//! | `GET /tile/…` | a tile or bundle, `application/octet-stream` | for ever |
//! | `POST /submit` | a tlog-proof, or a problem (RFC 9457) | no |
//!
//! Only tiles of the published tree are served: what a crash may still undo is nobody's business.
//! Submissions are taken one at a time, by signed bytes of a listed key; strangers are turned away
//! before they wait for anything. A lost answer is asked for again with the same bytes.
//!
//! What an attacker controls: every byte of a request and its pace. So bodies, heads, times and the
//! number of submissions under way are bounded. HTTPS is left to a server in front: nothing here is
//! secret, and everything is signed.

mod problem;
mod publish;
mod witness;

pub use publish::Unpublished;
pub use witness::{WitnessService, create_witness};

use crate::auditor::{Auditor, AuditorError};
use crate::files::{Disk, Locks};
use crate::note::VerifierKey;
use crate::policy::TrustedLog;
use crate::settings::{self, Settings, SetupError};
use crate::submission::{SUBMISSION_BYTES_MAX, Submission};
use crate::tiles::Tile;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use problem::Problem;
use publish::Publisher;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;
use strongroom_wire::PublicKey;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

/// Submissions under way at once; the others are told to come back.
const SUBMISSIONS_MAX: usize = 16;
/// Longest time for a request's head, and for a submission's body.
const REQUEST: Duration = Duration::from_secs(20);
/// Tiles never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory is not usable.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The log's entries are not.
    #[error(transparent)]
    Auditor(#[from] AuditorError),
    /// A witness showed what this log has signed and does not know any more.
    #[error(transparent)]
    Unpublished(#[from] Unpublished),
    /// The network.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What it said.
        source: std::io::Error,
    },
}

/// What is published: what readers see without waiting for a submission.
struct Published {
    checkpoint: String,
    size: u64,
}

struct Shared {
    auditor: Arc<Mutex<Auditor<Disk>>>,
    published: RwLock<Published>,
    publisher: Publisher,
    policy: TrustedLog,
    submitters: Vec<PublicKey>,
    dir: PathBuf,
    places: Arc<Semaphore>,
    /// Shown by a witness: this log's history is not the one it signed. It logs nothing any more.
    forked: OnceLock<Unpublished>,
    _locks: Locks,
}

/// A service that is bound and not yet running.
pub struct Service {
    shared: Arc<Shared>,
    listener: TcpListener,
    key: VerifierKey,
}

impl Service {
    /// Opens the log of an auditor's directory and binds its address.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn open(dir: &Path) -> Result<Self, ServeError> {
        let settings = Settings::read(dir)?;
        let submitters = settings.submitters(dir)?;
        let (locks, log) = settings::open(dir, &settings)?;
        let key = log.signer().verifier().clone();
        let policy = settings.policy(dir, &key)?;
        let published = Published {
            checkpoint: log.checkpoint().to_owned(),
            size: log.size(),
        };
        let auditor = Auditor::new(log, submitters.clone())?;
        let listener = bind(settings.listen)?;
        let shared = Shared {
            auditor: Arc::new(Mutex::new(auditor)),
            published: RwLock::new(published),
            publisher: Publisher::new(&settings, dir)?,
            policy,
            submitters,
            dir: dir.to_owned(),
            places: Arc::new(Semaphore::new(SUBMISSIONS_MAX)),
            forked: OnceLock::new(),
            _locks: locks,
        };
        Ok(Self {
            shared: Arc::new(shared),
            listener,
            key,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system has them.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The log's key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Serves until `stop`. Asks the witnesses first whether this is the newest tree.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        {
            let auditor = self.shared.auditor.lock().await;
            if !self.shared.publisher.compare(&auditor).await? {
                tracing::warn!("too few witnesses answer: nothing is logged until they do");
            }
        }
        serve(self.listener, router(self.shared), stop).await
    }
}

/// Serves until `stop`, then finishes what is under way for a moment.
async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = listener
        .local_addr()
        .unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    let wrong = |source| ServeError::Listen { address, source };
    let handle = axum_server::Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(wrong)?
        .handle(handle.clone());
    server.http_builder().http1().header_read_timeout(REQUEST);
    let serving = server.serve(routes.into_make_service());
    let stopping = async {
        stop.await;
        handle.graceful_shutdown(Some(Duration::from_secs(5)));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served.map_err(wrong),
        () = stopping => Ok(()),
    }
}

/// Binds without blocking.
fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    Ok(listener)
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/submit", post(submit))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX))
        .with_state(shared)
}

async fn checkpoint(State(shared): State<Arc<Shared>>) -> Response {
    let text = match shared.published.read() {
        Ok(published) => published.checkpoint.clone(),
        Err(_) => return Problem::fault().into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

async fn tile(
    State(shared): State<Arc<Shared>>,
    UrlPath(path): UrlPath<String>,
) -> Result<Response, Problem> {
    let tile = Tile::parse(&format!("tile/{path}")).ok_or_else(Problem::not_found)?;
    let size = shared.published.read().map_err(|_| Problem::fault())?.size;
    if !tile.is_within(size) {
        return Err(Problem::not_found());
    }
    let bytes = tokio::fs::read(shared.dir.join(tile.path())).await;
    let bytes = bytes.map_err(|_| Problem::not_found())?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, bytes).into_response())
}

async fn submit(
    State(shared): State<Arc<Shared>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    use axum::extract::FromRequest as _;
    let body = tokio::time::timeout(REQUEST, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| Problem::busy())??;
    let origin = shared.policy.origin();
    Submission::open(&body, origin, &shared.submitters).map_err(Problem::unwelcome)?;
    // Strangers never hold a place, however slowly they speak.
    let place = shared.places.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::busy())?;
    // In a task of its own: a client that hangs up ends it nowhere half way.
    let logged = tokio::spawn(log_and_publish(shared.clone(), body)).await;
    let proof = logged.map_err(|_| Problem::fault())??;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, proof).into_response())
}

async fn log_and_publish(shared: Arc<Shared>, submission: Bytes) -> Result<String, Problem> {
    let auditor = shared.auditor.clone().lock_owned().await;
    if let Some(error) = shared.forked.get() {
        return Err(Problem::forked(error));
    }
    if !shared.publisher.is_compared() {
        let compared = shared.publisher.compare(&auditor).await;
        match compared.map_err(|error| shared.stop_for(error))? {
            true => {}
            false => return Err(Problem::not_compared()),
        }
    }
    let (auditor, logged) = blocking(auditor, move |it| it.submit(&submission)).await?;
    let logged = logged.map_err(Problem::auditor)?;
    shared.show(&auditor);
    tracing::info!(index = logged.index, new = logged.new, "logged");
    let verified = shared.policy.verify(auditor.log().checkpoint().as_bytes());
    let cosigned = verified.map_or(0, |it| it.cosigned_s().len());
    let auditor = match cosigned < shared.publisher.witnesses() {
        true => ask_witnesses(&shared, auditor).await?,
        false => auditor,
    };
    let index = logged.index;
    if let Err(error) = shared.policy.verify(auditor.log().checkpoint().as_bytes()) {
        return Err(Problem::unwitnessed(index, &error));
    }
    let (_, proof) = blocking(auditor, move |it| it.proof(index)).await?;
    Ok(proof.map_err(Problem::auditor)?.to_string())
}

/// Asks the witnesses and publishes what they gave.
async fn ask_witnesses(shared: &Shared, auditor: Held) -> Result<Held, Problem> {
    let lines = shared.publisher.ask(&auditor).await;
    let lines = lines.map_err(|error| shared.stop_for(error))?;
    let (auditor, added) = blocking(auditor, move |it| it.add_cosignatures(&lines)).await?;
    added.map_err(Problem::auditor)?;
    shared.show(&auditor);
    Ok(auditor)
}

type Held = OwnedMutexGuard<Auditor<Disk>>;

/// Disks make one wait.
async fn blocking<T: Send + 'static>(
    mut auditor: Held,
    work: impl FnOnce(&mut Auditor<Disk>) -> T + Send + 'static,
) -> Result<(Held, T), Problem> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut auditor);
        (auditor, done)
    });
    done.await.map_err(|_| Problem::fault())
}

impl Shared {
    /// Logs nothing any more.
    fn stop_for(&self, error: Unpublished) -> Problem {
        tracing::error!(%error, "this log does not go on");
        Problem::forked(self.forked.get_or_init(|| error))
    }

    /// Shows readers what is on the disk.
    fn show(&self, auditor: &Auditor<Disk>) {
        if let Ok(mut published) = self.published.write() {
            published.checkpoint.clear();
            published.checkpoint.push_str(auditor.log().checkpoint());
            published.size = auditor.log().size();
        }
    }
}
