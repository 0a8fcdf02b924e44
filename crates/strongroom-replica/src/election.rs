//! Becoming leader: ask whether anybody minds, then for promises, then for what is missing.
//!
//! Asking first costs nothing; a promise costs an anchor write, and outdates the leader there is. A
//! host that was cut off therefore disturbs nobody when it comes back.

use crate::certificate::is_newer;
use crate::leader::Leader;
use crate::{Append, Hands, Logged, MESSAGE_BYTES, Message, News, Replica, Role};
use std::collections::BTreeMap;
use strongroom_wire::entry::{Promised, Signed, Tip};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::{Epoch, LogIndex, MemberId, ProcessId};

/// Entries that a candidate may miss under the newest promised tip and still fetch.
const FETCH_MAX: usize = 1024;

pub(crate) struct Candidate {
    epoch: Epoch,
    promises: BTreeMap<MemberId, Signed<Promised>>,
    /// What it waits for, once it has a quorum, and from whom.
    fetching: Option<Tip>,
    pub(crate) asked: Option<MemberId>,
    /// Tips that the HSM would not build on: their time is ahead of its clock.
    refused: Vec<Tip>,
}

impl<H: Hands> Replica<H> {
    /// Nobody leads, it seems: asks the others.
    pub(crate) fn canvass(&mut self) -> Result<(), H::Fault> {
        self.wait();
        // Whom no manifest names has nothing to promise, and nobody would count it. It may be here
        // by a copy of a store, and not have left yet.
        if !self.log.newest_electorate().names(self.me) || self.joining.is_some() {
            // Who leads now shows it out.
            let round = self.jitter;
            self.send_all(&Message::Canvass { round });
            return self.retire();
        }
        let round = self.jitter;
        let (yes, promised) = (Vec::new(), self.promised);
        self.step_down(Role::Canvasser {
            round,
            yes,
            promised,
        });
        self.send_all(&Message::Canvass { round });
        let (me, promised) = (self.me, self.promised);
        self.on_canvassed(me, round, true, promised)
    }

    pub(crate) fn on_canvass(&mut self, from: MemberId, round: u64) -> Result<(), H::Fault> {
        if self.has_left(from) {
            return self.show_out(from);
        }
        let leads = matches!(self.role, Role::Leader(_));
        let (yes, promised) = (!leads && !self.hears_leader(), self.promised);
        let answer = Message::Canvassed {
            round,
            yes,
            promised,
        };
        self.send(from, answer);
        Ok(())
    }

    /// Whether it was a member once, and knows nothing of the changes since.
    fn has_left(&self, member: MemberId) -> bool {
        let mut known = self.manifests.iter();
        known.any(|it| it.member(member).is_some()) && !self.others().contains(&member)
    }

    pub(crate) fn on_canvassed(
        &mut self,
        from: MemberId,
        asked: u64,
        agrees: bool,
        theirs: Epoch,
    ) -> Result<(), H::Fault> {
        let theirs = self.within_reach(theirs);
        let Role::Canvasser {
            round,
            yes,
            promised,
        } = &mut self.role
        else {
            return Ok(());
        };
        if *round != asked || !agrees || yes.contains(&from) {
            return Ok(());
        }
        yes.push(from);
        *promised = (*promised).max(theirs);
        let epoch = *promised;
        if !self.log.newest_electorate().is_quorum(yes) {
            return Ok(());
        }
        self.campaign(Epoch(epoch.0.saturating_add(1)))
    }

    /// Promises an epoch to itself, and asks the others to.
    pub(crate) fn campaign(&mut self, epoch: Epoch) -> Result<(), H::Fault> {
        let (leader, process) = (self.me, self.process);
        let request = Request::Promise {
            epoch,
            leader,
            process,
        };
        let asked = self.ask_hsm(&request)?;
        self.step_down(Role::Follower(None));
        self.heard = None;
        self.wait();
        let promise = match asked {
            Ok(Response::Promised(promise)) => promise,
            Ok(_) => return Ok(()),
            Err(error) => {
                self.hands.tell(News::Refused(error));
                return self.look();
            }
        };
        self.promised = epoch;
        self.role = Role::Candidate(Candidate {
            epoch,
            promises: BTreeMap::from([(leader, promise)]),
            fetching: None,
            asked: None,
            refused: Vec::new(),
        });
        self.send_all(&Message::AskPromise { epoch, process });
        self.elect()
    }

