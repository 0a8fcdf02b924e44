//! A record as its clients see it, in one thread and without time: what `policy.rs` of the vault
//! promises, said once more. Only what answers show is in it.

use super::history::{Asked, Told};
use strongroom_client::wire::answer::{Destruction, EventKind, Refusal, Totals};
use strongroom_client::wire::{AttemptId, OpId};

/// Guesses of a new record.
const ATTEMPTS: u8 = 10;

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    body: Body,
    /// Starts, unproved, replacements, destructions.
    totals: [u32; 4],
    greatest_attempt: Option<AttemptId>,
    greatest_op: Option<OpId>,
    /// What made the present generation, which is its entry.
    registered: Option<Last>,
    recovered: Option<Last>,
    changed: Option<Last>,
    /// The greatest entry that is known to be before now.
    floor: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Body {
    #[default]
    Nothing,
    Live {
        left: u8,
        code: u32,
        pending: Option<AttemptId>,
        /// A guess since the last success: the next may have to wait.
        unfinished: bool,
    },
    Erased {
        by_guessing: bool,
    },
}

/// An operation that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Last {
    op: OpId,
    kind: u8,
    entry: Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Entry {
    At(u64),
    /// Nobody was told yet; not below that.
    From(u64),
}

impl Entry {
    fn is(&mut self, index: u64) -> bool {
        match *self {
            Self::At(known) => known == index,
            Self::From(least) if index >= least => {
                *self = Self::At(index);
                true
            }
            Self::From(_) => false,
        }
    }
}

/// What an operation comes to; the refusals as the vault names them.
enum Outcome {
    Started { opened: bool },
    Registered,
    Recovered,
    Changed,
    Report,
    NeverRegistered,
    Destroyed,
    StaleTicket,
    StaleAttempt,
    StaleOp,
    Superseded,
    WrongCode,
    OwnerProofNeeded,
}

impl Model {
    /// What the record may be after that operation. With an answer: where it gives that one.
    pub fn after(&self, asked: &Asked, told: Option<&Told>) -> Vec<Self> {
        if self.makes_wait(asked, told) {
            return vec![self.clone()];
        }
        let mut found = Vec::new();
        for start in std::iter::once(self.clone()).chain(self.run_out()) {
            for (mut after, same) in start.named(asked) {
                let outcome = after.apply(asked, same);
                if told.is_none_or(|told| after.says(&outcome, told)) {
                    found.push(after);
                }
            }
        }
        found
    }

    /// The last chance is over: time can do that, from the last guess on.
    fn run_out(&self) -> Option<Self> {
        let Body::Live { left: 0, .. } = self.body else {
            return None;
        };
        let mut after = self.clone();
        after.erase(true);
        Some(after)
    }

    /// A guess that comes too soon changes nothing.
    fn makes_wait(&self, asked: &Asked, told: Option<&Told>) -> bool {
        let Some(Told::Refused(Refusal::WaitUntil { attempts_left, .. })) = told else {
            return false;
        };
        match (&self.body, asked) {
            (
                Body::Live {
                    left, unfinished, ..
                },
                Asked::Start { attempt, .. },
            ) => {
                let new = self.greatest_attempt.is_none_or(|old| *attempt > old);
                new && *unfinished && *left > 0 && left == attempts_left
            }
            _ => false,
        }
    }

    /// Whether the operation names the present generation: where nobody was told which that is, it
    /// may be or not.
    fn named(self, asked: &Asked) -> Vec<(Self, bool)> {
        let named = match asked {
            Asked::Register { generation, .. }
            | Asked::Finish { generation, .. }
            | Asked::Delete { generation, .. } => *generation,
            Asked::Start { .. } | Asked::Status => return vec![(self, true)],
        };
        match self.registered.as_ref().map(|last| last.entry) {
            None => vec![(self, named == 0)],
            Some(Entry::At(known)) => vec![(self, known == named)],
            Some(Entry::From(least)) if named >= least => {
                let mut bound = self.clone();
                let same = bound.generation_is(named);
                vec![(bound, same), (self, false)]
            }
            Some(Entry::From(_)) => vec![(self, false)],
        }
    }

