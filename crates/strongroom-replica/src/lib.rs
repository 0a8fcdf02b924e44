//! The host's part of replication (DESIGN §6; decision 0016): whom to follow, what to keep, when to
//! have the HSM promise, lead and notarise. The ballots of the notaries *are* the consensus; this
//! drives them.
//!
//! ```text
//! nobody leads:  canvass → own promise → ask promises → (fetch) → Lead → an empty entry
//! leader:        entry → send → own log → Notarise → votes → Release → apply
//! follower:      Append → log → Notarise → vote;  certificate → apply
//! ```
//!
//! Trusted for nothing but liveness: every HSM checks what it is given, and no answer leaves one
//! without a quorum's statements. Other hosts may lie too; a lie of one of them must not stop the
//! others, so statements are looked at here before they count.
//!
//! No IO, clock, threads or randomness of its own: [`Replica`] is called with the time, and does
//! everything through [`Hands`], one call at a time. So the same code runs in the node, and in the
//! simulation under a virtual clock.
//!
//! Invariant: an entry is on this host's disk before its HSM notarises it. So whatever tip an HSM
//! stands at, its host has the chain under it, and a certificate means a quorum of disks.
#![forbid(unsafe_code)]

mod certificate;
mod election;
mod follower;
mod leader;
mod log;
mod message;

pub use certificate::certified;
pub use message::{Append, Certificate, Logged, Message};

use crate::certificate::Electorate;
use crate::election::Candidate;
use crate::leader::Leader;
use crate::log::Log;
use strongroom_wire::entry::{EntryHeader, Notarised, Promised, Signed, State, Tip};
use strongroom_wire::frame::{HsmError, ReleasedAnswer, Request, Response};
use strongroom_wire::limits::EPOCH_STEP_MAX;
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Digest, Epoch, LogIndex, MemberId, ProcessId};

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A leader shows that it lives this often.
    pub beat: Millis,
    /// Without a leader for so long, others are asked. Each host waits up to twice as long, drawn
    /// anew each time.
    pub patience: Millis,
    /// A leader whose promise some members have outgrown asks for new ones no more often than this.
    pub renewal: Millis,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: 150,
            patience: 600,
            renewal: 5_000,
        }
    }
}

/// Bytes of entries in one message, about.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The HSM said no, or something broke.
#[derive(Debug)]
pub enum Trouble<F> {
    /// No, by name.
    Refused(HsmError),
    /// This process cannot go on: the HSM is gone, or the disk failed.
    Fault(F),
}

/// What a replica works with.
pub trait Hands {
    /// What ends it.
    type Fault;

    /// Asks the own HSM.
    ///
    /// # Errors
    /// [`Trouble`].
    fn hsm(&mut self, request: &Request) -> Result<Response, Trouble<Self::Fault>>;

    /// Puts entries into the log; on disk before it returns. Other branches stay.
    ///
    /// # Errors
    /// The disk's.
    fn append(&mut self, entries: &[&Logged]) -> Result<(), Self::Fault>;

    /// The logged entry of that place and hash, of any branch.
    ///
    /// # Errors
    /// The disk's.
    fn logged(&self, index: LogIndex, hash: &Digest) -> Result<Option<Logged>, Self::Fault>;

    /// Applied entries after one of them, as many as go into [`MESSAGE_BYTES`]; `None` if the log
    /// does not go back so far, or has another entry there.
    ///
    /// # Errors
    /// The disk's.
    fn applied_after(&self, after: &Tip) -> Result<Option<Vec<Logged>>, Self::Fault>;

    /// Applies the entry after the one applied last; with the certificate, if it is for this one.
    ///
    /// # Errors
    /// The disk's; also if the trie does not come to the entry's root.
    fn apply(
        &mut self,
        logged: &Logged,
        certificate: Option<&Certificate>,
    ) -> Result<(), Self::Fault>;

    /// A proof of no key against the root after these entries, which are not applied yet.
    ///
    /// # Errors
    /// The disk's; also if the trie does not come to their roots.
    fn empty_proof(&mut self, entries: &[&Logged]) -> Result<Vec<u8>, Self::Fault>;

    /// Sends, or does not: nothing waits for it.
    fn send(&mut self, to: MemberId, message: Message);

    /// The HSM let go of answers.
    fn released(&mut self, answers: Vec<ReleasedAnswer>);

    /// What happened, for people.
    fn tell(&mut self, news: News);
}

