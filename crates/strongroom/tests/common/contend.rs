//! Several phones of the same few accounts, that guess, change codes, delete and look at the same
//! records at once, and write down what they asked and were told.

use super::history::{Asked, Operation, Recorder, Told, entries_grow, linearizable};
use super::load::Door;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_client::issuer::Account;
use strongroom_client::session::{self, Outgoing, Ownership, Recovery, Registration, SessionError};
use strongroom_client::tokens::{TokenSource as _, Tokens};
use strongroom_client::transport::{Http, TransportError};
use strongroom_client::wire::answer::{Answer, Refusal, TicketGrant};
use strongroom_client::wire::request::{Finish, RecoverFinish};
use strongroom_client::wire::{Generation, Incarnation, OpId, RecordId, Slot};
use strongroom_client::{Fleet, Ksf, Os};
use strongroom_crypto::wrap::Root;

const SLOT: Slot = Slot(0);

/// Accounts so far: those who come later contend for other records.
static ACCOUNTS: AtomicU32 = AtomicU32::new(0);

/// A record for which several clients contend.
struct Contended {
    account: String,
    recorder: Recorder,
    /// Of every generation: so each client can prove that it is the owner.
    root: Root,
    /// What the clients believe: the code that was stored last. Only a hint; the history decides.
    code: AtomicU32,
    /// What owner proofs name: the record, its incarnation and, as a hint, its generation.
    named: Mutex<Option<(Incarnation, RecordId, Generation)>>,
}

/// Clients of some records, until they are told to stop.
pub struct Contenders {
    runtime: tokio::runtime::Runtime,
    clients: Vec<tokio::task::JoinHandle<()>>,
    records: Vec<Arc<Contended>>,
    stop: Arc<AtomicBool>,
    /// A leader whose clock is ahead takes fresh tokens for expired.
    tokens_may_fail: Arc<AtomicBool>,
    all: Progress,
}

/// What some clients have behind them.
#[derive(Clone, Default)]
pub struct Progress {
    answered: Arc<AtomicU64>,
    slowest: Arc<Mutex<Duration>>,
}

impl Progress {
    /// How many operations were answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn note(&self, took: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = took.max(*slowest);
    }
}

impl Contenders {
    /// `clients` for each of `records`, each with a connection of its own.
    pub fn on(door: impl Fn() -> Door, records: usize, clients: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let records = (0..records).map(|_| {
            Arc::new(Contended {
                account: format!("contended {}", ACCOUNTS.fetch_add(1, Ordering::Relaxed)),
                recorder: Recorder::default(),
                root: Root::generate(&Os),
                code: AtomicU32::new(0),
                named: Mutex::default(),
            })
        });
        let mut all = Self {
            runtime,
            clients: Vec::new(),
            records: records.collect(),
            stop: Arc::default(),
            tokens_may_fail: Arc::default(),
            all: Progress::default(),
        };
        let progress = all.all.clone();
        (0..clients).for_each(|_| all.add(&door, &progress));
        all
    }

    /// One more client for each record, whose answers are counted by themselves.
    pub fn more(&mut self, door: impl Fn() -> Door) -> Progress {
        let progress = Progress::default();
        self.add(&door, &progress);
        progress
    }

    fn add(&mut self, door: &impl Fn() -> Door, progress: &Progress) {
        for record in &self.records {
            let client = self.clients.len();
            let contender = Contender {
                client,
                record: record.clone(),
                http: door().http(),
                progress: progress.clone(),
                tokens_may_fail: self.tokens_may_fail.clone(),
                dice: Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(client as u64 + 1)),
                codes: 0,
            };
            let living = contender.live(door(), self.stop.clone());
            self.clients.push(self.runtime.spawn(living));
        }
    }

    /// From now on a refused token is a reason to try again; before, it fails the test.
    pub fn let_tokens_fail(&self) {
        self.tokens_may_fail.store(true, Ordering::Relaxed);
    }

    /// Until so many more operations were answered.
    pub fn go_on(&self, what: &str, more: u64) {
        self.answers(&self.all, what, more);
    }

    /// Until so many more of those clients' operations were answered.
    pub fn answers(&self, of: &Progress, what: &str, more: u64) {
        let target = of.answered() + more;
        let began = Instant::now();
        *of.slowest.lock().unwrap() = Duration::ZERO;
        super::fleet::patiently(what, || {
            let gave_up = self.clients.iter().any(|client| client.is_finished());
            assert!(!gave_up, "a client gave up: {what}");
            (of.answered() >= target).then_some(())
        });
        println!(
            "{what}: {more} answers in {:.1} s, the slowest took {:.1} s",
            began.elapsed().as_secs_f64(),
            of.slowest.lock().unwrap().as_secs_f64()
        );
    }

    /// Stops, and decides whether what was said can be: every record by itself, and the order of
    /// entries over all of them.
    pub fn judge(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            self.runtime.block_on(client).unwrap();
        }
        let mut all: Vec<Operation> = Vec::new();
        let mut kinds = BTreeMap::new();
        for record in &self.records {
            let operations = record.recorder.operations();
            for operation in &operations {
                *kinds.entry(kind(operation)).or_insert(0) += 1;
            }
            if let Err(why) = linearizable(&operations) {
                panic!("{} is not linearizable: {why}", record.account);
            }
            all.extend(operations);
        }
        if let Err(why) = entries_grow(&all) {
            panic!("{why}");
        }
        println!("linearizable: {kinds:?}");
    }
}

