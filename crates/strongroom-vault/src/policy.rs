//! The attempt policy: every decision about a record, as pure functions (DESIGN §5).
//!
//! Nothing here opens, proves or seals; callers bring a *proved* record, the fleet's time, and
//! facts already established by cryptography (`owner_proved`, `ke3_right`).
//!
//! Invariants:
//! 1. Spend first: a guess is taken when its KE2 is about to be answered, never given back but by
//!    [`Record::prove`] with a right KE3.
//! 2. The bound never depends on a clock: time can only delay a guess, or erase a record that has
//!    none left.
//! 3. Idempotence comes before every other check: same op and body → same result.
//! 4. An attempt id is accepted as new once, for ever: ids only grow. So do the ids of the changes
//!    that no ticket binds to a state (`Delete`, `Reset`, `CancelReset`): a host that kept one and
//!    sends it again after another changes nothing.

use crate::record::{Body, LastOp, Lineage, Live, Material, OpKind, Pending, Record, WaitingReset};
use strongroom_wire::answer::{
    Destruction, EventKind, History, Receipt, Refusal, ResetReport, StatusReport,
};
use strongroom_wire::limits::ATTEMPT_AHEAD_MS;
use strongroom_wire::manifest::Policy;
use strongroom_wire::{
    AttemptId, Digest, Generation, Incarnation, LogIndex, OpId, PublicKey, RecordId, UnixMs,
};

/// Where and when a decision is made.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The entry that will hold it.
    pub index: LogIndex,
    /// The fleet's time.
    pub now: UnixMs,
    /// The policy in force.
    pub policy: &'a Policy,
}

/// A state-changing operation's name and body.
#[derive(Clone, Copy)]
pub struct Op {
    /// The client's id for it.
    pub id: OpId,
    /// Digest of the body.
    pub body: Digest,
}

/// What a registration brings.
pub struct NewSecret {
    /// OPAQUE file, seed, wrapped secret.
    pub material: Material,
    /// The owner key.
    pub owner_key: PublicKey,
}

/// What the record looked like when a registration ticket was made; it must look so still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its generation, 0 for none.
    pub generation: Generation,
    /// Whether it lived. A ticket from before a deletion must not undo it.
    pub live: bool,
}

impl Seen {
    /// What a record looks like now.
    pub fn of(record: Option<&Record>) -> Self {
        Self {
            generation: record.map_or(Generation(0), |r| r.generation),
            live: record.is_some_and(|r| r.live().is_some()),
        }
    }
}

/// A change that was made; the caller completes the receipt.
pub type Done = Result<LastOp, Refusal>;

impl Record {
    /// Erases a record whose last chance is over. Every operation comes through here first.
    pub fn touch(&mut self, moment: &Moment<'_>) {
        let Body::Live(live) = &self.body else { return };
        let over = |at: UnixMs| moment.now >= at.plus(moment.policy.last_chance_ms);
        if live.exhausted_at.is_some_and(over) {
            self.erase(Destruction::Guessed, EventKind::Destroyed, moment.now);
        }
    }

    /// Takes a guess, or answers the pending one again. Gives the guesses left.
    ///
    /// # Errors
    /// The refusal. Nothing is spent then; but a record without guesses may be erased.
    pub fn spend(
        &mut self,
        attempt: AttemptId,
        ke1: Digest,
        moment: &Moment<'_>,
    ) -> Result<u8, Refusal> {
        self.touch(moment);
        let greatest = self.lineage.greatest_attempt;
        let live = self.live_or_refusal()?;
        let retry = live
            .pending
            .is_some_and(|p| p.attempt == attempt && p.ke1 == ke1);
        if retry {
            return Ok(live.attempts_left);
        }
        let ahead = attempt.time() > moment.now.plus(ATTEMPT_AHEAD_MS);
        if ahead || greatest.is_some_and(|greatest| attempt <= greatest) {
            let greatest = greatest.unwrap_or(AttemptId([0; 16]));
            return Err(Refusal::StaleAttempt {
                greatest,
                now: moment.now,
            });
        }
        let attempts_left = live.attempts_left;
        if attempts_left == 0 {
            // Last chance: anything but the pending guess ends the record.
            self.lineage.greatest_attempt = Some(attempt);
            self.erase(Destruction::Guessed, EventKind::Destroyed, moment.now);
            return Err(self.destroyed().expect("it was erased just now"));
        }
        if moment.now < live.earliest_next {
            let until = live.earliest_next;
            return Err(Refusal::WaitUntil {
                until,
                now: moment.now,
                attempts_left,
            });
        }
        Ok(self.take(attempt, ke1, moment))
    }