/// What a replica tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It leads, and may propose.
    Leads(Epoch),
    /// It leads no more: what it had proposed may or may not be decided.
    Deposed(Epoch),
    /// It follows another.
    Follows(MemberId, Epoch),
    /// It is so far behind that nobody's log reaches it: take a copy of that host's store.
    Behind(MemberId),
    /// Its HSM refused something of the leader's.
    Refused(HsmError),
}

/// Where a replica begins: what its HSM and its store say.
pub struct Beginning {
    /// This member.
    pub me: MemberId,
    /// The manifest in force.
    pub manifest: Manifest,
    /// This start of its HSM.
    pub process: ProcessId,
    /// The HSM's tip.
    pub anchor: Tip,
    /// The greatest epoch it promised.
    pub promised: Epoch,
    /// The entry applied last.
    pub header: EntryHeader,
    /// Its state.
    pub state: State,
    /// Its certificate; empty for the genesis.
    pub certificate: Certificate,
    /// Logged entries from there up to the HSM's tip.
    pub tail: Vec<Logged>,
    /// Seeds the jitter of its timers.
    pub seed: u64,
}

enum Role {
    /// Listens; to whom, and what was promised to them.
    Follower(Option<Led>),
    /// Asks whether anybody else would have it lead.
    Canvasser {
        round: u64,
        yes: Vec<MemberId>,
        promised: Epoch,
    },
    Candidate(Candidate),
    Leader(Leader),
}

/// Whom a follower follows.
struct Led {
    leader: MemberId,
    epoch: Epoch,
    promises: Vec<Signed<Promised>>,
}

/// One host's part of the fleet.
pub struct Replica<H: Hands> {
    hands: H,
    timing: Timing,
    me: MemberId,
    electorate: Electorate,
    process: ProcessId,
    /// What the HSM said of itself last.
    anchor: Tip,
    promised: Epoch,
    statement: Option<Signed<Notarised>>,
    log: Log,
    certificate: Certificate,
    role: Role,
    now: Millis,
    /// When a leader was heard last.
    heard: Option<Millis>,
    /// Who was promised an epoch, and has not led since.
    fruitless: Vec<MemberId>,
    /// When to do something if nobody else does.
    deadline: Millis,
    jitter: u64,
}

impl<H: Hands> Replica<H> {
    /// Begins as a follower of nobody. A certificate that does not hold is dropped.
    pub fn new(hands: H, timing: Timing, beginning: Beginning, now: Millis) -> Self {
        let mut log = Log::new(beginning.header, beginning.state);
        beginning.tail.into_iter().for_each(|entry| log.push(entry));
        let mut replica = Self {
            hands,
            timing,
            me: beginning.me,
            electorate: Electorate::new(&beginning.manifest),
            process: beginning.process,
            anchor: beginning.anchor,
            promised: beginning.promised,
            statement: None,
            log,
            certificate: beginning.certificate,
            role: Role::Follower(None),
            now,
            heard: None,
            fruitless: Vec::new(),
            deadline: now,
            jitter: beginning.seed | 1,
        };
        if replica.electorate.quorum > 1 {
            replica.wait();
        }
        replica
    }

    /// What it works with.
    pub fn hands(&mut self) -> &mut H {
        &mut self.hands
    }

