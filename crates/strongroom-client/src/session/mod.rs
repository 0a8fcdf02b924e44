//! The protocol without IO (DESIGN §4): what to send, and what an answer means.
//!
//! A session makes an envelope as often as it must be sent; each is fresh, with the same attempt or
//! op id and the same KE1, so a lost answer costs nothing.

mod changes;
mod recover;
mod register;

pub use changes::{cancel_reset, delete, reset, status};
pub use recover::{Opened, Recovery};
pub use register::{ReadyRegistration, Registration};

use crate::Os;
use crate::roots::Fleet;
use crate::tokens::Tokens;
use strongroom_crypto::channel::{ChannelError, ResponseKey, Sender};
use strongroom_crypto::random::Entropy as _;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_crypto::wrap::Root;
use strongroom_wire::answer::{Answer, TicketGrant};
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass, VERSION, material_digest};
use strongroom_wire::request::{Authorization, Finish, Operation, OwnerProof, Possession, Start};
use strongroom_wire::{
    AttemptId, CellId, Digest, FleetId, Generation, Incarnation, OpId, RecordId, Signature, UnixMs,
    binding, codec, decode, encode,
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
