//! Following: keep the leader's entries, have them notarised, apply what a quorum sealed.

use crate::certificate::{Electorate, is_newer};
use crate::{Append, Certificate, Hands, Led, Logged, Message, News, Replica, Role};
use std::sync::Arc;
use strongroom_wire::entry::{Notarised, Promised, Signed, Tip};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::limits::PIPELINE_MAX;
use strongroom_wire::{Epoch, MemberId};

impl<H: Hands> Replica<H> {
    pub(crate) fn on_append(&mut self, from: MemberId, append: Append) -> Result<(), H::Fault> {
        let epoch = append.epoch;
        if epoch < self.promised {
            let promised = self.promised;
            self.send(from, Message::Stale { epoch, promised });
            return Ok(());
        }
        // Two leaders of one epoch: one of them is none, and the HSM knows which.
        if self.leads() == Some(epoch) {
            return Ok(());
        }
        let end = append.entries.last().map(|logged| logged.header().tip());
        if self.joining.is_some() && append.promises.is_empty() && end == Some(append.start) {
            return self.learn_to_join(append);
        }
        if !self.follow(from, epoch, &append.promises, &append.entries) {
            // What it sent from here on does not tell that it leads: the change of members that
            // would is too far up.
            let tells_nothing = !append.entries.is_empty() && self.wanted == Some(from);
            if tells_nothing && !self.hears_leader() {
                self.wanted = None;
                self.hands.tell(News::Behind(from));
                return Ok(());
            }
            self.wanted = Some(from);
            let after = self.log.base;
            self.send(from, Message::Want { epoch, after });
            return Ok(());
        }
        let extended = self.extend(&append.previous, append.entries)?;
        let certified = self.certified(&append.certificate);
        if !extended {
            // What was sealed may be here even though what comes after it is not.
            self.settle_certified(certified.as_ref(), append.certificate)?;
            let after = self.log.base;
            self.send(from, Message::Want { epoch, after });
            return Ok(());
        }
        let position = certified.as_ref().and_then(|tip| self.log.position(tip));
        if position.is_some_and(|position| position > PIPELINE_MAX) {
            // It was away: its HSM adopts what is sealed in one step, and need not vote for it.
            self.settle_certified(certified.as_ref(), append.certificate.clone())?;
        }
        let vote = self.seal(epoch, &append.start)?;
        let end = self.log.end();
        // The leader waits for this; nobody waits for what follows.
        self.send(from, Message::Sealed { epoch, end, vote });
        self.settle_certified(certified.as_ref(), append.certificate)
    }

    /// From a candidate, whose start they end with: so that the HSM joins, and may promise.
    fn learn_to_join(&mut self, append: Append) -> Result<(), H::Fault> {
        self.extend(&append.previous, append.entries)?;
        let certified = self.certified(&append.certificate);
        self.settle_certified(certified.as_ref(), append.certificate)?;
        self.join()
    }

    /// Follows whoever leads that epoch. A leader shows its promises first: without them anybody
    /// could have itself obeyed, and keep the others from electing one that works.
    ///
    /// Whoever was away over a change of members learns of it from the entries.
    fn follow(
        &mut self,
        leader: MemberId,
        epoch: Epoch,
        promises: &[Signed<Promised>],
        entries: &[Logged],
    ) -> bool {
        let known = matches!(
            &self.role,
            Role::Follower(Some(led)) if led.leader == leader && led.epoch == epoch
        );
        if !known {
            // It may lead over several changes, by promises of those who were members before them.
            // Entries of the epoch are sealed here: somebody does lead it.
            let led = self.log.base.epoch == epoch;
            let before = self.manifests.iter().filter(|_| led).cloned();
            let before: Vec<Electorate> = before.map(Electorate::single).collect();
            let of_epoch = promises.iter().all(|it| it.statement.epoch == epoch);
            let leads = |it: &Arc<Electorate>| it.leads(leader, promises);
            let leads = of_epoch
                && (self.electorates().iter().any(leads)
                    || before.iter().any(|it| it.leads(leader, promises))
                    || entries.iter().any(|logged| {
                        // None of an older manifest: its members may be few, and may have left.
                        let in_force = self.log.electorate(0).new.epoch;
                        let electorate = self.electorate_of(logged).filter(|_| logged.is_whole());
                        let electorate = electorate.filter(|it| it.new.epoch >= in_force);
                        electorate.as_ref().is_some_and(leads)
                    }));
            if !leads {
                return false;
            }
            self.step_down(Role::Follower(Some(Led { leader, epoch })));
            self.fruitless.retain(|member| *member != leader);
            self.hands.tell(News::Follows(leader, epoch));
        }
        self.heard = Some(self.now);
        self.wait();
        true
    }

    /// Those who decide the entries here.
    pub(crate) fn electorates(&self) -> Vec<Arc<Electorate>> {
        let tail = self.log.tail_from(0).map(|placed| &placed.electorate);
        let all = std::iter::once(self.log.electorate(0)).chain(tail);
        let mut electorates: Vec<Arc<Electorate>> = all.cloned().collect();
        electorates.dedup_by(|a, b| Arc::ptr_eq(a, b));
        electorates
    }

    /// The tip that a quorum sealed, if it is here: its entry says whose quorum.
    fn certified(&self, certificate: &Certificate) -> Option<Tip> {
        let tip = certificate.first()?.statement.tip;
        let position = self.log.position(&tip)?;
        self.log.electorate(position).certified(certificate)
    }

