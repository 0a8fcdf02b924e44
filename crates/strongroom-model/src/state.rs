//! What there is in the world of the model: entries, members, what was said.
//!
//! Messages are never consumed, so what was said is part of the state for ever. An entry is named
//! by where it was proposed: epoch, chain (0, but for broken rules), place in that chain.

use crate::bytes::Bytes;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Epochs of the table; a scenario uses at most one fewer, so that a fresh one is left.
pub const EPOCHS: usize = 5;
/// Chains that one epoch can hold. Under the rules there is one.
pub const CHAINS: usize = 2;
/// Entries of one chain in one epoch, at most.
pub const LENGTH: usize = 3;
/// Members of all configurations together, at most.
pub const MEMBERS: usize = 6;

/// Whoever leads an epoch: a member by its number, or a ghost.
pub type Leader = u8;
/// A set of members.
pub type Set = u8;
/// Position of a configuration in the scenario's list.
pub type ConfigId = u8;

/// Nobody.
pub const NONE: Leader = u8::MAX;
/// The first of two leaders' processes without a member's anchor behind them: whatever a member may
/// do as a leader, they may, and never forget. They stand for processes of rolled-back members, and
/// for those of honest ones where the scenario is too large to follow each.
pub const GHOST: Leader = 16;

const _: () = assert!(EPOCHS * CHAINS * LENGTH < 32, "entries are bits of a u32");

/// An entry, by where it was proposed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Entry(pub u8);

impl Entry {
    /// The genesis.
    pub const ROOT: Self = Self(0);

    /// The entry at a place (from 0) of a chain.
    pub fn at(epoch: u8, chain: usize, place: u8) -> Self {
        let session = (usize::from(epoch) - 1) * CHAINS + chain;
        Self(u8::try_from(1 + session * LENGTH + usize::from(place)).expect("at most 31"))
    }

    /// Its epoch; 0 for the genesis.
    pub fn epoch(self) -> u8 {
        match self.0 {
            0 => 0,
            id => 1 + (id - 1) / (CHAINS * LENGTH) as u8,
        }
    }

    /// Its chain within the epoch.
    pub fn chain(self) -> usize {
        usize::from(self.0.saturating_sub(1)) / LENGTH % CHAINS
    }

    /// Its place in the chain, from 0.
    pub fn place(self) -> u8 {
        self.0.saturating_sub(1) % LENGTH as u8
    }

    /// Its bit in a set of entries.
    pub fn bit(self) -> u32 {
        1 << self.0
    }

    fn same_session(self, other: Self) -> bool {
        self.epoch() == other.epoch() && self.chain() == other.chain()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ROOT {
            return f.write_str("root");
        }
        let mark = if self.chain() == 0 { "" } else { "'" };
        write!(f, "{}.{}{mark}", self.epoch(), self.place() + 1)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who decides an entry: quorums of both. They differ while a change of members is not known to be
/// certified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deciders {
    /// The configuration before the change.
    pub old: ConfigId,
    /// The configuration after it.
    pub new: ConfigId,
}

impl Deciders {
    /// One configuration decides.
    pub fn single(config: ConfigId) -> Self {
        let (old, new) = (config, config);
        Self { old, new }
    }

    /// Two decide.
    pub fn joint(self) -> bool {
        self.old != self.new
    }
}

/// What one leader proposed in one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// Who led; [`NONE`] if nobody did.
    pub leader: Leader,
    /// What the chain builds on.
    pub start: Entry,
    /// Index of the start.
    pub base: u8,
    /// Entries proposed.
    pub len: u8,
    /// Who decides each.
    pub deciders: [Deciders; LENGTH],
}

const NO_SESSION: Session = Session {
    leader: NONE,
    start: Entry::ROOT,
    base: 0,
    len: 0,
    deciders: [Deciders { old: 0, new: 0 }; LENGTH],
};