/// A name for what was asked and told, to see that the history has something of everything.
fn kind(operation: &Operation) -> String {
    let asked = format!("{:?}", operation.asked);
    let asked = asked.split([' ', '{']).next().unwrap_or_default();
    match &operation.answer {
        None => format!("{asked}, no answer"),
        Some((_, Told::Refused(refusal))) => {
            let refusal = format!("{refusal:?}");
            let refusal = refusal.split([' ', '{']).next().unwrap_or_default();
            format!("{asked}, {refusal}")
        }
        Some(_) => asked.to_owned(),
    }
}

/// Numbers that differ from client to client, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

struct Contender {
    client: usize,
    record: Arc<Contended>,
    http: Http,
    progress: Progress,
    tokens_may_fail: Arc<AtomicBool>,
    dice: Dice,
    codes: u32,
}

/// Everything that a request needs besides what it asks.
struct Seat {
    fleet: Fleet,
    account: Account,
}

impl Contender {
    async fn live(mut self, door: Door, stop: Arc<AtomicBool>) {
        let (fleet, account) = door.seat(&self.record.account).await;
        let seat = Seat { fleet, account };
        while !stop.load(Ordering::Relaxed) {
            match self.dice.below(20) {
                0 => self.delete(&seat).await,
                1..3 => self.register(&seat).await,
                3..7 => self.status(&seat).await,
                7..11 => self.recover(&seat, false).await,
                _ => self.recover(&seat, true).await,
            };
        }
    }

    /// Sends until it is answered, or this client loses its patience: `None`. What it asked then
    /// stands in the history without an answer.
    async fn answered(&mut self, make: impl Fn() -> Outgoing, tokens: &Tokens) -> Option<Answer> {
        let hasty = self.dice.below(24) == 0;
        loop {
            let outgoing = make();
            let admission = Some(tokens.admission.as_str());
            let sent = self.http.post("/v1/vault", admission, &outgoing.envelope);
            let answer = if hasty {
                // Cut in the middle of it.
                let patience = Duration::from_millis(self.dice.below(40));
                tokio::time::timeout(patience, sent).await.ok()?
            } else {
                sent.await
            };
            match answer.map(|answer| outgoing.open(&answer).unwrap()) {
                // Nothing was looked at; an earlier one may have been.
                Ok(Answer::Refused(Refusal::Busy { .. })) => {}
                Ok(Answer::Refused(Refusal::WrongTokenOrTenant))
                    if self.tokens_may_fail.load(Ordering::Relaxed) =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(answer) => return Some(answer),
                Err(TransportError::Unreachable(_) | TransportError::Busy) => {
                    if self.dice.below(3) == 0 {
                        return None;
                    }
                }
                Err(error) => panic!("client {}: {error}", self.client),
            }
        }
    }

    /// Writes a question down, before it is sent.
    fn ask(&self, asked: Asked) -> (usize, Instant) {
        (self.record.recorder.ask(self.client, asked), Instant::now())
    }

    fn told(&self, (place, began): (usize, Instant), told: Told) {
        self.record.recorder.told(place, told);
        self.progress.note(began.elapsed());
    }

    async fn status(&mut self, seat: &Seat) -> Option<()> {
        let tokens = seat.account.tokens().await.unwrap();
        let place = self.ask(Asked::Status);
        let make = || session::status(&seat.fleet, &tokens, SLOT, None).unwrap();
        let told = match self.answered(make, &tokens).await? {
            Answer::Status(report) => {
                let named = (report.incarnation, report.record, report.generation);
                *self.record.named.lock().unwrap() = Some(named);
                Told::Status {
                    left: report.attempts_left,
                    totals: report.totals,
                    generation: report.generation.0,
                    pending: report.pending,
                }
            }
            other => refusal(other),
        };
        self.told(place, told);
        Some(())
    }