    fn generation_is(&mut self, generation: u64) -> bool {
        self.floor = self.floor.max(generation);
        match &mut self.registered {
            Some(last) => last.entry.is(generation),
            None => generation == 0,
        }
    }

    fn apply(&mut self, asked: &Asked, same: bool) -> Outcome {
        match *asked {
            Asked::Register { op, code, live, .. } => self.register(op, code, same, live),
            Asked::Start { attempt, code } => self.start(attempt, code),
            Asked::Finish {
                op, attempt, right, ..
            } => self.finish(op, attempt, same, right),
            Asked::Delete { op, .. } => self.delete(op, same),
            Asked::Status => match self.body {
                Body::Nothing => Outcome::NeverRegistered,
                Body::Erased { .. } => Outcome::Destroyed,
                Body::Live { .. } => Outcome::Report,
            },
        }
    }

    fn register(&mut self, op: OpId, code: u32, same: bool, live: bool) -> Outcome {
        if self.registered.as_ref().is_some_and(|last| last.op == op) {
            return Outcome::Registered;
        }
        if !same || live != matches!(self.body, Body::Live { .. }) {
            return Outcome::StaleTicket;
        }
        let mut kind = EventKind::Registered;
        if let Body::Live { pending, .. } = self.body {
            kind = EventKind::Replaced;
            self.totals[1] += u32::from(pending.is_some());
            self.totals[2] += 1;
        }
        self.body = Body::Live {
            left: ATTEMPTS,
            code,
            pending: None,
            unfinished: false,
        };
        // A generation is an entry of its own: above the last one.
        let generation = match self.registered.as_ref().map(|last| last.entry) {
            Some(Entry::At(before) | Entry::From(before)) => before + 1,
            None => 1,
        };
        let entry = Entry::From(self.floor.max(generation));
        let kind = kind as u8;
        self.registered = Some(Last { op, kind, entry });
        Outcome::Registered
    }

    fn start(&mut self, attempt: AttemptId, guess: u32) -> Outcome {
        let Body::Live {
            left,
            code,
            pending,
            unfinished,
        } = &mut self.body
        else {
            return self.gone();
        };
        let opened = guess == *code;
        if *pending == Some(attempt) {
            return Outcome::Started { opened };
        }
        if self.greatest_attempt.is_some_and(|old| attempt <= old) {
            return Outcome::StaleAttempt;
        }
        self.greatest_attempt = Some(attempt);
        if *left == 0 {
            self.erase(true);
            return Outcome::Destroyed;
        }
        self.totals[0] += 1;
        self.totals[1] += u32::from(pending.is_some());
        *left -= 1;
        *pending = Some(attempt);
        *unfinished = true;
        Outcome::Started { opened }
    }

    fn finish(&mut self, op: OpId, guess: AttemptId, same: bool, right: bool) -> Outcome {
        if self.recovered.as_ref().is_some_and(|last| last.op == op) {
            return Outcome::Recovered;
        }
        let entry = Entry::From(self.floor);
        let Body::Live {
            left,
            pending,
            unfinished,
            ..
        } = &mut self.body
        else {
            return self.gone();
        };
        if !same {
            return Outcome::StaleTicket;
        }
        if *pending != Some(guess) {
            return Outcome::Superseded;
        }
        if !right {
            return Outcome::WrongCode;
        }
        (*left, *pending, *unfinished) = (ATTEMPTS, None, false);
        let kind = EventKind::Recovered as u8;
        self.recovered = Some(Last { op, kind, entry });
        Outcome::Recovered
    }

