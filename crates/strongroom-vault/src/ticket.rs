//! Tickets: what a start leaves with the client, sealed to the fleet, for the finish (DESIGN §4).
//!
//! A ticket carries the identity (so a finish needs no token), the two finish keys, and what the
//! finish is checked with. It is worth nothing without the record being as the ticket saw it.
//! On the wire: one byte of kind, then nonce ‖ ciphertext. The kind is no secret: the host sees
//! which start came back without a commit.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use strongroom_wire::{
    AttemptId, Digest, Generation, Incarnation, LogIndex, RecordId, TenantKey, UnixMs,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The two kinds, each with its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKind {
    /// For `RegisterFinish`.
    Register,
    /// For `RecoverFinish`.
    Recover,
}

impl TicketKind {
    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::Recover => 2,
        }
    }

    /// The kind of that byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Register),
            2 => Some(Self::Recover),
            _ => None,
        }
    }
}

/// A ticket's content.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct Ticket {
    /// Seals what the client sends.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub to_hsm: [u8; 32],
    /// Seals what the HSM answers.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub to_client: [u8; 32],
    /// The record.
    #[n(2)]
    #[zeroize(skip)]
    pub record: RecordId,
    /// The incarnation it was made in.
    #[n(3)]
    #[zeroize(skip)]
    pub incarnation: Incarnation,
    /// The record's generation when it was made (0: none).
    #[n(4)]
    #[zeroize(skip)]
    pub generation: Generation,
    /// When it ends, by the fleet's time.
    #[n(5)]
    #[zeroize(skip)]
    pub expires: UnixMs,
    /// The chain's index when it was made; a cell may refuse tickets below a floor.
    #[n(6)]
    #[zeroize(skip)]
    pub issued: LogIndex,
    /// What its kind needs.
    #[n(7)]
    pub purpose: Purpose,
}

/// What a ticket is for.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub enum Purpose {
    /// A registration.
    #[n(0)]
    Register {
        /// The fresh per-record OPRF seed.
        #[cbor(n(0), with = "minicbor::bytes")]
        seed: [u8; 32],
        /// Whether the record lived when the ticket was made.
        #[n(1)]
        #[zeroize(skip)]
        live: bool,
        /// The tenant whose token was accepted.
        #[n(2)]
        #[zeroize(skip)]
        tenant: TenantKey,
        /// Digest of the tenant's leaf that the token was verified with. It came from the host,
        /// unproved: the finish holds only while the proved leaf is the same, so an issuer key that
        /// the tenant took out registers nothing.
        #[n(3)]
        #[zeroize(skip)]
        tenant_leaf: Digest,
    },
    /// A recovery.
    #[n(1)]
    Recover {
        /// The guess.
        #[n(0)]
        #[zeroize(skip)]
        attempt: AttemptId,
        /// OPAQUE's server login state: session key and expected MAC.
        #[cbor(n(1), with = "minicbor::bytes")]
        login: Vec<u8>,
    },
}

impl Purpose {
    /// The kind of ticket that this purpose makes.
    pub fn kind(&self) -> TicketKind {
        match self {
            Self::Register { .. } => TicketKind::Register,
            Self::Recover { .. } => TicketKind::Recover,
        }
    }
}
