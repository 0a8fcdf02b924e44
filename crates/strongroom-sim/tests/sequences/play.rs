//! Three users in two tenants, the host between them, and what each step does.

use crate::user::User;
use std::collections::HashMap;
use std::rc::Rc;
use strongroom_crypto::wrap::Root;
use strongroom_sim::checkers::Seen;
use strongroom_sim::phone::Letter;
use strongroom_sim::platform::AnchorFault;
use strongroom_sim::world::{Opening, World, bearer, bound};
use strongroom_vault::record::Record;
use strongroom_wire::answer::{Answer, EventKind, Refusal};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::BATCH_MAX;
use strongroom_wire::manifest::Policy;
use strongroom_wire::{Handle, OpId, RecordId, Slot};

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;
const WAITS: [u64; 6] = [1, SECOND, 60 * SECOND, 3_600 * SECOND, DAY, 8 * DAY];

/// One step: what, and two choices.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: u8,
    pub a: u8,
    pub b: u8,
}

/// A sequence under way.
pub struct Play {
    world: World,
    users: Vec<User>,
    /// What each registration stores, by its operation.
    secrets: HashMap<OpId, (String, Root)>,
    /// Letters on the way to the host.
    post: Vec<Rc<Letter>>,
    codes: u32,
}

impl Play {
    pub fn new(seed: u64) -> Self {
        let policy = Policy {
            attempts_max: 4,
            ..Policy::default()
        };
        let mut world = World::with_policy(seed, policy);
        let mut users = Vec::new();
        for (issuer, subject, slot) in [
            (bearer(), "alice", 0),
            (bearer(), "alice", 1),
            (bound(), "bob", 0),
        ] {
            let mut phone = world.phone(&issuer, subject);
            phone.slot = Slot(slot);
            users.push(User {
                phone,
                code: "never set".to_owned(),
                owner: None,
                registering: Vec::new(),
                guesses: Vec::new(),
                reset: None,
            });
        }
        Self {
            world,
            users,
            secrets: HashMap::new(),
            post: Vec::new(),
            codes: 0,
        }
    }

    pub fn seen(&self) -> Seen {
        self.world.checkers.seen
    }

    pub fn step(&mut self, step: Step) {
        match step.kind % 32 {
            what @ 0..12 => self.act(what, step),
            12..15 => {
                if !self.post.is_empty() {
                    let letter = self.post.remove(0);
                    self.open(&letter);
                }
            }
            15 | 16 => self.evaluate(usize::from(step.a)),
            17 | 18 => self.propose(),
            19 | 20 => self.ask_any(self.world.host.notarisation()),
            21 | 22 => {
                self.ask_any(self.world.host.release());
                self.deliver();
            }
            23 => {
                // The answers are released, and lost on the way.
                self.ask_any(self.world.host.release());
                self.world.take_answers();
            }
            24 => self.cut(step.a),
            25 => {
                self.ask_any(self.world.host.promising());
                self.ask_any(self.world.host.leading());
            }
            26 | 27 => self.replay(step),
            28 | 29 => self.world.pass(WAITS[usize::from(step.a) % WAITS.len()]),
            _ => self.round(),
        }
    }

    /// A request whose refusal is in order: what it is about may be gone.
    fn ask_any(&mut self, request: Request) {
        if let Response::Error(error) = self.world.ask(request) {
            let expected = [
                HsmError::Busy,
                HsmError::CertificateInvalid,
                HsmError::Gap,
                HsmError::HandleUnknown,
                HsmError::NotOnChain,
            ];
            assert!(expected.contains(&error), "an honest host got {error:?}");
        }
    }

