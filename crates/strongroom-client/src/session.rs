//! The protocol without IO (DESIGN §4): what to send, and what an answer means.
//!
//! A session makes an envelope as often as it must be sent; each is fresh, with the same attempt or
//! op id and the same KE1, so a lost answer costs nothing.

use crate::roots::Fleet;
use crate::tokens::Tokens;
use crate::{Ksf, Os};
use std::sync::Arc;
use strongroom_crypto::channel::{ChannelError, ResponseKey, Sender};
use strongroom_crypto::opaque::{ClientLogin, ClientRegistration, Identities};
use strongroom_crypto::random::Entropy as _;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_crypto::wrap::{self, Root};
use strongroom_wire::answer::{Answer, RecoverStarted, RegisterStarted, TicketGrant};
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass, VERSION, material_digest};
use strongroom_wire::request::{
    Authorization, CancelReset, Delete, Finish, Operation, OwnerProof, Possession, RecoverFinish,
    RecoverStart, RegisterFinish, RegisterStart, Reset, Start, Status,
};
use strongroom_wire::{
    AttemptId, CellId, Digest, FleetId, Generation, Incarnation, OpId, PublicKey, RecordId,
    Signature, Slot, UnixMs, binding, codec, decode, encode,
};
use zeroize::Zeroizing;

/// What went wrong between this device and the fleet. Nothing of it is the user's fault but
/// [`SessionError::WrongCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The code is wrong (or the server answered for another record: the same to us).
    #[error("the code is wrong")]
    WrongCode,
    /// The answer does not open or is none.
    #[error("the answer is not from this fleet, or is damaged")]
    Unauthentic,
    /// An answer of another kind.
    #[error("the fleet answered another question")]
    Unexpected,
    /// The fleet's answer names a key-stretching set that this SDK does not know.
    #[error("the record needs a newer version of this app")]
    UnknownKsf,
    /// The request is longer than the largest size class.
    #[error("the account token is too long")]
    TooLong,
}

impl From<ChannelError> for SessionError {
    fn from(_: ChannelError) -> Self {
        Self::Unauthentic
    }
}

/// A sealed request and the key to its answer.
pub struct Outgoing {
    /// Canonical bytes of the envelope, for the body of `POST /v1/vault`.
    pub envelope: Vec<u8>,
    reply: Reply,
}

enum Reply {
    Start(ResponseKey),
    Finish { key: SealingKey, aad: Vec<u8> },
}

impl Outgoing {
    /// Opens the answer.
    ///
    /// # Errors
    /// [`SessionError::Unauthentic`].
    pub fn open(&self, answer: &[u8]) -> Result<Answer, SessionError> {
        let padded = match &self.reply {
            Reply::Start(key) => key.open(answer)?,
            Reply::Finish { key, aad } => {
                seal::open(key, aad, answer).map_err(|_| SessionError::Unauthentic)?
            }
        };
        codec::unpad(&padded)
            .and_then(decode)
            .map_err(|_| SessionError::Unauthentic)
    }
}

/// The record as an owner knows it: what owner proofs are made for.
#[derive(Clone)]
pub struct Ownership {
    /// The fleet.
    pub fleet: FleetId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The record.
    pub record: RecordId,
    /// Its generation.
    pub generation: Generation,
    key: SigningKey,
}

impl Ownership {
    /// Of a record under that root.
    pub fn new(
        root: &Root,
        fleet: FleetId,
        incarnation: Incarnation,
        record: RecordId,
        generation: Generation,
    ) -> Self {
        let key = root.owner_key(&fleet.0, &record.0);
        Self {
            fleet,
            incarnation,
            record,
            generation,
            key,
        }
    }

    fn prove(&self, operation: Operation, op: OpId, body: Digest, enc: Digest) -> Signature {
        let proof = OwnerProof {
            fleet: self.fleet,
            incarnation: self.incarnation,
            operation,
            record: self.record,
            generation: self.generation,
            op,
            body,
            enc,
        };
        Signature(statement::sign(
            &self.key,
            Label::OwnerProof,
            &encode(&proof),
        ))
    }
}