    async fn register(&mut self, seat: &Seat) -> Option<()> {
        let tokens = seat.account.tokens().await.unwrap();
        self.codes += 1;
        let code = u32::try_from(self.client).unwrap() * 1_000_000 + self.codes;
        let registration = Registration::new(spelt(code).as_bytes(), SLOT).unwrap();
        // Answered from what one member has: no part of the history, but the ticket's sight is.
        let make = || registration.request(&seat.fleet, &tokens).unwrap();
        let started = match self.answered(make, &tokens).await? {
            Answer::RegisterStarted(started) => started,
            other => panic!("a registration was not begun: {other:?}"),
        };
        let (incarnation, record) = (started.incarnation, started.record);
        let owner = |root: &Root| {
            let fleet = seat.fleet.id();
            Ownership::new(root, fleet, incarnation, record, started.generation)
        };
        let owner = started.live.then(|| owner(&self.record.root));
        let secret = (&self.record.root, &[][..]);
        let ready = registration.answered(
            &seat.fleet,
            &tokens,
            &started,
            Ksf::Argon2idM19T2,
            secret,
            owner.as_ref(),
        );
        let ready = ready.unwrap();
        let Finish::Register(finish) = &ready.finish else {
            unreachable!("a registration ends with its finish")
        };
        let asked = Asked::Register {
            op: finish.op,
            code,
            generation: started.generation.0,
            live: started.live,
        };
        let told = self
            .finish(seat, asked, &ready.grant, &ready.finish, &tokens)
            .await?;
        if let Told::Receipt { generation, .. } = told {
            self.record.code.store(code, Ordering::Relaxed);
            let named = (incarnation, record, Generation(generation));
            *self.record.named.lock().unwrap() = Some(named);
        }
        Some(())
    }

    async fn recover(&mut self, seat: &Seat, right: bool) -> Option<()> {
        let tokens = seat.account.tokens().await.unwrap();
        // A code that is none of anybody's, or the one that was stored last as far as is known.
        let code = match right {
            true => self.record.code.load(Ordering::Relaxed),
            false => u32::MAX,
        };
        let attempt = session::new_attempt(strongroom_client::vault::now(), None);
        let guess = Recovery::new(spelt(code).as_bytes(), SLOT, attempt).unwrap();
        let asked = Asked::Start { attempt, code };
        let place = self.ask(asked);
        let make = || guess.request(&seat.fleet, &tokens).unwrap();
        let started = match self.answered(make, &tokens).await? {
            Answer::RecoverStarted(started) => started,
            other => {
                self.told(place, refusal(other));
                return None;
            }
        };
        let opened = guess.answered(&seat.fleet, &tokens, &started);
        let told = Told::Started {
            left: started.attempts_left,
            totals: started.totals,
            generation: started.generation.0,
            opened: opened.is_ok(),
        };
        self.told(place, told);
        let (finish, right) = match opened {
            Ok(opened) => (opened.finish, true),
            // A proof of nothing: it must restore nothing.
            Err(SessionError::WrongCode) => (no_proof(), false),
            Err(error) => panic!("client {}: {error}", self.client),
        };
        let Finish::Recover(proof) = &finish else {
            unreachable!("a recovery ends with its finish")
        };
        let asked = Asked::Finish {
            op: proof.op,
            attempt,
            generation: started.generation.0,
            right,
        };
        self.finish(seat, asked, &started.grant, &finish, &tokens)
            .await?;
        Some(())
    }

    async fn finish(
        &mut self,
        seat: &Seat,
        asked: Asked,
        grant: &TicketGrant,
        finish: &Finish,
        tokens: &Tokens,
    ) -> Option<Told> {
        let place = self.ask(asked);
        let make = || session::seal_finish(&seat.fleet, grant, finish).unwrap();
        let told = receipt(self.answered(make, tokens).await?);
        self.told(place, told.clone());
        Some(told)
    }

    async fn delete(&mut self, seat: &Seat) -> Option<()> {
        let tokens = seat.account.tokens().await.unwrap();
        let (incarnation, record, generation) = (*self.record.named.lock().unwrap())?;
        let (root, fleet) = (&self.record.root, seat.fleet.id());
        let owner = Ownership::new(root, fleet, incarnation, record, generation);
        let op: OpId = session::new_op(strongroom_client::vault::now(), None);
        let generation = generation.0;
        let asked = Asked::Delete { op, generation };
        let place = self.ask(asked);
        let make = || session::delete(&seat.fleet, &tokens, SLOT, op, Some(&owner)).unwrap();
        let told = receipt(self.answered(make, &tokens).await?);
        self.told(place, told);
        Some(())
    }
}

fn spelt(code: u32) -> String {
    format!("code {code}")
}

fn no_proof() -> Finish {
    let op = session::new_op(strongroom_client::vault::now(), None);
    Finish::Recover(RecoverFinish { op, ke3: [7; 64] })
}

fn receipt(answer: Answer) -> Told {
    match answer {
        Answer::Receipt(receipt) => Told::Receipt {
            kind: receipt.kind,
            index: receipt.index.0,
            left: receipt.attempts_left,
            totals: receipt.totals,
            generation: receipt.generation.0,
        },
        other => refusal(other),
    }
}

fn refusal(answer: Answer) -> Told {
    match answer {
        Answer::Refused(refusal) => Told::Refused(refusal),
        other => panic!("the fleet answered another question: {other:?}"),
    }
}
