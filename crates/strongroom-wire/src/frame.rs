//! What the host and the HSM say to each other: one CBOR request, one response, each behind a
//! length of 4 bytes (big endian) and a sequence number of 8 (DESIGN §3).
//!
//! The host may lie in every field. The HSM answers a lie with a named [`HsmError`], keeps its
//! state, and never panics. Several requests may be in flight; a response carries its request's
//! sequence number, and may overtake others.

use crate::entry::{
    EntryHeader, Notarised, Promised, Proposal, Ready, Signed, SignedClockChange, State, Tip, Write,
};
use crate::manifest::SignedManifest;
use crate::tenant::{SignedTenantChange, TenantRefusal};
use crate::{
    Epoch, FleetId, Handle, LogIndex, MemberId, ProcessId, PublicKey, RecordId, Signature,
    TenantKey, UnixMs,
};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// Version of this interface; host and HSM refuse to work across versions.
pub const FRAME_VERSION: u16 = 1;

/// Host to HSM.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "one at a time, moved once")]
pub enum Request {
    /// Who are you? First on every connection.
    #[n(0)]
    Hello {
        /// [`FRAME_VERSION`].
        #[n(0)]
        version: u16,
    },
    /// Make identity and fleet secret (or show those made before): the first half of a genesis.
    #[n(1)]
    Draft,
    /// Begin the fleet of this manifest, which must name the drafted keys.
    #[n(2)]
    Genesis {
        /// Canonical bytes of a genesis [`crate::manifest::Manifest`].
        #[cbor(n(0), with = "minicbor::bytes")]
        manifest: Vec<u8>,
        /// The fleet secret as `HandOver` gave it; none for the member that drafted it.
        #[n(1)]
        secret: Option<SealedSecret>,
    },
    /// Go on where the anchor says, from what the host kept.
    #[n(3)]
    Resume {
        /// The anchor's tip. Its mark is not looked at: the anchor vouches for it.
        #[n(0)]
        place: Place,
        /// Of the tip; empty where that is the anchor's own tip. A member whose disk was lost goes
        /// on from a copy of another's, which is newer than its anchor.
        #[n(1)]
        certificate: Vec<Signed<Notarised>>,
    },
    /// Promise an epoch to a leader.
    #[n(4)]
    Promise {
        /// Greater than any promised before.
        #[n(0)]
        epoch: Epoch,
        /// To whom.
        #[n(1)]
        leader: MemberId,
        /// To which start of its HSM: from its `Welcome`.
        #[n(2)]
        process: ProcessId,
    },
    /// Lead an epoch, on a quorum's promises.
    #[n(5)]
    Lead {
        /// The epoch.
        #[n(0)]
        epoch: Epoch,
        /// Promises that name this member and this start of it.
        #[n(1)]
        promises: Vec<Signed<Promised>>,
        /// The newest promised tip, to build on.
        #[n(2)]
        start: Place,
    },
    /// Open a client's envelope. Needs no state; any thread.
    #[n(6)]
    Open {
        /// As it came.
        #[cbor(n(0), with = "minicbor::bytes")]
        envelope: Vec<u8>,
    },
    /// Do the work that needs no decision, on leaves not yet proved. Any thread.
    #[n(7)]
    Evaluate {
        /// From `Opened`.
        #[n(0)]
        handle: Handle,
        /// The leaf under the record's key, if there is one.
        #[n(1)]
        record: Option<LeafBytes>,
        /// The leaf under the tenant's key, if asked for and there is one.
        #[n(2)]
        tenant: Option<LeafBytes>,
    },
    /// Decide a batch on proved leaves.
    #[n(8)]
    Propose {
        /// Evaluated operations, in the order to decide them; at most `BATCH_MAX`.
        #[n(0)]
        handles: Vec<Handle>,
        /// Multiproof of every key they touch against the speculative root.
        #[cbor(n(1), with = "minicbor::bytes")]
        proof: Vec<u8>,
        /// Leaves that `Evaluate` did not see: of finishes that went without it, or changed since.
        #[n(2)]
        leaves: Vec<LeafBytes>,
    },
    /// Decide a change of a tenant.
    #[n(9)]
    ProposeTenant {
        /// The change.
        #[n(0)]
        change: SignedTenantChange,
        /// Proof of the tenant's key against the speculative root.
        #[cbor(n(1), with = "minicbor::bytes")]
        proof: Vec<u8>,
        /// The leaf that stands there.
        #[n(2)]
        leaf: Option<LeafBytes>,
    },
    /// Seal a run of entries, in order. One anchor write.
    #[n(10)]
    Notarise {
        /// Their headers, as proposed.
        #[n(0)]
        run: Vec<Proposal>,
        /// The header before the run, of a lower epoch, where the own tip is another: the leader's
        /// start.
        #[n(1)]
        start: Option<EntryHeader>,
    },
    /// Let go of the answers that a certificate pays for.
    #[n(11)]
    Release {
        /// `Notarised` for one and the same tip by a quorum.
        #[n(0)]
        certificate: Vec<Signed<Notarised>>,
    },
    /// Forget operations that will not be proposed.
    #[n(12)]
    Forget {
        /// Their handles.
        #[n(0)]
        handles: Vec<Handle>,
    },
    /// How are you?
    #[n(13)]
    Inspect,
    /// The trie key of an issuer's tenant, for `ProposeTenant`.
    #[n(14)]
    TenantKeyOf {
        /// The issuer.
        #[n(0)]
        issuer: String,
    },
    /// Finish what is running and stop.
    #[n(15)]
    Shutdown,
    /// Move to an entry that a quorum sealed, from any branch. No vote.
    #[n(16)]
    Adopt {
        /// The entry.
        #[n(0)]
        place: Place,
        /// `Notarised` for its tip by a quorum.
        #[n(1)]
        certificate: Vec<Signed<Notarised>>,
    },
    /// Set the fleet's time, back or forward, on the officers' word.
    #[n(18)]
    ProposeClock {
        /// The change.
        #[n(0)]
        change: SignedClockChange,
    },
    /// Say that the secret opens, and is that of the fleet whose manifest names this draft.
    #[n(19)]
    Ready {
        /// Canonical bytes of the manifest that is to come into force.
        #[cbor(n(0), with = "minicbor::bytes")]
        manifest: Vec<u8>,
        /// The fleet secret as `HandOver` gave it.
        #[n(1)]
        secret: SealedSecret,
    },
    /// Become a member, once an entry names this draft as one.
    #[n(20)]
    Join {
        /// The fleet secret as `HandOver` gave it.
        #[n(0)]
        secret: SealedSecret,
        /// An entry, sealed or not, under a manifest that names it.
        #[n(1)]
        named: Place,
        /// Where to stand: that entry, or a certified one before it.
        #[n(2)]
        base: Place,
        /// `Notarised` for the base by a quorum.
        #[n(3)]
        certificate: Vec<Signed<Notarised>>,
    },
    /// Put another manifest in force.
    #[n(21)]
    ProposeMembers {
        /// The manifest, and the officers of the one in force.
        #[n(0)]
        change: SignedManifest,
        /// One of each member that the manifest in force does not name.
        #[n(1)]
        ready: Vec<Signed<Ready>>,
    },
    /// Leave for ever: erase the fleet secret, on proof that this member is none any more.
    #[n(22)]
    Retire {
        /// An entry under a manifest that does not name it, decided by that one's members alone.
        #[n(0)]
        place: Place,
        /// `Notarised` for its tip by a quorum.
        #[n(1)]
        certificate: Vec<Signed<Notarised>>,
    },
    /// Seal the fleet secret to a member that the manifest in force names, or the next one.
    #[n(17)]
    HandOver {
        /// Its slot.
        #[n(0)]
        member: MemberId,
        /// Its key for the hand-over, from its `Drafted`.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: Vec<u8>,
        /// Its identity's signature over that key.
        #[n(2)]
        signature: Signature,
        /// The manifest that is to name it, signed by the officers of the one in force; none where
        /// that one does.
        #[n(3)]
        next: Option<SignedManifest>,
    },
}