/// A fresh op id, greater than `greatest` and near `now`.
pub fn new_op(now: UnixMs, greatest: Option<OpId>) -> OpId {
    let (time, random) = timed(now, greatest.map(|greatest| greatest.time()));
    OpId::new(time, random)
}

/// A fresh attempt id, greater than `greatest` and near `now`.
pub fn new_attempt(now: UnixMs, greatest: Option<AttemptId>) -> AttemptId {
    let (time, random) = timed(now, greatest.map(|greatest| greatest.time()));
    AttemptId::new(time, random)
}

/// A time that is `now` or, if that is not after `greatest`, one past it; and eight random bytes.
fn timed(now: UnixMs, greatest: Option<UnixMs>) -> (UnixMs, [u8; 8]) {
    let mut random = [0; 8];
    Os.fill(&mut random);
    let after = greatest.map_or(UnixMs(0), |greatest| greatest.plus(1));
    (now.max(after), random)
}

fn header(fleet: &Fleet, class: OpClass, size: SizeClass) -> Header {
    Header {
        version: VERSION,
        key: fleet.key().id,
        cell: CellId(0),
        class,
        size,
    }
}

/// Seals a start. `make` gets the authorization and the digest of `enc`.
///
/// # Errors
/// [`SessionError::TooLong`].
pub fn seal_start(
    fleet: &Fleet,
    tokens: &Tokens,
    make: impl FnOnce(Authorization, Digest) -> Start,
) -> Result<Outgoing, SessionError> {
    // The signatures inside cover the header, so its size class is settled first.
    let size = SizeClass::for_length(tokens.vault.len() + 512).ok_or(SessionError::TooLong)?;
    let header = header(fleet, OpClass::Start, size);
    let info = binding::hpke_info(fleet.id(), header.key);
    let sender = Sender::new(&fleet.key().public, &info, &Os)?;
    let enc = material_digest(sender.enc());
    let possession = tokens.possession.as_ref().map(|key| {
        let header = binding::header_digest(&header);
        let statement = encode(&Possession {
            fleet: fleet.id(),
            enc,
            header,
        });
        Signature(statement::sign(key, Label::TokenPossession, &statement))
    });
    let start = make(
        Authorization {
            token: tokens.vault.clone(),
            possession,
        },
        enc,
    );
    let message = Zeroizing::new(encode(&start));
    let padded = codec::pad(&message, size.bytes()).map_err(|_| SessionError::TooLong)?;
    let key_material = sender.enc().to_vec();
    let (sealed, response) = sender.seal(&binding::start_aad(&header), &Zeroizing::new(padded))?;
    let envelope = encode(&Envelope {
        header,
        key_material,
        sealed,
    });
    Ok(Outgoing {
        envelope,
        reply: Reply::Start(response),
    })
}

/// Seals a finish under its ticket's keys.
///
/// # Errors
/// [`SessionError::TooLong`], never for a checked request.
pub fn seal_finish(
    fleet: &Fleet,
    grant: &TicketGrant,
    finish: &Finish,
) -> Result<Outgoing, SessionError> {
    let message = Zeroizing::new(encode(finish));
    let size = SizeClass::for_length(message.len()).ok_or(SessionError::TooLong)?;
    let header = header(fleet, OpClass::Finish, size);
    let ticket = material_digest(&grant.ticket);
    let padded = codec::pad(&message, size.bytes()).map_err(|_| SessionError::TooLong)?;
    let aad = binding::finish_aad(&header, &ticket);
    let key = SealingKey::from_bytes(grant.to_hsm);
    let sealed = seal::seal(&key, &aad, &Zeroizing::new(padded), &Os);
    let reply = Reply::Finish {
        key: SealingKey::from_bytes(grant.to_client),
        aad: binding::finish_answer_aad(&header, &ticket, &sealed),
    };
    let envelope = encode(&Envelope {
        header,
        key_material: grant.ticket.clone(),
        sealed,
    });
    Ok(Outgoing { envelope, reply })
}

