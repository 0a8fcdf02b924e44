//! Leading: send entries, count votes, let go of answers.

use crate::certificate::is_newer;
use crate::{Append, Hands, Logged, MESSAGE_BYTES, Message, Millis, News, Replica, Role};
use std::collections::BTreeMap;
use strongroom_wire::entry::{Entry, Notarised, Promised, Signed, Tip};
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::{Epoch, MemberId};

pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    start: Tip,
    pub(crate) promises: Vec<Signed<Promised>>,
    followers: BTreeMap<MemberId, Progress>,
    votes: BTreeMap<MemberId, Signed<Notarised>>,
    /// Its first entry is certified: clients may be served.
    pub(crate) established: bool,
    since: Millis,
    /// When the newest entry was begun, or the last one certified.
    progress: Millis,
    beaten: Millis,
    beat_due: Millis,
}

/// Patiences after which a leader whose entry nobody seals gives up, and lets others try.
const STUCK: Millis = 4;

/// How far a follower is.
struct Progress {
    /// The last place sent, if what comes before is there.
    sent: Option<Tip>,
    /// The promises went with it.
    shown: bool,
    heard: Millis,
    /// The epoch its HSM promised to somebody else meanwhile.
    outgrown: Option<Epoch>,
    /// It left, and is told so.
    left: bool,
}

impl Progress {
    fn new(now: Millis) -> Self {
        Self {
            sent: None,
            shown: false,
            heard: now,
            outgrown: None,
            left: false,
        }
    }
}

impl Leader {
    pub(crate) fn new(
        epoch: Epoch,
        start: Tip,
        promises: Vec<Signed<Promised>>,
        others: Vec<MemberId>,
        now: Millis,
    ) -> Self {
        Self {
            epoch,
            start,
            promises,
            followers: others
                .into_iter()
                .map(|id| (id, Progress::new(now)))
                .collect(),
            votes: BTreeMap::new(),
            established: false,
            since: now,
            progress: now,
            beaten: now,
            beat_due: now,
        }
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.followers.is_empty()
    }

    pub(crate) fn next_beat(&self) -> Millis {
        self.beat_due
    }

    /// Followers heard since a moment whose HSMs still follow this epoch.
    pub(crate) fn followed_since(&self, moment: Millis) -> impl Iterator<Item = MemberId> + '_ {
        let follows = move |p: &Progress| p.heard >= moment && p.outgrown.is_none();
        let followers = self.followers.iter();
        followers.filter_map(move |(id, progress)| follows(progress).then_some(*id))
    }

    /// Those whom a new manifest names are sent everything; those whom none names, nothing.
    fn follow(&mut self, others: &[MemberId], now: Millis) {
        self.followers
            .retain(|id, it| others.contains(id) || it.left);
        for other in others {
            self.followers
                .entry(*other)
                .or_insert_with(|| Progress::new(now));
        }
    }

    fn outgrown(&self) -> Option<Epoch> {
        let members = self.followers.values().filter(|p| !p.left);
        members.filter_map(|p| p.outgrown).max()
    }
}

