//! What a client asks of the HSM, inside the envelope (DESIGN §4).

use crate::codec::{Malformed, digest};
use crate::limits::{
    KE1_BYTES, KE3_BYTES, REGISTRATION_REQUEST_BYTES, REGISTRATION_UPLOAD_BYTES, TOKEN_BYTES_MAX,
    WRAPPED_BYTES_MAX,
};
use crate::{
    AttemptId, Digest, FleetId, Generation, Incarnation, OpId, PublicKey, RecordId, Signature, Slot,
};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// Who asks: the vault token and the proof that its holder made this request.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Authorization {
    /// A JWT (EdDSA or ES256) of the account issuer, `aud` = fleet id in hexadecimal.
    #[n(0)]
    pub token: String,
    /// Ed25519 over [`Possession`] by the key in the token's `cnf`. Absent for a bearer tenant.
    #[n(1)]
    pub possession: Option<Signature>,
}

impl core::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Authorization(redacted)")
    }
}

/// What the `cnf` key signs: this very envelope, so that a token seen elsewhere is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Possession {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// Digest of `enc` ([`crate::envelope::material_digest`]).
    #[n(1)]
    pub enc: Digest,
    /// Digest of the canonical routing header, label `strongroom/v1 header`.
    #[n(2)]
    pub header: Digest,
}

/// A request under HPKE.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Start {
    /// Begin a registration. Changes nothing.
    #[n(0)]
    Register(#[n(0)] RegisterStart),
    /// Spend a guess.
    #[n(1)]
    Recover(#[n(0)] RecoverStart),
    /// Read the record's state.
    #[n(2)]
    Status(#[n(0)] Status),
    /// Erase the record: by owner proof, or after a reset's waiting period.
    #[n(3)]
    Delete(#[n(0)] Delete),
    /// Begin the waiting period after which the account alone may replace or delete.
    #[n(4)]
    Reset(#[n(0)] Reset),
    /// End the waiting period, by owner proof.
    #[n(5)]
    CancelReset(#[n(0)] CancelReset),
}

/// First message of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RegisterStart {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// OPAQUE RegistrationRequest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub request: [u8; REGISTRATION_REQUEST_BYTES],
}

/// A guess.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecoverStart {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// Names the guess; the same on every retry.
    #[n(2)]
    pub attempt: AttemptId,
    /// OPAQUE KE1.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub ke1: [u8; KE1_BYTES],
}

/// Reads a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// With it the answer has the full history; without, totals only.
    #[n(2)]
    pub owner_proof: Option<Signature>,
}

/// Deletes a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Delete {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// Names the operation; the same on every retry.
    #[n(2)]
    pub op: OpId,
    /// Proof of the root; without it only a reset whose waiting period is over allows it.
    #[n(3)]
    pub owner_proof: Option<Signature>,
}

/// Starts a reset's waiting period.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reset {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// Names the operation; also names the reset.
    #[n(2)]
    pub op: OpId,
}

/// Cancels a reset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CancelReset {
    /// Who asks.
    #[n(0)]
    pub authorization: Authorization,
    /// Which of the account's records.
    #[n(1)]
    pub slot: Slot,
    /// Names the operation; the same on every retry.
    #[n(2)]
    pub op: OpId,
    /// Which reset: its `op`, so that the proof cannot be replayed against a later one.
    #[n(3)]
    pub reset: OpId,
    /// Proof of the root.
    #[n(4)]
    pub owner_proof: Signature,
}

/// A request under a ticket's key. It carries no token: the ticket carries the identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "one at a time, moved once")]
pub enum Finish {
    /// Store the record.
    #[n(0)]
    Register(#[n(0)] RegisterFinish),
    /// Show that the guess was right.
    #[n(1)]
    Recover(#[n(0)] RecoverFinish),
}

/// Second message of a registration.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RegisterFinish {
    /// Names the operation; the same on every retry.
    #[n(0)]
    pub op: OpId,
    /// OPAQUE RegistrationRecord.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub upload: [u8; REGISTRATION_UPLOAD_BYTES],
    /// Root and payload under OPAQUE's export key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    /// Public half of the owner key (a labelled child of root).
    #[n(3)]
    pub owner_key: PublicKey,
    /// Code of the named Argon2id parameter set.
    #[n(4)]
    pub ksf: u8,
    /// Proof by the *present* record's owner key; needed over a live record.
    #[n(5)]
    pub owner_proof: Option<Signature>,
}

impl core::fmt::Debug for RegisterFinish {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RegisterFinish({:?}, redacted)", self.op)
    }
}

