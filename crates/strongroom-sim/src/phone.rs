//! A user's device: it makes real envelopes for every operation, remembers each for ever, and reads
//! what comes back. It knows its keys; what it is given by a host it believes no more than an SDK
//! would.
//!
//! A thief is a phone too: one whose token, possession key or owner key is another's.

mod channel;
mod identity;
mod letter;

use crate::entropy::Seeded;
use crate::host::Issuer;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{ClientLogin, ClientRegistration, Identities};
use strongroom_crypto::wrap::{self, Root};
use strongroom_wire::answer::{Receipt, RecoverStarted, RegisterStarted};
use strongroom_wire::envelope::material_digest;
use strongroom_wire::manifest::Manifest;
use strongroom_wire::request::{
    CancelReset, Delete, Finish, Operation, RecoverFinish, RecoverStart, RegisterFinish,
    RegisterStart, Reset, Start, Status,
};
use strongroom_wire::{
    AttemptId, Digest, Generation, Incarnation, OpId, PublicKey, RecordId, Signature, Slot, UnixMs,
    binding, encode,
};

pub use channel::Outgoing;
pub use letter::{About, Letter};

/// No stretching: tests try many codes.
pub const KSF: Ksf = Ksf::DangerIdentity;

/// See the module. What a test may want to lie about is public.
pub struct Phone {
    /// The fleet, as the phone knows it.
    pub manifest: Manifest,
    /// Who says who the user is.
    pub issuer: Issuer,
    /// `sub`.
    pub subject: String,
    /// Which of the user's records.
    pub slot: Slot,
    /// The key behind `cnf`, for tokens and for possession; none for a bearer's tokens.
    pub holder: Option<[u8; 32]>,
    /// Sent instead of a fresh token.
    pub token: Option<String>,
    /// This device's randomness.
    pub entropy: Seeded,
    sent: RefCell<Vec<Rc<Letter>>>,
    made: Cell<u32>,
    /// Every KE3 that an answer gave it.
    proofs: RefCell<HashSet<[u8; 64]>>,
}

/// A registration between its two messages.
pub struct Registering {
    /// The envelope of the first.
    pub letter: Rc<Letter>,
    state: ClientRegistration,
}

/// A guess, from its envelope to its end. It can be sent again and again.
pub struct Recovering {
    /// The envelope.
    pub letter: Rc<Letter>,
    /// Names the guess.
    pub attempt: AttemptId,
    login: ClientLogin,
}

/// What proves that somebody holds the root of a record.
#[derive(Clone)]
pub struct Owner {
    /// The root.
    pub root: Root,
    /// The record.
    pub record: RecordId,
    /// The generation that proofs name.
    pub generation: Generation,
    /// The incarnation that proofs name.
    pub incarnation: Incarnation,
}

impl Owner {
    /// After a receipt: the same root in the generation that the receipt says.
    pub fn of(root: &Root, receipt: &Receipt) -> Self {
        Self {
            root: root.clone(),
            record: receipt.record,
            generation: receipt.generation,
            incarnation: Incarnation(0),
        }
    }
}

impl Phone {
    /// A user's phone. With `holder`, its tokens are bound to a key of its own.
    pub fn new(manifest: &Manifest, issuer: &Issuer, subject: &str, seed: u64) -> Self {
        let entropy = Seeded::new(seed);
        Self {
            manifest: manifest.clone(),
            issuer: issuer.clone(),
            subject: subject.to_owned(),
            slot: Slot(0),
            holder: (!issuer.bearer).then(|| entropy.array()),
            token: None,
            entropy,
            sent: RefCell::default(),
            made: Cell::default(),
            proofs: RefCell::default(),
        }
    }

    /// Every envelope that it ever made, oldest first.
    pub fn sent(&self) -> Vec<Rc<Letter>> {
        self.sent.borrow().clone()
    }

    /// The envelope it made last.
    pub fn last(&self) -> Option<Rc<Letter>> {
        self.sent.borrow().last().cloned()
    }

    /// A fresh operation id.
    pub fn op(&self, now: UnixMs) -> OpId {
        OpId::new(now, self.next())
    }

    /// A fresh attempt id.
    pub fn attempt(&self, now: UnixMs) -> AttemptId {
        AttemptId::new(now, self.next())
    }