    /// The spending itself; every check is done.
    fn take(&mut self, attempt: AttemptId, ke1: Digest, moment: &Moment<'_>) -> u8 {
        let Record {
            lineage,
            body: Body::Live(live),
            ..
        } = self
        else {
            unreachable!("spend checked that the record lives")
        };
        if live.pending.is_some() {
            lineage.totals.unproved = lineage.totals.unproved.saturating_add(1);
        }
        live.attempts_left = live
            .attempts_left
            .checked_sub(1)
            .expect("spend checked that one is left");
        live.unfinished = live.unfinished.saturating_add(1);
        live.pending = Some(Pending { attempt, ke1 });
        live.earliest_next = moment.now.plus(moment.policy.delay_after(live.unfinished));
        if live.attempts_left == 0 {
            live.exhausted_at = Some(moment.now);
        }
        lineage.greatest_attempt = Some(attempt);
        lineage.totals.starts = lineage.totals.starts.saturating_add(1);
        lineage.note(EventKind::Guessed, moment.now);
        live.attempts_left
    }

    /// Ends the pending guess: restores the attempts if its KE3 was right.
    ///
    /// # Errors
    /// `Superseded` for any guess but the newest unproved one; `WrongCode`; see §4.
    pub fn prove(
        &mut self,
        op: Op,
        generation: Generation,
        attempt: AttemptId,
        ke3_right: bool,
        moment: &Moment<'_>,
    ) -> Done {
        if let Some(done) = self.repeated(OpKind::Recover, op) {
            return done;
        }
        self.touch(moment);
        let same_generation = self.generation == generation;
        let live = self.live_mut_or_refusal()?;
        if !same_generation {
            return Err(Refusal::StaleTicket);
        }
        if live
            .pending
            .is_none_or(|pending| pending.attempt != attempt)
        {
            return Err(Refusal::Superseded);
        }
        if !ke3_right {
            return Err(Refusal::WrongCode);
        }
        live.attempts_left = live.attempts_max;
        live.earliest_next = UnixMs(0);
        live.unfinished = 0;
        live.exhausted_at = None;
        live.pending = None;
        let cancels = live.reset.take().is_some();
        self.lineage.forget_guess();
        if cancels {
            self.lineage.note(EventKind::ResetCancelled, moment.now);
        }
        Ok(self.done(OpKind::Recover, op, EventKind::Recovered, None, moment))
    }

    /// Registers over this record.
    ///
    /// # Errors
    /// `StaleTicket` unless the record still looks as `seen`; `OwnerProofNeeded` over a live one
    /// without proof or a reset that is over.
    pub fn replace(
        &mut self,
        op: Op,
        seen: Seen,
        new: NewSecret,
        owner_proved: bool,
        moment: &Moment<'_>,
    ) -> Done {
        if let Some(done) = self.repeated(OpKind::Register, op) {
            return done;
        }
        self.touch(moment);
        if Seen::of(Some(self)) != seen {
            return Err(Refusal::StaleTicket);
        }
        let kind = match &self.body {
            Body::Tombstone { .. } => EventKind::Registered,
            Body::Live(_) if owner_proved => EventKind::Replaced,
            Body::Live(live) => match live.reset {
                Some(reset) if reset.until <= moment.now => EventKind::ReplacedAfterReset,
                _ => return Err(Refusal::OwnerProofNeeded),
            },
        };
        if let Body::Live(live) = &self.body {
            let totals = &mut self.lineage.totals;
            totals.replacements = totals.replacements.saturating_add(1);
            totals.unproved = totals
                .unproved
                .saturating_add(u32::from(live.pending.is_some()));
        }
        let lineage = core::mem::take(&mut self.lineage);
        *self = Self::live_from(new, lineage, moment);
        Ok(self.done(OpKind::Register, op, kind, None, moment))
    }

