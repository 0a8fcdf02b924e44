//! The untrusted host of one HSM: API, batching, log and storage (DESIGN §11).
//!
//! It sees sealed bytes, sizes by class, and when requests come. What it does wrong costs liveness;
//! the HSM refuses its lies by name.
#![forbid(unsafe_code)]

pub mod admission;
pub mod api;
mod copy;
pub mod engine;
mod forward;
pub mod genesis;
mod join;
pub mod link;
mod members;
mod met;
pub mod metrics;
mod problem;
pub mod rates;
pub mod record;
pub mod roster;
mod serve;
pub mod store;
pub mod tls;

use crate::admission::Admission;
use crate::engine::{EngineError, Settings};
use crate::link::HsmCommand;
use crate::roster::{Roster, Rosters};
use crate::store::Store;
pub use join::{Joiner, join};
use met::Met;
pub use met::reseed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strongroom_peers::Asked;
use strongroom_wire::limits::HANDLES_MAX;
use tokio::sync::{Semaphore, mpsc, watch};

/// A node's configuration (`node.toml`).
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// The other hosts of the fleet; without it this is a fleet of one.
    pub peers: Option<PeersConfig>,
}

/// Where the hosts of a fleet find each other. Who they are, the manifest says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeersConfig {
    /// Address and port for the other hosts to dial.
    pub listen: SocketAddr,
    /// `host:port` at which they reach it, where that is another; for a host that is to join.
    pub address: Option<String>,
    /// `host:port` of each other member, by its number. Needed for those that the manifest names no
    /// address of.
    #[serde(default)]
    pub addresses: BTreeMap<String, String>,
}

impl PeersConfig {
    /// Where others dial this host.
    pub(crate) fn dialled_at(&self) -> String {
        let listen = || self.listen.to_string();
        self.address.clone().unwrap_or_else(listen)
    }
}

/// What a node takes on at once, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Starts under way.
    pub starts: usize,
    /// Finishes under way.
    pub finishes: usize,
    /// Connections open.
    pub connections: usize,
    /// The HSM must answer a call within this, else it is started again. The slowest step is one
    /// synced write of its anchor behind a full queue.
    pub hsm_silence: Duration,
    /// A handshake, and a request's head, must be over within this.
    pub head: Duration,
    /// A request must be answered within this, its body included.
    pub request: Duration,
    /// Applied entries that a fleet's log keeps.
    pub log_kept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            starts: 512,
            finishes: 512,
            connections: 4096,
            hsm_silence: Duration::from_secs(15),
            head: Duration::from_secs(15),
            request: Duration::from_secs(20),
            log_kept: store::LOG_KEPT,
        }
    }
}

