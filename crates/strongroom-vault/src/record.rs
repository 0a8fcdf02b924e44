//! The record: what the trie keeps under a record id, in the clear (DESIGN §5).
//!
//! Invariants, kept by `policy` and asserted by its tests:
//! 1. `attempts_left ≤ attempts_max`; only [`Record::prove`](crate::policy) raises it.
//! 2. [`Totals`], `generation` and `greatest_attempt` never go down, tombstones included.
//! 3. A tombstone holds no seed, no OPAQUE file and no wrapped secret.
//! 4. A record's plaintext has one of two sizes, fixed when its generation was registered.
//!
//! The host supplies sealed records and may supply old ones; `propose` decides on proved ones only.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use strongroom_wire::answer::{Destruction, Event, EventKind, History, Totals};
use strongroom_wire::codec::Malformed;
use strongroom_wire::limits::{
    RECORD_BYTES_LARGE, RECORD_BYTES_SMALL, REGISTRATION_UPLOAD_BYTES, RING, WRAPPED_BYTES_SMALL,
};
use strongroom_wire::{
    AttemptId, Digest, Generation, LogIndex, OpId, PublicKey, UnixMs, codec, decode,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A record or what is left of one.
#[derive(Clone, Encode, Decode)]
pub struct Record {
    /// Index of the entry that registered it.
    #[n(0)]
    pub generation: Generation,
    /// Size class of the plaintext: large if true.
    #[n(1)]
    pub large: bool,
    /// What outlives generations.
    #[n(2)]
    pub lineage: Lineage,
    /// Live or not.
    #[n(3)]
    pub body: Body,
}

/// What survives replacement, deletion and destruction.
#[derive(Clone, Default, Encode, Decode)]
pub struct Lineage {
    /// Monotone totals.
    #[n(0)]
    pub totals: Totals,
    /// The two rings.
    #[n(1)]
    pub history: History,
    /// Greatest attempt id ever accepted.
    #[n(2)]
    pub greatest_attempt: Option<AttemptId>,
    /// The operation that registered the present generation, for its retries.
    #[n(3)]
    pub registered: Option<LastOp>,
    /// The last finish of a recovery.
    #[n(4)]
    pub recovered: Option<LastOp>,
    /// The last `Delete`, `Reset` or `CancelReset`. Each kind of operation is remembered by itself,
    /// so that none makes another's retry fail.
    #[n(5)]
    pub changed: Option<LastOp>,
    /// Greatest op id ever accepted of a `Delete`, `Reset` or `CancelReset`. A finish needs none:
    /// it is bound to its ticket, and a ticket to the state that it saw.
    #[n(6)]
    pub greatest_op: Option<OpId>,
}

/// A remembered operation and what came of it.
#[derive(Clone, Copy, Encode, Decode)]
pub struct LastOp {
    /// Its id.
    #[n(0)]
    pub op: OpId,
    /// The first half of its body's digest: against accidents and liars alike, 128 bits tell.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: [u8; 16],
    /// What it did.
    #[n(2)]
    pub kind: EventKind,
    /// In which entry.
    #[n(3)]
    pub index: LogIndex,
    /// When.
    #[n(4)]
    pub at: UnixMs,
    /// End of the waiting period it began, if it began one.
    #[n(5)]
    pub reset_until: Option<UnixMs>,
}

/// Live or erased.
#[derive(Clone, Encode, Decode)]
#[expect(
    clippy::large_enum_variant,
    reason = "tombstones are rare, and equal in size on disk"
)]
pub enum Body {
    /// A registered secret.
    #[n(0)]
    Live(#[n(0)] Live),
    /// Erased.
    #[n(1)]
    Tombstone {
        /// When.
        #[n(0)]
        at: UnixMs,
        /// Why.
        #[n(1)]
        why: Destruction,
    },
}

/// A registered secret and the state of its guesses.
#[derive(Clone, Encode, Decode)]
pub struct Live {
    /// Guesses left.
    #[n(0)]
    pub attempts_left: u8,
    /// Fixed at registration.
    #[n(1)]
    pub attempts_max: u8,
    /// No new guess before this.
    #[n(2)]
    pub earliest_next: UnixMs,
    /// Guesses since the last success.
    #[n(3)]
    pub unfinished: u32,
    /// When the last guess was taken, once none is left.
    #[n(4)]
    pub exhausted_at: Option<UnixMs>,
    /// The newest guess, until it is proved.
    #[n(5)]
    pub pending: Option<Pending>,
    /// A waiting reset.
    #[n(6)]
    pub reset: Option<WaitingReset>,
    /// Proves the root.
    #[n(7)]
    pub owner_key: PublicKey,
    /// What OPAQUE needs, and what it guards.
    #[n(8)]
    pub material: Material,
}

/// The newest guess.
#[derive(Clone, Copy, Encode, Decode)]
pub struct Pending {
    /// Its id.
    #[n(0)]
    pub attempt: AttemptId,
    /// Digest of its KE1: a retry evaluates the same blinded element, nothing else.
    #[n(1)]
    pub ke1: Digest,
}

/// A waiting reset.
#[derive(Clone, Copy, Encode, Decode)]
pub struct WaitingReset {
    /// The op that began it: its name.
    #[n(0)]
    pub op: OpId,
    /// When the account alone may replace or delete.
    #[n(1)]
    pub until: UnixMs,
}

/// What is erased when a record dies.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct Material {
    /// The per-record OPRF seed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub seed: [u8; 32],
    /// OPAQUE's record (RFC 9807 §4.1).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub upload: [u8; REGISTRATION_UPLOAD_BYTES],
    /// Root and payload under the export key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    /// Code of the named Argon2id parameter set.
    #[n(3)]
    pub ksf: u8,
}

