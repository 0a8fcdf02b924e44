//! The listening side: what peers say to this host, and its responses, on the connections that they
//! dialled.
//!
//! A peer may be hostile: it is a host. It gets no more than the bounds here. A slow consumer of
//! this host's stops the reading of its socket, not more.

use crate::counts::Event;
use crate::frame::{
    BUFFER_BYTES, End, Frame, HEAD_BYTES, Lane, read_body, read_head, skip_body, write_frames,
};
use crate::pin::digest_of;
use crate::places::Place;
use crate::{Asked, Incoming, Shared, socket};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strongroom_wire::MemberId;
use tokio::io::{AsyncRead, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// After an error of the listener: without file descriptors it comes back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a request takes at least of its connection's allowance: it bounds their number too.
const REQUEST_BYTES_LEAST: usize = 1 << 16;

/// Bodies of the greatest size that wait here, for each connection.
const BODIES_WAITING: usize = 2;

/// Where what comes in goes.
#[derive(Clone)]
pub(crate) struct Consumers {
    pub(crate) incoming: mpsc::Sender<Incoming>,
    pub(crate) asked: mpsc::Sender<Asked>,
}

/// Accepts for ever. Its connections end with it.
pub(crate) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    consumers: Consumers,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let serving = serve(
                        shared.clone(), acceptor.clone(), consumers.clone(), stream, address,
                    );
                    connections.spawn(serving);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a peer's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    consumers: Consumers,
    stream: TcpStream,
    address: SocketAddr,
) {
    let stream = match handshake(&shared, &acceptor, stream).await {
        Ok(stream) => stream,
        Err(error) => return shared.strangers.tell(address.ip(), &error),
    };
    let digest = stream.get_ref().1.peer_certificates();
    let digest = digest.and_then(|chain| digest_of(chain.first()?).ok());
    // Between the handshake and here the members may have changed.
    let Some((from, mut place)) = digest.and_then(|digest| shared.admit(&digest)) else {
        return;
    };
    tracing::info!(peer = from.0, %address, "peer connected");
    let end = tokio::select! {
        end = converse(&shared, &consumers, from, stream) => end,
        () = place.taken() => End::Here,
    };
    end.count(&shared.counts);
    tracing::info!(peer = from.0, %address, %end, "connection of peer ended");
}

/// Too many at once: the oldest makes room. One that holds on and says nothing is the oldest soon,
/// and a peer's own takes milliseconds.
async fn handshake(
    shared: &Shared,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    socket::prepare(&stream)?;
    let mut place: Place = shared.handshakes.take(&shared.counts);
    tokio::select! {
        done = timeout(shared.limits.handshake, acceptor.accept(stream)) => done?,
        () = place.taken() => Err(io::Error::other("too many handshakes at once")),
    }
}

/// Both directions in one task: whichever ends first ends the other.
async fn converse(
    shared: &Shared,
    consumers: &Consumers,
    from: MemberId,
    stream: TlsStream<TcpStream>,
) -> End {
    let allowance = BODIES_WAITING * request_cost(shared.limits.body_bytes);
    // A response keeps its request's share until it is written: the queue cannot be full.
    let (responses, mut queue) = mpsc::channel(allowance / REQUEST_BYTES_LEAST + 1);
    if responses.try_send(Frame::hello()).is_err() {
        return End::Here;
    }
    let (read, write) = tokio::io::split(stream);
    let mut receiver = Receiver {
        shared,
        consumers,
        from,
        stream: BufReader::with_capacity(BUFFER_BYTES, read),
        messages: Arc::new(Semaphore::new(allowance)),
        requests: Arc::new(Semaphore::new(allowance)),
        responses,
    };
    tokio::select! {
        end = receiver.receive() => end,
        end = write_frames(write, &mut queue, |_| true) => end,
    }
}

fn request_cost(length: usize) -> usize {
    (length + HEAD_BYTES).max(REQUEST_BYTES_LEAST)
}

