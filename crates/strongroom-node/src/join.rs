//! How a host comes into a fleet that is there (DESIGN §9).
//!
//! ```text
//! joiner:  draft keys, say who it is, wait
//! officers: sign a manifest that names it
//! leader:  hand the secret over → the joiner copies the store, says Ready → Reconfigure
//! joiner:  follows; the entry that names it makes its HSM a member
//! ```
//!
//! Until that entry the HSM promises and seals nothing. What the joiner was handed lies beside its
//! store, sealed to its HSM, so that it can be stopped anywhere and started again.

use crate::engine::EngineError;
use crate::forward::{Ask, Told};
use crate::link::{Link, LinkError};
use crate::met::Opened;
use crate::problem::Problem;
use crate::roster::{Roster, Rosters};
use crate::store::Store;
use crate::{Config, NodeError, copy, genesis};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_peers::{Asked, HostKey};
use strongroom_replica::next_manifest;
use strongroom_wire::frame::{Drafted, Phase, Request, Response, SealedSecret, Welcome};
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::{MemberId, decode, encode};
use tokio::sync::oneshot;

/// What a joiner says of itself, for its operator to bring to the officers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Joiner {
    /// The identity key of its HSM, hexadecimal.
    pub identity: String,
    /// SHA-256 of its host's public key, hexadecimal.
    pub host: String,
    /// The HSM's platform.
    pub platform: String,
    /// `none`, `at-rest` or `isolating`.
    pub class: String,
    /// `host:port` that other hosts dial.
    pub address: String,
}

/// What was handed to a joiner.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Invited {
    /// The manifest that is to name it.
    #[n(0)]
    pub(crate) change: SignedManifest,
    /// The fleet's secret, sealed to its HSM.
    #[n(1)]
    pub(crate) secret: SealedSecret,
}

/// Where it lies.
pub(crate) fn invitation(data: &Path) -> PathBuf {
    data.join("invited")
}

/// What lies there; nothing for a member.
pub(crate) fn invited(data: &Path) -> Option<Invited> {
    let bytes = std::fs::read(invitation(data)).ok()?;
    decode(&bytes).ok()
}

/// The HSM is a member: what was handed over is no longer needed.
pub(crate) fn joined(data: &Path) {
    let _ = std::fs::remove_file(invitation(data));
}

/// Waits until the fleet of a bundle takes this host in, as far as its HSM has to be ready for it.
/// At once for a host that was taken in before.
///
/// # Errors
/// [`NodeError`].
pub async fn join(
    config: &Config,
    bundle: &[u8],
    tell: impl FnOnce(&Joiner) -> Result<(), NodeError>,
) -> Result<(), NodeError> {
    let failed = |words: &str| NodeError::Config(words.to_owned());
    copy::mend(&config.store_dir()).map_err(NodeError::Serve)?;
    let roster = Roster::of(bundle).map_err(|_| failed("the bundle is damaged, or is none"))?;
    let (link, mut child, welcome) = genesis::greeted(config).await?;
    match welcome.phase {
        Phase::Blank | Phase::Drafted => {}
        _ => {
            drop(link);
            let _ = child.kill().await;
            return Ok(());
        }
    }
    let Response::Drafted(drafted) = link
        .call(&Request::Draft)
        .await
        .map_err(EngineError::from)?
    else {
        return Err(EngineError::from(LinkError::Unexpected).into());
    };
    let ended = if invited(&config.data).is_some() && has_store(config)? {
        Ok(())
    } else {
        tell(&joiner(config, &drafted, &welcome)?)?;
        wait(config, roster, link.clone(), drafted).await
    };
    drop(link);
    let _ = child.kill().await;
    ended
}

fn has_store(config: &Config) -> Result<bool, NodeError> {
    if !config.store_dir().exists() {
        return Ok(false);
    }
    let store = Store::open(&config.store_dir()).map_err(EngineError::from)?;
    Ok(store.bundle().map_err(EngineError::from)?.is_some())
}

fn joiner(config: &Config, drafted: &Drafted, welcome: &Welcome) -> Result<Joiner, NodeError> {
    let key = HostKey::load_or_make(&config.host_key_dir()).map_err(NodeError::Config)?;
    let peers = config.peers.as_ref().ok_or_else(|| {
        let words = "a host among others needs [peers] in node.toml: listen, and addresses";
        NodeError::Config(words.to_owned())
    })?;
    Ok(Joiner {
        identity: hex::encode(drafted.identity.0),
        host: hex::encode(key.digest()),
        platform: welcome.platform.clone(),
        class: crate::api::class_name(welcome.class).to_owned(),
        address: peers.dialled_at(),
    })
}

/// Nobody yet: members begin at 1.
const NOBODY: MemberId = MemberId(0);