    /// Registers where nothing ever was.
    ///
    /// # Errors
    /// `StaleTicket` unless the ticket saw nothing either.
    pub fn create(
        op: Op,
        seen: Seen,
        new: NewSecret,
        moment: &Moment<'_>,
    ) -> Result<(Self, LastOp), Refusal> {
        if Seen::of(None) != seen {
            return Err(Refusal::StaleTicket);
        }
        let mut record = Self::live_from(new, Lineage::default(), moment);
        let last = record.done(OpKind::Register, op, EventKind::Registered, None, moment);
        Ok((record, last))
    }

    /// Erases the record at its owner's wish, or the account's after a reset.
    ///
    /// # Errors
    /// `OwnerProofNeeded`, `ResetPending`, `Destroyed`.
    pub fn delete(&mut self, op: Op, owner_proved: bool, moment: &Moment<'_>) -> Done {
        if let Some(done) = self.repeated(OpKind::Change, op) {
            return done;
        }
        self.touch(moment);
        let live = self.live_or_refusal()?;
        let (why, kind) = match live.reset {
            _ if owner_proved => (Destruction::Deleted, EventKind::Deleted),
            None => return Err(Refusal::OwnerProofNeeded),
            Some(reset) if reset.until <= moment.now => {
                (Destruction::DeletedAfterReset, EventKind::DeletedAfterReset)
            }
            Some(reset) => return Err(Refusal::ResetPending { until: reset.until }),
        };
        self.accept(op, moment)?;
        self.erase(why, kind, moment.now);
        Ok(self.remember(OpKind::Change, op, kind, None, moment))
    }

    /// Begins the waiting period.
    ///
    /// # Errors
    /// `ResetPending` if one runs; `Destroyed`.
    pub fn reset(&mut self, op: Op, moment: &Moment<'_>) -> Done {
        if let Some(done) = self.repeated(OpKind::Change, op) {
            return done;
        }
        self.touch(moment);
        let live = self.live_or_refusal()?;
        if let Some(reset) = live.reset {
            return Err(Refusal::ResetPending { until: reset.until });
        }
        self.accept(op, moment)?;
        let live = self.live_mut_or_refusal()?;
        let until = moment.now.plus(moment.policy.reset_wait_ms);
        live.reset = Some(WaitingReset { op: op.id, until });
        let totals = &mut self.lineage.totals;
        totals.resets = totals.resets.saturating_add(1);
        Ok(self.done(
            OpKind::Change,
            op,
            EventKind::ResetStarted,
            Some(until),
            moment,
        ))
    }

    /// Ends the waiting period of the reset named `reset`.
    ///
    /// # Errors
    /// `OwnerProofNeeded`, `NoSuchReset`, `Destroyed`.
    pub fn cancel_reset(
        &mut self,
        op: Op,
        reset: OpId,
        owner_proved: bool,
        moment: &Moment<'_>,
    ) -> Done {
        if let Some(done) = self.repeated(OpKind::Change, op) {
            return done;
        }
        self.touch(moment);
        let live = self.live_or_refusal()?;
        if !owner_proved {
            return Err(Refusal::OwnerProofNeeded);
        }
        if live.reset.is_none_or(|waiting| waiting.op != reset) {
            return Err(Refusal::NoSuchReset);
        }
        self.accept(op, moment)?;
        self.live_mut_or_refusal()?.reset = None;
        Ok(self.done(OpKind::Change, op, EventKind::ResetCancelled, None, moment))
    }

    /// Reports the record's state; the history only where the owner proof was good.
    ///
    /// # Errors
    /// `Destroyed`.
    pub fn report(
        &mut self,
        id: RecordId,
        incarnation: Incarnation,
        owner_proved: bool,
        moment: &Moment<'_>,
    ) -> Result<StatusReport, Refusal> {
        self.touch(moment);
        let live = self.live_or_refusal()?;
        let waits = live.earliest_next > moment.now;
        Ok(StatusReport {
            record: id,
            generation: self.generation,
            incarnation,
            attempts_left: live.attempts_left,
            attempts_max: live.attempts_max,
            wait_until: waits.then_some(live.earliest_next),
            pending: live.pending.is_some(),
            reset: live.reset.map(|reset| ResetReport {
                op: reset.op,
                until: reset.until,
            }),
            totals: self.lineage.totals,
            now: moment.now,
            history: owner_proved.then(|| self.lineage.history.clone()),
        })
    }

