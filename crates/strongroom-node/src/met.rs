//! This host among the fleet's: who it is, the line to the others, and a store from one of them.

use crate::engine::EngineError;
use crate::store::Store;
use crate::{Config, NodeError, copy, genesis, manifest};
use std::net::TcpListener;
use std::time::Duration;
use strongroom_peers::{Asked, HostKey, Incoming, Peer, Peers};
use strongroom_wire::MemberId;
use strongroom_wire::manifest::Manifest;
use tokio::sync::mpsc;

/// Begins a lost store anew, from another member's. The HSM must be a member of the bundle's fleet
/// already; it takes nothing that is older than where it stands.
///
/// # Errors
/// [`NodeError`]: there is a store, the HSM is of another fleet, or nobody gives a copy.
pub async fn reseed(config: &Config, bundle: &[u8]) -> Result<(), NodeError> {
    let failed = |words: &str| NodeError::Config(words.to_owned());
    let own = config.store_dir();
    copy::mend(&own).map_err(NodeError::Serve)?;
    let there = own.exists().then(|| Store::open(&own)).transpose();
    if let Some(store) = there.map_err(EngineError::from)?
        && store.bundle().map_err(EngineError::from)?.is_some()
    {
        let own = own.display();
        let words = format!("{own} holds a store: move it away first, if it is no good");
        return Err(NodeError::Config(words));
    }
    let manifest = manifest(bundle).map_err(|_| failed("the bundle is damaged, or is none"))?;
    if genesis::fleet_of(config).await? != Some(manifest.fleet_id()) {
        let dir = config.hsm_dir();
        let words = format!("the HSM in {} is no member of this fleet", dir.display());
        return Err(NodeError::Config(words));
    }
    let met = Met::with(config, &manifest)?;
    let peers = met
        .peers
        .ok_or_else(|| failed("a fleet of one has no other store"))?;
    let mut last = failed("no other member is reached; see [peers] in node.toml");
    for other in manifest.members.iter().filter(|m| m.id != met.member) {
        let reached = peers.until_reachable(other.id);
        if tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .is_err()
        {
            continue;
        }
        let taker = copy::Taker {
            own: &own,
            manifest: &manifest,
            peers: &peers,
        };
        match taker.take(other.id, bundle).await {
            Ok(()) => {
                peers.close().await;
                return Ok(());
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Who this host is among the fleet's, and the line to them.
pub(crate) struct Met {
    pub(crate) member: MemberId,
    pub(crate) peers: Option<Peers>,
    pub(crate) messages: mpsc::Receiver<Incoming>,
    pub(crate) asked: Option<mpsc::Receiver<Asked>>,
}

impl Met {
    pub(crate) fn with(config: &Config, manifest: &Manifest) -> Result<Self, NodeError> {
        let failed = |error: String| NodeError::Config(error);
        let key = HostKey::load_or_make(&config.host_key_dir()).map_err(failed)?;
        let own = manifest.members.iter().find(|m| m.host.0 == key.digest());
        let own = own.ok_or_else(|| {
            let dir = config.host_key_dir();
            failed(format!(
                "the key in {} is of no member of this fleet: put the right one back",
                dir.display()
            ))
        })?;
        let member = own.id;
        let Some(peers) = &config.peers else {
            if manifest.members.len() > 1 {
                let words = "this fleet has several members: set [peers] in node.toml";
                return Err(failed(words.to_owned()));
            }
            return Ok(Self {
                member,
                peers: None,
                messages: mpsc::channel(1).1,
                asked: None,
            });
        };
        let others = manifest.members.iter().filter(|m| m.id != member);
        let others = others.map(|other| {
            let address = peers.addresses.get(&other.id.to_string()).cloned();
            let missing = || failed(format!("peers: no address for member {}", other.id));
            Ok(Peer {
                id: other.id,
                address: address.ok_or_else(missing)?,
                digest: other.host.0,
            })
        });
        let listener =
            TcpListener::bind(peers.listen).map_err(|e| NodeError::Listen(peers.listen, e))?;
        let started = Peers::start(strongroom_peers::Settings {
            id: member,
            key,
            listener,
            peers: others.collect::<Result<_, NodeError>>()?,
            limits: strongroom_peers::Limits::default(),
        });
        let started = started.map_err(|e| NodeError::Config(e.to_string()))?;
        Ok(Self {
            member,
            peers: Some(started.peers),
            messages: started.incoming,
            asked: Some(started.asked),
        })
    }
}
