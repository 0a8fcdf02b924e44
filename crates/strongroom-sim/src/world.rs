//! Host, phones and checkers put together: whatever passes is checked.

use crate::checkers::Checkers;
use crate::fleet::officered;
use crate::glass::Glass;
use crate::host::{Host, Issuer};
use crate::phone::{Letter, Owner, Phone, Recovering};
use crate::platform::Memory;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use strongroom_crypto::wrap::Root;
use strongroom_vault::Platform as _;
use strongroom_wire::answer::{Answer, Receipt, RecoverStarted, RegisterStarted};
use strongroom_wire::frame::{HsmError, Inspection, LeftOutReason, Request, Response};
use strongroom_wire::manifest::Policy;
use strongroom_wire::{Handle, LogIndex, UnixMs};

/// Sizes of nonces: of leaves, tickets and finishes, and of answers to starts.
const SEAL_NONCE: usize = 24;
const RESPONSE_NONCE: usize = 32;

/// See the module.
pub struct World {
    /// The host, to lie with. Requests go through [`World::ask`], or they are not checked.
    pub host: Host,
    /// What watches.
    pub checkers: Checkers,
    letters: BTreeMap<Handle, Rc<Letter>>,
    arrived: Vec<(Rc<Letter>, Answer)>,
    phones: u64,
}

/// How far an envelope came when it was opened.
#[derive(Debug)]
pub enum Opening {
    /// The vault holds it open.
    Waits(Handle),
    /// It was answered at once.
    Answered(Answer),
    /// The vault refused its host.
    Refused(HsmError),
    /// The host asked for something else.
    Strayed(Response),
}

/// A registration that was acknowledged.
pub struct Registered {
    /// Who may prove the root.
    pub owner: Owner,
    /// Its two letters.
    pub letters: [Rc<Letter>; 2],
    /// The receipt.
    pub receipt: Receipt,
}

impl World {
    /// A fleet of one with two tenants: [`bearer`] and [`bound`].
    pub fn new(seed: u64) -> Self {
        Self::with_policy(seed, Policy::default())
    }

    /// The same under another policy.
    pub fn with_policy(seed: u64, policy: Policy) -> Self {
        Self::of(Host::new(Arc::new(Memory::new(seed)), policy), seed)
    }

    /// The same with officers, who may change what it is founded on.
    pub fn officered(seed: u64) -> Self {
        let platform = Arc::new(Memory::new(seed));
        let host = Host::founded(platform, Policy::default(), officered);
        Self::of(host, seed)
    }

    fn of(mut host: Host, seed: u64) -> Self {
        let attempts_max = host.manifest().policy.attempts_max;
        let glass = Glass::of(&*host.platform);
        host.create_tenant(&bearer());
        host.create_tenant(&bound());
        Self {
            checkers: Checkers::new(attempts_max, glass),
            host,
            letters: BTreeMap::new(),
            arrived: Vec::new(),
            phones: seed << 16,
        }
    }

    /// A phone of that user.
    pub fn phone(&mut self, issuer: &Issuer, subject: &str) -> Phone {
        self.phones += 1;
        Phone::new(self.host.manifest(), issuer, subject, !self.phones)
    }

    /// The wall clock.
    pub fn now(&self) -> UnixMs {
        self.host.platform.wall_clock()
    }

    /// Time passes. The fleet sees it with its next entry.
    pub fn pass(&mut self, duration_ms: u64) {
        self.host.platform.pass(duration_ms);
    }

    /// Where the vault stands, but for the count of refusals.
    ///
    /// # Panics
    /// If it does not stand.
    pub fn standing(&mut self) -> Inspection {
        let inspection = self.host.inspect().expect("the vault stands");
        Inspection {
            refused: 0,
            ..inspection
        }
    }

    /// Asks the vault, and checks whatever comes of it.
    ///
    /// # Panics
    /// If a promise is broken, or an answer is not to the letter it is given out for.
    pub fn ask(&mut self, request: Request) -> Response {
        let evaluated = match &request {
            Request::Evaluate { handle, .. } => Some(*handle),
            _ => None,
        };
        let final_before = self.host.committed().len();
        let response = self.host.ask(request);
        match &response {
            Response::Proposed { writes, .. } => {
                for write in writes {
                    let sealed = Glass::sealed_part(&write.leaf).expect("a leaf's format");
                    self.checkers.sealed(SEAL_NONCE, &sealed);
                }
            }
            Response::Evaluated {
                answer: Some(answer),
            } => {
                if let Some(letter) = evaluated.and_then(|it| self.letters.remove(&it)) {
                    self.arrives(letter, &answer.0, None);
                }
            }
            Response::Released { answers } => {
                let new_from = self.host.committed().get(final_before);
                let new_from = new_from.map(|it| it.proposal.header.index);
                for released in answers {
                    if let Some(letter) = self.letters.remove(&released.handle) {
                        self.arrives(letter, &released.answer.0, new_from);
                    }
                }
            }
            _ => {}
        }
        let released = matches!(response, Response::Released { .. });
        for entry in &self.host.committed()[final_before..] {
            self.checkers.committed(entry, released);
        }
        response
    }

