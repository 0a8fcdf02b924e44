//! Leaders that die or hang under load: how long until the next recovery is answered, and whether
//! every registration and every guess was counted once.

use crate::server::Server;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_client::issuer::Account;
use strongroom_client::session::{self, Outgoing, Recovery, Registration};
use strongroom_client::tokens::{TokenSource as _, Tokens};
use strongroom_client::{Ksf, Os};
use strongroom_crypto::wrap::Root;
use strongroom_wire::Slot;
use strongroom_wire::answer::Answer;

const SLOT: Slot = Slot(0);
/// Clients that recover over and over, each an account of its own.
const CLIENTS: usize = 4;
/// Longest that a client insists on one request.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to the leader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Its node is killed, and the HSM goes with it.
    NodeKilled,
    /// Only its HSM process is killed.
    HsmKilled,
    /// Its HSM process stands still.
    HsmHangs,
}

/// What one kind of blow cost.
pub struct Outages {
    /// From each blow to the end of the first recovery that was begun after it; sorted.
    pub first: Vec<Duration>,
    /// The same for the client that waited longest; sorted.
    pub last: Vec<Duration>,
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Recoveries, each with its client, beginning and end.
    recoveries: Mutex<Vec<(usize, Instant, Instant)>>,
    /// Accounts whose registration was acknowledged.
    registered: Mutex<Vec<String>>,
    /// What must not be.
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Seen {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wrong(&self, words: String) {
        self.wrong.lock().expect("no panic").push(words);
    }

    /// Of each client, how long after `blow` its first recovery begun after it was over.
    fn waits(&self, blow: Instant) -> Vec<Option<Duration>> {
        let recoveries = self.recoveries.lock().expect("no panic");
        let of = |client: usize| {
            let later = recoveries
                .iter()
                .filter(|(c, b, _)| *c == client && *b >= blow);
            later.map(|(.., ended)| *ended - blow).min()
        };
        (0..CLIENTS).map(of).collect()
    }
}

/// Under load, as many blows of each kind; what was wrong in the end.
pub async fn run(
    server: &Arc<Server>,
    blows: &[Blow],
    times: usize,
) -> (Vec<Outages>, usize, Vec<String>) {
    let seen = Arc::new(Seen::default());
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        clients.push(tokio::spawn(recover_on(
            server.clone(),
            seen.clone(),
            client,
        )));
    }
    clients.push(tokio::spawn(register_on(server.clone(), seen.clone())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut outages = Vec::new();
    for blow in blows {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for time in 0..times {
            let (one, all) = strike(server, &seen, *blow).await;
            first.push(one);
            last.push(all);
            // Not always at the same moment of a beat.
            let pause = u64::try_from(time * 37 % 150).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(200 + pause)).await;
        }
        first.sort();
        last.sort();
        outages.push(Outages { first, last });
    }
    seen.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client ended early");
    }
    let registered = std::mem::take(&mut *seen.registered.lock().expect("no panic"));
    for subject in &registered {
        let mut client = Client::new(server, subject);
        if let Err(words) = client.recover(server).await {
            seen.wrong(format!("{subject}, acknowledged: {words}"));
        }
    }
    let wrong = std::mem::take(&mut *seen.wrong.lock().expect("no panic"));
    (outages, registered.len(), wrong)
}

