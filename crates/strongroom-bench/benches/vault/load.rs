//! Clients: whole registrations and recoveries over HTTPS, with the real protocol and without key
//! stretching. Only the time between request and answer counts as latency.

use crate::server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use strongroom_client::issuer::Account;
use strongroom_client::session::{self, Outgoing, Recovery, Registration};
use strongroom_client::tokens::{TokenSource as _, Tokens};
use strongroom_client::{Ksf, Os};
use strongroom_crypto::wrap::Root;
use strongroom_wire::Slot;
use strongroom_wire::answer::Answer;

const SLOT: Slot = Slot(0);

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Register,
    Recover,
}

/// What they did.
pub struct Done {
    pub operations: usize,
    pub wall: Duration,
    /// From each first request to its answer (a recovery: to the secret), sorted.
    pub first: Vec<Duration>,
    /// Both halves together, sorted.
    pub both: Vec<Duration>,
}

/// Milliseconds.
pub fn percentile(latencies: &[Duration], percent: usize) -> f64 {
    let at = (latencies.len() * percent / 100).min(latencies.len() - 1);
    latencies[at].as_secs_f64() * 1e3
}

async fn send(server: &Server, out: &Outgoing, tokens: Option<&Tokens>) -> (Answer, Duration) {
    let admission = tokens.map(|tokens| tokens.admission.as_str());
    let began = Instant::now();
    let bytes = server
        .http
        .post("/v1/vault", admission, &out.envelope)
        .await;
    let took = began.elapsed();
    let bytes = bytes.expect("the vault answers");
    (out.open(&bytes).expect("a genuine answer"), took)
}

async fn register(server: &Server, tokens: &Tokens) -> (Duration, Duration) {
    let registration = Registration::new(b"code", SLOT).expect("short");
    let out = registration
        .request(&server.fleet, tokens)
        .expect("tokens fit");
    let (answer, first) = send(server, &out, Some(tokens)).await;
    let Answer::RegisterStarted(started) = answer else {
        panic!("registration refused: {answer:?}");
    };
    let root = Root::generate(&Os);
    let secret = (&root, b"".as_slice());
    let ready = registration
        .answered(
            &server.fleet,
            tokens,
            &started,
            Ksf::DangerIdentity,
            secret,
            None,
        )
        .expect("a genuine answer");
    let out = session::seal_finish(&server.fleet, &ready.grant, &ready.finish).expect("fits");
    let (answer, second) = send(server, &out, None).await;
    assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    (first, first + second)
}

async fn recover(server: &Server, tokens: &Tokens) -> (Duration, Duration) {
    let attempt = session::new_attempt(strongroom_client::vault::now(), None);
    let recovery = Recovery::new(b"code", SLOT, attempt).expect("short");
    let out = recovery.request(&server.fleet, tokens).expect("tokens fit");
    let (answer, first) = send(server, &out, Some(tokens)).await;
    let Answer::RecoverStarted(started) = answer else {
        panic!("recovery refused: {answer:?}");
    };
    let opened = recovery
        .answered(&server.fleet, tokens, &started)
        .expect("the right code");
    let out = session::seal_finish(&server.fleet, &opened.grant, &opened.finish).expect("fits");
    let (answer, second) = send(server, &out, None).await;
    assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    (first, first + second)
}

/// Runs `operations` over accounts `from..from + accounts`, so many clients at once. No two clients
/// use one account at a time.
pub async fn run(
    server: &Arc<Server>,
    load: Load,
    clients: usize,
    operations: usize,
    (from, accounts): (usize, usize),
) -> Done {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|_| {
            let (server, next) = (server.clone(), next.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= operations {
                        return latencies;
                    }
                    let subject = format!("account {}", from + number % accounts);
                    let fleet = server.fleet.id();
                    let account = Account::new(server.issuer.clone(), fleet, &subject);
                    let tokens = account.tokens().await.expect("tokens");
                    latencies.push(match load {
                        Load::Register => register(&server, &tokens).await,
                        Load::Recover => recover(&server, &tokens).await,
                    });
                }
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(operations);
    for worker in workers {
        latencies.extend(worker.await.expect("a client ended early"));
    }
    let wall = began.elapsed();
    let (mut first, mut both): (Vec<_>, Vec<_>) = latencies.into_iter().unzip();
    first.sort();
    both.sort();
    Done {
        operations,
        wall,
        first,
        both,
    }
}