    /// Random, but greater each time: what one device makes in one millisecond is in order.
    fn next(&self) -> [u8; 8] {
        self.made.set(self.made.get() + 1);
        let mut next: [u8; 8] = self.entropy.array();
        next[..4].copy_from_slice(&self.made.get().to_be_bytes());
        next
    }

    /// Begins a registration of `code`.
    ///
    /// # Panics
    /// If the code maps to no element, which none does.
    pub fn register_start(&self, code: &str, now: UnixMs) -> Registering {
        let (state, request) = ClientRegistration::start(code.as_bytes(), &self.entropy)
            .expect("codes map to elements");
        let letter = self.start(About::RegisterStart, |out| {
            Start::Register(RegisterStart {
                authorization: self.authorization(out, now),
                slot: self.slot,
                request,
            })
        });
        Registering { letter, state }
    }

    /// Ends a registration: stores `root` behind the code. Over a live record it needs the owner of
    /// what stands there. None if the answer is not to this request, or by another fleet.
    ///
    /// # Panics
    /// Never: no payload is not too long.
    pub fn register_finish(
        &self,
        registering: Registering,
        started: &RegisterStarted,
        (root, op): (&Root, OpId),
        owner: Option<&Owner>,
    ) -> Option<Rc<Letter>> {
        let (client, context) = (self.client(), self.context());
        let identities = self.identities(&client, &context);
        let finished = registering.state.finish(
            &started.response,
            &self.manifest.opaque.0,
            &identities,
            KSF,
            &self.entropy,
        );
        let (upload, export) = finished.ok()?;
        let fleet = self.manifest.fleet_id();
        let place = (KSF, &fleet.0, &client.0);
        let wrapped = wrap::wrap(&export, place, root, &[], &self.entropy);
        let key = root.owner_key(&fleet.0, &started.record.0);
        let mut finish = RegisterFinish {
            op,
            upload,
            wrapped: wrapped.expect("no payload is not too long"),
            owner_key: PublicKey(key.public()),
            ksf: KSF.code(),
            owner_proof: None,
        };
        let ticket = material_digest(&started.grant.ticket);
        let body = finish.body(&ticket);
        let prove = |owner| self.owner_proof(owner, Operation::Replace, op, body, ticket);
        finish.owner_proof = owner.map(prove);
        let about = About::RegisterFinish {
            op,
            owner: owner.map(|it| self.owner_key(it)),
        };
        let message = encode(&Finish::Register(finish));
        Some(self.remember(Letter::finish(
            about,
            &self.manifest,
            &started.grant,
            message,
            &self.entropy,
        )))
    }

    /// A guess at the code.
    ///
    /// # Panics
    /// If the code maps to no element, which none does.
    pub fn recover_start(&self, code: &str, attempt: AttemptId, now: UnixMs) -> Recovering {
        let (login, _) =
            ClientLogin::start(code.as_bytes(), &self.entropy).expect("codes map to elements");
        self.recover_with(login, attempt, now)
    }

    /// The same guess in a fresh envelope with a fresh token: what an SDK sends again.
    pub fn recover_again(&self, recovering: Recovering, now: UnixMs) -> Recovering {
        self.recover_with(recovering.login, recovering.attempt, now)
    }

    fn recover_with(&self, login: ClientLogin, attempt: AttemptId, now: UnixMs) -> Recovering {
        let ke1 = login.ke1();
        let about = About::RecoverStart { attempt, ke1 };
        let letter = self.start(about, |out| {
            Start::Recover(RecoverStart {
                authorization: self.authorization(out, now),
                slot: self.slot,
                attempt,
                ke1,
            })
        });
        Recovering {
            letter,
            attempt,
            login,
        }
    }

    /// Reads a guess's answer: KE3 and the root, if the code was right.
    pub fn open_guess(
        &self,
        recovering: &Recovering,
        started: &RecoverStarted,
    ) -> Option<([u8; 64], Root)> {
        let (client, context) = (self.client(), self.context());
        let identities = self.identities(&client, &context);
        let server = self.manifest.opaque.0;
        let login = &recovering.login;
        let finished = login.finish(&started.ke2, &server, &identities, KSF, &self.entropy);
        let (ke3, export) = finished.ok()?;
        let fleet = self.manifest.fleet_id();
        let place = (KSF, &fleet.0, &client.0);
        let (root, _) = wrap::unwrap(&export, place, &started.wrapped).ok()?;
        self.proofs.borrow_mut().insert(ke3);
        Some((ke3, root))
    }

