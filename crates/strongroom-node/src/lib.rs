//! The untrusted host of one HSM: API, batching, log and storage (DESIGN §11).
//!
//! It sees sealed bytes, sizes by class, and when requests come. What it does wrong costs liveness;
//! the HSM refuses its lies by name.
#![forbid(unsafe_code)]

pub mod admission;
pub mod api;
pub mod engine;
pub mod genesis;
pub mod link;
pub mod record;
pub mod store;
pub mod tls;

use crate::engine::{EngineError, Settings};
use crate::link::HsmCommand;
use crate::store::Store;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use strongroom_wire::limits::HANDLES_MAX;
use strongroom_wire::manifest::Bundle;
use tokio::sync::{Semaphore, mpsc, watch};

/// A node's configuration (`node.toml`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to serve HTTPS on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory for store, HSM and certificates.
    pub data: PathBuf,
    /// The HSM's program and first arguments; by default `strongroom-hsm` beside this program.
    pub hsm: Option<Vec<String>>,
    /// PEM certificate chain. Without it the node makes a development authority in `data/tls`.
    pub certificate: Option<PathBuf>,
    /// PEM private key.
    pub key: Option<PathBuf>,
    /// Development only: a file for all that this host sees.
    pub record: Option<PathBuf>,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration.
    #[error("configuration: {0}")]
    Config(String),
    /// The port.
    #[error("cannot listen on {0}: {1}; is another program using the port?")]
    Listen(SocketAddr, std::io::Error),
    /// Certificate or key.
    #[error("TLS: {0}")]
    Tls(String),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no fleet in the store.
    #[error(
        "this node has no fleet yet: begin one with `strongroom dev` or `strongroom fleet init`"
    )]
    NoFleet,
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(std::io::Error),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`NodeError::Config`], with the line.
    pub fn read(path: &Path) -> Result<Self, NodeError> {
        let failed =
            |e: &dyn std::fmt::Display| NodeError::Config(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
        toml::from_str(&text).map_err(|e| failed(&e))
    }

    /// The store's directory.
    pub fn store_dir(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The HSM's directory.
    pub fn hsm_dir(&self) -> PathBuf {
        self.data.join("hsm")
    }

    /// Where development certificates lie; `ca.pem` among them.
    pub fn tls_dir(&self) -> PathBuf {
        self.data.join("tls")
    }

    /// The HSM's program.
    ///
    /// # Errors
    /// [`NodeError::Config`].
    pub fn hsm_command(&self) -> Result<HsmCommand, NodeError> {
        match self.hsm.as_deref() {
            None => HsmCommand::beside().map_err(|e| NodeError::Config(e.to_string())),
            Some([program, arguments @ ..]) => Ok(HsmCommand {
                program: program.into(),
                arguments: arguments.to_vec(),
            }),
            Some([]) => Err(NodeError::Config("hsm: the program is missing".to_owned())),
        }
    }
}

/// A node that listens and has its fleet; not yet serving.
pub struct Node {
    shared: Arc<api::Shared>,
    settings: Settings,
    jobs: mpsc::Receiver<engine::Job>,
    live: watch::Sender<Option<engine::Live>>,
    listener: TcpListener,
    tls: tls::Files,
}

fn prometheus() -> Result<PrometheusHandle, NodeError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|e| NodeError::Config(format!("metrics: {e}")))?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

impl Node {
    /// Opens everything that can be wrong before anything is served.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open(config: &Config) -> Result<Self, NodeError> {
        let listener =
            TcpListener::bind(config.listen).map_err(|e| NodeError::Listen(config.listen, e))?;
        listener.set_nonblocking(true).map_err(NodeError::Serve)?;
        let store = Store::open(&config.store_dir()).map_err(EngineError::from)?;
        let bundle = store
            .bundle()
            .map_err(EngineError::from)?
            .ok_or(NodeError::NoFleet)?;
        let parsed: Option<Bundle> = strongroom_wire::decode(&bundle).ok();
        let manifest = parsed.and_then(|bundle| bundle.manifest().ok());
        let manifest = manifest.ok_or(EngineError::NotMember)?;
        let fleet = manifest.fleet_id();
        let admission = admission::Admission::new(fleet);
        admission.refresh(&store).map_err(EngineError::from)?;
        drop(store);
        let (jobs_in, jobs) = mpsc::channel(HANDLES_MAX / 2);
        let (live, live_out) = watch::channel(None);
        let recorder = match &config.record {
            Some(path) => record::Recorder::open(path)
                .map_err(|e| NodeError::Config(format!("{}: {e}", path.display())))?,
            None => record::Recorder::default(),
        };
        let shared = api::Shared {
            recorder: recorder.clone(),
            bundle,
            manifest,
            fleet,
            admission,
            live: live_out,
            jobs: jobs_in,
            starts: Semaphore::new(api::STARTS_MAX),
            finishes: Semaphore::new(api::FINISHES_MAX),
            prometheus: prometheus()?,
        };
        let settings = Settings {
            store: config.store_dir(),
            hsm_dir: config.hsm_dir(),
            hsm: config.hsm_command()?,
            recorder,
        };
        let tls = certificates(config)?;
        Ok(Self {
            shared: Arc::new(shared),
            settings,
            jobs,
            live,
            listener,
            tls,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`NodeError::Serve`].
    pub fn address(&self) -> Result<SocketAddr, NodeError> {
        self.listener.local_addr().map_err(NodeError::Serve)
    }

    /// Serves until `stop` completes, then ends what is under way.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), NodeError> {
        // A second install is no error: the first one stands.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let tls = axum_server::tls_rustls::RustlsConfig::from_pem_file(
            &self.tls.certificate,
            &self.tls.key,
        )
        .await
        .map_err(|e| NodeError::Tls(e.to_string()))?;
        let handle = axum_server::Handle::new();
        let server = axum_server::from_tcp_rustls(self.listener, tls)
            .map_err(NodeError::Serve)?
            .handle(handle.clone())
            .serve(api::router(self.shared).into_make_service());
        let engine = engine::run(self.settings, self.jobs, self.live);
        tokio::pin!(server, engine);
        tokio::select! {
            served = &mut server => served.map_err(NodeError::Serve),
            ended = &mut engine => Ok(ended?),
            () = stop => {
                handle.graceful_shutdown(Some(Duration::from_secs(5)));
                tokio::select! {
                    served = &mut server => served.map_err(NodeError::Serve),
                    ended = &mut engine => Ok(ended?),
                }
            }
        }
    }
}

fn certificates(config: &Config) -> Result<tls::Files, NodeError> {
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            for path in [certificate, key] {
                let read = std::fs::read(path).map(drop);
                read.map_err(|e| NodeError::Tls(format!("{}: {e}", path.display())))?;
            }
            Ok(tls::Files {
                certificate: certificate.clone(),
                key: key.clone(),
            })
        }
        (None, None) => {
            let dir = config.tls_dir();
            std::fs::create_dir_all(&dir).map_err(|e| NodeError::Tls(e.to_string()))?;
            tls::development(&dir).map_err(NodeError::Tls)
        }
        _ => Err(NodeError::Config(
            "certificate and key go together".to_owned(),
        )),
    }
}