    pub(crate) fn on_ask_promise(
        &mut self,
        from: MemberId,
        epoch: Epoch,
        process: ProcessId,
    ) -> Result<(), H::Fault> {
        if self.joining.is_some() {
            // It has nothing to promise before it joins; and without it nobody may be able to lead,
            // where a change that takes it in is neither sealed nor overtaken.
            self.wanted = Some(from);
            let after = self.log.base;
            self.send(from, Message::Want { epoch, after });
            return Ok(());
        }
        // While it hears a leader, only that leader may have more of it.
        let led_by = match &self.role {
            Role::Leader(_) => Some(self.me),
            Role::Follower(Some(led)) if self.hears_leader() => Some(led.leader),
            _ => None,
        };
        let request = Request::Promise {
            epoch,
            leader: from,
            process,
        };
        let answer = match led_by.is_none_or(|leader| leader == from) {
            true => self.ask_hsm(&request)?,
            false => return Ok(()),
        };
        if let Ok(Response::Promised(promise)) = answer {
            self.promised = epoch;
            self.step_down(Role::Follower(None));
            self.heard = None;
            // It gets its time, once: who asks again and again and never leads does not keep others
            // from trying.
            if !self.fruitless.contains(&from) {
                self.fruitless.push(from);
                self.wait();
            }
            self.send(from, Message::Promise(promise));
        } else {
            self.look()?;
            let promised = self.promised;
            self.send(from, Message::Stale { epoch, promised });
        }
        Ok(())
    }

    /// Shows a joiner the change that takes it in, so that its HSM may promise.
    pub(crate) fn on_joiner_wants(
        &mut self,
        from: MemberId,
        epoch: Epoch,
        after: Tip,
    ) -> Result<(), H::Fault> {
        let asked = matches!(&self.role, Role::Candidate(it) if it.epoch == epoch);
        let applied = match self.log.position(&after) {
            Some(_) => Some(Vec::new()),
            None => self.hands.applied_after(&after)?,
        };
        let Some(mut entries) = applied.filter(|_| asked) else {
            if asked {
                self.send(from, Message::Behind);
            }
            return Ok(());
        };
        let reached = entries.last().map_or(after, |it| it.header().tip());
        if let Some(position) = self.log.position(&reached) {
            let tail = self.log.tail_from(position);
            entries.extend(tail.map(|placed| placed.logged.clone()));
        }
        let append = Append {
            epoch,
            start: self.log.end(),
            promises: Vec::new(),
            previous: after,
            entries,
            certificate: self.certificate.clone(),
        };
        self.send(from, Message::Append(append));
        Ok(())
    }

    pub(crate) fn on_promise(
        &mut self,
        from: MemberId,
        promise: Signed<Promised>,
    ) -> Result<(), H::Fault> {
        let (me, process) = (self.me, self.process);
        let Role::Candidate(candidate) = &self.role else {
            return Ok(());
        };
        let s = &promise.statement;
        let fits = s.epoch == candidate.epoch
            && s.leader == me
            && s.process == process
            && s.member == from;
        let holds = fits && self.is_promise(&promise);
        let Role::Candidate(candidate) = &mut self.role else {
            return Ok(());
        };
        if holds {
            candidate.promises.insert(from, promise);
            return self.elect();
        }
        Ok(())
    }

    /// Whether a member of a manifest known here signed it.
    fn is_promise(&self, promise: &Signed<Promised>) -> bool {
        let mut electorates = self.electorates().into_iter();
        electorates.any(|electorate| electorate.promised(promise))
    }

    /// Leads by a quorum of the promises whose newest tip is here. If that of all of them is not,
    /// it is fetched, and meanwhile further promises may make another quorum: who holds the newest
    /// may not give it. What a quorum sealed is under every quorum's newest.
    fn elect(&mut self) -> Result<(), H::Fault> {
        let Role::Candidate(candidate) = &self.role else {
            return Ok(());
        };
        let promises = candidate.promises.values();
        let promises = promises.map(|p| (p.statement.tip, p.statement.member));
        let mut promises: Vec<(Tip, MemberId)> = promises.collect();
        promises.retain(|(tip, _)| !candidate.refused.contains(tip));
        promises.sort_by_key(|(tip, _)| std::cmp::Reverse((tip.epoch, tip.index)));
        let mut missing = None;
        // The newest that leaves a quorum at or below it, then older ones. Which quorum, the start
        // itself says; one that is not here is fetched if it would do as things stand here.
        for at in 0..promises.len() {
            let Some((newest, below)) = promises.get(at..).and_then(<[_]>::split_first) else {
                break;
            };
            let mut members: Vec<MemberId> = below.iter().map(|(_, member)| *member).collect();
            members.push(newest.1);
            let newest = newest.0;
            let known = self.log.newest_electorate().is_quorum(&members);
            if !self.stand_at(&newest)? {
                missing = missing.or(known.then_some(newest));
                continue;
            }
            let electorate = self.log.newest_electorate();
            if electorate.is_quorum(&members) && electorate.names(self.me) {
                return self.lead(newest);
            }
        }
        match missing {
            Some(missing) => self.fetch(missing),
            None => Ok(()),
        }
    }