/// An entry, and all that it takes to say who decides it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    /// Its header, with the mark.
    #[n(0)]
    pub proposal: Proposal,
    /// Preimage of its state digest.
    #[n(1)]
    pub state: State,
    /// The manifest in force there; then the one before, where [`State::before`] names it.
    #[n(2)]
    pub manifests: Vec<ManifestBytes>,
}

/// Canonical bytes of a [`crate::manifest::Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ManifestBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// A sealed leaf.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct LeafBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// The fleet secret, sealed to a joiner's hand-over key: HPKE `enc` (1,120 bytes) ‖ ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct SealedSecret(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// HSM to host.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// To `Hello`.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// To `Draft`.
    #[n(1)]
    Drafted(#[n(0)] Drafted),
    /// To `Genesis`, `Resume` and `Join`: where it stands.
    #[n(2)]
    Standing {
        /// The tip.
        #[n(0)]
        proposal: Proposal,
        /// Its state.
        #[n(1)]
        state: State,
    },
    /// To `Promise`.
    #[n(3)]
    Promised(#[n(0)] Signed<Promised>),
    /// To `Lead`: where the chain goes on.
    #[n(4)]
    Leading {
        /// Build on this.
        #[n(0)]
        start: Tip,
    },
    /// To `Open`, unless the request needs no state to be refused: then `Evaluated` with the
    /// answer.
    #[n(5)]
    Opened {
        /// Names the operation from now on.
        #[n(0)]
        handle: Handle,
        /// Whose leaf to bring.
        #[n(1)]
        record: RecordId,
        /// Whose leaf to bring, and whose key the batch's proof must cover; none for the finish of
        /// a recovery. A finish may be proposed without `Evaluate`: it needs no leaf before that.
        #[n(2)]
        tenant: Option<TenantKey>,
    },
    /// To `Evaluate`.
    #[n(6)]
    Evaluated {
        /// The answer, where it depends on no state that must be sealed first (`RegisterStart`);
        /// the handle is then gone. Otherwise propose.
        #[n(0)]
        answer: Option<AnswerBytes>,
    },
    /// To `Propose`, and to `ProposeTenant` and its like.
    #[n(7)]
    Proposed {
        /// The new entry.
        #[n(0)]
        proposal: Proposal,
        /// Preimage of its state digest.
        #[n(1)]
        state: State,
        /// Its writes, to store under their keys.
        #[n(2)]
        writes: Vec<Write>,
        /// Operations left out of the entry, and why; their handles stay good.
        #[n(3)]
        left_out: Vec<LeftOut>,
    },
    /// To `Notarise`.
    #[n(8)]
    Notarised(#[n(0)] Signed<Notarised>),
    /// To `Release`.
    #[n(9)]
    Released {
        /// Sealed answers.
        #[n(0)]
        answers: Vec<ReleasedAnswer>,
    },
    /// To `Adopt`, `Forget`, `Retire` and `Shutdown`.
    #[n(10)]
    Done,
    /// To `Inspect`.
    #[n(11)]
    Inspection(#[n(0)] Inspection),
    /// To `TenantKeyOf`.
    #[n(12)]
    TenantKey(#[n(0)] TenantKey),
    /// To `ProposeTenant`: no, nothing was proposed.
    #[n(13)]
    TenantRefused(#[n(0)] TenantRefusal),
    /// No.
    #[n(14)]
    Error(#[n(0)] HsmError),
    /// To `HandOver`.
    #[n(15)]
    HandedOver {
        /// For the joiner's `Genesis`, or its `Ready` and `Join`.
        #[n(0)]
        secret: SealedSecret,
    },
    /// To `Ready`.
    #[n(16)]
    Ready(#[n(0)] Signed<Ready>),
}

/// An answer for the client.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct AnswerBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// An answer let go.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReleasedAnswer {
    /// Whose.
    #[n(0)]
    pub handle: Handle,
    /// Sealed to the client.
    #[n(1)]
    pub answer: AnswerBytes,
}

/// An operation that a batch left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LeftOut {
    /// Which.
    #[n(0)]
    pub handle: Handle,
    /// Why.
    #[n(1)]
    pub why: LeftOutReason,
}

/// Why a batch left an operation out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum LeftOutReason {
    /// The proved leaf is not among the leaves given: bring it, or evaluate again.
    #[n(0)]
    LeafMissing,
    /// The proof does not cover the operation's keys.
    #[n(1)]
    NotCovered,
    /// Not evaluated yet, or unknown, or twice in the batch.
    #[n(2)]
    NotEvaluated,
}

/// What kind of HSM this is, and how far its life has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// [`FRAME_VERSION`].
    #[n(0)]
    pub version: u16,
    /// Platform name.
    #[n(1)]
    pub platform: String,
    /// What it is worth.
    #[n(2)]
    pub class: crate::manifest::PlatformClass,
    /// Crate version of the image.
    #[n(3)]
    pub image: String,
    /// Where it stands.
    #[n(4)]
    pub phase: Phase,
    /// Drawn when this process started, and kept nowhere: promises name it.
    #[n(5)]
    pub process: ProcessId,
}

/// How far an HSM's life has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// No keys.
    #[n(0)]
    Blank,
    /// Keys, no fleet.
    #[n(1)]
    Drafted,
    /// A member that waits for `Resume`.
    #[n(2)]
    Waiting {
        /// Its fleet.
        #[n(0)]
        fleet: FleetId,
        /// Where its anchor stands.
        #[n(1)]
        tip: Tip,
        /// The greatest epoch promised.
        #[n(2)]
        promised: Epoch,
    },
    /// A member at work.
    #[n(3)]
    Standing {
        /// Its fleet.
        #[n(0)]
        fleet: FleetId,
        /// Its tip.
        #[n(1)]
        tip: Tip,
        /// The greatest epoch promised.
        #[n(2)]
        promised: Epoch,
    },
    /// A member no more: it erased the fleet secret.
    #[n(4)]
    Retired {
        /// The fleet that it left.
        #[n(0)]
        fleet: FleetId,
    },
}

/// The keys of a fleet to be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Drafted {
    /// The member's identity key.
    #[n(0)]
    pub identity: PublicKey,
    /// The fleet's HPKE key, id 1.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hpke: Vec<u8>,
    /// The fleet's OPAQUE public key.
    #[n(2)]
    pub opaque: PublicKey,
    /// X-Wing public key to which another member seals the fleet secret, if this one joins.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub handover: Vec<u8>,
    /// The identity's signature over it ([`HandoverKey`]).
    #[n(4)]
    pub signature: Signature,
}

/// What a joiner's identity signs: "the secret may be sealed to this key". Label
/// `strongroom/v1 handover`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HandoverKey {
    /// X-Wing public key, 1,216 bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
}