impl Limits {
    /// Operations that may wait for the engine: all that there can be, so that a queue is never
    /// what refuses a finish.
    const fn jobs(&self) -> usize {
        self.starts + self.finishes + api::CHANGES_MAX
    }
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration.
    #[error("configuration: {0}")]
    Config(String),
    /// The port.
    #[error(
        "cannot listen on {0}: {1}; is another program using the port? Set another `listen` in \
         node.toml"
    )]
    Listen(SocketAddr, std::io::Error),
    /// Certificate or key.
    #[error("TLS: {0}")]
    Tls(String),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no fleet in the store.
    #[error(
        "this node has no fleet: begin one with `strongroom dev`; or, if its store was lost, begin \
         that anew with --reseed"
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

    /// As a file.
    ///
    /// # Panics
    /// Never: every field has a form in TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("addresses, paths and maps of them have a form in TOML")
    }

    /// The store's directory.
    pub fn store_dir(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The HSM's directory.
    pub fn hsm_dir(&self) -> PathBuf {
        self.data.join("hsm")
    }

    /// Where the key by which other hosts know this one lies.
    pub fn host_key_dir(&self) -> PathBuf {
        self.data.join("host")
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
    settings: Arc<Settings>,
    limits: Limits,
    channels: engine::Channels,
    watched: engine::Watched,
    stop: watch::Sender<bool>,
    asked: Option<mpsc::Receiver<Asked>>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
}

impl Node {
    /// Opens everything that can be wrong before anything is served.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open(config: &Config) -> Result<Self, NodeError> {
        Self::open_with(config, Limits::default())
    }

    /// As [`Self::open`], within other limits than the default ones.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open_with(config: &Config, limits: Limits) -> Result<Self, NodeError> {
        let queued = limits.jobs();
        if queued > HANDLES_MAX {
            let words = format!("limits: {queued} operations, the HSM holds {HANDLES_MAX}");
            return Err(NodeError::Config(words));
        }
        let hsm = config.hsm_command()?;
        hsm.check().map_err(NodeError::Config)?;
        let tls = tls::server_config(&certificates(config)?).map_err(NodeError::Tls)?;
        let listener =
            TcpListener::bind(config.listen).map_err(|e| NodeError::Listen(config.listen, e))?;
        listener.set_nonblocking(true).map_err(NodeError::Serve)?;
        let (roster, admission) = known(config)?;
        let (jobs_in, jobs) = mpsc::channel(queued);
        let (watched, live, leader) = engine::Watched::new();
        let (stop, stopped) = watch::channel(false);
        let met = Met::with(config, &roster)?;
        let (fleet, rosters) = (roster.fleet(), Rosters::new(roster));
        let peers = met.line.as_ref().map(|line| line.peers.clone());
        let recorder = recorder(config)?;
        let places = |number| Arc::new(Semaphore::new(number));
        let shared = api::Shared {
            recorder: recorder.clone(),
            rosters: rosters.clone(),
            reconfiguring: tokio::sync::Mutex::new(()),
            fleet,
            admission: admission.clone(),
            live,
            member: met.member,
            leader,
            peers: peers.clone(),
            line: met.line,
            copies: copy::Copies::default(),
            jobs: jobs_in,
            starts: places(limits.starts),
            finishes: places(limits.finishes),
            changes: places(api::CHANGES_MAX),
            inspections: places(api::INSPECTIONS_MAX),
            request: limits.request,
            prometheus: metrics::install()?,
        };
        let settings = Settings {
            store: config.store_dir(),
            hsm_dir: config.hsm_dir(),
            hsm,
            hsm_silence: limits.hsm_silence,
            log_kept: limits.log_kept,
            admission,
            member: met.member,
            rosters,
            data: config.data.clone(),
            peers,
            recorder,
        };
        Ok(Self {
            shared: Arc::new(shared),
            settings: Arc::new(settings),
            limits,
            channels: engine::Channels {
                jobs,
                messages: met.messages,
                stop: stopped,
            },
            watched,
            stop,
            asked: met.asked,
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
        let peers = self.shared.peers.clone();
        let ended = self.serve(stop).await;
        if let Some(peers) = peers {
            peers.close().await;
        }
        ended
    }

    async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), NodeError> {
        let handle = axum_server::Handle::new();
        let prometheus = self.shared.prometheus.clone();
        let routes = api::router(self.shared.clone());
        let (listener, limits) = (self.listener, self.limits);
        let server = serve::serve(listener, self.tls, routes, &limits, handle.clone());
        let upkeep = upkeep(prometheus);
        let line = self.shared.line.clone();
        let follows = line.map(|line| tokio::spawn(line.follow(self.shared.clone())));
        let peers = match self.asked {
            Some(asked) => tokio::spawn(forward::serve(self.shared, asked)),
            None => tokio::spawn(std::future::pending()),
        };
        let engine = engine::run(self.settings, self.channels, self.watched);
        tokio::pin!(server, engine, upkeep);
        let ended = tokio::select! {
            served = &mut server => served,
            ended = &mut engine => return Ok(ended?),
            () = &mut upkeep => Ok(()),
            () = stop => {
                handle.graceful_shutdown(Some(Duration::from_secs(5)));
                tokio::select! {
                    served = &mut server => served,
                    ended = &mut engine => return Ok(ended?),
                }
            }
        };
        peers.abort();
        follows.iter().for_each(tokio::task::JoinHandle::abort);
        // Its thread has the store open until then.
        self.stop.send_replace(true);
        engine.await?;
        ended
    }
}

/// Folds the samples of histograms together, which otherwise pile up until somebody scrapes.
async fn upkeep(prometheus: metrics_exporter_prometheus::PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}

fn recorder(config: &Config) -> Result<record::Recorder, NodeError> {
    let Some(path) = &config.record else {
        return Ok(record::Recorder::default());
    };
    record::Recorder::open(path).map_err(|e| NodeError::Config(format!("{}: {e}", path.display())))
}

/// What the store knows before anything is served: the fleet's bundle, and its tenants.
fn known(config: &Config) -> Result<(Roster, Arc<Admission>), NodeError> {
    copy::mend(&config.store_dir()).map_err(NodeError::Serve)?;
    let store = Store::open(&config.store_dir()).map_err(EngineError::from)?;
    let bundle = store.bundle().map_err(EngineError::from)?;
    let bundle = bundle.ok_or(NodeError::NoFleet)?;
    let mut roster = Roster::of(&bundle).map_err(EngineError::from)?;
    if let Some(invited) = join::invited(&config.data) {
        roster = roster.expecting(&invited.change);
    }
    let admission = Admission::new(roster.fleet(), roster.manifest.admin);
    admission.refresh(&store).map_err(EngineError::from)?;
    Ok((roster, Arc::new(admission)))
}

fn certificates(config: &Config) -> Result<tls::Files, NodeError> {
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (certificate.clone(), key.clone());
            Ok(tls::Files { certificate, key })
        }
        (None, None) => {
            let dir = config.tls_dir();
            let made = std::fs::create_dir_all(&dir);
            made.map_err(|e| NodeError::Tls(format!("{}: {e}", dir.display())))?;
            tls::development(&dir).map_err(NodeError::Tls)
        }
        _ => Err(NodeError::Config(
            "certificate and key go together: set both in node.toml, or neither".to_owned(),
        )),
    }
}
