//! Writes without OPAQUE: the second halves of registrations, whose first halves were made before
//! the clock started.

use crate::server::Server;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_client::issuer::Account;
use strongroom_client::session::{self, Outgoing, Registration};
use strongroom_client::tokens::TokenSource as _;
use strongroom_client::{Ksf, Os};
use strongroom_crypto::wrap::Root;
use strongroom_wire::Slot;
use strongroom_wire::answer::Answer;

/// Clients that prepare.
const CLIENTS: usize = 64;

type Queue<T> = Arc<Mutex<VecDeque<T>>>;

fn taken<T>(queue: &Queue<T>) -> Option<T> {
    queue.lock().expect("no panic").pop_front()
}

/// Finishes of new accounts, ready to be sent.
pub async fn prepared(server: &Arc<Server>, name: &str, writes: usize) -> Queue<Outgoing> {
    let subjects = (0..writes).map(|number| format!("{name} {number}"));
    let subjects: Queue<String> = Arc::new(Mutex::new(subjects.collect()));
    let ready = Queue::default();
    let workers = (0..CLIENTS).map(|_| {
        let (server, subjects, ready) = (server.clone(), subjects.clone(), ready.clone());
        tokio::spawn(async move {
            while let Some(subject) = taken(&subjects) {
                let out = finish(&server, &subject).await;
                ready.lock().expect("no panic").push_back(out);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("a client ended early");
    }
    ready
}

async fn finish(server: &Server, subject: &str) -> Outgoing {
    let fleet = &server.fleet;
    let account = Account::new(server.issuer.clone(), fleet.id(), subject);
    let tokens = account.tokens().await.expect("tokens");
    let registration = Registration::new(b"code", Slot(0)).expect("short");
    let out = registration.request(fleet, &tokens).expect("tokens fit");
    let admission = Some(tokens.admission.as_str());
    let sent = server.http.post("/v1/vault", admission, &out.envelope);
    let bytes = sent.await.expect("the vault answers");
    let Answer::RegisterStarted(started) = out.open(&bytes).expect("a genuine answer") else {
        panic!("registration refused");
    };
    let root = Root::generate(&Os);
    let secret = (&root, b"".as_slice());
    let ready = registration
        .answered(fleet, &tokens, &started, Ksf::DangerIdentity, secret, None)
        .expect("a genuine answer");
    session::seal_finish(fleet, &ready.grant, &ready.finish).expect("fits")
}

/// Sends them, so many at once; how long it took.
pub async fn sent(server: &Arc<Server>, ready: Queue<Outgoing>, clients: usize) -> Duration {
    let began = Instant::now();
    let workers = (0..clients).map(|_| {
        let (server, ready) = (server.clone(), ready.clone());
        tokio::spawn(async move {
            while let Some(out) = taken(&ready) {
                let sent = server.http.post("/v1/vault", None, &out.envelope);
                let bytes = sent.await.expect("the vault answers");
                let answer = out.open(&bytes).expect("a genuine answer");
                assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("a client ended early");
    }
    began.elapsed()
}
