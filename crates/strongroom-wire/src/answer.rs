//! What the HSM answers a client, sealed to it (DESIGN §4, §5).
//!
//! A refusal is a result, not a failure: each has its own variant and its own plain text.

use crate::limits::{KE2_BYTES, REGISTRATION_RESPONSE_BYTES};
use crate::{AttemptId, Digest, Generation, Incarnation, LogIndex, OpId, RecordId, UnixMs};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// Any answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "one at a time, moved once")]
pub enum Answer {
    /// To `RegisterStart`.
    #[n(0)]
    RegisterStarted(#[n(0)] RegisterStarted),
    /// To `RecoverStart`.
    #[n(1)]
    RecoverStarted(#[n(0)] RecoverStarted),
    /// To everything that changed the record.
    #[n(2)]
    Receipt(#[n(0)] Receipt),
    /// To `Status`.
    #[n(3)]
    Status(#[n(0)] StatusReport),
    /// No, and why.
    #[n(4)]
    Refused(#[n(0)] Refusal),
}

/// A ticket and the keys under which its finish travels.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TicketGrant {
    /// Sealed to the fleet; the client returns it unread.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub ticket: Vec<u8>,
    /// Seals what the client sends, 32 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub to_hsm: [u8; 32],
    /// Opens what the HSM answers, 32 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub to_client: [u8; 32],
}

impl core::fmt::Debug for TicketGrant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TicketGrant(redacted)")
    }
}

impl Drop for TicketGrant {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.to_hsm.zeroize();
        self.to_client.zeroize();
    }
}

/// The way into a registration's second message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RegisterStarted {
    /// OPAQUE RegistrationResponse.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub response: [u8; REGISTRATION_RESPONSE_BYTES],
    /// For the finish.
    #[n(1)]
    pub grant: TicketGrant,
    /// The record's name, to derive the owner key for.
    #[n(2)]
    pub record: RecordId,
    /// The generation it has now (0: never registered); owner proofs name it.
    #[n(3)]
    pub generation: Generation,
    /// The incarnation, for owner proofs.
    #[n(4)]
    pub incarnation: Incarnation,
    /// A live record is there: the finish needs an owner proof (or a reset that is over).
    #[n(5)]
    pub live: bool,
    /// How many generations of this record guessing has destroyed. If not 0: use another code.
    #[n(6)]
    pub destroyed: u32,
    /// Guesses the new record will have.
    #[n(7)]
    pub attempts_max: u8,
}

/// What a guess buys.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoverStarted {
    /// OPAQUE KE2.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub ke2: [u8; KE2_BYTES],
    /// Root and payload under the export key, as registered.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    /// Code of the named Argon2id parameter set.
    #[n(2)]
    pub ksf: u8,
    /// For the finish.
    #[n(3)]
    pub grant: TicketGrant,
    /// The record's name.
    #[n(4)]
    pub record: RecordId,
    /// The record's generation.
    #[n(5)]
    pub generation: Generation,
    /// The incarnation, for owner proofs.
    #[n(6)]
    pub incarnation: Incarnation,
    /// Guesses left if this one is wrong. 0: last chance, only this one's retry and finish.
    #[n(7)]
    pub attempts_left: u8,
    /// Totals that never go down.
    #[n(8)]
    pub totals: Totals,
}

impl core::fmt::Debug for RecoverStarted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RecoverStarted(redacted)")
    }
}

/// Counts over a record's whole life, generations and tombstones included. None ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Totals {
    /// Guesses answered.
    #[n(0)]
    pub starts: u32,
    /// Of them, those that ended without proof (overtaken, or ended with the record).
    #[n(1)]
    pub unproved: u32,
    /// Resets begun.
    #[n(2)]
    pub resets: u32,
    /// Live records replaced.
    #[n(3)]
    pub replacements: u32,
    /// Generations destroyed by guessing.
    #[n(4)]
    pub destructions: u32,
}