/// `Promised`: to whom, and the tip shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Promise {
    /// To whom; [`NONE`] if there is no promise.
    pub leader: Leader,
    /// The promiser's tip.
    pub tip: Entry,
}

const NO_PROMISE: Promise = Promise {
    leader: NONE,
    tip: Entry::ROOT,
};

/// One member: its anchor, its RAM, and all that it ever said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Anchored: no lower epoch any more.
    pub promised: u8,
    /// Anchored: the newest entry notarised or adopted.
    pub tip: Entry,
    /// Anchored: it saw its removal certified.
    pub retired: bool,
    /// The host lost the header of its tip: it cannot stand.
    pub lost: bool,
    /// RAM: the epoch that this process promised to itself.
    pub here: u8,
    /// RAM: the epoch that it leads.
    pub leading: u8,
    /// Said: entries notarised whose certificates are neither complete nor out of reach.
    pub votes: u32,
    /// Said: promises by epoch. One each; a second one is for broken rules.
    pub promises: [[Promise; 2]; EPOCHS],
}

const BLANK: Member = Member {
    promised: 0,
    tip: Entry::ROOT,
    retired: false,
    lost: false,
    here: 0,
    leading: 0,
    votes: 0,
    promises: [[NO_PROMISE; 2]; EPOCHS],
};

/// Everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// By number. Rolled-back members keep nothing here: see the crate's page.
    pub members: [Member; MEMBERS],
    /// By epoch and chain.
    pub sessions: [[Session; CHAINS]; EPOCHS],
    /// Entries with a complete certificate.
    pub certified: u32,
    /// Entries whose answers left without one (broken rules only).
    pub released: u32,
    /// An anchor went back.
    pub back: bool,
    /// Restarts so far.
    pub restarts: u8,
    /// Headers lost so far.
    pub losses: u8,
}

impl Default for State {
    fn default() -> Self {
        Self {
            members: [BLANK; MEMBERS],
            sessions: [[NO_SESSION; CHAINS]; EPOCHS],
            certified: Entry::ROOT.bit(),
            released: 0,
            back: false,
            restarts: 0,
            losses: 0,
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut bytes = Bytes::default();
        self.members.iter().for_each(|it| it.pack(&mut bytes));
        self.pack_rest(&mut bytes);
        hasher.write(bytes.taken());
    }
}

impl State {
    /// The chain of an epoch, if somebody led it.
    pub fn session(&self, epoch: u8, chain: usize) -> Option<&Session> {
        let index = usize::from(epoch).checked_sub(1)?;
        let session = self.sessions.get(index)?.get(chain)?;
        (session.leader != NONE).then_some(session)
    }

    /// Whether it was proposed (the genesis counts).
    pub fn exists(&self, entry: Entry) -> bool {
        entry == Entry::ROOT
            || self
                .session(entry.epoch(), entry.chain())
                .is_some_and(|it| entry.place() < it.len)
    }

    /// Everything proposed, the genesis not among it.
    pub fn proposed(&self) -> impl Iterator<Item = Entry> + '_ {
        (1..=EPOCHS as u8).flat_map(move |epoch| {
            (0..CHAINS).flat_map(move |chain| {
                let len = self.session(epoch, chain).map_or(0, |it| it.len);
                (0..len).map(move |place| Entry::at(epoch, chain, place))
            })
        })
    }

    /// Its position in the history.
    pub fn index(&self, entry: Entry) -> u8 {
        self.session(entry.epoch(), entry.chain())
            .map_or(0, |it| it.base + entry.place() + 1)
    }

    /// (epoch, index): the order of tips.
    pub fn order(&self, entry: Entry) -> (u8, u8) {
        (entry.epoch(), self.index(entry))
    }

    /// Who decides it.
    pub fn deciders(&self, entry: Entry) -> Deciders {
        self.session(entry.epoch(), entry.chain())
            .map_or(Deciders::default(), |it| {
                it.deciders[usize::from(entry.place())]
            })
    }