/// Second message of a recovery.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoverFinish {
    /// Names the operation; the same on every retry.
    #[n(0)]
    pub op: OpId,
    /// OPAQUE KE3.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ke3: [u8; KE3_BYTES],
}

impl core::fmt::Debug for RecoverFinish {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RecoverFinish({:?}, redacted)", self.op)
    }
}

/// Which operation an owner proof is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Operation {
    /// [`RegisterFinish`] over a live record.
    #[n(0)]
    Replace,
    /// [`Delete`].
    #[n(1)]
    Delete,
    /// [`CancelReset`].
    #[n(2)]
    CancelReset,
    /// [`Status`] with history.
    #[n(3)]
    Status,
    /// [`RecoverFinish`]; used for body digests only.
    #[n(4)]
    Recover,
    /// [`Reset`]; used for body digests only.
    #[n(5)]
    Reset,
}

/// What an owner key signs (DESIGN §4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnerProof {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The incarnation.
    #[n(1)]
    pub incarnation: Incarnation,
    /// What is proved for.
    #[n(2)]
    pub operation: Operation,
    /// The record.
    #[n(3)]
    pub record: RecordId,
    /// The generation it is proved against.
    #[n(4)]
    pub generation: Generation,
    /// The operation's id (all zero for `Status`).
    #[n(5)]
    pub op: OpId,
    /// Digest of the request's body ([`Delete::body`] and the like).
    #[n(6)]
    pub body: Digest,
    /// Digest of the envelope's key material: binds the proof to this envelope or ticket.
    #[n(7)]
    pub enc: Digest,
}

/// What makes two requests with one `op` the same request. Proofs and tokens are left out: a retry
/// has fresh ones.
const BODY: &str = "strongroom/v1 body";

impl RegisterFinish {
    /// Digest of the body, bound to the ticket it came under.
    pub fn body(&self, ticket: &Digest) -> Digest {
        let unproved = Self {
            owner_proof: None,
            ..self.clone()
        };
        digest(BODY, &(Operation::Replace, unproved, ticket))
    }

    /// Checks what the type cannot.
    ///
    /// # Errors
    /// [`Malformed::OutOfBounds`] if the wrapped secret is empty or too long.
    pub fn check(&self) -> Result<(), Malformed> {
        let length = self.wrapped.len();
        if length == 0 || length > WRAPPED_BYTES_MAX {
            return Err(Malformed::OutOfBounds);
        }
        Ok(())
    }
}

impl RecoverFinish {
    /// Digest of the body, bound to the ticket it came under.
    pub fn body(&self, ticket: &Digest) -> Digest {
        digest(BODY, &(Operation::Recover, self, ticket))
    }
}

impl Delete {
    /// Digest of the body.
    pub fn body(&self) -> Digest {
        digest(BODY, &(Operation::Delete, self.slot, self.op))
    }
}

impl Reset {
    /// Digest of the body.
    pub fn body(&self) -> Digest {
        digest(BODY, &(Operation::Reset, self.slot, self.op))
    }
}

impl CancelReset {
    /// Digest of the body.
    pub fn body(&self) -> Digest {
        digest(
            BODY,
            &(Operation::CancelReset, self.slot, self.op, self.reset),
        )
    }
}

impl Status {
    /// Digest of the body.
    pub fn body(&self) -> Digest {
        digest(BODY, &(Operation::Status, self.slot))
    }

    /// The op id that an owner proof for `Status` names.
    pub const OP: OpId = OpId([0; 16]);
}

impl Start {
    /// The authorization, whatever is asked.
    pub fn authorization(&self) -> &Authorization {
        match self {
            Self::Register(r) => &r.authorization,
            Self::Recover(r) => &r.authorization,
            Self::Status(r) => &r.authorization,
            Self::Delete(r) => &r.authorization,
            Self::Reset(r) => &r.authorization,
            Self::CancelReset(r) => &r.authorization,
        }
    }

    /// The slot, whatever is asked.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Register(r) => r.slot,
            Self::Recover(r) => r.slot,
            Self::Status(r) => r.slot,
            Self::Delete(r) => r.slot,
            Self::Reset(r) => r.slot,
            Self::CancelReset(r) => r.slot,
        }
    }

    /// Checks what the type cannot.
    ///
    /// # Errors
    /// [`Malformed::OutOfBounds`] if the token is too long.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.authorization().token.len() > TOKEN_BYTES_MAX {
            return Err(Malformed::OutOfBounds);
        }
        Ok(())
    }
}
