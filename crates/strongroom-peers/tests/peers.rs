//! Hosts that talk to each other, and others that try to.

use rustls::pki_types::ServerName;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use strongroom_peers::{
    AskError, Asked, Event, HostKey, Incoming, KeyDigest, Limits, Peer, Peers, PeersError, Settings,
};
use strongroom_wire::MemberId;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than any answer takes here: what waits for so long fails.
const LONG: Duration = Duration::from_secs(30);

/// A host before it starts.
struct Seat {
    id: MemberId,
    key: HostKey,
    listener: Option<TcpListener>,
    address: SocketAddr,
    _dir: TempDir,
}

impl Seat {
    fn new(id: u8) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = HostKey::load_or_make(dir.path()).expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        Self {
            id: MemberId(id),
            key,
            listener: Some(listener),
            address,
            _dir: dir,
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            id: self.id,
            address: self.address.to_string(),
            digest: self.key.digest(),
        }
    }

    fn start(&mut self, peers: Vec<Peer>) -> Host {
        self.start_within(peers, Limits::default())
    }

    fn start_within(&mut self, peers: Vec<Peer>, limits: Limits) -> Host {
        let listener = self.listener.take();
        let listener = listener.unwrap_or_else(|| TcpListener::bind(self.address).expect("again"));
        let started = Peers::start(Settings {
            id: self.id,
            key: self.key.clone(),
            listener,
            peers,
            limits,
        });
        let started = started.expect("starts");
        Host {
            id: self.id,
            peers: started.peers,
            incoming: started.incoming,
            asked: started.asked,
        }
    }
}

struct Host {
    id: MemberId,
    peers: Peers,
    incoming: mpsc::Receiver<Incoming>,
    asked: mpsc::Receiver<Asked>,
}

impl Host {
    async fn next(&mut self) -> (MemberId, Vec<u8>) {
        let incoming = self.incoming.recv().await.expect("a message");
        (incoming.from, incoming.body)
    }

    async fn next_asked(&mut self) -> Asked {
        self.asked.recv().await.expect("a request")
    }
}

/// Two hosts that know each other, each reached by the other.
async fn pair(limits: Limits) -> (Seat, Host, Seat, Host) {
    let (mut one, mut two) = (Seat::new(1), Seat::new(2));
    let all = vec![one.peer(), two.peer()];
    let a = one.start_within(all.clone(), limits.clone());
    let b = two.start_within(all, limits);
    assert!(a.peers.until_reachable(b.id).await);
    assert!(b.peers.until_reachable(a.id).await);
    (one, a, two, b)
}

/// Dials by hand.
async fn dial(
    key: &HostKey,
    address: SocketAddr,
    digest: KeyDigest,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = key.client_config(digest).expect("a configuration");
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("anyone").expect("a name");
    TlsConnector::from(config).connect(name, stream).await
}

