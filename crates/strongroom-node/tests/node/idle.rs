//! Clients that hold on and do nothing.

use crate::common::{Server, until};
use crate::tls::{address, connect};
use rustls::crypto::aws_lc_rs::default_provider;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use strongroom_node::Limits;

/// Reads to the end. The node must close; the test's own timeout is the failure.
async fn rest(mut stream: impl std::io::Read + Send + 'static) -> Vec<u8> {
    let all = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all
    });
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, all)
        .await
        .expect("it was never closed")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_or_a_head_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        head: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Arc::new(Server::start(limits).await);
    // Not a word; half a client hello; a handshake and nothing more; half a head.
    let silent = TcpStream::connect(address(&server)).unwrap();
    assert!(rest(silent).await.is_empty());
    let mut half = TcpStream::connect(address(&server)).unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    rest(half).await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nhost: lo"] {
        let mut stream = connect(&server, default_provider()).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        stream.flush().unwrap();
        let answer = rest(stream).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{sent:?}");
    }
    // One that was answered and then idles is closed as well.
    let mut stream = connect(&server, default_provider()).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_in_is_given_up_and_a_head_without_end_refused() {
    let limits = Limits {
        request: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut stream = connect(&server, default_provider()).unwrap();
    let head = "POST /v1/vault HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nx";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = rest(stream).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("urn:strongroom:problem:busy"), "{answer}");
    let mut stream = connect(&server, default_provider()).unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "y".repeat(1 << 20));
    // The node may close before all of it was written.
    let _ = stream.write_all(head.as_bytes());
    let answer = rest(stream).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_there_is_room_again_afterwards() {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    // The test's own client holds one or two, kept alive.
    assert_eq!(server.get("/healthz").await.status, 200);
    let open = || connect(&server, default_provider());
    let mut held = Vec::new();
    while let Ok(stream) = open() {
        held.push(stream);
        assert!(held.len() < limits.connections, "one too many");
    }
    assert!(!held.is_empty());
    let used = |stream: &mut rustls::StreamOwned<_, TcpStream>| {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    };
    held.iter_mut().for_each(used);
    let metrics = server.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains(strongroom_node::metrics::CONNECTIONS_REFUSED)
    );
    drop(held);
    until("room again", || async { open().ok() }).await;
}
