//! Messages between the hosts of a fleet, over mutual TLS 1.3.
//!
//! The manifest names for each member the SHA-256 of its host's public key; there is no authority
//! besides. Each host dials every other, and sends on the connection that it dialled: messages that
//! nobody acknowledges, and requests. Responses come back on the same connection. So there are two
//! connections between two hosts, and neither has to agree with the other on which one counts.
//!
//! What holds here:
//!
//! 1. Who a message is from follows from the key that its connection proved, never from its bytes.
//! 2. Sending never waits. What does not fit is dropped: the protocol above repeats itself.
//! 3. A peer takes bounded memory and sockets, whatever it sends.
//! 4. A request is sent at most once. [`AskError`] says whether it can have been.
//!
//! What is said is no secret from the hosts and needs no honesty of theirs: HSMs sign and seal what
//! matters to them. This crate is trusted with nothing but that it be there.

mod accept;
mod counts;
mod frame;
mod key;
mod link;
mod pin;
mod places;
mod socket;
mod strangers;

pub use accept::Reply;
pub use counts::{Event, PEER_EVENTS};
pub use key::{HostKey, KeyDigest};

use crate::accept::{Consumers, accept};
use crate::counts::Counts;
use crate::link::{Link, Linked};
use crate::pin::Pins;
use crate::places::{Place, Places};
use crate::strangers::Strangers;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_wire::MemberId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Connections that one peer may hold here. It needs one; a new one may come before this end has
/// seen that the old one is dead.
pub const CONNECTIONS_PER_PEER_MAX: usize = 4;

/// Handshakes under way at once.
pub const HANDSHAKES_MAX: usize = 64;

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its member.
    pub id: MemberId,
    /// `host:port`, resolved whenever it is dialled.
    pub address: String,
    /// The key that it has.
    pub digest: KeyDigest,
}

/// Bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Greatest body, bytes.
    pub body_bytes: usize,
    /// Messages and requests that wait for one peer.
    pub queue_messages: usize,
    /// Bytes that wait for one peer.
    pub queue_bytes: usize,
    /// Messages, and as many requests, that wait for their consumers here.
    pub incoming: usize,
    /// For a handshake, at either end.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 12 << 20,
            queue_messages: 1024,
            // Two of the greatest, and what comes between.
            queue_bytes: 32 << 20,
            incoming: 256,
            handshake: Duration::from_secs(5),
        }
    }
}

/// What a host needs to be among its peers.
#[derive(Debug)]
pub struct Settings {
    /// This host's member.
    pub id: MemberId,
    /// Its key.
    pub key: HostKey,
    /// Where peers dial it.
    pub listener: TcpListener,
    /// The others. An entry for this host itself is passed over.
    pub peers: Vec<Peer>,
    /// Bounds.
    pub limits: Limits,
}

/// Peers cannot be set so.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The key or the listener.
    #[error("peers: {0}")]
    Start(String),
    /// Who a message is from would not be known.
    #[error("peers: members {0} and {1} have the same key, or the same id")]
    Twice(MemberId, MemberId),
}

/// A request without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// As much waits for that peer as may. Nothing was sent.
    #[error("too much waits for that peer")]
    Full,
    /// The connection broke. It may have been carried out.
    #[error("the connection to that peer broke")]
    Lost,
    /// The peer takes no more requests now, or nobody there answers this one.
    #[error("that peer refused")]
    Refused,
    /// No response in time. It may have been carried out.
    #[error("that peer did not answer in time")]
    TimedOut,
    /// It is longer than a body may be. Nothing was sent.
    #[error("the request is too long")]
    TooLong,
    /// There is no connection to it, or no such peer. Nothing was sent.
    #[error("that peer is not reached")]
    Unreachable,
}

/// A message that came.
pub struct Incoming {
    /// From whom: its key says so.
    pub from: MemberId,
    /// What.
    pub body: Vec<u8>,
    /// Its connection's allowance, returned when this is dropped.
    _room: OwnedSemaphorePermit,
}

/// A request that came.
pub struct Asked {
    /// From whom: its key says so.
    pub from: MemberId,
    /// What.
    pub body: Vec<u8>,
    /// For the answer.
    pub reply: Reply,
}

/// What every task has to know.
pub(crate) struct Shared {
    id: MemberId,
    key: HostKey,
    pub(crate) limits: Limits,
    pub(crate) counts: Arc<Counts>,
    pub(crate) handshakes: Places,
    pub(crate) strangers: Strangers,
    pins: Arc<Pins>,
    roster: Mutex<Roster>,
}

#[derive(Default)]
struct Roster {
    links: BTreeMap<MemberId, Linked>,
    connections: BTreeMap<MemberId, Places>,
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among its member's connections, if the key is a member's.
    pub(crate) fn admit(&self, digest: &KeyDigest) -> Option<(MemberId, Place)> {
        // In this order: a change of members holds the roster too.
        let roster = self.roster();
        let id = self.pins.member(digest)?;
        let place = roster.connections.get(&id)?.take(&self.counts);
        Some((id, place))
    }