/// One thing that happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    /// What.
    #[n(0)]
    pub kind: EventKind,
    /// When, by the fleet's time.
    #[n(1)]
    pub at: UnixMs,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EventKind {
    /// First registration, or registration over a tombstone (account only: unproved).
    #[n(0)]
    Registered,
    /// Replaced by owner proof.
    #[n(1)]
    Replaced,
    /// Recovered: the code was right.
    #[n(2)]
    Recovered,
    /// Deleted by owner proof.
    #[n(3)]
    Deleted,
    /// A reset was cancelled by owner proof or recovery.
    #[n(4)]
    ResetCancelled,
    /// A guess was spent.
    #[n(5)]
    Guessed,
    /// A reset's waiting period began.
    #[n(6)]
    ResetStarted,
    /// Replaced by the account alone, after a reset's waiting period.
    #[n(7)]
    ReplacedAfterReset,
    /// Deleted by the account alone, after a reset's waiting period.
    #[n(8)]
    DeletedAfterReset,
    /// Destroyed by guessing.
    #[n(9)]
    Destroyed,
}

impl EventKind {
    /// Whether the owner or the code stood behind it: which of the two rings it goes to.
    pub const fn proved(self) -> bool {
        matches!(
            self,
            Self::Replaced | Self::Recovered | Self::Deleted | Self::ResetCancelled
        )
    }
}

/// The two rings of the last 8 events each, oldest first. Separate, so that one kind cannot push
/// out the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct History {
    /// Events proved by owner or code.
    #[n(0)]
    pub proved: Vec<Event>,
    /// Events that the account alone could cause.
    #[n(1)]
    pub unproved: Vec<Event>,
}

/// What was changed, sealed by the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// What.
    #[n(0)]
    pub kind: EventKind,
    /// The operation it answers.
    #[n(1)]
    pub op: OpId,
    /// The record.
    #[n(2)]
    pub record: RecordId,
    /// Its generation after the change.
    #[n(3)]
    pub generation: Generation,
    /// The entry that holds the change.
    #[n(4)]
    pub index: LogIndex,
    /// The fleet's time of it.
    #[n(5)]
    pub at: UnixMs,
    /// Guesses left now.
    #[n(6)]
    pub attempts_left: u8,
    /// Totals now.
    #[n(7)]
    pub totals: Totals,
    /// The full history, where code or owner key was proved.
    #[n(8)]
    pub history: Option<History>,
    /// When a reset may end, if this started one.
    #[n(9)]
    pub reset_until: Option<UnixMs>,
}

/// A record's state, held until a quorum has sealed it: fresh, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StatusReport {
    /// The record's name.
    #[n(0)]
    pub record: RecordId,
    /// Its generation.
    #[n(1)]
    pub generation: Generation,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Guesses left.
    #[n(3)]
    pub attempts_left: u8,
    /// Guesses a success restores.
    #[n(4)]
    pub attempts_max: u8,
    /// No new guess before this time.
    #[n(5)]
    pub wait_until: Option<UnixMs>,
    /// A guess is open: answered, not yet finished.
    #[n(6)]
    pub pending: bool,
    /// A reset is waiting.
    #[n(7)]
    pub reset: Option<ResetReport>,
    /// Totals.
    #[n(8)]
    pub totals: Totals,
    /// The fleet's time.
    #[n(9)]
    pub now: UnixMs,
    /// The history, where the owner proof was good.
    #[n(10)]
    pub history: Option<History>,
}

/// A waiting reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ResetReport {
    /// Its name, for `CancelReset`.
    #[n(0)]
    pub op: OpId,
    /// When the account alone may replace or delete.
    #[n(1)]
    pub until: UnixMs,
}

/// Why a record was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Destruction {
    /// Every guess was spent.
    #[n(0)]
    Guessed,
    /// Its owner deleted it.
    #[n(1)]
    Deleted,
    /// The account deleted it after a reset's waiting period.
    #[n(2)]
    DeletedAfterReset,
}