impl Material {
    /// Names this material: a KE2 computed from material of another digest must not be used.
    pub fn digest(&self) -> Digest {
        codec::digest("strongroom/v1 material", self)
    }
}

/// Which operations are remembered together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// `RegisterFinish`.
    Register,
    /// `RecoverFinish`.
    Recover,
    /// `Delete`, `Reset`, `CancelReset`.
    Change,
}

impl Lineage {
    /// The operation of that kind that is remembered.
    pub fn last(&self, kind: OpKind) -> Option<LastOp> {
        match kind {
            OpKind::Register => self.registered,
            OpKind::Recover => self.recovered,
            OpKind::Change => self.changed,
        }
    }

    /// Remembers an operation in place of the last of its kind.
    pub fn remember(&mut self, kind: OpKind, last: LastOp) {
        *match kind {
            OpKind::Register => &mut self.registered,
            OpKind::Recover => &mut self.recovered,
            OpKind::Change => &mut self.changed,
        } = Some(last);
    }

    /// Takes the newest guess out of the unproved ring: its code was right. So an owner's own
    /// recoveries never push a thief's guesses out.
    pub fn forget_guess(&mut self) {
        let ring = &mut self.history.unproved;
        if let Some(at) = ring
            .iter()
            .rposition(|event| event.kind == EventKind::Guessed)
        {
            ring.remove(at);
        }
    }

    /// Puts an event into its ring; the oldest of that ring falls out.
    pub fn note(&mut self, kind: EventKind, at: UnixMs) {
        let ring = if kind.proved() {
            &mut self.history.proved
        } else {
            &mut self.history.unproved
        };
        if ring.len() >= RING {
            ring.remove(0);
        }
        ring.push(Event { kind, at });
    }
}

impl Record {
    /// Whether a wrapped secret of this length makes a record of the large class.
    pub fn is_large(wrapped: usize) -> bool {
        wrapped > WRAPPED_BYTES_SMALL
    }

    /// The live part, if it lives.
    pub fn live(&self) -> Option<&Live> {
        match &self.body {
            Body::Live(live) => Some(live),
            Body::Tombstone { .. } => None,
        }
    }

    /// Canonical bytes, padded to the record's size class.
    ///
    /// # Panics
    /// If a record outgrows its class: our own state, bounded by the limits (tested at the worst
    /// case).
    pub fn to_padded(&self) -> Zeroizing<Vec<u8>> {
        let size = if self.large {
            RECORD_BYTES_LARGE
        } else {
            RECORD_BYTES_SMALL
        };
        let padded = codec::encode_padded(self, size);
        Zeroizing::new(padded.expect("a record fits its class by the limits"))
    }

    /// Reads what [`Self::to_padded`] wrote.
    ///
    /// # Errors
    /// [`Malformed`]: another format under our own seal, which only another version writes.
    pub fn from_padded(padded: &[u8]) -> Result<Self, Malformed> {
        decode(codec::unpad(padded)?)
    }
}
