//! No dead end: from here, with a fresh epoch and a quorum of members whose hosts are honest from
//! now on, something new can be certified, and everyone else can follow.
//!
//! RAM is worth nothing in this: the fresh epoch is led by a process that holds nothing. So each
//! state is also the state after a power cut at all sites.

use crate::ballot::Next;
use crate::rules::Scenario;
use crate::state::{EPOCHS, Entry, GHOST, MEMBERS, Set, State};
use crate::step::Action;

/// The epoch that no scenario uses.
const FRESH: u8 = EPOCHS as u8;

impl Scenario {
    /// The largest sets of members that every configuration can do without.
    pub fn dispensable(&self) -> Vec<Set> {
        let everyone = self.everyone() & !self.rolled;
        let tolerated = |dead: &Set| {
            dead & !everyone == 0
                && self
                    .configs
                    .iter()
                    .all(|it| (it.members & !dead).count_ones() >= u32::from(it.quorum))
        };
        let all: Vec<Set> = (0..1 << MEMBERS).filter(tolerated).collect();
        let largest = |set: &Set| !all.iter().any(|it| it != set && it & set == *set);
        all.iter().copied().filter(largest).collect()
    }

    /// Whether any such set, dead for ever, leaves no way to go on.
    pub fn dead_end(&self, s: &State) -> Option<Set> {
        let lost = self.honest().filter(|it| s.members[*it].lost);
        let lost = lost.fold(0, |set, it| set | 1 << it);
        // A lost header is a loss of that site, until the others have gone on.
        let tolerated = self
            .dispensable()
            .into_iter()
            .filter(|it| it & lost == lost);
        let mut tolerated = tolerated.peekable();
        tolerated.find(|dead| self.go_on(s, self.everyone() & !dead).is_none())
    }

    /// Goes on with these members; the steps and the entry that they certify.
    pub fn go_on(&self, s: &State, up: Set) -> Option<(Vec<Action>, Entry)> {
        let mut s = s.clone();
        let mut steps = Vec::new();
        let up: Vec<usize> = self
            .honest()
            .filter(|it| up >> it & 1 == 1 && self.stands(&s, *it))
            .collect();
        for m in &up {
            self.promise(&s, *m, FRESH, GHOST).ok()?;
            let promise = Action::Promise(*m, FRESH, GHOST);
            s = self.take(&s, promise);
            steps.push(promise);
        }
        let newest = up
            .iter()
            .map(|it| s.members[*it].tip)
            .max_by_key(|it| s.order(*it))?;
        // Rolled-back members show what they like: every start that could come of it must do.
        let starts = self.starts(&s, GHOST, FRESH);
        let mut starts = starts
            .into_iter()
            .filter(|it| s.order(*it) >= s.order(newest))
            .peekable();
        starts.peek()?;
        let mut found = None;
        for start in starts {
            found = Some(self.certify_above(s.clone(), steps.clone(), &up, start)?);
        }
        found
    }

    fn stands(&self, s: &State, m: usize) -> bool {
        !s.members[m].retired && !s.members[m].lost && self.is_named(s, m)
    }

    fn certify_above(
        &self,
        mut s: State,
        mut steps: Vec<Action>,
        up: &[usize],
        start: Entry,
    ) -> Option<(Vec<Action>, Entry)> {
        for step in [
            Action::Lead(GHOST, FRESH, start),
            Action::Propose(FRESH, 0, Next::Batch),
        ] {
            if matches!(step, Action::Propose(..)) {
                self.propose(&s, FRESH, 0, Next::Batch).ok()?;
            }
            s = self.take(&s, step);
            steps.push(step);
        }
        let entry = Entry::at(FRESH, 0, 0);
        for m in up {
            let first = Self::first_of_run(&s, s.members[*m].tip, entry);
            self.notarise(&s, *m, first, entry).ok()?;
            s = self.take(&s, Action::Notarise(*m, entry));
            steps.push(Action::Notarise(*m, entry));
        }
        let all_follow = self.honest().all(|it| {
            let member = &s.members[it];
            let out = member.retired || !self.is_named(&s, it);
            out || member.tip == entry || self.adopt(&s, it, entry).is_ok()
        });
        (s.is_certified(entry) && all_follow).then_some((steps, entry))
    }
}
