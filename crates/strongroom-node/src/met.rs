//! This host among the fleet's: who it is, the line to the others, and a store from one of them.

use crate::api::Shared;
use crate::engine::EngineError;
use crate::forward::{Ask, Told};
use crate::roster::{Roster, Rosters};
use crate::store::Store;
use crate::{Config, NodeError, copy, genesis};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use strongroom_peers::{Asked, HostKey, Incoming, Peer, Peers};
use strongroom_wire::{MemberId, decode, encode};
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
    let roster = Roster::of(bundle).map_err(|_| failed("the bundle is damaged, or is none"))?;
    if genesis::fleet_of(config).await? != Some(roster.fleet()) {
        let dir = config.hsm_dir();
        let words = format!("the HSM in {} is no member of this fleet", dir.display());
        return Err(NodeError::Config(words));
    }
    let met = Met::with(config, &roster)?;
    let peers = met
        .line
        .map(|line| line.peers)
        .ok_or_else(|| failed("a fleet of one has no other store"))?;
    let mut last = failed("no other member is reached; see [peers] in node.toml");
    let others = roster.manifest.members.iter();
    for other in others.filter(|slot| slot.id != met.member) {
        let reached = peers.until_reachable(other.id);
        if tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .is_err()
        {
            continue;
        }
        let taker = copy::Taker {
            own: &own,
            bundle,
            peers: &peers,
        };
        match taker.take(other.id).await {
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
    pub(crate) line: Option<Line>,
    pub(crate) messages: mpsc::Receiver<Incoming>,
    pub(crate) asked: Option<mpsc::Receiver<Asked>>,
}

impl Met {
    pub(crate) fn with(config: &Config, roster: &Roster) -> Result<Self, NodeError> {
        let key = HostKey::load_or_make(&config.host_key_dir()).map_err(NodeError::Config)?;
        let member = member_of(config, roster, &key)?;
        if config.peers.is_none() {
            if roster.manifest.members.len() > 1 {
                let words = "this fleet has several members: set [peers] in node.toml";
                return Err(NodeError::Config(words.to_owned()));
            }
            return Ok(Self {
                member,
                line: None,
                messages: mpsc::channel(1).1,
                asked: None,
            });
        }
        let opened = Opened::with(config, member, roster)?;
        Ok(Self {
            member,
            line: Some(opened.line),
            messages: opened.messages,
            asked: Some(opened.asked),
        })
    }
}

/// The slot that this host's key has, also in a manifest that is to take it in.
fn member_of(config: &Config, roster: &Roster, key: &HostKey) -> Result<MemberId, NodeError> {
    let mut members = roster.hosts().into_iter();
    let own = members.find(|slot| slot.host.0 == key.digest());
    own.map(|slot| slot.id).ok_or_else(|| {
        let dir = config.host_key_dir();
        NodeError::Config(format!(
            "the key in {} is of no member of this fleet: put the right one back",
            dir.display()
        ))
    })
}

/// The line to the other hosts, and what comes on it.
pub(crate) struct Opened {
    pub(crate) line: Line,
    pub(crate) messages: mpsc::Receiver<Incoming>,
    pub(crate) asked: mpsc::Receiver<Asked>,
}

impl Opened {
    /// Listens and dials, as that member.
    pub(crate) fn with(
        config: &Config,
        member: MemberId,
        roster: &Roster,
    ) -> Result<Self, NodeError> {
        let missing = || NodeError::Config("[peers] is missing in node.toml".to_owned());
        let settings = config.peers.as_ref().ok_or_else(missing)?;
        let key = HostKey::load_or_make(&config.host_key_dir()).map_err(NodeError::Config)?;
        let addresses = settings.addresses.clone();
        let peers = peers_of(roster, member, &addresses);
        if let Some(unknown) = peers.iter().find(|peer| peer.address.is_empty()) {
            let words = format!("peers: no address for member {}", unknown.id);
            return Err(NodeError::Config(words));
        }
        let listener = TcpListener::bind(settings.listen)
            .map_err(|error| NodeError::Listen(settings.listen, error))?;
        let started = Peers::start(strongroom_peers::Settings {
            id: member,
            key,
            listener,
            peers,
            limits: strongroom_peers::Limits::default(),
        });
        let started = started.map_err(|error| NodeError::Config(error.to_string()))?;
        Ok(Self {
            line: Line {
                member,
                addresses,
                peers: started.peers,
            },
            messages: started.incoming,
            asked: started.asked,
        })
    }
}

/// How long without a leader until others are asked, and how long they may take: longer than an
/// election.
const LEADERLESS: Duration = Duration::from_secs(3);

/// The line to the other hosts.
#[derive(Clone)]
pub(crate) struct Line {
    member: MemberId,
    addresses: BTreeMap<String, String>,
    pub(crate) peers: Peers,
}

impl Line {
    /// Other hosts from now on. Within the runtime that the line was opened in.
    pub(crate) fn set(&self, roster: &Roster) {
        let mut peers = peers_of(roster, self.member, &self.addresses);
        peers.retain(|peer| {
            let known = !peer.address.is_empty();
            if !known {
                tracing::error!(member = %peer.id, "no address; see [peers] in node.toml");
            }
            known
        });
        if let Err(error) = self.peers.set_peers(peers) {
            tracing::error!(%error, "the other hosts of the new manifest cannot be reached");
        }
    }

    /// Follows the manifests that come into force. While nobody leads as far as this host knows, it
    /// asks the others what is: it may have been away over a change of members.
    pub(crate) async fn follow(self, shared: Arc<Shared>) {
        let mut changes = shared.rosters.watch();
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let roster = changes.borrow_and_update().clone();
                    self.set(&roster);
                }
                () = tokio::time::sleep(LEADERLESS) => {
                    if shared.leader.borrow().is_none() {
                        self.ask(&shared.rosters).await;
                    }
                }
            }
        }
    }

    async fn ask(&self, rosters: &Rosters) {
        let others = rosters.now().hosts().into_iter().map(|slot| slot.id);
        for other in others.filter(|id| *id != self.member && self.peers.reachable(*id)) {
            let told = self
                .peers
                .ask(other, encode(&Ask::Bundle), LEADERLESS)
                .await;
            if let Ok(Ok(Told::Answer(bundle))) = told.map(|told| decode::<Told>(&told)) {
                rosters.learn(&bundle);
            }
        }
    }
}

/// The other hosts; the address is empty where neither configuration nor manifest names one.
fn peers_of(roster: &Roster, member: MemberId, addresses: &BTreeMap<String, String>) -> Vec<Peer> {
    let hosts = roster.hosts().into_iter().filter(|slot| slot.id != member);
    let peers = hosts.map(|slot| Peer {
        id: slot.id,
        address: addresses
            .get(&slot.id.to_string())
            .cloned()
            .or(slot.address)
            .unwrap_or_default(),
        digest: slot.host.0,
    });
    peers.collect()
}
