//! Promise, lead, propose: how an epoch gets its one chain.

use crate::rules::{Leaders, Mutant, Scenario};
use crate::state::{CHAINS, Deciders, Entry, GHOST, Leader, MEMBERS, Promise, Session, Set, State};

/// Why a member does not do as it is asked; the code's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The epoch was promised, or led, or a later one was.
    EpochStale,
    /// Too few promises, or not for this leader and epoch.
    PromisesInvalid,
    /// Something is missing below.
    Gap,
    /// It is below, beside, or not newer.
    Stale,
    /// Not leading.
    NotLeading,
    /// The pipeline is full, or nothing may be proposed yet.
    Busy,
    /// Not a member any more, or it cannot stand.
    WrongPhase,
}

/// What a leader proposes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A batch.
    Batch,
    /// A batch, by a leader that was not shown the certificate of the change it starts from.
    Unshown,
    /// A change of members (also: a readmission, which gives a slot to another identity).
    Reconfigure(u8),
}

impl Scenario {
    /// `Promise(epoch, leader)` to a member.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn promise(&self, s: &State, m: usize, e: u8, l: Leader) -> Result<(), Refusal> {
        let member = &s.members[m];
        if member.retired || member.lost || !self.is_named(s, m) {
            return Err(Refusal::WrongPhase);
        }
        let again = self.broken.has(Mutant::PromiseTwice)
            && e == member.promised
            && member.promise_to(e, l).is_none();
        if e > member.promised || again {
            Ok(())
        } else {
            Err(Refusal::EpochStale)
        }
    }

    /// Anchors and says a promise.
    pub(crate) fn do_promise(&self, s: &mut State, m: usize, e: u8, l: Leader) {
        let member = &mut s.members[m];
        let tip = member.tip;
        member.promised = e;
        member.leading = 0;
        member.here = if usize::from(l) == m { e } else { 0 };
        member.say(e, Promise { leader: l, tip });
    }

    /// Whoever may be promised an epoch, of those that could still lead it.
    pub(crate) fn candidates(&self, s: &State, e: u8) -> Vec<Leader> {
        let mut candidates = Vec::new();
        if self.leaders == Leaders::Members {
            candidates.extend(self.honest().filter_map(|it| {
                let member = &s.members[it];
                let may = member.promised < e || member.here == e;
                (may && !member.retired).then_some(it as Leader)
            }));
        }
        if self.leaders == Leaders::Ghosts || self.rolled != 0 {
            candidates.push(GHOST);
            // Two ghosts are alike until one of them is named.
            let named = |l| {
                self.honest()
                    .any(|m| s.members[m].promise_to(e, l).is_some())
            };
            let led = (0..CHAINS).any(|it| s.session(e, it).is_some());
            if self.ghosts > 1 && (led || named(GHOST) || named(GHOST + 1)) {
                candidates.push(GHOST + 1);
            }
        }
        candidates
    }

    /// Whether that leader's process may lead the epoch at all.
    ///
    /// # Errors
    /// [`Refusal::EpochStale`].
    pub fn may_lead(&self, s: &State, l: Leader, e: u8) -> Result<(), Refusal> {
        let led = (0..CHAINS).any(|it| s.session(e, it).is_some_and(|it| it.leader == l));
        let may = if l >= GHOST {
            !led || self.broken.has(Mutant::PromiseToMember)
        } else {
            let member = &s.members[usize::from(l)];
            let here = member.here == e || self.broken.has(Mutant::LeadAgain);
            here && member.promised == e && member.leading != e && !member.retired
        };
        if may {
            Ok(())
        } else {
            Err(Refusal::EpochStale)
        }
    }

    /// `Lead` with the promises of exactly these members: the start.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn lead_with(&self, s: &State, l: Leader, e: u8, promises: Set) -> Result<Entry, Refusal> {
        self.may_lead(s, l, e)?;
        let mut newest = None;
        for m in (0..MEMBERS).filter(|it| promises >> it & 1 == 1) {
            let promise = s.members[m]
                .promise_to(e, l)
                .ok_or(Refusal::PromisesInvalid)?;
            if newest.is_none_or(|it| s.order(it) < s.order(promise.tip)) {
                newest = Some(promise.tip);
            }
        }
        let start = newest.ok_or(Refusal::PromisesInvalid)?;
        if !self.is_quorum_at(s, start, promises) {
            return Err(Refusal::PromisesInvalid);
        }
        Ok(start)
    }

    /// Every start that some choice of promises gives. A rolled-back member promises whatever it
    /// likes of the tips it may ever have had.
    pub fn starts(&self, s: &State, l: Leader, e: u8) -> Vec<Entry> {
        if self.may_lead(s, l, e).is_err() || (0..CHAINS).all(|it| s.session(e, it).is_some()) {
            return Vec::new();
        }
        let promises: Vec<(usize, Entry)> = self
            .honest()
            .filter_map(|m| Some((m, s.members[m].promise_to(e, l)?.tip)))
            .collect();
        let mut starts: Vec<Entry> = promises.iter().map(|it| it.1).collect();
        if self.rolled != 0 {
            starts.push(Entry::ROOT);
            starts.extend(s.proposed().filter(|it| it.epoch() < e));
        }
        starts.sort_unstable();
        starts.dedup();
        let by_index = self.broken.has(Mutant::StartByIndex) || self.broken.has(Mutant::IndexOnly);
        let any = self.broken.has(Mutant::StartAny);
        let key = |it| match s.order(it) {
            (_, index) if by_index => (0, index),
            order => order,
        };
        starts.retain(|start| {
            let shown = promises.iter().filter(|it| any || key(it.1) <= key(*start));
            let shown = shown.fold(self.rolled, |set, it| set | 1 << it.0);
            self.is_quorum_at(s, *start, shown)
        });
        starts
    }

    /// Whether a leader can be shown that one configuration is in force there.
    fn settled(&self, s: &State, entry: Entry) -> bool {
        if self.unshown {
            return !s.deciders(entry).joint();
        }
        match self.broken.has(Mutant::SettledByItself) {
            true => s.is_certified(entry) || !s.deciders(entry).joint(),
            false => s.is_settled(entry),
        }
    }

    /// Whether these are enough promises for a chain that builds on `start`: a quorum of the
    /// configuration in force there; of both, if a change is not known to be certified.
    fn is_quorum_at(&self, s: &State, start: Entry, promises: Set) -> bool {
        let Deciders { old, new } = s.deciders(start);
        let enough = |config| {
            let config = self.config(config);
            let less = u8::from(self.broken.has(Mutant::PromisesLessOne));
            (promises & config.members).count_ones() >= u32::from(config.quorum - less)
        };
        if self.settled(s, start) || self.broken.has(Mutant::PromisesOfNew) {
            enough(new)
        } else if self.broken.has(Mutant::PromisesOfOld) {
            enough(old)
        } else {
            enough(old) && enough(new)
        }
    }

    /// Begins a chain.
    pub(crate) fn do_lead(&self, s: &mut State, l: Leader, e: u8, start: Entry) {
        let base = s.index(start);
        let chains = &mut s.sessions[usize::from(e) - 1];
        let free = chains.iter().position(|it| it.leader == crate::state::NONE);
        let free = free.expect("`starts` looked for a free one");
        chains[free] = Session {
            leader: l,
            start,
            base,
            ..chains[free]
        };
        if l < GHOST {
            let member = &mut s.members[usize::from(l)];
            member.leading = e;
            member.here = 0;
        }
    }

    /// `Propose`: who decides the new entry.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn propose(&self, s: &State, e: u8, chain: usize, next: Next) -> Result<Deciders, Refusal> {
        let session = s.session(e, chain).ok_or(Refusal::NotLeading)?;
        if session.leader < GHOST {
            let leader = &s.members[usize::from(session.leader)];
            if leader.leading != e || leader.promised != e {
                return Err(Refusal::NotLeading);
            }
        }
        if session.len >= self.length {
            return Err(Refusal::Busy);
        }
        let first = session.len == 0;
        let head = match first {
            true => session.start,
            false => Entry::at(e, chain, session.len - 1),
        };
        let under = s.deciders(head);
        // A leader is shown the certificate of what it builds on, or is not.
        let shown = self.unshown && s.is_certified(head);
        let settled = shown || self.settled(s, head);
        let open = settled || self.broken.has(Mutant::NoGate);
        let new = match self.broken.has(Mutant::OldSetStays) {
            true => under.old,
            false => under.new,
        };
        match next {
            Next::Batch if open => Ok(Deciders::single(new)),
            // The first entry of a new leader above a change that it cannot show to be certified
            // is decided by both sets, and certifies the change with itself.
            Next::Batch if first && !self.broken.has(Mutant::NothingAbove) => Ok(under),
            Next::Unshown if first && under.joint() && settled => Ok(under),
            // Who left comes back under another identity.
            Next::Reconfigure(to) if !self.returns && to < new => Err(Refusal::Busy),
            Next::Reconfigure(to) if open && to != new => Ok(Deciders { old: new, new: to }),
            _ => Err(Refusal::Busy),
        }
    }

    /// Proposes.
    pub(crate) fn do_propose(
        &self,
        s: &mut State,
        e: u8,
        chain: usize,
        deciders: Deciders,
    ) -> Entry {
        let session = &mut s.sessions[usize::from(e) - 1][chain];
        let entry = Entry::at(e, chain, session.len);
        session.deciders[usize::from(session.len)] = deciders;
        session.len += 1;
        entry
    }
}