    /// A user does something; the letter is on its way.
    fn act(&mut self, what: u8, step: Step) {
        if what == 9 && step.b < 100 {
            // The account alone, and patience.
            self.world.pass(WAITS[5]);
        }
        let now = self.world.now();
        let at = usize::from(step.a) % self.users.len();
        self.codes += 1;
        let (codes, user) = (self.codes, &mut self.users[at]);
        let phone = &user.phone;
        let owner = user.owner.as_ref();
        let letter = match what {
            0 | 1 => {
                // A user with the root replaces by it; one in four pretends not to have it.
                let code = format!("code {codes}");
                let begun = phone.register_start(&code, now);
                let letter = begun.letter.clone();
                user.registering.push((begun, code, step.b >= 64));
                letter
            }
            2..6 => {
                let code = if step.b < 150 { "wrong" } else { &user.code };
                // A thief may give one name to two guesses.
                let last = user.guesses.last().filter(|_| step.b % 8 == 7);
                let attempt = last.map_or_else(|| phone.attempt(now), |it| it.attempt);
                let begun = phone.recover_start(code, attempt, now);
                let letter = begun.letter.clone();
                user.guesses.push(begun);
                letter
            }
            6 => match user.guesses.pop() {
                Some(last) => {
                    let again = phone.recover_again(last, now);
                    let letter = again.letter.clone();
                    user.guesses.push(again);
                    letter
                }
                None => phone.status(None, now),
            },
            7 => phone.status(owner, now),
            8 => phone.delete(phone.op(now), owner, now),
            9 => phone.delete(phone.op(now), None, now),
            10 => {
                let op = phone.op(now);
                user.reset = Some(op);
                phone.reset(op, now)
            }
            _ => match (owner, user.reset) {
                (Some(owner), Some(reset)) => phone.cancel_reset(phone.op(now), reset, owner, now),
                _ => phone.status(None, now),
            },
        };
        self.post.push(letter);
    }

    fn open(&mut self, letter: &Rc<Letter>) {
        match self.world.open(letter) {
            Opening::Waits(handle) => {
                let evaluation = self.world.host.evaluation(handle);
                self.ask_any(evaluation);
            }
            Opening::Answered(answer) => panic!("a good letter waits: {answer:?}"),
            Opening::Refused(error) => assert_eq!(error, HsmError::Busy),
            Opening::Strayed(other) => panic!("opening gave {other:?}"),
        }
    }

    /// Evaluates an operation again, perhaps because its leaf moved on.
    fn evaluate(&mut self, which: usize) {
        let handles = self.world.host.undecided();
        if !handles.is_empty() {
            let evaluation = self.world.host.evaluation(handles[which % handles.len()]);
            self.ask_any(evaluation);
        }
    }

    fn propose(&mut self) {
        let handles: Vec<Handle> = self.world.host.undecided();
        let handles = &handles[..handles.len().min(BATCH_MAX)];
        let proposal = self.world.host.proposal(handles);
        self.ask_any(proposal);
    }

    /// The power is cut; perhaps in the middle of a move of the anchor.
    fn cut(&mut self, how: u8) {
        let fault = match how % 3 {
            0 => None,
            1 => Some(AnchorFault::Refused),
            _ => Some(AnchorFault::Unacknowledged),
        };
        if let Some(fault) = fault {
            if self.world.host.chain().is_empty() {
                self.world.propose(&[]).unwrap();
            }
            self.world.host.platform.fail_next_swap(fault);
            let request = self.world.host.promising();
            let response = self.world.ask(request);
            assert_eq!(response, Response::Error(HsmError::AnchorFailed));
        }
        self.world.restart().unwrap();
    }

    /// Everything that is on its way goes all the way, and its answers to its senders.
    fn round(&mut self) {
        for letter in std::mem::take(&mut self.post) {
            self.open(&letter);
        }
        self.propose();
        self.world.seal().unwrap();
        self.deliver();
    }

    /// Sends something again that some phone made at some time.
    fn replay(&mut self, step: Step) {
        let user = usize::from(step.a) % self.users.len();
        let sent = self.users[user].phone.sent();
        if !sent.is_empty() {
            let letter = sent[usize::from(step.b) * sent.len() / 256].clone();
            self.open(&letter);
        }
    }

    fn deliver(&mut self) {
        for (letter, answer) in self.world.take_answers() {
            let ours = |it: &&mut User| it.phone.sent().iter().any(|its| Rc::ptr_eq(its, &letter));
            let user = self.users.iter_mut().find(ours).expect("somebody sent it");
            let now = self.world.host.platform.as_ref();
            let now = strongroom_vault::Platform::wall_clock(now);
            if let Some(next) = user.reads(&letter, answer, now, &mut self.secrets) {
                self.post.push(next);
            }
        }
    }

