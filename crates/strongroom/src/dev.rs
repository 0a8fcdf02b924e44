//! `dev`: a vault on this machine, of one member or several, with a ready profile. `node`: a node
//! from its configuration.

mod members;

use crate::cli::{Dev, Node as NodeOptions, Waits};
use crate::output::{Failure, Kind, Output};
use crate::profile::{Class, Profile, Settings, TokensFrom};
use members::{Members, Running};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use strongroom_client::issuer::{Issuer, create_tenant};
use strongroom_client::transport::{Http, TransportError};
use strongroom_client::wire::manifest::{Bundle, Policy};
use strongroom_client::wire::{FleetId, PublicKey, encode};
use strongroom_client::{FileJournal, Journal as _, Os};
use strongroom_crypto::random::Entropy as _;
use strongroom_crypto::statement::SigningKey;
use strongroom_node::genesis::{self, Founders, Plan};
use strongroom_node::{Config, Joiner, Node, NodeError};
use tracing_subscriber::EnvFilter;

/// The keys of everyone who founds a fleet. In one file, so only for development.
#[derive(Serialize, Deserialize)]
struct Seeds {
    admin: String,
    operator: String,
    officer: String,
    tenant_root: String,
    issuer: String,
}

impl Seeds {
    fn load(dir: &Path) -> Result<Self, Failure> {
        let journal = FileJournal::open(dir)?;
        let name = "founders.json";
        if let Some(bytes) = journal.get(name)? {
            return serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(Kind::Fault, format!("{}/{name}: {error}", dir.display()))
            });
        }
        let seed = || {
            let mut seed = [0; 32];
            Os.fill(&mut seed);
            hex::encode(seed)
        };
        let seeds = Self {
            admin: seed(),
            operator: seed(),
            officer: seed(),
            tenant_root: seed(),
            issuer: seed(),
        };
        let text = serde_json::to_vec_pretty(&seeds).map_err(anyhow::Error::from)?;
        journal.put(name, &text)?;
        Ok(seeds)
    }
}

fn seed(text: &str) -> Result<[u8; 32], Failure> {
    let bytes = hex::decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Failure::new(Kind::Fault, "founders.json: a seed is not 32 bytes in hex"))
}

/// Name of the development tenant, and of its one user.
const ISSUER: &str = "strongroom-dev";
const SUBJECT: &str = "alice";

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let kind = match &error {
            NodeError::Config(_) | NodeError::Tls(_) => Kind::Usage,
            NodeError::NoFleet => Kind::NotSetUp,
            _ => Kind::Fault,
        };
        Self::new(kind, error.to_string())
    }
}

fn policy(waits: Waits) -> Policy {
    match waits {
        Waits::Default => Policy::default(),
        Waits::Short => Policy::development(),
        Waits::Demo => Policy {
            delays_ms: vec![300, 400, 500, 600, 700, 800, 900],
            last_chance_ms: 2_000,
            ..Policy::development()
        },
    }
}

/// Logs on standard error, as JSON lines; `RUST_LOG` chooses.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().json().with_env_filter(filter);
    // A second one is no error: the first stands.
    let _ = logs.with_writer(std::io::stderr).try_init();
}

/// Until somebody wants this process to end.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// `dev`.
pub(crate) async fn run(options: &Dev, output: Output) -> Result<(), Failure> {
    log();
    let seeds = Seeds::load(&options.dir)?;
    let members = Members::plan(options)?;
    let founders = Founders {
        admin: PublicKey(SigningKey::from_seed(&seed(&seeds.admin)?).public()),
        operator: SigningKey::from_seed(&seed(&seeds.operator)?),
        officers: vec![PublicKey(
            SigningKey::from_seed(&seed(&seeds.officer)?).public(),
        )],
    };
    let plan = Plan {
        policy: policy(options.waits),
        rollback_tolerance: options.rollback_tolerance,
    };
    let bundle = genesis::found(&members.configs(), &founders, plan)
        .await
        .map_err(NodeError::from)?;
    let running = members.start(options.members > 1)?;
    let ready = announce(options, &running, &seeds, &bundle, output);
    tokio::select! {
        ended = running.ended(stopped()) => return ended,
        ready = ready => ready?,
    }
    Ok(())
}

