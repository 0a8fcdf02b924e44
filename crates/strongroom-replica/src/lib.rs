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
mod members;
mod message;

pub use certificate::{certified, next_manifest, officers_signed};
pub use message::{Append, Certificate, Logged, Message};

use crate::certificate::Electorate;
use crate::election::Candidate;
use crate::leader::Leader;
use crate::log::Log;
use std::sync::Arc;
use strongroom_wire::entry::{Notarised, Proposal, Signed, State, Tip};
use strongroom_wire::frame::{HsmError, ReleasedAnswer, Request, Response, SealedSecret};
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
    /// Its HSM is a member from now on.
    Joined,
    /// Its HSM is no member any more, and erased the fleet's secret.
    Retired,
}

/// Where a replica begins: what its HSM and its store say.
pub struct Beginning {
    /// This member.
    pub me: MemberId,
    /// The manifest in force at the entry applied last, and the one before if there was one.
    pub manifests: Vec<Arc<Manifest>>,
    /// The fleet's secret as it was handed over, for an HSM that is to join.
    pub joining: Option<SealedSecret>,
    /// This start of its HSM.
    pub process: ProcessId,
    /// The HSM's tip.
    pub anchor: Tip,
    /// The greatest epoch it promised.
    pub promised: Epoch,
    /// The entry applied last.
    pub proposal: Proposal,
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
}

/// One host's part of the fleet.
pub struct Replica<H: Hands> {
    hands: H,
    timing: Timing,
    me: MemberId,
    /// Known by their officers' signatures, in the order they came into force.
    manifests: Vec<Arc<Manifest>>,
    joining: Option<SealedSecret>,
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
    /// Who was asked for what comes before its entries, and may not lead.
    wanted: Option<MemberId>,
    /// Who was promised an epoch, and has not led since.
    fruitless: Vec<MemberId>,
    /// When to do something if nobody else does.
    deadline: Millis,
    jitter: u64,
}

impl<H: Hands> Replica<H> {
    /// Begins as a follower of nobody. None if the manifests are not those of the entry applied
    /// last, or an entry of the tail brings one that its officers did not sign.
    pub fn new(hands: H, timing: Timing, beginning: Beginning, now: Millis) -> Option<Self> {
        let electorate = Electorate::of(&beginning.state, &beginning.manifests)?;
        let mut replica = Self {
            hands,
            timing,
            me: beginning.me,
            manifests: beginning.manifests,
            joining: beginning.joining,
            process: beginning.process,
            anchor: beginning.anchor,
            promised: beginning.promised,
            statement: None,
            log: Log::new(beginning.proposal, beginning.state, electorate),
            certificate: beginning.certificate,
            role: Role::Follower(None),
            now,
            heard: None,
            wanted: None,
            fruitless: Vec::new(),
            deadline: now,
            jitter: beginning.seed | 1,
        };
        for logged in beginning.tail {
            let electorate = replica.electorate_of(&logged)?;
            replica.log.push(logged, electorate);
        }
        if !replica.log.newest_electorate().is_quorum(&[replica.me]) {
            replica.wait();
        }
        Some(replica)
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
        let mut members = self.manifests.iter().flat_map(|manifest| &manifest.members);
        let known = members.any(|slot| slot.id == from);
        // Whoever was away over changes does not know everybody: entries tell who leads.
        let tells = matches!(message, Message::Append(_) | Message::Behind);
        if from == self.me || !(known || tells) {
            return Ok(());
        }
        match message {
            Message::Canvass { round } => self.on_canvass(from, round),
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
            Message::Fetched { upto, entries } => self.on_fetched(&upto, &entries),
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
                self.follow_since(leader, since).then_some(self.me)
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

    /// The manifest in force at the entry applied last, and those that came with entries above it.
    pub fn manifests(&self) -> &[Arc<Manifest>] {
        &self.manifests
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
        for other in self.others() {
            self.send(other, message.clone());
        }
    }

    /// Whether a quorum, this host with it, follows a leader of this epoch since some moment.
    fn follow_since(&self, leader: &Leader, moment: Millis) -> bool {
        let mut following: Vec<MemberId> = leader.followed_since(moment).collect();
        following.push(self.me);
        self.log.newest_electorate().is_quorum(&following)
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
        // It cannot tell that somebody leads by promises of members whom it does not know.
        let asked = asked || (self.wanted == Some(from) && !self.hears_leader());
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