    /// Until when it need not be called, if no message comes.
    pub fn wakes_at(&self) -> Millis {
        match &self.role {
            // Alone, a leader has nobody to show that it lives.
            Role::Leader(leader) if leader.is_alone() => Millis::MAX,
            Role::Leader(leader) => leader.next_beat(),
            _ => self.deadline,
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// [`Hands::Fault`]: stop, and begin again from what is on disk.
    pub fn tick(&mut self, now: Millis) -> Result<(), H::Fault> {
        self.now = self.now.max(now);
        match &self.role {
            Role::Leader(_) => self.beat(),
            _ if self.now >= self.deadline => self.canvass(),
            _ => Ok(()),
        }
    }

    /// Takes a message of another member.
    ///
    /// # Errors
    /// [`Hands::Fault`].
    pub fn receive(
        &mut self,
        now: Millis,
        from: MemberId,
        message: Message,
    ) -> Result<(), H::Fault> {
        self.now = self.now.max(now);
        if from == self.me || !self.electorate.members().any(|member| member == from) {
            return Ok(());
        }
        match message {
            Message::Canvass { round } => {
                self.on_canvass(from, round);
                Ok(())
            }
            Message::Canvassed {
                round,
                yes,
                promised,
            } => self.on_canvassed(from, round, yes, promised),
            Message::AskPromise { epoch, process } => self.on_ask_promise(from, epoch, process),
            Message::Promise(promise) => self.on_promise(from, promise),
            Message::Stale { epoch, promised } => {
                self.on_stale(from, epoch, promised);
                Ok(())
            }
            Message::Fetch { after, upto } => self.on_fetch(from, &after, upto),
            Message::Fetched { upto, entries } => self.on_fetched(&upto, entries),
            Message::Append(append) => self.on_append(from, append),
            Message::Sealed { epoch, end, vote } => self.on_sealed(from, epoch, &end, vote),
            Message::Want { epoch, after } => self.on_want(from, epoch, &after),
            Message::Behind => {
                self.on_behind(from);
                Ok(())
            }
        }
    }

    /// Whether it leads and has nothing under way: the next entry may be proposed.
    pub fn is_ready(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.established) && self.log.is_settled()
    }

    /// Who leads and may be asked, as far as this host knows.
    pub fn leader(&self) -> Option<MemberId> {
        match &self.role {
            // Before its first entry is certified, entries may be sealed that this host has not
            // applied; and while no quorum is heard, another may lead. What it read would be old.
            Role::Leader(leader) if leader.established => {
                let since = self.now.saturating_sub(self.timing.patience);
                let heard = leader.followed_since(since) + 1 >= self.electorate.quorum;
                heard.then_some(self.me)
            }
            Role::Follower(Some(led)) if self.hears_leader() => Some(led.leader),
            _ => None,
        }
    }

    /// The epoch it leads.
    pub fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.epoch),
            _ => None,
        }
    }

    /// The entry applied last.
    pub fn applied(&self) -> Tip {
        self.log.base
    }

    /// Of the entry applied last, or an earlier one; empty at the genesis.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn send(&mut self, to: MemberId, message: Message) {
        self.hands.send(to, message);
    }

    fn send_all(&mut self, message: &Message) {
        let others: Vec<MemberId> = self.others().collect();
        for other in others {
            self.send(other, message.clone());
        }
    }

    fn others(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.electorate.members().filter(|id| *id != self.me)
    }

    fn hears_leader(&self) -> bool {
        self.heard
            .is_some_and(|heard| self.now < heard + self.timing.patience)
    }

    /// Waits for others, for between one and two times the patience.
    fn wait(&mut self) {
        self.jitter = self
            .jitter
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
        let drawn = (self.jitter >> 33) % self.timing.patience.max(1);
        self.deadline = self.now + self.timing.patience + drawn;
    }

    /// The log of another does not go back so far. Heeded only from whoever was asked: it ends in a
    /// copy of that host's store.
    fn on_behind(&mut self, from: MemberId) {
        let asked = match &self.role {
            Role::Follower(Some(led)) => led.leader == from,
            Role::Candidate(candidate) => candidate.asked == Some(from),
            _ => false,
        };
        if asked {
            self.hands.tell(News::Behind(from));
        }
    }

    /// The greatest epoch that may follow what another says it promised: it may lie, and the HSM
    /// takes no longer step. One that cannot be passed in one step is climbed to in several.
    fn within_reach(&self, promised: Epoch) -> Epoch {
        let reach = self.promised.0.saturating_add(EPOCH_STEP_MAX - 1);
        Epoch(promised.0.min(reach))
    }

    /// Ends whatever it was doing.
    fn step_down(&mut self, next: Role) {
        let before = std::mem::replace(&mut self.role, next);
        if let Role::Leader(leader) = before {
            self.hands.tell(News::Deposed(leader.epoch));
        }
    }

    /// One call of the HSM, where a refusal is an answer.
    fn ask_hsm(&mut self, request: &Request) -> Result<Result<Response, HsmError>, H::Fault> {
        match self.hands.hsm(request) {
            Ok(response) => Ok(Ok(response)),
            Err(Trouble::Refused(error)) => Ok(Err(error)),
            Err(Trouble::Fault(fault)) => Err(fault),
        }
    }

    /// Learns where the HSM stands, after it refused what should have passed.
    fn look(&mut self) -> Result<(), H::Fault> {
        if let Ok(Response::Inspection(inspection)) = self.ask_hsm(&Request::Inspect)? {
            self.anchor = inspection.tip;
            self.promised = inspection.promised;
        }
        Ok(())
    }
}