    /// Power cut: the desk is gone, and what is above the anchor is void.
    ///
    /// # Errors
    /// What the vault says to what the platform kept.
    pub fn power_cut(&mut self) -> Result<(), HsmError> {
        let final_before = self.host.committed().len();
        self.letters.clear();
        self.host.power_cut()?;
        for entry in &self.host.committed()[final_before..] {
            self.checkers.committed(entry, false);
        }
        Ok(())
    }

    /// Power cut, then back to work from the log, honestly.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn restart(&mut self) -> Result<(), HsmError> {
        self.power_cut()?;
        for step in [Host::resumption, Host::promising, Host::leading] {
            let request = step(&self.host);
            if let Response::Error(error) = self.ask(request) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn arrives(&mut self, letter: Rc<Letter>, sealed: &[u8], new_from: Option<LogIndex>) {
        let answer = letter.read(sealed).expect("an answer is to its letter");
        let nonce = match letter.is_start() {
            true => RESPONSE_NONCE,
            false => SEAL_NONCE,
        };
        self.checkers.sealed(nonce, sealed);
        let grant = match &answer {
            Answer::RegisterStarted(it) => Some(&it.grant),
            Answer::RecoverStarted(it) => Some(&it.grant),
            _ => None,
        };
        if let Some(grant) = grant {
            // Behind one byte of kind.
            self.checkers.sealed(SEAL_NONCE, &grant.ticket[1..]);
        }
        self.checkers.left(&letter, &answer, new_from);
        self.arrived.push((letter, answer));
    }

    /// Answers that left since the last time.
    pub fn take_answers(&mut self) -> Vec<(Rc<Letter>, Answer)> {
        std::mem::take(&mut self.arrived)
    }

    /// Opens a letter's envelope.
    pub fn open(&mut self, letter: &Rc<Letter>) -> Opening {
        let envelope = letter.envelope.clone();
        self.open_by(letter, Request::Open { envelope })
    }

    /// Opens a letter's envelope, as a host that may have changed the request.
    ///
    /// # Panics
    /// If an answer is not to this letter.
    pub fn open_by(&mut self, letter: &Rc<Letter>, request: Request) -> Opening {
        self.checkers.made(letter);
        match self.ask(request) {
            Response::Opened { handle, .. } => {
                self.letters.insert(handle, letter.clone());
                Opening::Waits(handle)
            }
            Response::Evaluated {
                answer: Some(answer),
            } => {
                self.arrives(letter.clone(), &answer.0, None);
                let (_, answer) = self.arrived.pop().expect("it arrived just now");
                Opening::Answered(answer)
            }
            Response::Error(error) => Opening::Refused(error),
            other => Opening::Strayed(other),
        }
    }

    /// Opens a letter's envelope and evaluates it on the leaves of now.
    ///
    /// # Panics
    /// If the vault does not hold it open after that.
    pub fn prepare(&mut self, letter: &Rc<Letter>) -> Handle {
        let Opening::Waits(handle) = self.open(letter) else {
            panic!("it was to be held open");
        };
        let evaluation = self.host.evaluation(handle);
        let evaluated = self.ask(evaluation);
        let held = matches!(evaluated, Response::Evaluated { answer: None });
        assert!(held, "{evaluated:?}");
        handle
    }

    /// Proposes, honestly: what was left out.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If the vault answers with what proposing never gives.
    pub fn propose(&mut self, handles: &[Handle]) -> Result<Vec<LeftOutReason>, HsmError> {
        let proposal = self.host.proposal(handles);
        match self.ask(proposal) {
            Response::Proposed { left_out, .. } => {
                Ok(left_out.into_iter().map(|it| it.why).collect())
            }
            Response::Error(error) => Err(error),
            other => panic!("proposing does not give {other:?}"),
        }
    }

    /// Notarises and releases whatever is proposed, honestly.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn seal(&mut self) -> Result<(), HsmError> {
        if self.host.chain().is_empty() {
            return Ok(());
        }
        for step in [Host::notarisation, Host::release] {
            let request = step(&self.host);
            if let Response::Error(error) = self.ask(request) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sends a letter through a whole honest round; gives its answer.
    ///
    /// # Panics
    /// If the vault refuses its honest host.
    pub fn send(&mut self, letter: &Rc<Letter>) -> Answer {
        let handle = match self.open(letter) {
            Opening::Waits(handle) => handle,
            Opening::Answered(answer) => return answer,
            other => panic!("the vault refused an honest host: {other:?}"),
        };
        let evaluation = self.host.evaluation(handle);
        if let Response::Evaluated { answer: Some(_) } = self.ask(evaluation) {
            return self.answer_to(letter);
        }
        let left_out = self.propose(&[handle]).expect("an honest proposal");
        assert!(left_out.is_empty(), "{left_out:?}");
        self.seal().expect("an honest seal");
        self.answer_to(letter)
    }

    fn answer_to(&mut self, letter: &Rc<Letter>) -> Answer {
        let at = self
            .arrived
            .iter()
            .rposition(|it| Rc::ptr_eq(&it.0, letter));
        self.arrived.remove(at.expect("its answer arrived")).1
    }

    /// Begins a registration, honestly.
    ///
    /// # Panics
    /// If it is refused.
    pub fn register_start(
        &mut self,
        phone: &Phone,
        code: &str,
    ) -> (crate::phone::Registering, RegisterStarted) {
        let registering = phone.register_start(code, self.now());
        match self.send(&registering.letter) {
            Answer::RegisterStarted(started) => (registering, started),
            other => panic!("a registration was to begin: {other:?}"),
        }
    }

    /// Registers a code, honestly; over a live record with its owner.
    ///
    /// # Panics
    /// If it is refused.
    pub fn register(&mut self, phone: &Phone, code: &str, owner: Option<&Owner>) -> Registered {
        let (registering, started) = self.register_start(phone, code);
        let first = registering.letter.clone();
        let root = Root::generate(&phone.entropy);
        let finish =
            phone.register_finish(registering, &started, (&root, phone.op(self.now())), owner);
        let finish = finish.expect("the answer is to this request");
        let receipt = self.receipt(&finish);
        Registered {
            owner: Owner::of(&root, &receipt),
            letters: [first, finish],
            receipt,
        }
    }

    /// Sends a letter that must be answered with a receipt.
    ///
    /// # Panics
    /// If it is not.
    pub fn receipt(&mut self, letter: &Rc<Letter>) -> Receipt {
        match self.send(letter) {
            Answer::Receipt(receipt) => receipt,
            other => panic!("a receipt was to come: {other:?}"),
        }
    }

    /// Sends a new guess, honestly; gives whatever is answered.
    pub fn guess(&mut self, phone: &Phone, code: &str) -> (Recovering, Answer) {
        // Two phones of one user do not think in the same millisecond.
        self.pass(1);
        let now = self.now();
        let recovering = phone.recover_start(code, phone.attempt(now), now);
        let answer = self.send(&recovering.letter);
        (recovering, answer)
    }

    /// Sends a new guess that must be answered with KE2.
    ///
    /// # Panics
    /// If it is not.
    pub fn guessed(&mut self, phone: &Phone, code: &str) -> (Recovering, RecoverStarted) {
        match self.guess(phone, code) {
            (recovering, Answer::RecoverStarted(started)) => (recovering, started),
            (_, other) => panic!("KE2 was to come: {other:?}"),
        }
    }

    /// Recovers with the right code, honestly: the root and the receipt.
    ///
    /// # Panics
    /// If it is refused, or the code is wrong.
    pub fn recover(&mut self, phone: &Phone, code: &str) -> (Root, Receipt) {
        let (recovering, started) = self.guessed(phone, code);
        let opened = phone.open_guess(&recovering, &started);
        let (ke3, root) = opened.expect("the code is right");
        let finish = phone.recover_finish(&started, ke3, phone.op(self.now()));
        (root, self.receipt(&finish))
    }
}

/// The tenant whose tokens carry no `cnf`.
pub fn bearer() -> Issuer {
    Issuer::new("https://bearer.example", 20, true)
}

/// The tenant whose tokens are bound to a key of the user's device.
pub fn bound() -> Issuer {
    Issuer::new("https://bound.example", 40, false)
}