/// A registration's first half.
pub struct Registration {
    slot: Slot,
    opaque: ClientRegistration,
    request: [u8; 32],
}

/// A registration ready to be finished. Keep it durably before it is sent.
pub struct ReadyRegistration {
    /// For the finish.
    pub grant: TicketGrant,
    /// The finish.
    pub finish: Finish,
    /// Who owns the record from then on (its generation comes with the receipt).
    pub record: RecordId,
    /// The incarnation.
    pub incarnation: Incarnation,
}

impl Registration {
    /// Begins with a code.
    ///
    /// # Errors
    /// [`SessionError::Unexpected`], never in practice.
    pub fn new(code: &[u8], slot: Slot) -> Result<Self, SessionError> {
        let (opaque, request) =
            ClientRegistration::start(code, &Os).map_err(|_| SessionError::Unexpected)?;
        Ok(Self {
            slot,
            opaque,
            request,
        })
    }

    /// The first request.
    ///
    /// # Errors
    /// As [`seal_start`].
    pub fn request(&self, fleet: &Fleet, tokens: &Tokens) -> Result<Outgoing, SessionError> {
        seal_start(fleet, tokens, |authorization, _| {
            let (slot, request) = (self.slot, self.request);
            Start::Register(RegisterStart {
                authorization,
                slot,
                request,
            })
        })
    }

    /// Stretches the code (about half a second) and makes the finish.
    ///
    /// # Errors
    /// [`SessionError::Unauthentic`] if the answer is not by this fleet.
    pub fn answered(
        self,
        fleet: &Fleet,
        tokens: &Tokens,
        started: &RegisterStarted,
        ksf: Ksf,
        (root, payload): (&Root, &[u8]),
        owner: Option<&Ownership>,
    ) -> Result<ReadyRegistration, SessionError> {
        let client = binding::client_identity(&tokens.issuer, &tokens.subject, self.slot);
        let context = binding::opaque_context(fleet.id());
        let server = fleet.id();
        let identities = Identities {
            client: &client.0,
            server: &server.0,
            context: &context,
        };
        let server_key = &fleet.manifest().opaque.0;
        let (upload, export_key) = self
            .opaque
            .finish(&started.response, server_key, &identities, ksf, &Os)
            .map_err(|_| SessionError::Unauthentic)?;
        let bound = (ksf, &server.0, &client.0);
        let wrapped = wrap::wrap(&export_key, bound, root, payload, &Os)
            .map_err(|_| SessionError::TooLong)?;
        let owner_key = root.owner_key(&server.0, &started.record.0);
        let mut finish = RegisterFinish {
            op: new_op(crate::vault::now(), None),
            upload,
            wrapped,
            owner_key: PublicKey(owner_key.public()),
            ksf: ksf.code(),
            owner_proof: None,
        };
        let ticket = material_digest(&started.grant.ticket);
        let body = finish.body(&ticket);
        finish.owner_proof =
            owner.map(|owner| owner.prove(Operation::Replace, finish.op, body, ticket));
        Ok(ReadyRegistration {
            grant: started.grant.clone(),
            finish: Finish::Register(finish),
            record: started.record,
            incarnation: started.incarnation,
        })
    }
}

/// A guess. Keep it until it is answered: its retries are free, another one costs.
#[derive(Clone)]
pub struct Recovery {
    slot: Slot,
    attempt: AttemptId,
    opaque: Arc<ClientLogin>,
}

/// A recovery that opened, and the finish that restores the guesses.
pub struct Opened {
    /// The root.
    pub root: Root,
    /// The payload.
    pub payload: Zeroizing<Vec<u8>>,
    /// For the finish.
    pub grant: TicketGrant,
    /// The finish. Keep it durably until it is answered.
    pub finish: Finish,
}