/// Dials by hand, as a member.
async fn dial_as_member(key: &HostKey, host: &Seat) -> TlsStream<TcpStream> {
    let stream = dial(key, host.address, host.key.digest()).await;
    let mut stream = stream.expect("a handshake");
    let mut hello = [0; 13];
    stream.read_exact(&mut hello).await.expect("hello");
    assert_eq!(hello, [0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    stream
}

fn frame(lane: u8, correlation: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 9).expect("a short body");
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(lane);
    frame.extend_from_slice(&correlation.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

#[test]
fn a_key_is_made_once_and_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let made = HostKey::load_or_make(dir.path()).unwrap();
    let read = HostKey::load_or_make(dir.path()).unwrap();
    assert_eq!(made.digest(), read.digest());
    let about = std::fs::metadata(dir.path().join("peer.key")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_key_is_refused_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("peer.key"), "no key").unwrap();
    let why = HostKey::load_or_make(dir.path()).unwrap_err();
    assert!(why.contains("peer.key"), "{why}");
}

#[tokio::test]
async fn three_hosts_exchange_messages() {
    let mut seats = [Seat::new(0), Seat::new(1), Seat::new(2)];
    let all: Vec<Peer> = seats.iter().map(Seat::peer).collect();
    let mut hosts: Vec<Host> = seats.iter_mut().map(|s| s.start(all.clone())).collect();
    for from in &hosts {
        for to in all.iter().filter(|to| to.id != from.id) {
            assert!(from.peers.send(to.id, vec![from.id.0, to.id.0]));
        }
    }
    for host in &mut hosts {
        let mut got = vec![host.next().await, host.next().await];
        got.sort();
        let others = all.iter().map(|peer| peer.id).filter(|id| *id != host.id);
        let wanted: Vec<_> = others.map(|id| (id, vec![id.0, host.id.0])).collect();
        assert_eq!(got, wanted);
    }
}

#[tokio::test]
async fn messages_keep_their_order_and_the_greatest_fits() {
    let (_one, a, _two, mut b) = pair(Limits::default()).await;
    let greatest = vec![7; Limits::default().body_bytes];
    assert!(a.peers.send(b.id, vec![1]));
    assert!(a.peers.send(b.id, greatest.clone()));
    assert!(a.peers.send(b.id, vec![]));
    assert_eq!(b.next().await.1, [1]);
    assert!(b.next().await.1 == greatest);
    assert_eq!(b.next().await.1, []);
    let longer = vec![7; Limits::default().body_bytes + 1];
    assert!(!a.peers.send(b.id, longer.clone()));
    let asked = a.peers.ask(b.id, longer, LONG).await;
    assert_eq!(asked.unwrap_err(), AskError::TooLong);
}

#[tokio::test]
async fn a_request_is_answered() {
    let (_one, a, _two, mut b) = pair(Limits::default()).await;
    let first = a.peers.ask(b.id, b"first".to_vec(), LONG);
    let second = a.peers.ask(b.id, b"second".to_vec(), LONG);
    let serve = async {
        let first = b.next_asked().await;
        let second = b.next_asked().await;
        assert_eq!(first.from, a.id);
        // Out of order: the correlation id says which is which.
        second.reply.send([&second.body[..], b"!"].concat());
        first.reply.send([&first.body[..], b"?"].concat());
    };
    let (first, second, ()) = tokio::join!(first, second, serve);
    assert_eq!(first.unwrap(), b"first?");
    assert_eq!(second.unwrap(), b"second!");
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_refused() {
    let (_one, a, _two, mut b) = pair(Limits::default()).await;
    let ask = a.peers.ask(b.id, vec![1], LONG);
    let (answer, ()) = tokio::join!(ask, async { drop(b.next_asked().await) });
    assert_eq!(answer, Err(AskError::Refused));
    let nobody = a.peers.ask(MemberId(9), vec![1], LONG).await;
    assert_eq!(nobody, Err(AskError::Unreachable));
    assert!(!a.peers.reachable(MemberId(9)));
    assert!(!a.peers.send(MemberId(9), vec![]));
}

#[tokio::test]
async fn requests_without_room_are_refused_and_messages_pass() {
    let limits = Limits {
        incoming: 1,
        ..Limits::default()
    };
    let (_one, a, _two, mut b) = pair(limits).await;
    let kept = a.peers.ask(b.id, vec![1], LONG);
    let rest = async {
        let refused = a.peers.ask(b.id, vec![2], LONG).await;
        assert_eq!(refused, Err(AskError::Refused));
        assert!(a.peers.send(b.id, vec![3]));
        assert_eq!(b.next().await.1, [3]);
        b.next_asked().await.reply.send(vec![4]);
    };
    // Polled in this order: the first is in the queue before the second.
    let (kept, ()) = tokio::join!(biased; kept, rest);
    assert_eq!(kept, Ok(vec![4]));
}

#[tokio::test]
async fn a_late_response_is_dropped() {
    let (_one, a, _two, mut b) = pair(Limits::default()).await;
    let late = a.peers.ask(b.id, vec![1], Duration::from_millis(1));
    assert_eq!(late.await, Err(AskError::TimedOut));
    // Only now, and only if it was sent at all: its asker may have gone before.
    let ask = a.peers.ask(b.id, vec![2], LONG);
    let serve = async {
        loop {
            let asked = b.next_asked().await;
            let last = asked.body == [2];
            let body = asked.body.clone();
            asked.reply.send(body);
            if last {
                return;
            }
        }
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer, Ok(vec![2]));
}

#[tokio::test]
async fn a_response_to_nothing_is_counted_and_skipped() {
    let (mut one, mut two) = (Seat::new(1), Seat::new(2));
    let a = one.start(vec![two.peer()]);
    let b = two.start(vec![one.peer()]);
    assert!(a.peers.until_reachable(b.id).await);
    let mut asked = b.asked;
    let gone = tokio::spawn({
        let peers = a.peers.clone();
        async move { peers.ask(MemberId(2), vec![1], LONG).await }
    });
    let first = asked.recv().await.unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    first.reply.send(vec![0; 100_000]);
    let again = a.peers.ask(MemberId(2), vec![2], LONG);
    let serve = async { asked.recv().await.unwrap().reply.send(vec![3]) };
    let (answer, ()) = tokio::join!(again, serve);
    assert_eq!(answer, Ok(vec![3]));
    assert_eq!(a.peers.count(Event::Late), 1);
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_name() {
    let (one, a, _two, _b) = pair(Limits::default()).await;
    let stranger = Seat::new(2);
    let mut stream = dial(&stranger.key, one.address, one.key.digest())
        .await
        .expect("the client's half of a handshake is done before the server's");
    let refused = stream.read_u8().await.unwrap_err().to_string();
    assert!(refused.contains("CertificateUnknown"), "{refused}");
    assert_eq!(a.peers.count(Event::Refused), 1);
}

#[tokio::test]
async fn no_key_at_all_is_refused() {
    let (one, a, _two, _b) = pair(Limits::default()).await;
    let config = one.key.client_config(one.key.digest()).unwrap();
    let mut config = (*config).clone();
    config.client_auth_cert_resolver = std::sync::Arc::new(NoKey);
    let stream = TcpStream::connect(one.address).await.unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    let name = ServerName::try_from("anyone").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let refused = stream.read_u8().await.unwrap_err().to_string();
    assert!(refused.contains("CertificateRequired"), "{refused}");
    assert_eq!(a.peers.count(Event::Misbehaved), 0);
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_host_cannot_take_another_members_place() {
    let (mut one, mut two, mut three) = (Seat::new(1), Seat::new(2), Seat::new(3));
    // The third thinks that it is the second, and sits where the first looks for the second.
    let second_at_third = Peer {
        address: three.address.to_string(),
        ..two.peer()
    };
    let mut a = one.start(vec![second_at_third, three.peer()]);
    three.id = MemberId(2);
    let c = three.start(vec![one.peer()]);
    assert!(a.peers.until_reachable(MemberId(3)).await);
    let refused = dial(&one.key, three.address, two.key.digest()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("does not pin the key"), "{refused}");
    assert!(!a.peers.reachable(MemberId(2)));
    // What it sends is from the member whose key it has.
    assert!(c.peers.send(a.id, b"I am the second".to_vec()));
    assert_eq!(a.next().await.0, MemberId(3));
    // And the second itself is let in.
    let b = two.start(vec![one.peer()]);
    assert!(b.peers.send(a.id, vec![]));
    assert_eq!(a.next().await.0, MemberId(2));
}

#[tokio::test]
async fn traffic_resumes_when_a_host_comes_back() {
    let (one, mut a, mut two, mut b) = pair(Limits::default()).await;
    let ask = a.peers.ask(b.id, vec![1], LONG);
    let end = async {
        let asked = b.next_asked().await;
        b.peers.close().await;
        drop(asked);
    };
    let (lost, ()) = tokio::join!(ask, end);
    assert_eq!(lost, Err(AskError::Lost));
    assert_eq!(
        b.peers.ask(a.id, vec![], LONG).await,
        Err(AskError::Unreachable)
    );
    drop(b);
    let mut b = two.start(vec![one.peer()]);
    assert!(b.peers.send(a.id, vec![2]));
    assert_eq!(a.next().await, (b.id, vec![2]));
    assert!(a.peers.until_reachable(b.id).await);
    let ask = a.peers.ask(b.id, vec![3], LONG);
    let serve = async { b.next_asked().await.reply.send(vec![4]) };
    let (answer, ()) = tokio::join!(ask, serve);
    assert_eq!(answer, Ok(vec![4]));
}

#[tokio::test]
async fn a_frame_against_the_rules_ends_its_connection() {
    let (one, mut a, two, _b) = pair(Limits::default()).await;
    let oversized = u32::try_from(Limits::default().body_bytes + 10).unwrap();
    let bad = [
        oversized.to_be_bytes().to_vec(),
        8_u32.to_be_bytes().to_vec(),
        frame(0, 0, b""),
        frame(6, 0, b""),
        // A dialling end neither greets nor answers.
        frame(1, 0, b""),
        frame(4, 1, b"answer"),
        frame(5, 1, b""),
    ];
    for (done, bad) in (1..).zip(bad) {
        let mut stream = dial_as_member(&two.key, &one).await;
        stream.write_all(&frame(2, 0, b"good")).await.unwrap();
        stream.write_all(&bad).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(a.next().await, (MemberId(2), b"good".to_vec()));
        assert!(stream.read_u8().await.is_err());
        assert_eq!(a.peers.count(Event::Misbehaved), done);
    }
}

#[tokio::test]
async fn the_newest_connections_of_a_peer_win() {
    let (mut one, two) = (Seat::new(1), Seat::new(2));
    let mut a = one.start(vec![two.peer()]);
    let mut first = dial_as_member(&two.key, &one).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(dial_as_member(&two.key, &one).await);
    }
    assert!(first.read_u8().await.is_err());
    assert_eq!(a.peers.count(Event::Crowded), 1);
    for stream in &mut others {
        stream.write_all(&frame(2, 0, b"here")).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(a.next().await.1, b"here");
    }
}

#[tokio::test]
async fn handshakes_that_hang_keep_nobody_out() {
    let (mut one, two) = (Seat::new(1), Seat::new(2));
    let a = one.start(vec![two.peer()]);
    let mut hanging = Vec::new();
    for _ in 0..strongroom_peers::HANDSHAKES_MAX {
        hanging.push(TcpStream::connect(one.address).await.unwrap());
    }
    dial_as_member(&two.key, &one).await;
    assert_eq!(a.peers.count(Event::Crowded), 1);
}

#[tokio::test]
async fn a_full_queue_drops_the_newest_and_counts() {
    let (mut one, mut two) = (Seat::new(1), Seat::new(2));
    let limits = Limits {
        queue_messages: 4,
        ..Limits::default()
    };
    // The port is open, and nobody accepts there yet.
    let a = one.start_within(vec![two.peer()], limits);
    let taken: Vec<bool> = (0..6).map(|n| a.peers.send(two.id, vec![n])).collect();
    assert_eq!(taken, [true, true, true, true, false, false]);
    assert_eq!(a.peers.count(Event::Dropped), 2);
    assert!(!a.peers.reachable(two.id));
    let unreachable = a.peers.ask(two.id, vec![], LONG).await;
    assert_eq!(unreachable, Err(AskError::Unreachable));
    let mut b = two.start(vec![one.peer()]);
    for n in 0..4 {
        assert_eq!(b.next().await, (a.id, vec![n]));
    }
}

#[tokio::test]
async fn a_full_queue_is_full_by_bytes_too() {
    let (mut one, two) = (Seat::new(1), Seat::new(2));
    let limits = Limits {
        queue_bytes: 1000,
        ..Limits::default()
    };
    let a = one.start_within(vec![two.peer()], limits);
    assert!(a.peers.send(two.id, vec![0; 500]));
    assert!(!a.peers.send(two.id, vec![0; 500]));
    assert!(a.peers.send(two.id, vec![0; 400]));
    assert_eq!(a.peers.count(Event::Dropped), 1);
}

#[tokio::test]
async fn a_slow_consumer_loses_nothing_that_was_sent() {
    let limits = Limits {
        incoming: 1,
        ..Limits::default()
    };
    let (_one, a, _two, mut b) = pair(limits).await;
    for n in 0..100 {
        assert!(a.peers.send(b.id, vec![n; 1000]));
    }
    // Its consumer does nothing; responses come through all the same.
    assert!(b.peers.send(a.id, vec![]));
    for n in 0..100 {
        assert_eq!(b.next().await.1, vec![n; 1000]);
    }
}

#[tokio::test]
async fn peers_that_are_set_aside_are_closed() {
    let (one, mut a, mut two, mut b) = pair(Limits::default()).await;
    let ask = a.peers.ask(b.id, vec![1], LONG);
    let remove = async {
        let asked = b.next_asked().await;
        a.peers.set_peers(Vec::new()).unwrap();
        drop(asked);
    };
    let (lost, ()) = tokio::join!(ask, remove);
    assert_eq!(lost, Err(AskError::Lost));
    assert!(!a.peers.reachable(b.id));
    assert!(!a.peers.until_reachable(b.id).await);
    assert!(!a.peers.send(b.id, vec![]));
    let mut stream = dial(&two.key, one.address, one.key.digest()).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    b.peers.close().await;
    drop(b);
    // Taken back, with another address and the same key.
    two.listener = Some(TcpListener::bind("127.0.0.1:0").unwrap());
    two.address = two.listener.as_ref().unwrap().local_addr().unwrap();
    a.peers.set_peers(vec![two.peer()]).unwrap();
    let mut b = two.start(vec![one.peer()]);
    assert!(a.peers.send(b.id, vec![2]));
    assert_eq!(b.next().await, (a.id, vec![2]));
    assert!(b.peers.send(a.id, vec![3]));
    assert_eq!(a.next().await, (b.id, vec![3]));
}

#[tokio::test]
async fn peers_that_stay_keep_their_connections() {
    let (_one, a, two, mut b) = pair(Limits::default()).await;
    let third = Seat::new(3);
    let ask = a.peers.ask(b.id, vec![1], LONG);
    let change = async {
        let asked = b.next_asked().await;
        let peers = vec![two.peer(), third.peer()];
        a.peers.set_peers(peers).unwrap();
        asked.reply.send(vec![2]);
    };
    let (answer, ()) = tokio::join!(ask, change);
    assert_eq!(answer, Ok(vec![2]));
}

#[tokio::test]
async fn a_key_names_one_member() {
    let (one, a, two, b) = pair(Limits::default()).await;
    let again = Peer {
        id: MemberId(3),
        ..two.peer()
    };
    let refused = a.peers.set_peers(vec![two.peer(), again]);
    assert!(matches!(
        refused,
        Err(PeersError::Twice(MemberId(2), MemberId(3)))
    ));
    let own = Peer {
        id: MemberId(3),
        ..one.peer()
    };
    assert!(a.peers.set_peers(vec![own]).is_err());
    assert!(a.peers.reachable(b.id));
}