/// Answers the members until the HSM said that it is ready.
async fn wait(
    config: &Config,
    roster: Roster,
    link: Link,
    drafted: Drafted,
) -> Result<(), NodeError> {
    let rosters = Rosters::new(roster);
    let mut line = Opened::with(config, NOBODY, &rosters.now())?;
    let waiting = Arc::new(Waiting {
        data: config.data.clone(),
        store: config.store_dir(),
        rosters,
        peers: line.line.peers.clone(),
        link,
        drafted,
        copying: tokio::sync::Mutex::new(()),
    });
    let (done, mut ready) = oneshot::channel();
    let mut done = Some(done);
    loop {
        let asked = tokio::select! {
            _ = &mut ready => break,
            asked = line.asked.recv() => asked,
        };
        let Some(Asked { from, body, reply }) = asked else {
            break;
        };
        let told = waiting.told(from, &body).await;
        let is_ready = matches!(told, Ok(Told::Ready(_)));
        let told = told.unwrap_or_else(|problem| Told::Problem(problem.to_parts()));
        reply.send(encode(&told));
        if let Some(done) = done.take_if(|_| is_ready) {
            // The answer is on its way; the leader asks again if it is lost.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                let _ = done.send(());
            });
        }
    }
    line.line.peers.close().await;
    Ok(())
}

struct Waiting {
    data: PathBuf,
    store: PathBuf,
    rosters: Rosters,
    peers: strongroom_peers::Peers,
    link: Link,
    drafted: Drafted,
    copying: tokio::sync::Mutex<()>,
}

impl Waiting {
    async fn told(self: &Arc<Self>, from: MemberId, body: &[u8]) -> Result<Told, Problem> {
        match decode(body).map_err(|_| Problem::malformed())? {
            Ask::Draft => Ok(Told::Drafted(self.drafted.clone())),
            Ask::Invite(invite) => {
                let invited = self.accepted(&invite)?;
                self.copied(from, &invite.bundle).await?;
                self.ready(invited).await
            }
            _ => Err(Problem::lost()),
        }
    }

    /// Whoever asks is a host of the fleet, and may lie: the officers' signatures tell.
    fn accepted(&self, invite: &Invite) -> Result<Invited, Problem> {
        let known = self.rosters.now();
        let roster = Roster::of_fleet(&invite.bundle, known.fleet());
        let roster = roster.filter(|it| it.manifest.epoch >= known.manifest.epoch);
        let roster = roster.ok_or_else(Problem::malformed)?;
        let manifest = next_manifest(&roster.manifest, &invite.change);
        let manifest = manifest.ok_or_else(Problem::malformed)?;
        let own = |slot: &strongroom_wire::manifest::Member| slot.identity == self.drafted.identity;
        if !manifest.members.iter().any(own) {
            return Err(Problem::malformed());
        }
        Ok(Invited {
            change: invite.change.clone(),
            secret: invite.secret.clone(),
        })
    }

    /// The store of whoever asks: goes on while the asker is told to ask again.
    async fn copied(self: &Arc<Self>, from: MemberId, bundle: &[u8]) -> Result<(), Problem> {
        let (own, bundle) = (self.clone(), bundle.to_vec());
        let copying = tokio::spawn(async move {
            let _one = own.copying.lock().await;
            if own.store.exists() {
                return Ok(());
            }
            let taker = copy::Taker {
                own: &own.store,
                bundle: &bundle,
                peers: &own.peers,
            };
            taker.take(from).await
        });
        match tokio::time::timeout(COPYING, copying).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "the store could not be copied");
                Err(Problem::copying())
            }
            Ok(Err(_)) => Err(Problem::fault()),
            Err(_) => Err(Problem::copying()),
        }
    }

    async fn ready(&self, invited: Invited) -> Result<Told, Problem> {
        let told = say_ready(&self.link, &invited).await?;
        let written = write(&invitation(&self.data), &encode(&invited));
        written.map_err(|error| {
            tracing::error!(%error, "the invitation cannot be kept");
            Problem::fault()
        })?;
        Ok(told)
    }
}

/// How long the leader waits for a copy before it is told to ask again.
const COPYING: std::time::Duration = std::time::Duration::from_secs(2);

/// Has the HSM say that it is ready.
pub(crate) async fn say_ready(link: &Link, invited: &Invited) -> Result<Told, Problem> {
    let request = Request::Ready {
        manifest: invited.change.manifest.clone(),
        secret: invited.secret.clone(),
    };
    match link.call(&request).await? {
        Response::Ready(ready) => Ok(Told::Ready(ready)),
        _ => Err(LinkError::Unexpected.into()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// An invitation, as the leader sends it.
#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct Invite {
    /// The bundle in force.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) bundle: Vec<u8>,
    /// What is to follow it.
    #[n(1)]
    pub(crate) change: SignedManifest,
    /// The fleet's secret, sealed to the joiner's HSM.
    #[n(2)]
    pub(crate) secret: SealedSecret,
}
