//! `dev`: a vault of one member on this machine, with a ready profile. `node`: a node from its
//! configuration.

use crate::cli::{Dev, Node as NodeOptions, Waits};
use crate::output::{Failure, Kind, Output};
use crate::profile::{Class, Profile, Settings, TokensFrom};
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
use strongroom_node::genesis::{self, Founders};
use strongroom_node::{Config, Node, NodeError};
use tracing_subscriber::EnvFilter;

/// The keys of everyone who founds a fleet. In one file, so only for development.
#[derive(Serialize, Deserialize)]
struct Seeds {
    admin: String,
    operator: String,
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
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().json().with_env_filter(filter);
    // A second one is no error: the first stands.
    let _ = logs.with_writer(std::io::stderr).try_init();
}

/// Until somebody wants this process to end.
async fn stopped() {
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
    let config = Config {
        listen: options.listen,
        data: options.dir.join("data"),
        hsm: None,
        certificate: None,
        key: None,
        record: options.record.clone(),
    };
    let founders = Founders {
        admin: PublicKey(SigningKey::from_seed(&seed(&seeds.admin)?).public()),
        operator: SigningKey::from_seed(&seed(&seeds.operator)?),
    };
    let bundle = genesis::found(
        &config.store_dir(),
        &config.hsm_command()?,
        &config.hsm_dir(),
        &founders,
        policy(options.waits),
    )
    .await
    .map_err(NodeError::from)?;
    let node = Node::open(&config)?;
    let server = format!("https://{}", node.address()?);
    let ready = announce(options, &config, &seeds, &bundle, &server, output);
    tokio::select! {
        served = node.run(stopped()) => return Ok(served?),
        ready = ready => ready?,
    }
    Ok(())
}

/// Once the node answers: the tenant, the profile, and a word to the person. Then waits for ever.
async fn announce(
    options: &Dev,
    config: &Config,
    seeds: &Seeds,
    bundle: &Bundle,
    server: &str,
    output: Output,
) -> Result<(), Failure> {
    let authority = config.tls_dir().join("ca.pem");
    let manifest = bundle.manifest();
    let fleet = manifest
        .map_err(|_| Failure::new(Kind::Fault, "the stored fleet bundle is damaged"))?
        .fleet_id();
    found_tenant(server, &std::fs::read(&authority)?, seeds, fleet).await?;
    let profile = options.dir.join("phone");
    let settings = Settings {
        server: server.to_owned(),
        fleet: fleet.to_string(),
        authority: Some(std::path::absolute(&authority)?),
        class_min: Class::None,
        rollback_tolerance_min: 0,
        tokens: TokensFrom::Development {
            issuer: ISSUER.to_owned(),
            seed: seeds.issuer.clone(),
            subject: SUBJECT.to_owned(),
        },
    };
    Profile::create(&profile, &settings)?;
    let ready = json!({
        "server": server, "fleet": fleet.to_string(), "profile": profile,
        "authority": authority, "pid": std::process::id(),
    });
    output.answer(&ready, || words(server, &fleet, &profile));
    std::future::pending().await
}

fn words(server: &str, fleet: &FleetId, profile: &PathBuf) -> String {
    format!(
        "A vault of one member is running. Development only: whoever is root here reads it.\n\n  \
         server   {server}\n  fleet    {fleet}\n  status   {server}/v1/status, /metrics, \
         /openapi.json\n\nIn another terminal:\n\n  export STRONGROOM_PROFILE={}\n  \
         strongroom register\n  strongroom backup SOME_DIRECTORY --store my-backups\n  strongroom \
         recover\n  strongroom restore NEW_DIRECTORY --store my-backups\n  strongroom status\n\n\
         Ctrl-C stops it; the same command goes on with the same data.",
        std::path::absolute(profile)
            .unwrap_or_else(|_| profile.clone())
            .display()
    )
}

async fn found_tenant(
    server: &str,
    authority: &[u8],
    seeds: &Seeds,
    fleet: FleetId,
) -> Result<(), Failure> {
    let failed = |error| Failure::from(strongroom_client::Error::Transport(error));
    let http = Http::new(server, Some(authority)).map_err(failed)?;
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
    let node = Node::open(&Config::read(&options.config)?)?;
    tracing::info!(address = %node.address()?, "listening");
    Ok(node.run(stopped()).await?)
}
