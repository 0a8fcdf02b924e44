//! Notarise, certify, adopt: how an entry is decided, and how members catch up.

use crate::ballot::Refusal;
use crate::rules::{Config, Mutant, Scenario};
use crate::state::{Deciders, Entry, Set, State};

impl Scenario {
    /// `Notarise` of the run `first..=last` of one chain.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn notarise(&self, s: &State, m: usize, first: Entry, last: Entry) -> Result<(), Refusal> {
        let member = &s.members[m];
        let has = |mutant| self.broken.has(mutant);
        if member.retired || member.lost || !self.is_named(s, m) {
            return Err(Refusal::WrongPhase);
        }
        let tip = member.tip;
        if last == tip {
            return Ok(());
        }
        if has(Mutant::IndexOnly) {
            return if s.index(last) > s.index(tip) {
                Ok(())
            } else {
                Err(Refusal::Stale)
            };
        }
        if last.epoch() < member.promised && !has(Mutant::BelowPromise) {
            return Err(Refusal::EpochStale);
        }
        let same_epoch = tip.epoch() == last.epoch();
        let links = s.previous(first) == tip;
        // The leader's promises show where its chain starts. They move tips of lower epochs only:
        // within the epoch there is one chain, and what was said of it stays said.
        let moves = tip.epoch() < last.epoch() && first.place() == 0;
        let broken =
            (has(Mutant::BelowPromise) && first.place() == 0 && s.order(last) > s.order(tip))
                || (has(Mutant::MoveWithinEpoch) && same_epoch && s.order(last) > s.order(tip))
                || (has(Mutant::NotariseTwice) && same_epoch && s.order(last) == s.order(tip))
                || (has(Mutant::RunBackwards) && same_epoch && s.contains(tip, last))
                || (has(Mutant::SkipPrevious) && s.index(last) == s.index(tip) + 1);
        if links || moves || broken {
            Ok(())
        } else if s.index(first) > s.index(tip) + 1 {
            Err(Refusal::Gap)
        } else {
            Err(Refusal::Stale)
        }
    }

    /// Where a helpful host begins the run to `last`: above the tip, or at the leader's start.
    pub(crate) fn first_of_run(s: &State, tip: Entry, last: Entry) -> Entry {
        let (epoch, chain) = (last.epoch(), last.chain());
        let run = (0..=last.place()).map(|it| Entry::at(epoch, chain, it));
        let mut linked = run.filter(|it| s.previous(*it) == tip);
        linked.next().unwrap_or(Entry::at(epoch, chain, 0))
    }

    /// Anchors the end of a run and says so.
    pub(crate) fn do_notarise(&self, s: &mut State, m: usize, last: Entry) {
        let removed = self.removes(s.deciders(last), m);
        let certified = s.is_certified(last);
        let member = &mut s.members[m];
        member.promised = member.promised.max(last.epoch());
        member.tip = last;
        if !certified {
            member.votes |= last.bit();
        }
        if removed && self.broken.has(Mutant::RetireOnNotarise) {
            member.retired = true;
        }
    }

    /// `Adopt` by the entry's certificate.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn adopt(&self, s: &State, m: usize, entry: Entry) -> Result<(), Refusal> {
        let member = &s.members[m];
        if member.retired || !s.is_certified(entry) || !self.is_named(s, m) {
            return Err(Refusal::WrongPhase);
        }
        let newer = s.order(entry) > s.order(member.tip)
            || (self.broken.has(Mutant::AdoptBackwards) && entry != member.tip)
            || (self.broken.has(Mutant::AdoptByIndex) && s.index(entry) > s.index(member.tip))
            || (self.broken.has(Mutant::IndexOnly) && s.index(entry) > s.index(member.tip));
        if newer { Ok(()) } else { Err(Refusal::Stale) }
    }

    /// Anchors it. Moving is not a vote.
    pub(crate) fn do_adopt(&self, s: &mut State, m: usize, entry: Entry) {
        let member = &mut s.members[m];
        member.tip = entry;
        member.lost = false;
        if !self.broken.has(Mutant::AdoptKeepsPromise) {
            member.promised = member.promised.max(entry.epoch());
        }
    }

    /// Whether some proposed entry names it a member. A joiner has nothing to say before: it gets
    /// the fleet's secret with the change that takes it in.
    pub(crate) fn is_named(&self, s: &State, m: usize) -> bool {
        let is_in = |config| self.config(config).members >> m & 1 == 1;
        is_in(0) || s.proposed().any(|it| is_in(s.deciders(it).new))
    }

    /// Whether a change takes that member out.
    pub(crate) fn removes(&self, deciders: Deciders, m: usize) -> bool {
        let is_in = |config| self.config(config).members >> m & 1 == 1;
        deciders.joint() && is_in(deciders.old) && !is_in(deciders.new)
    }

    /// Completes every certificate that what was said completes. Nothing ever takes one back.
    pub(crate) fn certify(&self, s: &mut State) {
        let mut complete = 0;
        for entry in s.proposed() {
            if !s.is_certified(entry) && self.decided_by(s, entry, self.voters(s, entry)) {
                complete |= entry.bit();
            }
        }
        s.certified |= complete;
        s.members.iter_mut().for_each(|it| it.votes &= !complete);
    }

    /// Members whose statement for exactly this entry exists, or may: rolled-back members say
    /// whatever some anchor of theirs lets them say, which is anything.
    fn voters(&self, s: &State, entry: Entry) -> Set {
        let said = self
            .honest()
            .filter(|it| s.members[*it].votes & entry.bit() != 0);
        said.fold(self.rolled, |set, it| set | 1 << it)
    }

    /// Whether these members' statements are a certificate.
    fn decided_by(&self, s: &State, entry: Entry, voters: Set) -> bool {
        let Deciders { old, new } = s.deciders(entry);
        let has = |mutant| self.broken.has(mutant);
        let enough = |config: Config| {
            let within = if has(Mutant::NonMembers) {
                Set::MAX
            } else {
                config.members
            };
            let times = 1 + u32::from(has(Mutant::Duplicates));
            let less = u8::from(has(Mutant::QuorumLessOne));
            (voters & within).count_ones() * times >= u32::from(config.quorum - less)
        };
        let joint = old != new;
        if joint && has(Mutant::UnionQuorum) {
            let members = self.config(old).members | self.config(new).members;
            let quorum = members.count_ones() as u8 / 2 + 1;
            return enough(Config { members, quorum });
        }
        let by_old = enough(self.config(old)) || (joint && has(Mutant::NewQuorumOnly));
        let by_new = enough(self.config(new)) || (joint && has(Mutant::OldQuorumOnly));
        by_old && by_new
    }

    /// Whether an entry may still be certified, by members that may still vote for it.
    pub(crate) fn may_be_certified(&self, s: &State, entry: Entry) -> bool {
        let may = |m: usize| {
            let member = &s.members[m];
            let above = member.tip.epoch() == entry.epoch()
                && (member.tip.chain() != entry.chain() || member.tip.place() >= entry.place());
            member.votes & entry.bit() != 0 || (member.promised <= entry.epoch() && !above)
        };
        let voters = self.honest().filter(|it| may(*it));
        self.decided_by(s, entry, voters.fold(self.rolled, |set, it| set | 1 << it))
    }
}