    /// The end: the host is honest again, everything ever made is sent again until nothing comes of
    /// it, and every user gets through.
    pub fn end(&mut self) {
        self.world.restart().unwrap();
        self.post.clear();
        let mut before = self.spent();
        for pass in 0.. {
            self.replay_all();
            let after = self.spent();
            if after == before {
                break;
            }
            // A letter that was never delivered may still do something, once.
            assert!(pass < 4, "replays go on spending: {before:?} {after:?}");
            before = after;
        }
        for user in 0..self.users.len() {
            self.gets_through(user);
        }
    }

    fn replay_all(&mut self) {
        let sent = self.users.iter().flat_map(|user| user.phone.sent());
        let letters: Vec<Rc<Letter>> = sent.collect();
        for some in letters.chunks(BATCH_MAX) {
            for letter in some {
                self.open(letter);
            }
            // What was computed from a leaf that the batch itself moved on is computed again.
            for _ in 0..2 {
                for handle in self.world.host.undecided() {
                    let evaluation = self.world.host.evaluation(handle);
                    self.ask_any(evaluation);
                }
                self.propose();
                self.world.seal().unwrap();
            }
            let handles = self.world.host.undecided();
            self.world.ask(Request::Forget { handles });
            self.world.take_answers();
        }
    }

    /// What replays must not change.
    fn spent(&self) -> Vec<(RecordId, u64, u32, Option<u8>)> {
        let mut all: Vec<_> = self
            .world
            .checkers
            .records()
            .iter()
            .map(|(id, record)| {
                let left = record.live().map(|live| live.attempts_left);
                let starts = record.lineage.totals.starts;
                (*id, record.generation.0, starts, left)
            })
            .collect();
        all.sort();
        all
    }

    /// With the code that is in force, or by registering anew.
    fn gets_through(&mut self, user: usize) {
        for _ in 0..20 {
            let record = self.record_of(user);
            let (code, root) = match record.as_ref().filter(|it| it.live().is_some()) {
                Some(live) => self.secrets[&live.lineage.registered.unwrap().op].clone(),
                None => {
                    let phone = &self.users[user].phone;
                    let registered = self.world.register(phone, "the last", None);
                    assert_eq!(registered.receipt.kind, EventKind::Registered);
                    self.world.recover(phone, "the last");
                    return;
                }
            };
            let phone = &self.users[user].phone;
            match self.world.guess(phone, &code) {
                (guess, Answer::RecoverStarted(started)) => {
                    let opened = phone.open_guess(&guess, &started);
                    let (ke3, found) = opened.expect("the code in force opens");
                    assert_eq!(
                        found.expose(),
                        root.expose(),
                        "nothing acknowledged is lost"
                    );
                    let finish = phone.recover_finish(&started, ke3, phone.op(self.world.now()));
                    assert_eq!(self.world.receipt(&finish).attempts_left, 4);
                    return;
                }
                (_, Answer::Refused(Refusal::WaitUntil { until, now, .. })) => {
                    self.world.pass(until.0 - now.0 + 1);
                }
                // Its last chance is over; or the clock is behind what a phone once said.
                (_, Answer::Refused(Refusal::Destroyed { .. })) => {}
                (_, Answer::Refused(Refusal::StaleAttempt { .. })) => self.world.pass(SECOND),
                (_, other) => panic!("a user with the right code gets {other:?}"),
            }
        }
        panic!("a user does not get through");
    }

    fn record_of(&mut self, user: usize) -> Option<Record> {
        let phone = &self.users[user].phone;
        let status = phone.status(None, self.world.now());
        let Opening::Waits(handle) = self.world.open(&status) else {
            panic!("a status waits")
        };
        let id = self.world.host.operations()[&handle].record;
        let handles = vec![handle];
        self.world.ask(Request::Forget { handles });
        self.world.checkers.record(&id).cloned()
    }
}
