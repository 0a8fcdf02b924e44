//! The dialled side: one task per peer dials it, again and again, and carries what this host sends.

use crate::counts::{Counts, Event};
use crate::frame::{
    BUFFER_BYTES, End, Frame, HEAD_BYTES, Lane, read_body, read_head, skip_body, write_frames,
};
use crate::key::KeyDigest;
use crate::{AskError, Limits, Peer, socket};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Between two attempts: this at first, then twice as long each time.
const PAUSE_LEAST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// For one TCP connection. An address that swallows packets shall not hold up the next attempt
/// until the kernel repeats its SYN.
const CONNECT: Duration = Duration::from_secs(1);

/// No name is verified, and none is sent; rustls wants one all the same.
const NAME: &str = "strongroom-peer";

/// Who waits for which response.
type Waiting = HashMap<u64, oneshot::Sender<Result<Vec<u8>, AskError>>>;

/// What this host has to say to one peer.
pub(crate) struct Link {
    peer: Peer,
    body_bytes_max: usize,
    queue: mpsc::Sender<Frame>,
    /// Bytes that the queue may hold.
    room: Arc<Semaphore>,
    next: AtomicU64,
    /// Nothing while there is no connection.
    waiting: Mutex<Option<Waiting>>,
    up: watch::Sender<bool>,
    counts: Arc<Counts>,
}

/// A link and its task, which ends with it.
pub(crate) struct Linked {
    pub(crate) link: Arc<Link>,
    task: AbortHandle,
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.task.abort();
        self.link.down();
    }
}

impl Linked {
    /// Starts to dial.
    pub(crate) fn start(
        peer: Peer,
        config: Arc<ClientConfig>,
        limits: &Limits,
        counts: Arc<Counts>,
    ) -> Self {
        let (queue, frames) = mpsc::channel(limits.queue_messages.max(1));
        let link = Arc::new(Link {
            peer,
            body_bytes_max: limits.body_bytes,
            queue,
            room: Arc::new(Semaphore::new(limits.queue_bytes)),
            next: AtomicU64::new(1),
            waiting: Mutex::new(None),
            up: watch::Sender::new(false),
            counts,
        });
        let connector = TlsConnector::from(config);
        let task = tokio::spawn(dial(link.clone(), connector, frames, limits.handshake));
        let task = task.abort_handle();
        Self { link, task }
    }

    pub(crate) fn is_to(&self, peer: &Peer) -> bool {
        self.link.peer == *peer
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        self.link.peer.digest
    }
}

async fn dial(
    link: Arc<Link>,
    connector: TlsConnector,
    mut queue: mpsc::Receiver<Frame>,
    patience: Duration,
) {
    let Peer { id, address, .. } = &link.peer;
    let mut pause = PAUSE_LEAST;
    // Once per outage: a peer that is away for a day shall not fill the log.
    let mut told = false;
    loop {
        match connect(&link, &connector, patience).await {
            Ok(stream) => {
                tracing::info!(peer = id.0, address, "peer reached");
                pause = PAUSE_LEAST;
                told = false;
                let end = converse(&link, stream, &mut queue).await;
                end.count(&link.counts);
                tracing::warn!(peer = id.0, address, %end, "connection to peer lost");
            }
            Err(why) if !told => {
                told = true;
                tracing::warn!(peer = id.0, address, why, "peer not reached; will try on");
            }
            Err(_) => {}
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Between half of it and all of it, so that hosts that lost each other together do not come back
/// in step. Not a secret: the standard library's hash keys are random enough.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 512;
    let random = u32::try_from(random).unwrap_or(0);
    pause / 2 + pause / 1024 * random
}

type Stream = BufReader<TlsStream<TcpStream>>;

async fn connect(
    link: &Link,
    connector: &TlsConnector,
    patience: Duration,
) -> Result<Stream, String> {
    let attempt = async {
        let stream = reach(&link.peer.address).await?;
        socket::prepare(&stream).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(NAME).map_err(|error| error.to_string())?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        match read_head(&mut stream, 0).await {
            Ok(head) if head.lane == Lane::Hello => Ok(stream),
            Ok(head) => Err(End::Misplaced(head.lane).to_string()),
            Err(End::Io(error)) if is_unknown_here(&error) => {
                Err("its manifest does not pin this host's key".to_owned())
            }
            Err(end) => Err(end.to_string()),
        }
    };
    let attempt = timeout(patience, attempt).await;
    attempt.unwrap_or_else(|_| Err(format!("no handshake within {patience:?}")))
}

/// Names are resolved at each attempt: a host may have moved.
async fn reach(address: &str) -> Result<TcpStream, String> {
    let addresses = tokio::net::lookup_host(address).await;
    let mut why = "the name has no address".to_owned();
    for address in addresses.map_err(|error| error.to_string())? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("{address} does not answer"),
        }
    }
    Err(why)
}