    /// Puts entries after a place of the chain, over what else followed there. False if the place
    /// is not on the chain, or the entries do not follow one another.
    fn extend(&mut self, previous: &Tip, entries: Vec<Logged>) -> Result<bool, H::Fault> {
        let mut entries = entries.into_iter().peekable();
        let mut at = match self.log.position(previous) {
            Some(at) => at,
            None => {
                // They may begin below what is applied here: that part is the same everywhere.
                let base = self.log.base;
                while entries
                    .next_if(|e| e.header().index <= base.index)
                    .is_some()
                {}
                let follows = |e: &Logged| e.header().previous == base.hash;
                if !entries.peek().is_some_and(follows) {
                    return Ok(false);
                }
                0
            }
        };
        let (mut fresh, mut electorates) = (Vec::new(), Vec::new());
        for logged in entries {
            let (before, _) = fresh.last().map_or_else(
                || self.log.standing(at),
                |l: &Logged| (l.header(), &l.entry.state),
            );
            let follows = logged.header().previous == before.hash()
                && logged.header().index == before.index.next();
            if !follows || !logged.is_whole() {
                return Ok(false);
            }
            let known = self.log.position(&logged.header().tip());
            if fresh.is_empty() && known == Some(at + 1) {
                at += 1;
            } else {
                let Some(electorate) = self.electorate_of(&logged) else {
                    return Ok(false);
                };
                electorates.push(electorate);
                fresh.push(logged);
            }
        }
        if fresh.is_empty() {
            return Ok(true);
        }
        self.hands.append(&fresh.iter().collect::<Vec<_>>())?;
        self.log.truncate(at);
        for (logged, electorate) in fresh.into_iter().zip(electorates) {
            self.log.push(logged, electorate);
        }
        Ok(true)
    }

    /// Has the HSM notarise the chain's entries of this epoch, as far as they go.
    pub(crate) fn seal(
        &mut self,
        epoch: Epoch,
        start: &Tip,
    ) -> Result<Option<Signed<Notarised>>, H::Fault> {
        self.join()?;
        // Who is not named has no vote: not yet, or no more.
        if self.joining.is_some() || !self.log.newest_electorate().names(self.me) {
            return Ok(None);
        }
        self.adopt()?;
        loop {
            let in_epoch = self.anchor.epoch == epoch;
            let from = if in_epoch { self.anchor } else { *start };
            let Some(position) = self.log.position(&from) else {
                break;
            };
            // A restart lost what it said of the entry where it stands: it says it again.
            let said = self.statement.as_ref().map(|vote| vote.statement.tip);
            let again = in_epoch && position > 0 && said != Some(from);
            let (position, most) = if again {
                (position - 1, 1)
            } else {
                (position, PIPELINE_MAX)
            };
            // What follows the start may be an older branch still, at whose end the HSM stands: it
            // would say that again, for ever.
            let run = self.log.tail_from(position);
            let run = run.take_while(|placed| placed.tip.epoch == epoch);
            let run = run.take(most);
            let run: Vec<_> = run.map(|p| p.logged.entry.proposal.clone()).collect();
            if run.is_empty() {
                break;
            }
            // It moves from where it stands to the leader's start.
            let moves = !in_epoch && self.anchor != *start;
            let start = moves.then(|| self.log.standing(position).0.clone());
            match self.ask_hsm(&Request::Notarise { run, start })? {
                Ok(Response::Notarised(statement)) => {
                    self.anchor = statement.statement.tip;
                    self.promised = self.promised.max(epoch);
                    self.statement = Some(statement);
                }
                Ok(_) => break,
                Err(error) => {
                    // Its clock is behind: the leader sends again, and time goes on.
                    if error != HsmError::TooEarly {
                        self.hands.tell(News::Refused(error));
                        self.look()?;
                    }
                    break;
                }
            }
        }
        let vote = self.statement.clone();
        Ok(vote.filter(|vote| vote.statement.tip.epoch == epoch))
    }

    /// Brings the HSM to what is applied, where it stands at something older.
    fn adopt(&mut self) -> Result<(), H::Fault> {
        let base = self.log.base;
        let certified = self.certificate.first().map(|vote| vote.statement.tip);
        if !is_newer(&base, &self.anchor) || certified != Some(base) || self.joining.is_some() {
            return Ok(());
        }
        let request = Request::Adopt {
            place: self.log.place(0),
            certificate: self.certificate.clone(),
        };
        match self.ask_hsm(&request)? {
            Ok(_) => {
                self.anchor = base;
                self.promised = self.promised.max(base.epoch);
            }
            Err(error) => self.hands.tell(News::Refused(error)),
        }
        Ok(())
    }

    /// Applies what a certificate covers, if it is here.
    pub(crate) fn settle_certified(
        &mut self,
        tip: Option<&Tip>,
        certificate: Certificate,
    ) -> Result<(), H::Fault> {
        let Some(position) = tip.and_then(|tip| self.log.position(tip)) else {
            return Ok(());
        };
        if position == 0 {
            return Ok(());
        }
        for left in (0..position).rev() {
            let Some(oldest) = self.log.oldest() else {
                break;
            };
            let covered = (left == 0).then_some(&certificate);
            self.hands.apply(oldest, covered)?;
            self.log.settle_oldest();
        }
        self.certificate = certificate;
        self.adopt()?;
        self.retire()
    }
}