    fn fetch(&mut self, missing: Tip) -> Result<(), H::Fault> {
        let after = self.log.base;
        let Role::Candidate(candidate) = &mut self.role else {
            return Ok(());
        };
        if candidate.fetching == Some(missing) {
            return Ok(());
        }
        let holds = |p: &&Signed<Promised>| p.statement.tip == missing;
        let holder = candidate.promises.values().find(holds);
        let Some(holder) = holder.map(|p| p.statement.member) else {
            return Ok(());
        };
        candidate.fetching = Some(missing);
        candidate.asked = Some(holder);
        let upto = missing;
        self.send(holder, Message::Fetch { after, upto });
        Ok(())
    }

    /// Makes the chain end there, if this host has all of it.
    fn stand_at(&mut self, tip: &Tip) -> Result<bool, H::Fault> {
        if let Some(position) = self.log.position(tip) {
            self.log.truncate(position);
            return Ok(true);
        }
        let Some(chain) = self.chain(&self.log.base, tip)? else {
            return Ok(false);
        };
        self.log.truncate(0);
        for logged in chain {
            // It was looked at before it went to the disk.
            let Some(electorate) = self.electorate_of(&logged) else {
                return Ok(false);
            };
            self.log.push(logged, electorate);
        }
        Ok(true)
    }

    /// The entries after one place up to another, from the disk; none if they are not all there.
    fn chain(&self, after: &Tip, upto: &Tip) -> Result<Option<Vec<Logged>>, H::Fault> {
        let (mut index, mut hash) = (upto.index, upto.hash);
        let (mut chain, mut room) = (Vec::new(), 2 * MESSAGE_BYTES);
        while index > after.index {
            let found = self.hands.logged(index, &hash)?;
            let Some(logged) = found.filter(|_| chain.len() < FETCH_MAX && room > 0) else {
                return Ok(None);
            };
            let bytes: usize = logged.entry.writes.iter().map(|w| w.leaf.len()).sum();
            room = room.saturating_sub(bytes);
            hash = logged.header().previous;
            index = LogIndex(index.0.saturating_sub(1));
            chain.push(logged);
        }
        chain.reverse();
        Ok((hash == after.hash && index == after.index).then_some(chain))
    }

    pub(crate) fn on_fetch(
        &mut self,
        from: MemberId,
        after: &Tip,
        upto: Tip,
    ) -> Result<(), H::Fault> {
        let message = match self.chain(after, &upto)? {
            Some(entries) => Message::Fetched { upto, entries },
            None => Message::Behind,
        };
        self.send(from, message);
        Ok(())
    }

    pub(crate) fn on_fetched(&mut self, upto: &Tip, entries: &[Logged]) -> Result<(), H::Fault> {
        let wanted =
            matches!(&self.role, Role::Candidate(candidate) if candidate.fetching == Some(*upto));
        // The holder may lie: nothing goes to the disk but what leads from the base to that tip.
        let mut place = self.log.base;
        let leads = entries.iter().all(|logged| {
            let header = logged.header();
            let follows = header.previous == place.hash && header.index == place.index.next();
            place = header.tip();
            follows && logged.is_whole()
        });
        let known = wanted && leads && entries.iter().all(|it| self.electorate_of(it).is_some());
        if !known || place != *upto {
            return Ok(());
        }
        self.hands.append(&entries.iter().collect::<Vec<_>>())?;
        self.elect()
    }

    fn lead(&mut self, start: Tip) -> Result<(), H::Fault> {
        let Role::Candidate(candidate) = &mut self.role else {
            return Ok(());
        };
        let epoch = candidate.epoch;
        let covered = |p: &&Signed<Promised>| !is_newer(&p.statement.tip, &start);
        let promises = candidate.promises.values().filter(covered);
        let promises: Vec<_> = promises.cloned().collect();
        let Some(position) = self.log.position(&start) else {
            return Ok(());
        };
        // Those whom the start's manifests do not name do not count there.
        let electorate = self.log.electorate(position);
        let named = |p: &Signed<Promised>| electorate.names(p.statement.member);
        let promises: Vec<_> = promises.into_iter().filter(named).collect();
        let request = Request::Lead {
            epoch,
            promises: promises.clone(),
            start: self.log.place(position),
        };
        match self.ask_hsm(&request)? {
            Ok(_) => {
                let others = self.others();
                let leader = Leader::new(epoch, start, promises, others, self.now);
                self.role = Role::Leader(leader);
                self.take_office()
            }
            // Sealed by too few, from a clock that is ahead: there may be a quorum without it.
            Err(HsmError::TooEarly) => {
                if let Role::Candidate(candidate) = &mut self.role {
                    candidate.refused.push(start);
                    let of_start = |p: &Signed<Promised>| p.statement.tip == start;
                    candidate.promises.retain(|_, promise| !of_start(promise));
                }
                self.elect()
            }
            Err(error) => {
                self.hands.tell(News::Refused(error));
                self.role = Role::Follower(None);
                self.look()
            }
        }
    }
}