fn is_unknown_here(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    let alert = AlertDescription::CertificateUnknown;
    matches!(error, Some(rustls::Error::AlertReceived(got)) if *got == alert)
}

/// Both directions in one task: whichever ends first ends the other.
async fn converse(link: &Link, stream: Stream, queue: &mut mpsc::Receiver<Frame>) -> End {
    let _up = Up::new(link);
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        end = receive(link, read) => end,
        end = write_frames(write, queue, |frame| link.wants(frame)) => end,
    }
}

async fn receive(link: &Link, mut stream: impl AsyncRead + Unpin) -> End {
    loop {
        if let Err(end) = receive_one(link, &mut stream).await {
            return end;
        }
    }
}

async fn receive_one(link: &Link, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), End> {
    let head = read_head(stream, link.body_bytes_max).await?;
    let refused = match head.lane {
        Lane::Response => false,
        Lane::Refusal => true,
        Lane::Hello | Lane::Message | Lane::Request => return Err(End::Misplaced(head.lane)),
    };
    // No room for what nobody asked for.
    if !link.is_waiting(head.correlation) {
        link.counts.count(Event::Late);
        return skip_body(stream, head.length).await;
    }
    let body = read_body(stream, head.length).await?;
    let response = if refused {
        Err(AskError::Refused)
    } else {
        Ok(body)
    };
    let mut waiting = link.waiting();
    let asker = waiting.as_mut().and_then(|w| w.remove(&head.correlation));
    drop(waiting);
    if asker.is_none_or(|asker| asker.send(response).is_err()) {
        link.counts.count(Event::Late);
    }
    Ok(())
}

/// The time in which there is a connection. On every way out, those that wait are told.
struct Up<'a>(&'a Link);

impl<'a> Up<'a> {
    fn new(link: &'a Link) -> Self {
        *link.waiting() = Some(HashMap::new());
        link.up.send_replace(true);
        Self(link)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

impl Link {
    fn down(&self) {
        // Dropping its sender tells each asker.
        self.waiting().take();
        self.up.send_replace(false);
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn is_waiting(&self, correlation: u64) -> bool {
        let waiting = self.waiting();
        waiting
            .as_ref()
            .is_some_and(|waiting| waiting.contains_key(&correlation))
    }

    /// A request whose asker has gone, or was told that its connection broke, is not sent.
    fn wants(&self, frame: &Frame) -> bool {
        frame.lane != Lane::Request || self.is_waiting(frame.correlation)
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Room in the queue for a body, if there is.
    fn room(&self, body: &[u8]) -> Option<OwnedSemaphorePermit> {
        if body.len() > self.body_bytes_max {
            return None;
        }
        let bytes = u32::try_from(body.len() + HEAD_BYTES).ok()?;
        self.room.clone().try_acquire_many_owned(bytes).ok()
    }

    fn enqueue(&self, lane: Lane, correlation: u64, body: Vec<u8>) -> bool {
        let Some(room) = self.room(&body) else {
            self.counts.count(Event::Dropped);
            return false;
        };
        let frame = Frame {
            lane,
            correlation,
            body,
            _room: Some(room),
        };
        let taken = self.queue.try_send(frame).is_ok();
        if !taken {
            self.counts.count(Event::Dropped);
        }
        taken
    }

    pub(crate) fn send(&self, body: Vec<u8>) -> bool {
        self.enqueue(Lane::Message, 0, body)
    }

    pub(crate) async fn ask(&self, body: Vec<u8>, patience: Duration) -> Result<Vec<u8>, AskError> {
        if body.len() > self.body_bytes_max {
            return Err(AskError::TooLong);
        }
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.waiting().as_mut() {
            Some(waiting) => waiting.insert(correlation, sender),
            None => return Err(AskError::Unreachable),
        };
        let _asking = Asking {
            link: self,
            correlation,
        };
        if !self.enqueue(Lane::Request, correlation, body) {
            return Err(AskError::Full);
        }
        match timeout(patience, receiver).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Err(AskError::Lost),
            Err(_) => Err(AskError::TimedOut),
        }
    }
}

/// Somebody waits. On every way out, a caller that is cancelled among them, nobody does.
struct Asking<'a> {
    link: &'a Link,
    correlation: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.link.waiting().as_mut() {
            waiting.remove(&self.correlation);
        }
    }
}
