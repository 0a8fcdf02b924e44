//! What a connection must be before it is a connection.

use crate::common::Server;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use strongroom_node::Limits;

/// A connection to the node with a client of that provider; what was agreed, and the stream.
pub fn connect(
    server: &Server,
    provider: CryptoProvider,
) -> Result<rustls::StreamOwned<ClientConnection, TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(&server.authority()).unwrap();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address(server))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(rustls::StreamOwned::new(connection, stream))
}

/// Host and port.
pub fn address(server: &Server) -> &str {
    server.base().strip_prefix("https://").unwrap()
}

fn offering(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider {
        kx_groups: groups.to_vec(),
        ..default_provider()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_tls_gets_no_answer() {
    let server = Server::start(Limits::default()).await;
    let address = address(&server).to_owned();
    let plain = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    let answer = plain.await.unwrap();
    assert!(
        !answer.starts_with(b"HTTP/"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_exchange_is_hybrid_with_every_client_that_prefers_it_and_tls_is_1_3() {
    let server = Arc::new(Server::start(Limits::default()).await);
    for (groups, agreed) in [
        (default_provider().kx_groups, NamedGroup::X25519MLKEM768),
        (vec![kx_group::X25519MLKEM768], NamedGroup::X25519MLKEM768),
        // One that only knows what is old is served as well.
        (vec![kx_group::X25519], NamedGroup::X25519),
    ] {
        let server = server.clone();
        let names = tokio::task::spawn_blocking(move || {
            let stream = connect(&server, offering(&groups)).unwrap();
            let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
            (group, stream.conn.protocol_version())
        });
        assert_eq!(
            names.await.unwrap(),
            (agreed, Some(ProtocolVersion::TLSv1_3))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trusts_another_authority_does_not_connect() {
    let server = Server::start(Limits::default()).await;
    let stranger = Server::found().await;
    let dir = stranger.config.tls_dir();
    std::fs::create_dir_all(&dir).unwrap();
    strongroom_node::tls::development(&dir).unwrap();
    let authority = reqwest::Certificate::from_pem(&stranger.authority()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .build();
    let sent = client.unwrap().get(format!("{}/healthz", server.base()));
    assert!(sent.send().await.unwrap_err().is_connect());
}