struct Receiver<'a, S> {
    shared: &'a Shared,
    consumers: &'a Consumers,
    from: MemberId,
    stream: S,
    /// Bytes of messages that nobody took yet.
    messages: Arc<Semaphore>,
    /// Bytes of requests that are not answered yet.
    requests: Arc<Semaphore>,
    responses: mpsc::Sender<Frame>,
}

impl<S: AsyncRead + Unpin> Receiver<'_, S> {
    async fn receive(&mut self) -> End {
        loop {
            if let Err(end) = self.receive_one().await {
                return end;
            }
        }
    }

    async fn receive_one(&mut self) -> Result<(), End> {
        let head = read_head(&mut self.stream, self.shared.limits.body_bytes).await?;
        match head.lane {
            Lane::Message => self.message(head.length).await,
            Lane::Request => self.request(head.correlation, head.length).await,
            Lane::Hello | Lane::Response | Lane::Refusal => Err(End::Misplaced(head.lane)),
        }
    }

    /// Waits for its consumer, and the socket with it.
    async fn message(&mut self, length: usize) -> Result<(), End> {
        let bytes = u32::try_from(length + HEAD_BYTES).unwrap_or(u32::MAX);
        let room = self.messages.clone().acquire_many_owned(bytes).await;
        let room = room.map_err(|_| End::Here)?;
        let body = read_body(&mut self.stream, length).await?;
        let incoming = Incoming {
            from: self.from,
            body,
            _room: room,
        };
        let taken = self.consumers.incoming.send(incoming).await;
        taken.map_err(|_| End::Here)
    }

    /// Does not wait: messages come behind it on the same connection, and heartbeats are among
    /// them. What there is no room for is refused.
    async fn request(&mut self, correlation: u64, length: usize) -> Result<(), End> {
        let cost = u32::try_from(request_cost(length)).unwrap_or(u32::MAX);
        let Ok(room) = self.requests.clone().try_acquire_many_owned(cost) else {
            skip_body(&mut self.stream, length).await?;
            // The writer is behind: this waits for it, and for nothing else.
            let refusal = Frame {
                lane: Lane::Refusal,
                correlation,
                body: Vec::new(),
                _room: None,
            };
            let sent = self.responses.send(refusal).await;
            return sent.map_err(|_| End::Here);
        };
        let body = read_body(&mut self.stream, length).await?;
        let asked = Asked {
            from: self.from,
            body,
            reply: Reply {
                responses: self.responses.clone(),
                correlation,
                body_bytes_max: self.shared.limits.body_bytes,
                room: Some(room),
            },
        };
        // Dropped, its reply is a refusal.
        if self.consumers.asked.try_send(asked).is_err() {
            self.shared.counts.count(Event::Dropped);
        }
        Ok(())
    }
}

/// Answers one request. Dropped instead, it refuses.
pub struct Reply {
    responses: mpsc::Sender<Frame>,
    correlation: u64,
    body_bytes_max: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl Reply {
    /// Answers. If the connection on which the request came is gone, nobody hears it. A body that
    /// is longer than any frame is a refusal.
    pub fn send(mut self, body: Vec<u8>) {
        if body.len() > self.body_bytes_max {
            let length = body.len();
            tracing::error!(length, "a response is longer than a frame may be; refused");
            return;
        }
        self.answer(Lane::Response, body);
    }

    fn answer(&mut self, lane: Lane, body: Vec<u8>) {
        let Some(room) = self.room.take() else {
            return;
        };
        let frame = Frame {
            lane,
            correlation: self.correlation,
            body,
            _room: Some(room),
        };
        // It has its room, so the queue has a place, unless refusals fill it: then the peer asks
        // far more than it listens, and its patience ends the matter.
        let _ = self.responses.try_send(frame);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Lane::Refusal, Vec::new());
    }
}