    /// The entry under it.
    pub fn previous(&self, entry: Entry) -> Entry {
        match (self.session(entry.epoch(), entry.chain()), entry.place()) {
            (None, _) => Entry::ROOT,
            (Some(session), 0) => session.start,
            (Some(_), place) => Entry::at(entry.epoch(), entry.chain(), place - 1),
        }
    }

    /// Whether `upper` is `lower` or builds on it.
    pub fn contains(&self, upper: Entry, lower: Entry) -> bool {
        let mut entry = upper;
        while entry != Entry::ROOT {
            if entry.same_session(lower) {
                return lower != Entry::ROOT && lower.place() <= entry.place();
            }
            entry = match self.session(entry.epoch(), entry.chain()) {
                Some(session) => session.start,
                None => Entry::ROOT,
            };
        }
        lower == Entry::ROOT
    }

    /// Whether one of them builds on the other.
    pub fn one_chain(&self, a: Entry, b: Entry) -> bool {
        self.contains(a, b) || self.contains(b, a)
    }

    /// Whether its certificate is complete.
    pub fn is_certified(&self, entry: Entry) -> bool {
        self.certified & entry.bit() != 0
    }

    /// Whether one configuration is in force there, as far as certificates can show: the change of
    /// members at or below it, or an entry since that both sets decided, is certified.
    pub fn is_settled(&self, entry: Entry) -> bool {
        let deciders = self.deciders(entry);
        let mut entry = entry;
        while deciders.joint() && self.deciders(entry) == deciders {
            if self.is_certified(entry) {
                return true;
            }
            entry = self.previous(entry);
        }
        !deciders.joint()
    }

    /// Entries of a set.
    pub fn entries(set: u32) -> impl Iterator<Item = Entry> {
        (0..32)
            .map(Entry)
            .filter(move |entry| set & entry.bit() != 0)
    }

    /// All but the members, as bytes.
    pub(crate) fn pack_rest(&self, bytes: &mut Bytes) {
        for session in self.sessions.iter().flatten() {
            if session.leader == NONE {
                bytes.push(NONE);
                continue;
            }
            for byte in [session.leader, session.start.0, session.len] {
                bytes.push(byte);
            }
            for deciders in &session.deciders[..usize::from(session.len)] {
                bytes.push(deciders.old << 4 | deciders.new);
            }
        }
        bytes.word(self.certified);
        bytes.word(self.released);
        bytes.push(u8::from(self.back) | self.restarts << 1 | self.losses << 4);
    }
}

impl Member {
    /// As bytes.
    pub(crate) fn pack(&self, bytes: &mut Bytes) {
        let flags = u8::from(self.retired) | u8::from(self.lost) << 1;
        let ram = self.here << 4 | self.leading;
        for byte in [self.promised, self.tip.0, flags, ram] {
            bytes.push(byte);
        }
        bytes.word(self.votes);
        for promise in self.promises.iter().flatten() {
            if promise.leader == NONE {
                bytes.push(NONE);
            } else {
                bytes.push(promise.leader);
                bytes.push(promise.tip.0);
            }
        }
    }

    /// Its promise of an epoch to that leader.
    pub fn promise_to(&self, epoch: u8, leader: Leader) -> Option<Promise> {
        let said = &self.promises[usize::from(epoch) - 1];
        said.iter().find(|it| it.leader == leader).copied()
    }

    /// Says a promise.
    pub(crate) fn say(&mut self, epoch: u8, promise: Promise) {
        let said = &mut self.promises[usize::from(epoch) - 1];
        let free = said.iter().position(|it| it.leader == NONE);
        said[free.unwrap_or(1)] = promise;
    }

    /// Forgets promises of an epoch to that leader.
    pub(crate) fn forget(&mut self, epoch: usize, leader: Leader) {
        for promise in &mut self.promises[epoch] {
            if promise.leader == leader {
                *promise = NO_PROMISE;
            }
        }
    }
}