impl Recovery {
    /// Begins with a code as typed.
    ///
    /// # Errors
    /// [`SessionError::Unexpected`], never in practice.
    pub fn new(code: &[u8], slot: Slot, attempt: AttemptId) -> Result<Self, SessionError> {
        let (opaque, _) = ClientLogin::start(code, &Os).map_err(|_| SessionError::Unexpected)?;
        Ok(Self {
            slot,
            attempt,
            opaque: Arc::new(opaque),
        })
    }

    /// Takes another attempt id, after `StaleAttempt`; nothing was spent.
    pub fn renumber(&mut self, attempt: AttemptId) {
        self.attempt = attempt;
    }

    /// The request; the same guess however often it is made.
    ///
    /// # Errors
    /// As [`seal_start`].
    pub fn request(&self, fleet: &Fleet, tokens: &Tokens) -> Result<Outgoing, SessionError> {
        seal_start(fleet, tokens, |authorization, _| {
            let (slot, attempt, ke1) = (self.slot, self.attempt, self.opaque.ke1());
            Start::Recover(RecoverStart {
                authorization,
                slot,
                attempt,
                ke1,
            })
        })
    }

    /// Stretches the code (about half a second), opens the secret and makes the finish.
    ///
    /// # Errors
    /// [`SessionError::WrongCode`]; [`SessionError::UnknownKsf`].
    pub fn answered(
        &self,
        fleet: &Fleet,
        tokens: &Tokens,
        started: &RecoverStarted,
    ) -> Result<Opened, SessionError> {
        let ksf = Ksf::from_code(started.ksf).ok_or(SessionError::UnknownKsf)?;
        let client = binding::client_identity(&tokens.issuer, &tokens.subject, self.slot);
        let context = binding::opaque_context(fleet.id());
        let server = fleet.id();
        let identities = Identities {
            client: &client.0,
            server: &server.0,
            context: &context,
        };
        let server_key = &fleet.manifest().opaque.0;
        let (ke3, export_key) = self
            .opaque
            .finish(&started.ke2, server_key, &identities, ksf, &Os)
            .map_err(|_| SessionError::WrongCode)?;
        let (root, payload) =
            wrap::unwrap(&export_key, (ksf, &server.0, &client.0), &started.wrapped)
                .map_err(|_| SessionError::Unauthentic)?;
        let finish = Finish::Recover(RecoverFinish {
            op: new_op(crate::vault::now(), None),
            ke3,
        });
        Ok(Opened {
            root,
            payload,
            grant: started.grant.clone(),
            finish,
        })
    }
}

/// `Status`, with history if the owner asks.
///
/// # Errors
/// As [`seal_start`].
pub fn status(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    owner: Option<&Ownership>,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let mut status = Status {
            authorization,
            slot,
            owner_proof: None,
        };
        let body = status.body();
        status.owner_proof =
            owner.map(|owner| owner.prove(Operation::Status, Status::OP, body, enc));
        Start::Status(status)
    })
}

/// `Delete`: by the owner, or by the account after a reset.
///
/// # Errors
/// As [`seal_start`].
pub fn delete(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    op: OpId,
    owner: Option<&Ownership>,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let mut delete = Delete {
            authorization,
            slot,
            op,
            owner_proof: None,
        };
        let body = delete.body();
        delete.owner_proof = owner.map(|owner| owner.prove(Operation::Delete, op, body, enc));
        Start::Delete(delete)
    })
}

/// `Reset`.
///
/// # Errors
/// As [`seal_start`].
pub fn reset(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    op: OpId,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, _| {
        Start::Reset(Reset {
            authorization,
            slot,
            op,
        })
    })
}

/// `CancelReset` of the reset named `reset`.
///
/// # Errors
/// As [`seal_start`].
pub fn cancel_reset(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    (op, reset): (OpId, OpId),
    owner: &Ownership,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let owner_proof = Signature([0; 64]);
        let mut cancel = CancelReset {
            authorization,
            slot,
            op,
            reset,
            owner_proof,
        };
        cancel.owner_proof = owner.prove(Operation::CancelReset, op, cancel.body(), enc);
        Start::CancelReset(cancel)
    })
}