impl<H: Hands> Replica<H> {
    fn leading(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// The first entry of an epoch, empty: it brings what the start has above the base to a
    /// certificate, before anything is decided on it.
    pub(crate) fn take_office(&mut self) -> Result<(), H::Fault> {
        let tail: Vec<&Logged> = self.log.tail_from(0).map(|placed| &placed.logged).collect();
        let proof = self.hands.empty_proof(&tail)?;
        let request = Request::Propose {
            handles: Vec::new(),
            proof,
            leaves: Vec::new(),
        };
        match self.ask_hsm(&request)? {
            Ok(Response::Proposed {
                proposal,
                state,
                writes,
                ..
            }) => {
                let entry = Entry {
                    proposal,
                    state,
                    writes,
                };
                self.replicate(entry.into())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.hands.tell(News::Refused(error));
                self.step_down(Role::Follower(None));
                self.look()
            }
        }
    }

    /// Has the fleet seal an entry that the own HSM proposed after the newest one.
    ///
    /// # Errors
    /// [`Hands::Fault`].
    pub fn replicate(&mut self, logged: Logged) -> Result<(), H::Fault> {
        let now = self.now;
        let Some(leader) = self.leading() else {
            return Ok(());
        };
        let (epoch, start) = (leader.epoch, leader.start);
        leader.progress = now;
        let Some(electorate) = self.electorate_of(&logged) else {
            // The own HSM made it, from what its host gave it: the manifest was another.
            self.step_down(Role::Follower(None));
            return self.look();
        };
        self.log.push(logged, electorate);
        self.follow_members();
        // The others work while the own disk does.
        self.send_news()?;
        let newest = self.log.tail_back().next().map(|placed| &placed.logged);
        self.hands.append(&newest.into_iter().collect::<Vec<_>>())?;
        if let Some(vote) = self.seal(epoch, &start)? {
            self.count(vote);
        }
        self.certify()
    }

    /// Shows one that left what happened since, if it asks for it.
    pub(crate) fn show_out(&mut self, member: MemberId) -> Result<(), H::Fault> {
        if let Some(leader) = self.leading() {
            let progress = leader.followers.entry(member);
            let progress = progress.or_insert_with(|| Progress::new(0));
            (progress.left, progress.shown, progress.heard) = (true, false, 0);
            return self.send_entries(member);
        }
        Ok(())
    }

    fn follow_members(&mut self) {
        let (others, now) = (self.others(), self.now);
        if let Some(leader) = self.leading() {
            leader.follow(&others, now);
        }
    }

    /// To each follower what it has not been sent.
    fn send_news(&mut self) -> Result<(), H::Fault> {
        for other in self.others() {
            self.send_entries(other)?;
        }
        Ok(())
    }

    fn send_entries(&mut self, to: MemberId) -> Result<(), H::Fault> {
        let Role::Leader(leader) = &self.role else {
            return Ok(());
        };
        let Some(progress) = leader.followers.get(&to) else {
            return Ok(());
        };
        let shown = progress.shown;
        // One that is silent gets no more entries: they would only pile up on the way. It is asked
        // whether it has the newest, and says from where on it wants them.
        let silent = self.now > progress.heard + self.timing.patience;
        let previous = match progress.sent {
            _ if silent => self.log.end(),
            Some(sent) => sent,
            None => leader.start,
        };
        let position = self.log.position(&previous);
        let mut entries = match position {
            Some(_) => Vec::new(),
            None => match self.hands.applied_after(&previous)? {
                Some(entries) => entries,
                None => {
                    self.send(to, Message::Behind);
                    return Ok(());
                }
            },
        };
        let reached = entries.last().map(|l| l.header().tip());
        let position = position.or(reached.and_then(|tip| self.log.position(&tip)));
        if let Some(position) = position {
            let mut room = MESSAGE_BYTES;
            for placed in self.log.tail_from(position) {
                let bytes: usize = placed
                    .logged
                    .entry
                    .writes
                    .iter()
                    .map(|w| w.leaf.len())
                    .sum();
                if bytes > room && !entries.is_empty() {
                    break;
                }
                room = room.saturating_sub(bytes + 512);
                entries.push(placed.logged.clone());
            }
        }
        let end = entries.last().map_or(previous, |l| l.header().tip());
        let append = Append {
            epoch: leader.epoch,
            start: leader.start,
            promises: if shown {
                Vec::new()
            } else {
                leader.promises.clone()
            },
            previous,
            entries,
            certificate: self.certificate.clone(),
        };
        self.send(to, Message::Append(append));
        if let Some(progress) = self.leading().and_then(|l| l.followers.get_mut(&to)) {
            progress.sent = Some(end);
            progress.shown = true;
        }
        Ok(())
    }

    pub(crate) fn on_want(
        &mut self,
        from: MemberId,
        epoch: Epoch,
        after: &Tip,
    ) -> Result<(), H::Fault> {
        let now = self.now;
        let Some(leader) = self.leading().filter(|leader| leader.epoch == epoch) else {
            return self.on_joiner_wants(from, epoch, *after);
        };
        let Some(progress) = leader.followers.get_mut(&from) else {
            return Ok(());
        };
        progress.heard = now;
        progress.sent = Some(*after);
        // It may want the promises too; and entries before it can tell that they are a quorum's.
        progress.shown = false;
        self.send_entries(from)
    }

    pub(crate) fn on_sealed(
        &mut self,
        from: MemberId,
        epoch: Epoch,
        end: &Tip,
        vote: Option<Signed<Notarised>>,
    ) -> Result<(), H::Fault> {
        let (now, newest) = (self.now, self.log.end());
        let Some(leader) = self.leading().filter(|leader| leader.epoch == epoch) else {
            return Ok(());
        };
        let Some(progress) = leader.followers.get_mut(&from) else {
            return Ok(());
        };
        progress.heard = now;
        progress.outgrown = None;
        // It has all that was sent, and there is more.
        let more = progress.sent == Some(*end) && *end != newest;
        if let Some(vote) = vote.filter(|vote| vote.statement.member == from)
            && self.is_news(&vote)
            && self.is_vote(&vote)
        {
            self.count(vote);
            self.certify()?;
        }
        if more {
            self.send_entries(from)
        } else {
            Ok(())
        }
    }

    /// Whether a vote is for something not yet sealed, and was not counted before.
    fn is_news(&self, vote: &Signed<Notarised>) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        let counted = leader.votes.get(&vote.statement.member);
        let tip = &vote.statement.tip;
        counted.is_none_or(|old| is_newer(tip, &old.statement.tip)) && is_newer(tip, &self.log.base)
    }