    /// The receipt for an operation of this record.
    pub fn receipt(&self, last: &LastOp, id: RecordId) -> Receipt {
        let history: Option<History> = last.kind.proved().then(|| self.lineage.history.clone());
        Receipt {
            kind: last.kind,
            op: last.op,
            record: id,
            generation: self.generation,
            index: last.index,
            at: last.at,
            attempts_left: self.live().map_or(0, |live| live.attempts_left),
            totals: self.lineage.totals,
            history,
            reset_until: last.reset_until,
        }
    }

    /// The refusal that a tombstone gives.
    pub fn destroyed(&self) -> Option<Refusal> {
        match self.body {
            Body::Live(_) => None,
            Body::Tombstone { at, why } => Some(Refusal::Destroyed {
                at,
                why,
                totals: self.lineage.totals,
            }),
        }
    }

    fn live_or_refusal(&self) -> Result<&Live, Refusal> {
        match (&self.body, self.destroyed()) {
            (Body::Live(live), _) => Ok(live),
            (_, Some(refusal)) => Err(refusal),
            (Body::Tombstone { .. }, None) => unreachable!("a tombstone is destroyed"),
        }
    }

    fn live_mut_or_refusal(&mut self) -> Result<&mut Live, Refusal> {
        if let Some(refusal) = self.destroyed() {
            return Err(refusal);
        }
        match &mut self.body {
            Body::Live(live) => Ok(live),
            Body::Tombstone { .. } => unreachable!("destroyed answered for tombstones"),
        }
    }

    /// Takes the id of a change as new. The last check of each: a refused change uses no id up.
    fn accept(&mut self, op: Op, moment: &Moment<'_>) -> Result<(), Refusal> {
        let greatest = self.lineage.greatest_op;
        let ahead = op.id.time() > moment.now.plus(ATTEMPT_AHEAD_MS);
        if ahead || greatest.is_some_and(|greatest| op.id <= greatest) {
            let greatest = greatest.unwrap_or(OpId([0; 16]));
            let now = moment.now;
            return Err(Refusal::StaleOp { greatest, now });
        }
        self.lineage.greatest_op = Some(op.id);
        Ok(())
    }

    /// The result of the last operation of that kind, if this is its retry. Before every other
    /// check.
    fn repeated(&self, kind: OpKind, op: Op) -> Option<Done> {
        let last = self.lineage.last(kind).filter(|last| last.op == op.id)?;
        Some(if last.body == op.body.half() {
            Ok(last)
        } else {
            Err(Refusal::OpIdReused)
        })
    }

    fn done(
        &mut self,
        of: OpKind,
        op: Op,
        kind: EventKind,
        reset_until: Option<UnixMs>,
        moment: &Moment<'_>,
    ) -> LastOp {
        self.lineage.note(kind, moment.now);
        self.remember(of, op, kind, reset_until, moment)
    }

    fn remember(
        &mut self,
        of: OpKind,
        op: Op,
        kind: EventKind,
        reset_until: Option<UnixMs>,
        moment: &Moment<'_>,
    ) -> LastOp {
        let last = LastOp {
            op: op.id,
            body: op.body.half(),
            kind,
            index: moment.index,
            at: moment.now,
            reset_until,
        };
        self.lineage.remember(of, last);
        last
    }

    /// Turns the record into a tombstone. Its material is zeroized when it drops.
    fn erase(&mut self, why: Destruction, kind: EventKind, now: UnixMs) {
        let Body::Live(live) = &self.body else {
            unreachable!("only the living are erased")
        };
        let totals = &mut self.lineage.totals;
        totals.unproved = totals
            .unproved
            .saturating_add(u32::from(live.pending.is_some()));
        if why == Destruction::Guessed {
            totals.destructions = totals.destructions.saturating_add(1);
        }
        self.lineage.note(kind, now);
        self.body = Body::Tombstone { at: now, why };
    }

    fn live_from(new: NewSecret, lineage: Lineage, moment: &Moment<'_>) -> Self {
        Self {
            generation: Generation(moment.index.0),
            large: Self::is_large(new.material.wrapped.len()),
            lineage,
            body: Body::Live(Live {
                attempts_left: moment.policy.attempts_max,
                attempts_max: moment.policy.attempts_max,
                earliest_next: UnixMs(0),
                unfinished: 0,
                exhausted_at: None,
                pending: None,
                reset: None,
                owner_key: new.owner_key,
                material: new.material,
            }),
        }
    }
}