    /// Shows KE3.
    pub fn recover_finish(&self, started: &RecoverStarted, ke3: [u8; 64], op: OpId) -> Rc<Letter> {
        let message = encode(&Finish::Recover(RecoverFinish { op, ke3 }));
        let right = self.proofs.borrow().contains(&ke3);
        let about = About::RecoverFinish { op, right };
        self.remember(Letter::finish(
            about,
            &self.manifest,
            &started.grant,
            message,
            &self.entropy,
        ))
    }

    /// Asks for the record's state; with its owner, for the history too.
    pub fn status(&self, owner: Option<&Owner>, now: UnixMs) -> Rc<Letter> {
        self.start(About::Status, |out| {
            let mut status = Status {
                authorization: self.authorization(out, now),
                slot: self.slot,
                owner_proof: None,
            };
            let body = status.body();
            let prove = |it| self.owner_proof(it, Operation::Status, Status::OP, body, out.enc());
            status.owner_proof = owner.map(prove);
            Start::Status(status)
        })
    }

    /// Deletes the record.
    pub fn delete(&self, op: OpId, owner: Option<&Owner>, now: UnixMs) -> Rc<Letter> {
        let about = About::Delete {
            op,
            owner: owner.map(|it| self.owner_key(it)),
        };
        self.start(about, |out| {
            let mut delete = Delete {
                authorization: self.authorization(out, now),
                slot: self.slot,
                op,
                owner_proof: None,
            };
            let body = delete.body();
            let prove = |it| self.owner_proof(it, Operation::Delete, op, body, out.enc());
            delete.owner_proof = owner.map(prove);
            Start::Delete(delete)
        })
    }

    /// Begins a reset.
    pub fn reset(&self, op: OpId, now: UnixMs) -> Rc<Letter> {
        self.start(About::Reset { op }, |out| {
            Start::Reset(Reset {
                authorization: self.authorization(out, now),
                slot: self.slot,
                op,
            })
        })
    }

    /// Cancels the reset of that name.
    pub fn cancel_reset(&self, op: OpId, reset: OpId, owner: &Owner, now: UnixMs) -> Rc<Letter> {
        self.start(About::CancelReset { op }, |out| {
            let mut cancel = CancelReset {
                authorization: self.authorization(out, now),
                slot: self.slot,
                op,
                reset,
                owner_proof: Signature([0; 64]),
            };
            let body = cancel.body();
            let proof = self.owner_proof(owner, Operation::CancelReset, op, body, out.enc());
            cancel.owner_proof = proof;
            Start::CancelReset(cancel)
        })
    }

    /// A start of the test's own making.
    pub fn start(&self, about: About, request: impl FnOnce(&Outgoing) -> Start) -> Rc<Letter> {
        let out = Outgoing::new(&self.manifest, &self.entropy);
        let message = encode(&request(&out));
        self.remember(Letter::start(about, out, message))
    }

    /// The same letter with other words, in a fresh envelope.
    pub fn reworded(&self, letter: &Letter, message: Vec<u8>) -> Rc<Letter> {
        self.remember(letter.reworded(message, &self.manifest, &self.entropy))
    }

    fn remember(&self, letter: Letter) -> Rc<Letter> {
        let letter = Rc::new(letter);
        self.sent.borrow_mut().push(letter.clone());
        letter
    }

    fn client(&self) -> Digest {
        binding::client_identity(&self.issuer.name, &self.subject, self.slot)
    }

    fn context(&self) -> (Vec<u8>, [u8; 32]) {
        let fleet = self.manifest.fleet_id();
        (binding::opaque_context(fleet), fleet.0)
    }

    fn identities<'a>(
        &self,
        client: &'a Digest,
        (context, server): &'a (Vec<u8>, [u8; 32]),
    ) -> Identities<'a> {
        Identities {
            client: &client.0,
            server,
            context,
        }
    }
}