    fn delete(&mut self, op: OpId, same: bool) -> Outcome {
        if self.changed.as_ref().is_some_and(|last| last.op == op) {
            return Outcome::Changed;
        }
        if !matches!(self.body, Body::Live { .. }) {
            return self.gone();
        }
        if !same {
            return Outcome::OwnerProofNeeded;
        }
        if self.greatest_op.is_some_and(|old| op <= old) {
            return Outcome::StaleOp;
        }
        self.greatest_op = Some(op);
        self.erase(false);
        let kind = EventKind::Deleted as u8;
        let entry = Entry::From(self.floor);
        self.changed = Some(Last { op, kind, entry });
        Outcome::Changed
    }

    fn gone(&self) -> Outcome {
        match self.body {
            Body::Nothing => Outcome::NeverRegistered,
            _ => Outcome::Destroyed,
        }
    }

    fn erase(&mut self, by_guessing: bool) {
        if let Body::Live { pending, .. } = self.body {
            self.totals[1] += u32::from(pending.is_some());
        }
        self.totals[3] += u32::from(by_guessing);
        self.body = Body::Erased { by_guessing };
    }

    /// Whether that outcome of this record, as it is after it, is that answer.
    fn says(&mut self, outcome: &Outcome, told: &Told) -> bool {
        match (outcome, told) {
            (
                Outcome::Started { opened },
                Told::Started {
                    left,
                    totals,
                    generation,
                    opened: found,
                },
            ) => opened == found && self.stands(*left, totals, *generation),
            (
                Outcome::Report,
                Told::Status {
                    left,
                    totals,
                    generation,
                    pending,
                },
            ) => self.is_pending() == *pending && self.stands(*left, totals, *generation),
            (
                Outcome::Registered | Outcome::Recovered | Outcome::Changed,
                Told::Receipt {
                    kind,
                    index,
                    left,
                    totals,
                    generation,
                },
            ) => {
                let last = match outcome {
                    Outcome::Registered => &mut self.registered,
                    Outcome::Recovered => &mut self.recovered,
                    _ => &mut self.changed,
                };
                let last = last.as_mut().expect("it was remembered just now");
                let same = last.kind == *kind as u8 && last.entry.is(*index);
                self.floor = self.floor.max(*index);
                same && self.stands(*left, totals, *generation)
            }
            (_, Told::Refused(refusal)) => self.refuses(outcome, refusal),
            _ => false,
        }
    }

    fn stands(&mut self, left: u8, totals: &Totals, generation: u64) -> bool {
        let own = match self.body {
            Body::Live { left, .. } => left,
            _ => 0,
        };
        own == left && self.has(totals) && self.generation_is(generation)
    }

    fn has(&self, totals: &Totals) -> bool {
        let [starts, unproved, replacements, destructions] = self.totals;
        let own = Totals {
            starts,
            unproved,
            resets: 0,
            replacements,
            destructions,
        };
        own == *totals
    }

    fn is_pending(&self) -> bool {
        matches!(
            self.body,
            Body::Live {
                pending: Some(_),
                ..
            }
        )
    }

    fn refuses(&self, outcome: &Outcome, refusal: &Refusal) -> bool {
        match (outcome, refusal) {
            (Outcome::NeverRegistered, Refusal::NeverRegistered)
            | (Outcome::StaleTicket, Refusal::StaleTicket)
            | (Outcome::Superseded, Refusal::Superseded)
            | (Outcome::WrongCode, Refusal::WrongCode)
            | (Outcome::OwnerProofNeeded, Refusal::OwnerProofNeeded) => true,
            (Outcome::Destroyed, Refusal::Destroyed { why, totals, .. }) => {
                let by_guessing = *why == Destruction::Guessed;
                self.body == Body::Erased { by_guessing } && self.has(totals)
            }
            (Outcome::StaleAttempt, Refusal::StaleAttempt { greatest, .. }) => {
                self.greatest_attempt == Some(*greatest)
            }
            (Outcome::StaleOp, Refusal::StaleOp { greatest, .. }) => {
                self.greatest_op == Some(*greatest)
            }
            _ => false,
        }
    }
}