/// Answers that say no. Each is distinct on purpose (DESIGN §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Refusal {
    /// The token is not good for this fleet now: signature, issuer, audience, time or possession.
    #[n(0)]
    WrongTokenOrTenant,
    /// Nothing was ever registered here.
    #[n(1)]
    NeverRegistered,
    /// The record was erased.
    #[n(2)]
    Destroyed {
        /// When.
        #[n(0)]
        at: UnixMs,
        /// Why.
        #[n(1)]
        why: Destruction,
        /// Totals.
        #[n(2)]
        totals: Totals,
    },
    /// Too many unfinished guesses: wait.
    #[n(3)]
    WaitUntil {
        /// No new guess before this time.
        #[n(0)]
        until: UnixMs,
        /// The fleet's time.
        #[n(1)]
        now: UnixMs,
        /// Guesses left.
        #[n(2)]
        attempts_left: u8,
    },
    /// A live record is there, and the proof is missing or wrong.
    #[n(4)]
    OwnerProofNeeded,
    /// A reset is waiting.
    #[n(5)]
    ResetPending {
        /// When it is over.
        #[n(0)]
        until: UnixMs,
    },
    /// The ticket is expired, of another generation or incarnation, or not this fleet's.
    #[n(6)]
    StaleTicket,
    /// The attempt id is not greater than the greatest ever accepted, or is from the future.
    #[n(7)]
    StaleAttempt {
        /// The value to beat.
        #[n(0)]
        greatest: AttemptId,
        /// The fleet's time.
        #[n(1)]
        now: UnixMs,
    },
    /// Another guess or another success came after this one.
    #[n(8)]
    Superseded,
    /// This op id was used with another body.
    #[n(9)]
    OpIdReused,
    /// This fleet is retired.
    #[n(10)]
    RetiredFleet,
    /// Overloaded; nothing was spent.
    #[n(11)]
    Busy {
        /// Try again after this long, ms.
        #[n(0)]
        retry_after_ms: u32,
    },
    /// The guess's proof (KE3) is wrong. Counts nothing: the guess was paid at its start.
    #[n(12)]
    WrongCode,
    /// The slot is not below `slots_max`.
    #[n(13)]
    SlotOutOfRange,
    /// There is no reset of that name to cancel.
    #[n(14)]
    NoSuchReset,
    /// A value inside breaks the protocol (an invalid group element, a length).
    #[n(15)]
    InvalidRequest,
    /// The op id is not greater than the greatest ever accepted, or is from the future.
    #[n(16)]
    StaleOp {
        /// The value to beat.
        #[n(0)]
        greatest: OpId,
        /// The fleet's time.
        #[n(1)]
        now: UnixMs,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::WrongTokenOrTenant => {
                "the account token was not accepted; sign in to the app again"
            }
            Self::NeverRegistered => "no backup key was ever registered for this account and slot",
            Self::Destroyed {
                why: Destruction::Guessed,
                ..
            } => "the backup key was erased after too many wrong codes; it cannot be brought back",
            Self::Destroyed { .. } => "the backup key was deleted; it cannot be brought back",
            Self::WaitUntil { .. } => "too many codes were tried; wait before the next one",
            Self::OwnerProofNeeded => {
                "a backup key is registered here; replacing or deleting it needs the device or \
                 the code that holds it, or a reset with its waiting period"
            }
            Self::ResetPending { .. } => "a reset is waiting; it can be cancelled until it is over",
            Self::StaleTicket => "this step came too late or twice; start again",
            Self::StaleAttempt { .. } | Self::StaleOp { .. } => {
                "this attempt is older than the newest one; check the clock and try again"
            }
            Self::Superseded => "another attempt or device came after this one",
            Self::OpIdReused => "an operation id was used twice for different requests",
            Self::RetiredFleet => "this fleet is retired; update the app",
            Self::Busy { .. } => "the vault is busy; send the same again shortly",
            Self::WrongCode => "the code is wrong",
            Self::SlotOutOfRange => "there is no such slot",
            Self::NoSuchReset => "there is no reset to cancel",
            Self::InvalidRequest => "the request breaks the protocol",
        })
    }
}

/// Digest label of the routing header, for possession proofs.
pub const HEADER_LABEL: &str = "strongroom/v1 header";

/// Digest of a sealed leaf: the value that the trie keeps under its key.
pub fn leaf_digest(sealed: &[u8]) -> Digest {
    crate::codec::digest_bytes("strongroom/v1 leaf", sealed)
}