    /// Whether one of those who decide the entry signed it.
    fn is_vote(&self, vote: &Signed<Notarised>) -> bool {
        let position = self.log.position(&vote.statement.tip);
        position.is_some_and(|at| self.log.electorate(at).notarised(vote))
    }

    fn count(&mut self, vote: Signed<Notarised>) {
        if let Some(leader) = self.leading() {
            leader.votes.insert(vote.statement.member, vote);
        }
    }

    /// Lets go of the answers up to the newest entry that a quorum sealed, and applies it.
    fn certify(&mut self) -> Result<(), H::Fault> {
        let Role::Leader(leader) = &self.role else {
            return Ok(());
        };
        let sealed = self.log.tail_back().find_map(|placed| {
            let votes = leader.votes.values();
            let votes = votes.filter(|vote| vote.statement.tip == placed.tip);
            let votes = placed.electorate.quorum_of(votes);
            votes.map(|votes| (placed.tip, votes))
        });
        let Some((tip, certificate)) = sealed else {
            return Ok(());
        };
        let release = Request::Release {
            certificate: certificate.clone(),
        };
        match self.ask_hsm(&release)? {
            Ok(Response::Released { answers }) => self.hands.released(answers),
            Ok(_) => {}
            Err(error) => {
                self.hands.tell(News::Refused(error));
                self.step_down(Role::Follower(None));
                return self.look();
            }
        }
        self.settle_certified(Some(&tip), certificate)?;
        if let Some(leader) = self.leading().filter(|leader| !leader.established) {
            leader.established = true;
            let epoch = leader.epoch;
            self.hands.tell(News::Leads(epoch));
        }
        self.follow_members();
        let changed = self.log.is_settled() && self.log.electorate(0).is_joint();
        match &self.role {
            // A change of members is certified: the next entry settles it.
            Role::Leader(_) if changed => self.take_office(),
            _ => Ok(()),
        }
    }

    pub(crate) fn on_stale(&mut self, from: MemberId, epoch: Epoch, promised: Epoch) {
        let (now, promised) = (self.now, self.within_reach(promised));
        match &mut self.role {
            Role::Leader(leader) if leader.epoch == epoch => {
                if let Some(progress) = leader.followers.get_mut(&from) {
                    progress.heard = now;
                    progress.outgrown = Some(promised);
                }
            }
            // Asked for too old an epoch: the next canvass learns of the newer one.
            _ => {}
        }
    }

    /// Shows that it lives; sends again what may have been lost; gives up without a quorum.
    pub(crate) fn beat(&mut self) -> Result<(), H::Fault> {
        let (now, timing) = (self.now, self.timing);
        let settled = self.log.is_settled();
        let since = now.saturating_sub(2 * timing.patience);
        let lost = matches!(&self.role, Role::Leader(it) if !self.follow_since(it, since));
        let Some(leader) = self.leading() else {
            return Ok(());
        };
        if now < leader.beat_due || leader.is_alone() {
            return Ok(());
        }
        // Called late, it was asleep, not they.
        let awake = now < leader.beaten + timing.patience;
        leader.beaten = now;
        leader.beat_due = now + timing.beat;
        let due = now >= leader.since + timing.renewal && settled;
        if let Some(outgrown) = leader.outgrown().filter(|_| lost || due) {
            let next = outgrown.max(self.promised);
            return self.campaign(Epoch(next.0.saturating_add(1)));
        }
        // They hear it, and seal nothing: its clock may be ahead of theirs. Another may do better.
        let stuck = !settled && now > leader.progress + STUCK * timing.patience;
        if (lost || stuck) && awake {
            self.step_down(Role::Follower(None));
            self.heard = None;
            self.wait();
            if stuck {
                self.deadline += STUCK * timing.patience;
            }
            return Ok(());
        }
        self.send_news()
    }
}
