//! A TLS server that answers by script: one step for each request, then as usual.

use super::hsm::{Asked, Hsm};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use strongroom_client::{Journal, MemoryJournal};
use strongroom_wire::answer::{Answer, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What becomes of one request to `/v1/vault`.
pub enum Step {
    /// It is carried out and answered.
    Answer,
    /// It is carried out; the connection drops before the answer.
    Drop,
    /// It is carried out; the connection drops in the middle of the answer.
    Half,
    /// It is carried out; the test is told, and the answer never comes.
    Hang(Arc<Notify>),
    /// It is not carried out; status and header lines, then this body.
    Http(u16, &'static str, &'static str),
    /// It is not carried out; this is answered, properly sealed.
    Say(Box<Answer>),
    /// It is not carried out; these bytes are answered, properly sealed.
    SayBytes(Vec<u8>),
    /// It is not carried out; these bytes are answered.
    Raw(Vec<u8>),
    /// It is not carried out; what was answered last is answered again.
    Replay,
}

/// Refused by the fleet itself.
pub fn refuse(refusal: Refusal) -> Step {
    Step::Say(Box::new(Answer::Refused(refusal)))
}

/// Refused by the node.
pub fn status(status: u16) -> Step {
    Step::Http(status, "", r#"{"detail":"no"}"#)
}

/// A request as it came in.
pub struct Request {
    pub asked: Asked,
    /// Names of what the client's journal held by then.
    pub journal: Vec<&'static str>,
    /// The `authorization` header was there.
    pub admitted: bool,
}

/// What server and test share.
pub struct Shared {
    pub hsm: Hsm,
    pub script: Mutex<VecDeque<Step>>,
    pub requests: Mutex<Vec<Request>>,
    pub journal: Arc<MemoryJournal>,
    last: Mutex<Vec<u8>>,
}

impl Shared {
    pub fn new(hsm: Hsm) -> Self {
        Self {
            hsm,
            script: Mutex::default(),
            requests: Mutex::default(),
            journal: Arc::default(),
            last: Mutex::default(),
        }
    }
}

/// Serves until the test is over; gives the base URL and the authority in PEM.
pub async fn serve(shared: Arc<Shared>) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, shared) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // A client may go away whenever it likes.
                    let _ = answer(stream, &shared).await;
                }
            });
        }
    });
    (url, made.cert.pem())
}

async fn answer(mut stream: TlsStream<TcpStream>, shared: &Shared) -> std::io::Result<()> {
    let (head, body) = read(&mut stream).await?;
    if head.starts_with("GET /v1/fleet ") {
        return respond(&mut stream, 200, "", &shared.hsm.bundle()).await;
    }
    assert!(head.starts_with("POST /v1/vault "), "{head}");
    let opened = shared.hsm.open(&body);
    let names = [
        "pending-recover-0",
        "pending-register-0-0",
        "op-delete-0",
        "op-reset-0",
        "op-cancel-reset-0",
        "keys-0",
    ];
    let held = |name: &&str| shared.journal.get(name).unwrap().is_some();
    shared.requests.lock().unwrap().push(Request {
        asked: opened.asked.clone(),
        journal: names.into_iter().filter(held).collect(),
        admitted: head.to_lowercase().contains("authorization: bearer "),
    });
    let step = shared.script.lock().unwrap().pop_front();
    let sealed = match step.unwrap_or(Step::Answer) {
        Step::Answer => opened.seal(&shared.hsm.decide(&opened)),
        Step::Drop => {
            shared.hsm.decide(&opened);
            return Ok(());
        }
        Step::Half => {
            let sealed = opened.seal(&shared.hsm.decide(&opened));
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                sealed.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&sealed[..sealed.len() / 2]).await?;
            return stream.flush().await;
        }
        Step::Hang(arrived) => {
            shared.hsm.decide(&opened);
            arrived.notify_one();
            return std::future::pending().await;
        }
        Step::Http(status, headers, body) => {
            return respond(&mut stream, status, headers, body.as_bytes()).await;
        }
        Step::Say(answer) => opened.seal(&answer),
        Step::SayBytes(bytes) => opened.seal_bytes(&bytes),
        Step::Raw(bytes) => bytes,
        Step::Replay => shared.last.lock().unwrap().clone(),
    };
    (*shared.last.lock().unwrap()).clone_from(&sealed);
    respond(&mut stream, 200, "", &sealed).await
}

async fn read(stream: &mut TlsStream<TcpStream>) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.trim().parse().unwrap());
            while bytes.len() < at + 4 + length {
                stream.read_buf(&mut bytes).await?;
            }
            return Ok((head, bytes.split_off(at + 4)));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn respond(
    stream: &mut TlsStream<TcpStream>,
    status: u16,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(b"connection: close\r\n\r\n").await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
