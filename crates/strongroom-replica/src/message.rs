//! What hosts say to each other. One way each: any may be lost, late, twice, or a lie.

use minicbor::{Decode, Encode};
use strongroom_wire::codec::Malformed;
use strongroom_wire::entry::{
    Entry, EntryHeader, Kind, Notarised, Promised, Signed, Tip, writes_digest,
};
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{Epoch, ProcessId, decode, encode};

/// `Notarised` for one tip by a quorum.
pub type Certificate = Vec<Signed<Notarised>>;

/// An entry as the hosts keep and send it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Logged {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// The tenant in clear that an entry of a tenant makes or changes: its leaf is sealed, and
    /// hosts admit users by it. Nobody vouches for it; the HSM looks at the leaf.
    #[n(1)]
    pub tenant: Option<Tenant>,
    /// The manifest that an entry puts in force, with its officers. Held against the entry's state.
    #[n(2)]
    pub manifest: Option<SignedManifest>,
}

impl From<Entry> for Logged {
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            tenant: None,
            manifest: None,
        }
    }
}

impl Logged {
    /// Its header.
    pub fn header(&self) -> &EntryHeader {
        &self.entry.proposal.header
    }

    /// Whether writes and state are those that the header names, and a tenant or a manifest comes
    /// only where an entry changes one.
    pub fn is_whole(&self) -> bool {
        let header = self.header();
        let tenant_fits = self.tenant.is_none() || header.kind == Kind::Tenant;
        let manifest_fits = self.manifest.is_some() == (header.kind == Kind::Reconfigure);
        tenant_fits
            && manifest_fits
            && header.writes == writes_digest(&self.entry.writes)
            && header.state == self.entry.state.digest()
    }
}

/// A message between hosts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// "I hear no leader. Would you promise to me?" Costs no promise.
    #[n(0)]
    Canvass {
        /// Names the question.
        #[n(0)]
        round: u64,
    },
    /// To `Canvass`.
    #[n(1)]
    Canvassed {
        /// The question's.
        #[n(0)]
        round: u64,
        /// Whether it hears no leader either.
        #[n(1)]
        yes: bool,
        /// The greatest epoch that its HSM promised.
        #[n(2)]
        promised: Epoch,
    },
    /// "Have your HSM promise this epoch to me."
    #[n(2)]
    AskPromise {
        /// The epoch.
        #[n(0)]
        epoch: Epoch,
        /// The start of the asker's HSM.
        #[n(1)]
        process: ProcessId,
    },
    /// To `AskPromise`.
    #[n(3)]
    Promise(#[n(0)] Signed<Promised>),
    /// The HSM promised a later epoch than one that somebody asked for or leads.
    #[n(4)]
    Stale {
        /// What was asked or sent.
        #[n(0)]
        epoch: Epoch,
        /// The greatest promised.
        #[n(1)]
        promised: Epoch,
    },
    /// "Send me the entries after this one up to that one."
    #[n(5)]
    Fetch {
        /// Certified at the asker.
        #[n(0)]
        after: Tip,
        /// The newest promised tip.
        #[n(1)]
        upto: Tip,
    },
    /// To `Fetch`; empty if there are none to send.
    #[n(6)]
    Fetched {
        /// The question's.
        #[n(0)]
        upto: Tip,
        /// In order.
        #[n(1)]
        entries: Vec<Logged>,
    },
    /// The leader's entries; none when it only shows that it lives.
    #[n(7)]
    Append(#[n(0)] Append),
    /// To `Append`.
    #[n(8)]
    Sealed {
        /// The leader's.
        #[n(0)]
        epoch: Epoch,
        /// Where the sender's log ends, on the leader's chain.
        #[n(1)]
        end: Tip,
        /// Its HSM's newest statement of this epoch.
        #[n(2)]
        vote: Option<Signed<Notarised>>,
    },
    /// To `Append`: the entries before, or the promises, are missing.
    #[n(9)]
    Want {
        /// The leader's epoch.
        #[n(0)]
        epoch: Epoch,
        /// Certified at the sender: send from here on.
        #[n(1)]
        after: Tip,
    },
    /// To `Want` and `Fetch`: the log no longer goes back so far. Take a copy of the store.
    #[n(10)]
    Behind,
}

/// What a leader sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Append {
    /// Its ballot.
    #[n(0)]
    pub epoch: Epoch,
    /// Where its chain began.
    #[n(1)]
    pub start: Tip,
    /// The promises it leads by; empty where the follower has them.
    #[n(2)]
    pub promises: Vec<Signed<Promised>>,
    /// The place that the entries follow.
    #[n(3)]
    pub previous: Tip,
    /// In order.
    #[n(4)]
    pub entries: Vec<Logged>,
    /// Of the newest entry that a quorum sealed.
    #[n(5)]
    pub certificate: Certificate,
}

impl Message {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// From bytes of another host.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }

    /// A word for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Canvass { .. } => "canvass",
            Self::Canvassed { .. } => "canvassed",
            Self::AskPromise { .. } => "ask promise",
            Self::Promise(_) => "promise",
            Self::Stale { .. } => "stale",
            Self::Fetch { .. } => "fetch",
            Self::Fetched { .. } => "fetched",
            Self::Append(_) => "append",
            Self::Sealed { .. } => "sealed",
            Self::Want { .. } => "want",
            Self::Behind => "behind",
        }
    }
}