    fn set(&self, peers: Vec<Peer>) -> Result<(), PeersError> {
        let peers = self.checked(peers)?;
        let mut configs = BTreeMap::new();
        for peer in peers.values() {
            let config = self.key.client_config(peer.digest);
            configs.insert(peer.id, config.map_err(PeersError::Start)?);
        }
        let mut roster = self.roster();
        let Roster { links, connections } = &mut *roster;
        let pinned = peers.values().map(|peer| (peer.digest, peer.id));
        self.pins.set(pinned.collect());
        // Another key is another host, also when it takes the member's place.
        connections.retain(|id, _| {
            let same = peers.get(id).map(|peer| peer.digest);
            same.is_some() && same == links.get(id).map(Linked::digest)
        });
        links.retain(|id, linked| peers.get(id).is_some_and(|peer| linked.is_to(peer)));
        for (id, peer) in peers {
            let places = || Places::new(CONNECTIONS_PER_PEER_MAX);
            connections.entry(id).or_insert_with(places);
            if let (false, Some(config)) = (links.contains_key(&id), configs.remove(&id)) {
                let linked = Linked::start(peer, config, &self.limits, self.counts.clone());
                links.insert(id, linked);
            }
        }
        Ok(())
    }

    fn checked(&self, peers: Vec<Peer>) -> Result<BTreeMap<MemberId, Peer>, PeersError> {
        let mut keys = HashMap::from([(self.key.digest(), self.id)]);
        let mut checked = BTreeMap::new();
        for peer in peers.into_iter().filter(|peer| peer.id != self.id) {
            if let Some(other) = keys.insert(peer.digest, peer.id) {
                return Err(PeersError::Twice(other, peer.id));
            }
            let id = peer.id;
            if checked.insert(id, peer).is_some() {
                return Err(PeersError::Twice(id, id));
            }
        }
        Ok(checked)
    }
}

/// The last handle ends what was started.
struct Handle {
    shared: Arc<Shared>,
    accept: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn end(&self) -> Option<JoinHandle<()>> {
        self.shared.pins.set(HashMap::new());
        *self.shared.roster() = Roster::default();
        let accept = self.accept.lock().unwrap_or_else(PoisonError::into_inner);
        let accept = { accept }.take();
        if let Some(accept) = &accept {
            accept.abort();
        }
        accept
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// The other hosts; cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Handle>);

impl Peers {
    /// Listens, and starts to dial. Within a Tokio runtime.
    ///
    /// # Errors
    /// [`PeersError`].
    pub fn start(settings: Settings) -> Result<Started, PeersError> {
        let Settings {
            id,
            key,
            listener,
            peers,
            limits,
        } = settings;
        let said = |error: std::io::Error| PeersError::Start(error.to_string());
        listener.set_nonblocking(true).map_err(said)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(said)?;
        let counts = Arc::new(Counts::default());
        let pins = Arc::new(Pins::new(counts.clone()));
        let config = key.server_config(pins.clone()).map_err(PeersError::Start)?;
        let (incoming, messages) = mpsc::channel(limits.incoming.max(1));
        let (asked, requests) = mpsc::channel(limits.incoming.max(1));
        let shared = Arc::new(Shared {
            id,
            key,
            limits,
            counts,
            handshakes: Places::new(HANDSHAKES_MAX),
            strangers: Strangers::default(),
            pins,
            roster: Mutex::default(),
        });
        shared.set(peers)?;
        let consumers = Consumers { incoming, asked };
        let acceptor = TlsAcceptor::from(config);
        let accept = tokio::spawn(accept(shared.clone(), listener, acceptor, consumers));
        let accept = Mutex::new(Some(accept));
        Ok(Started {
            peers: Self(Arc::new(Handle { shared, accept })),
            incoming: messages,
            asked: requests,
        })
    }

    fn link(&self, to: MemberId) -> Option<Arc<Link>> {
        let roster = self.0.shared.roster();
        roster.links.get(&to).map(|linked| linked.link.clone())
    }

    /// Sends a message, without waiting. Whether it was queued; what is queued may be lost too.
    /// What waits while a peer is away is sent when it is back.
    pub fn send(&self, to: MemberId, body: Vec<u8>) -> bool {
        self.link(to).is_some_and(|link| link.send(body))
    }

    /// Asks, and waits for the response.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        to: MemberId,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, AskError> {
        let link = self.link(to).ok_or(AskError::Unreachable)?;
        link.ask(body, timeout).await
    }

    /// Whether the connection to it is up. One that is dead is up until something was sent on it
    /// and not acknowledged for 3 seconds.
    pub fn reachable(&self, id: MemberId) -> bool {
        self.link(id).is_some_and(|link| link.is_up())
    }

    /// Until the connection to it is up. `false` if it is no peer, or ceases to be one.
    pub async fn until_reachable(&self, id: MemberId) -> bool {
        let Some(mut up) = self.link(id).map(|link| link.watch()) else {
            return false;
        };
        up.wait_for(|up| *up).await.is_ok()
    }

    /// Other peers from now on. Connections from and to those that are gone, or have another key,
    /// are closed; a new address is dialled anew. What they sent before may still be in the
    /// receivers. Within a Tokio runtime.
    ///
    /// # Errors
    /// [`PeersError`]; then nothing has changed.
    pub fn set_peers(&self, peers: Vec<Peer>) -> Result<(), PeersError> {
        self.0.shared.set(peers)
    }

    /// How often it happened since the start.
    pub fn count(&self, event: Event) -> u64 {
        self.0.shared.counts.of(event)
    }

    /// Ends every connection, and waits until the listener is closed.
    pub async fn close(&self) {
        if let Some(accept) = self.0.end() {
            // It was aborted: an error is what is expected.
            let _ = accept.await;
        }
    }
}

/// What a start gives.
pub struct Started {
    /// The handle.
    pub peers: Peers,
    /// Messages. Who does not take them stops the peers' sockets.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Requests. Those that find it full are refused.
    pub asked: mpsc::Receiver<Asked>,
}
