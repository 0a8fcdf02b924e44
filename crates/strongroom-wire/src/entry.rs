//! The notarised history: entry headers, the anchor, statements (DESIGN §6).
//!
//! A header and the preimage of its state digest are a member's *whole* state. Headers are made by
//! HSM code only, and believed only with a certificate; hosts store and carry them.

use crate::codec::digest;
use crate::{
    CellId, Digest, Epoch, FleetId, Incarnation, LogIndex, MemberId, ProcessId, PublicKey,
    RecordId, Signature, UnixMs,
};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Index 0: an empty trie under the genesis manifest.
    #[n(0)]
    Genesis,
    /// Client requests, possibly none.
    #[n(1)]
    Batch,
    /// A tenant created, or its issuer keys changed.
    #[n(2)]
    Tenant,
    /// The fleet's time set by its officers: the only entry whose time may be before the last.
    #[n(3)]
    Clock,
    /// Another manifest in force: members come, go, or are exchanged.
    #[n(4)]
    Reconfigure,
}

/// The state format and rules of this code; raised by a change of members only.
pub const FEATURE_LEVEL: u16 = 1;

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EntryHeader {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// The ballot it was proposed in.
    #[n(3)]
    pub epoch: Epoch,
    /// Its position.
    #[n(4)]
    pub index: LogIndex,
    /// Hash of the header before it (zero for the genesis).
    #[n(5)]
    pub previous: Digest,
    /// What it does.
    #[n(6)]
    pub kind: Kind,
    /// Root of the trie after it.
    #[n(7)]
    pub root: Digest,
    /// Digest of the writes ([`writes_digest`]).
    #[n(8)]
    pub writes: Digest,
    /// Digest of the [`State`] after it.
    #[n(9)]
    pub state: Digest,
    /// The fleet's time.
    #[n(10)]
    pub time: UnixMs,
    /// [`FEATURE_LEVEL`].
    #[n(11)]
    pub feature_level: u16,
}

impl EntryHeader {
    /// The hash that links the chain.
    pub fn hash(&self) -> Digest {
        digest("strongroom/v1 entry", self)
    }

    /// Where this entry stands.
    pub fn tip(&self) -> Tip {
        Tip {
            epoch: self.epoch,
            index: self.index,
            hash: self.hash(),
        }
    }
}

/// A header with the mark that HSM code made it: HMAC-SHA-256 over the header's hash under a key
/// that only the fleet's HSMs derive. Without it a host could write a header of its own (any root,
/// every counter reset) and have it notarised: notaries check links, not transitions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proposal {
    /// The header.
    #[n(0)]
    pub header: EntryHeader,
    /// The mark.
    #[n(1)]
    pub mark: Digest,
}

/// The replicated state beside the trie: the preimage of [`EntryHeader::state`]. Hosts read it in
/// clear, so nothing in it may depend on the outcome of an operation: a host that proposes one at a
/// time would read right from wrong in a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// Digest of the manifest in force.
    #[n(0)]
    pub manifest: Option<Digest>,
    /// Its epoch.
    #[n(1)]
    pub manifest_epoch: u64,
    /// Tenants ever created.
    #[n(2)]
    pub tenants: u64,
    /// Changes of the clock so far, so that none can be replayed.
    #[n(3)]
    pub clock_changes: u64,
    /// Digest of the manifest before, for as long as no certificate shows that [`State::manifest`]
    /// took its place: quorums of both decide the entry (DESIGN §6, reconfigure).
    #[n(4)]
    pub before: Option<Digest>,
    /// The greatest number that a member ever had, once the members were changed: none comes back.
    #[n(5)]
    pub greatest_member: Option<MemberId>,
}

impl State {
    /// The digest that the header carries.
    pub fn digest(&self) -> Digest {
        digest("strongroom/v1 state", self)
    }
}

/// A place in the chain. Ordered by (epoch, index).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tip {
    /// The ballot of the entry there.
    #[n(0)]
    pub epoch: Epoch,
    /// Its position.
    #[n(1)]
    pub index: LogIndex,
    /// Its hash.
    #[n(2)]
    pub hash: Digest,
}

/// What a member keeps where nothing can be rolled back (DESIGN §8), about 150 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Anchor {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// The member.
    #[n(3)]
    pub member: MemberId,
    /// No entry of a lower epoch is notarised any more.
    #[n(4)]
    pub promised: Epoch,
    /// The newest entry notarised or adopted.
    #[n(5)]
    pub tip: Tip,
    /// The member saw a quorum's certificate that it is none any more. It never stands again.
    #[n(6)]
    pub retired: bool,
}

/// One write of an entry: the sealed leaf that stands under `key` from now on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Write {
    /// The trie key: of a record or a tenant.
    #[n(0)]
    pub key: RecordId,
    /// The sealed leaf.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
}

/// Digest of an entry's writes, in order: keys and leaf digests.
pub fn writes_digest(writes: &[Write]) -> Digest {
    let list: Vec<(RecordId, Digest)> = writes
        .iter()
        .map(|w| (w.key, crate::answer::leaf_digest(&w.leaf)))
        .collect();
    digest("strongroom/v1 writes", &list)
}

/// An entry as the host stores it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The header and its mark.
    #[n(0)]
    pub proposal: Proposal,
    /// Preimage of its state digest.
    #[n(1)]
    pub state: State,
    /// The writes.
    #[n(2)]
    pub writes: Vec<Write>,
}

/// "I follow no epoch below this one, and my tip is this."
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Promised {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Who promises.
    #[n(3)]
    pub member: MemberId,
    /// The epoch promised.
    #[n(4)]
    pub epoch: Epoch,
    /// To whom.
    #[n(5)]
    pub leader: MemberId,
    /// To which start of the leader's HSM. Without it a leader that was rolled back could promise
    /// to itself again, show the others' old promises, and lead one epoch twice (decision 0015).
    #[n(6)]
    pub process: ProcessId,
    /// The promiser's tip.
    #[n(7)]
    pub tip: Tip,
}

/// "My tip is this": a vote for it and all under it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Notarised {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Who notarised.
    #[n(3)]
    pub member: MemberId,
    /// What.
    #[n(4)]
    pub tip: Tip,
}

/// "The fleet's time is this": what officers sign (DESIGN §6, clock).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClockChange {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// One more than [`State::clock_changes`].
    #[n(3)]
    pub number: u64,
    /// The time.
    #[n(4)]
    pub time: UnixMs,
}

/// A change of the clock and who wants it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedClockChange {
    /// The change.
    #[n(0)]
    pub change: ClockChange,
    /// Distinct officers of the manifest in force, as many as its threshold.
    #[n(1)]
    pub officers: Vec<OfficerSignature>,
}

/// An officer's signature: over a change of the clock (label `strongroom/v1 clock`) or a manifest
/// (label `strongroom/v1 officers`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OfficerSignature {
    /// Whose.
    #[n(0)]
    pub officer: PublicKey,
    /// Ed25519.
    #[n(1)]
    pub signature: Signature,
}

/// "I hold the fleet's secret, and wait for the change that takes me in": what a joiner's identity
/// signs (label `strongroom/v1 ready`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ready {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// The cell.
    #[n(1)]
    pub cell: CellId,
    /// The incarnation.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Its slot.
    #[n(3)]
    pub member: MemberId,
    /// Digest of the manifest that names it.
    #[n(4)]
    pub manifest: Digest,
}

/// A statement and its member's signature over it (label by type, see `strongroom-crypto`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signed<T> {
    /// What is stated.
    #[n(0)]
    pub statement: T,
    /// Ed25519 by the member's identity key.
    #[n(1)]
    pub signature: Signature,
}