/// Numbers for the operator; nothing about users.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Inspection {
    /// The anchor's tip.
    #[n(0)]
    pub tip: Tip,
    /// The greatest epoch promised.
    #[n(1)]
    pub promised: Epoch,
    /// The epoch it leads, if it does.
    #[n(2)]
    pub leading: Option<Epoch>,
    /// Newest entry proposed.
    #[n(3)]
    pub speculative: LogIndex,
    /// Operations held open.
    #[n(4)]
    pub handles: u32,
    /// Answers held back.
    #[n(5)]
    pub held: u32,
    /// The platform's clock.
    #[n(6)]
    pub clock: UnixMs,
    /// Lies and failures refused since the start.
    #[n(7)]
    pub refused: u64,
    /// Anchor writes since the start.
    #[n(8)]
    pub anchor_writes: u64,
}

/// Why the HSM refused its host. One variant per broken rule, alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum HsmError {
    /// The anchor could not be moved, or is not what was written last. The HSM has halted: what it
    /// holds in memory may not be what is stored, and only a restart tells.
    #[n(0)]
    AnchorFailed,
    /// The header, state or manifest is not the one the anchor names.
    #[n(1)]
    AnchorMismatch,
    /// More than `BATCH_MAX` operations in a batch.
    #[n(2)]
    BatchTooLarge,
    /// Too many handles or batches are open; nothing was spent.
    #[n(3)]
    Busy,
    /// A certificate has too few distinct members, mixed tips, or a bad signature.
    #[n(4)]
    CertificateInvalid,
    /// A change of the clock is not the next one, or too few officers signed it.
    #[n(24)]
    ClockChangeInvalid,
    /// The envelope does not open: wrong key, damaged, or not for this fleet.
    #[n(5)]
    EnvelopeUnopened,
    /// An epoch that is not greater than one promised, or a lower one than promised.
    #[n(6)]
    EpochStale,
    /// An epoch so far above the one promised that epochs would run out.
    #[n(23)]
    EpochTooFar,
    /// The image met a fault of its own; it stops.
    #[n(7)]
    Fault,
    /// The frame or something in it is not canonical CBOR of a known shape.
    #[n(8)]
    FrameMalformed,
    /// The frame is longer than `FRAME_BYTES_MAX`.
    #[n(9)]
    FrameTooLong,
    /// The entry's mark is not by this fleet's HSMs.
    #[n(22)]
    EntryForged,
    /// Entries are missing before the first one given: bring them.
    #[n(10)]
    Gap,
    /// No such handle, or it is not at this step.
    #[n(11)]
    HandleUnknown,
    /// A hand-over that the manifest does not name, or that does not open.
    #[n(25)]
    HandoverInvalid,
    /// A leaf does not open: damaged, another fleet's, or of another record.
    #[n(12)]
    LeafForged,
    /// The manifest breaks a rule or does not name this HSM's keys.
    #[n(13)]
    ManifestInvalid,
    /// The HSM does not lead; its speculation, if any, is gone.
    #[n(14)]
    NotLeading,
    /// Nothing released is behind this certificate on the own chain.
    #[n(15)]
    NotOnChain,
    /// A joiner did not say that it is ready, or somebody else did in its name.
    #[n(26)]
    NotReady,
    /// Too few officers of the manifest in force signed, or one of them twice.
    #[n(27)]
    OfficersInvalid,
    /// The proof does not match the speculative root.
    #[n(16)]
    ProofInvalid,
    /// Too few promises, twice the same member, or for another leader or epoch.
    #[n(17)]
    PromisesInvalid,
    /// The entry is off this member's chain or below its tip: skip it for ever.
    #[n(18)]
    Stale,
    /// The entry's time is ahead of this member's clock: offer it again.
    #[n(19)]
    TooEarly,
    /// A change of members has no certificate yet: nothing is proposed above it.
    #[n(28)]
    Unsettled,
    /// Not in this phase of the HSM's life.
    #[n(20)]
    WrongPhase,
    /// Host and HSM speak different versions.
    #[n(21)]
    WrongVersion,
}

impl core::fmt::Display for HsmError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for HsmError {}