/// Once a node answers: the tenant, the profile, and a word to the person. Then waits for ever.
async fn announce(
    options: &Dev,
    running: &Running,
    seeds: &Seeds,
    bundle: &Bundle,
    output: Output,
) -> Result<(), Failure> {
    let authority = options.dir.join("ca.pem");
    let manifest = bundle.manifest();
    let fleet = manifest
        .map_err(|_| Failure::new(Kind::Fault, "the stored fleet bundle is damaged"))?
        .fleet_id();
    let servers = running.servers();
    let authorities = running.authorities().await?;
    FileJournal::open(&options.dir)?.put("ca.pem", &authorities)?;
    found_tenant(&servers, &authorities, seeds, fleet).await?;
    let (server, other_servers) = match &servers[..] {
        [first, others @ ..] => (first.clone(), others.to_vec()),
        [] => return Err(Failure::new(Kind::Fault, "no member runs")),
    };
    let profile = options.dir.join("phone");
    let settings = Settings {
        server: server.clone(),
        other_servers,
        fleet: fleet.to_string(),
        authority: Some(std::path::absolute(&authority)?),
        class_min: Class::None,
        rollback_tolerance_min: options.rollback_tolerance,
        tokens: TokensFrom::Development {
            issuer: ISSUER.to_owned(),
            seed: seeds.issuer.clone(),
            subject: SUBJECT.to_owned(),
        },
    };
    Profile::create(&profile, &settings)?;
    let ready = json!({
        "server": server, "fleet": fleet.to_string(), "profile": profile,
        "authority": authority, "pid": std::process::id(), "members": running.described(),
    });
    output.answer(&ready, || words(running, &fleet, &profile));
    std::future::pending().await
}

fn words(running: &Running, fleet: &FleetId, profile: &PathBuf) -> String {
    let servers = running.servers();
    let members = match servers.len() {
        1 => "one member".to_owned(),
        several => format!("{several} members"),
    };
    let server = servers.first().map_or("", String::as_str);
    format!(
        "A vault of {members} is running. Development only: whoever is root here reads it.\n\n\
         {}  fleet    {fleet}\n  status   {server}/v1/status, /metrics, \
         /openapi.json\n\nIn another terminal:\n\n  export STRONGROOM_PROFILE={}\n  \
         strongroom register\n  strongroom backup SOME_DIRECTORY --store my-backups\n  strongroom \
         recover\n  strongroom restore NEW_DIRECTORY --store my-backups\n  strongroom status\n\n\
         Ctrl-C stops it; the same command goes on with the same data.",
        running.lines(),
        std::path::absolute(profile)
            .unwrap_or_else(|_| profile.clone())
            .display()
    )
}

async fn found_tenant(
    servers: &[String],
    authority: &[u8],
    seeds: &Seeds,
    fleet: FleetId,
) -> Result<(), Failure> {
    let failed = |error| Failure::from(strongroom_client::Error::Transport(error));
    let http = Http::to_any(servers, Some(authority)).map_err(failed)?;
    let issuer = Issuer::new(ISSUER, &seed(&seeds.issuer)?);
    let admin = SigningKey::from_seed(&seed(&seeds.admin)?);
    let root = PublicKey(SigningKey::from_seed(&seed(&seeds.tenant_root)?).public());
    let change = encode(&create_tenant(&admin, fleet, root, &issuer));
    match http.post("/v1/tenants", None, &change).await {
        // It is there already: this vault was started before.
        Ok(_) | Err(TransportError::Refused { status: 409, .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// `node`.
pub(crate) async fn node(options: &NodeOptions) -> Result<(), Failure> {
    log();
    let config = Config::read(&options.config)?;
    if let Some(bundle) = &options.reseed {
        let named =
            |error: std::io::Error| Failure::usage(format!("{}: {error}", bundle.display()));
        let bundle = std::fs::read(bundle).map_err(named)?;
        strongroom_node::reseed(&config, &bundle).await?;
    }
    if let Some(bundle) = &options.join {
        join(&config, bundle).await?;
    }
    let node = Node::open(&config)?;
    tracing::info!(address = %node.address()?, "listening");
    let with_parent = options.with_parent;
    let stop = async move {
        tokio::select! {
            () = stopped() => {}
            () = parent_gone(), if with_parent => {}
        }
    };
    Ok(node.run(stop).await?)
}

/// Waits to be taken in, unless this host was.
async fn join(config: &Config, bundle: &Path) -> Result<(), Failure> {
    let named = |error: std::io::Error| Failure::usage(format!("{}: {error}", bundle.display()));
    let bundle = std::fs::read(bundle).map_err(named)?;
    let tell = |joiner: &Joiner| {
        let text = serde_json::to_vec_pretty(joiner).unwrap_or_default();
        let path = config.data.join("joiner.json");
        let failed = |error| NodeError::Config(format!("{}: {error}", path.display()));
        let journal = FileJournal::open(&config.data);
        let journal = journal.map_err(|error| NodeError::Config(error.to_string()))?;
        journal
            .put("joiner.json", &text)
            .map_err(|error| failed(error.to_string()))?;
        eprintln!(
            "waiting to be taken in: strongroom fleet add --joiner {} --officer FILE",
            path.display()
        );
        Ok(())
    };
    let joined = strongroom_node::join(config, &bundle, tell);
    tokio::select! {
        joined = joined => Ok(joined?),
        () = stopped() => std::process::exit(0),
    }
}

/// Until standard input, a pipe, ends: whoever holds its other end is gone.
async fn parent_gone() {
    use std::os::fd::AsFd as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe::Receiver;
    let pipe = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(mut pipe) = pipe.and_then(Receiver::from_owned_fd) else {
        eprintln!("--with-parent: standard input is no pipe; not waiting for its end");
        return std::future::pending().await;
    };
    let mut byte = [0];
    while pipe.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