/// One blow to whoever leads, and everything well again.
async fn strike(server: &Server, seen: &Seen, blow: Blow) -> (Duration, Duration) {
    let leader = server.leader().await;
    let hsm = server.hsm(leader).expect("the leader has an HSM process");
    seen.recoveries.lock().expect("no panic").clear();
    let began = Instant::now();
    match blow {
        Blow::NodeKilled => server.kill(leader),
        Blow::HsmKilled => signal(hsm, Signal::KILL),
        Blow::HsmHangs => signal(hsm, Signal::STOP),
    }
    let waits = loop {
        let waits: Option<Vec<Duration>> = seen.waits(began).into_iter().collect();
        if let Some(waits) = waits {
            break waits;
        }
        let wrong = !seen.wrong.lock().expect("no panic").is_empty();
        if wrong || began.elapsed() > 2 * PATIENCE {
            break vec![began.elapsed()];
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    match blow {
        Blow::NodeKilled => server.revive(leader),
        Blow::HsmKilled => {}
        Blow::HsmHangs => signal(hsm, Signal::CONT),
    }
    server.caught_up().await;
    let first = waits.iter().min().copied().unwrap_or_default();
    let last = waits.iter().max().copied().unwrap_or_default();
    (first, last)
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It may be gone already.
    let _ = kill_process(pid.expect("a process id"), signal);
}

async fn recover_on(server: Arc<Server>, seen: Arc<Seen>, number: usize) {
    let subject = format!("recovers {number}");
    let mut client = Client::new(&server, &subject);
    if let Err(words) = client.register(&server).await {
        return seen.wrong(format!("{subject}: {words}"));
    }
    while !seen.stops() {
        let began = Instant::now();
        if let Err(words) = client.recover(&server).await {
            return seen.wrong(format!("{subject}, guess {}: {words}", client.guesses));
        }
        let recovery = (number, began, Instant::now());
        seen.recoveries.lock().expect("no panic").push(recovery);
    }
}

async fn register_on(server: Arc<Server>, seen: Arc<Seen>) {
    let mut number = 0;
    while !seen.stops() {
        let subject = format!("registers {number}");
        match Client::new(&server, &subject).register(&server).await {
            Ok(()) => seen.registered.lock().expect("no panic").push(subject),
            Err(words) => seen.wrong(format!("{subject}: {words}")),
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An account, and the guesses that it made.
struct Client {
    account: Account,
    guesses: u32,
}

impl Client {
    fn new(server: &Server, subject: &str) -> Self {
        let account = Account::new(server.issuer.clone(), server.fleet.id(), subject);
        let guesses = 0;
        Self { account, guesses }
    }

    async fn register(&self, server: &Server) -> Result<(), String> {
        let tokens = self.account.tokens().await.expect("tokens");
        let registration = Registration::new(b"code", SLOT).expect("short");
        let request = || {
            registration
                .request(&server.fleet, &tokens)
                .expect("tokens fit")
        };
        let Answer::RegisterStarted(started) = insisted(server, request, Some(&tokens)).await?
        else {
            return Err("the registration was refused".to_owned());
        };
        let root = Root::generate(&Os);
        let secret = (&root, b"".as_slice());
        let (ksf, fleet) = (Ksf::DangerIdentity, &server.fleet);
        let ready = registration.answered(fleet, &tokens, &started, ksf, secret, None);
        let ready = ready.expect("a genuine answer");
        let finish = || session::seal_finish(fleet, &ready.grant, &ready.finish).expect("fits");
        match insisted(server, finish, None).await? {
            Answer::Receipt(receipt) if receipt.totals.replacements == 0 => Ok(()),
            answer => Err(format!("registering ended with {answer:?}")),
        }
    }

    /// One guess, counted here and there.
    async fn recover(&mut self, server: &Server) -> Result<(), String> {
        let tokens = self.account.tokens().await.expect("tokens");
        let attempt = session::new_attempt(strongroom_client::vault::now(), None);
        let recovery = Recovery::new(b"code", SLOT, attempt).expect("short");
        let request = || {
            recovery
                .request(&server.fleet, &tokens)
                .expect("tokens fit")
        };
        self.guesses += 1;
        let started = match insisted(server, request, Some(&tokens)).await? {
            Answer::RecoverStarted(started) => started,
            answer => return Err(format!("the recovery began with {answer:?}")),
        };
        self.counted(started.totals.starts, "at the start")?;
        let opened = recovery.answered(&server.fleet, &tokens, &started);
        let opened = opened.expect("the right code");
        let (fleet, grant) = (&server.fleet, &opened.grant);
        let finish = || session::seal_finish(fleet, grant, &opened.finish).expect("fits");
        match insisted(server, finish, None).await? {
            Answer::Receipt(receipt) => self.counted(receipt.totals.starts, "at the finish"),
            answer => Err(format!("the recovery ended with {answer:?}")),
        }
    }

    fn counted(&self, starts: u32, place: &str) -> Result<(), String> {
        if starts == self.guesses {
            return Ok(());
        }
        let made = self.guesses;
        Err(format!(
            "{starts} guesses were counted {place}, {made} were made"
        ))
    }
}

/// Sends until it is answered, sealed anew whenever the fleet does not answer for long.
async fn insisted(
    server: &Server,
    seal: impl Fn() -> Outgoing,
    tokens: Option<&Tokens>,
) -> Result<Answer, String> {
    let began = Instant::now();
    loop {
        let out = seal();
        let admission = tokens.map(|tokens| tokens.admission.as_str());
        let sent = server.http.post("/v1/vault", admission, &out.envelope);
        match sent.await {
            Ok(bytes) => return out.open(&bytes).map_err(|error| error.to_string()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
