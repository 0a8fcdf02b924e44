//! The chain this host follows: what a quorum sealed and it applied, and the entries after that.
//!
//! Everything here is on disk too. The disk may hold entries of other branches beside these; they
//! go when what replaces them is applied, because until then this host's HSM may stand on one.

use crate::message::Logged;
use std::collections::VecDeque;
use strongroom_wire::entry::{EntryHeader, State, Tip};

pub(crate) struct Placed {
    pub(crate) tip: Tip,
    pub(crate) logged: Logged,
}

/// The applied entry and the chain above it.
pub(crate) struct Log {
    pub(crate) base: Tip,
    header: EntryHeader,
    state: State,
    tail: VecDeque<Placed>,
}

impl Log {
    pub(crate) fn new(header: EntryHeader, state: State) -> Self {
        let base = header.tip();
        let tail = VecDeque::new();
        Self {
            base,
            header,
            state,
            tail,
        }
    }

    pub(crate) fn end(&self) -> Tip {
        self.tail.back().map_or(self.base, |placed| placed.tip)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.tail.is_empty()
    }

    /// How many entries of the tail come up to and with this place: 0 for the base.
    pub(crate) fn position(&self, tip: &Tip) -> Option<usize> {
        if *tip == self.base {
            return Some(0);
        }
        let found = self.tail.iter().position(|placed| placed.tip == *tip);
        found.map(|at| at + 1)
    }

    pub(crate) fn tail_from(&self, position: usize) -> impl Iterator<Item = &Placed> {
        self.tail.iter().skip(position)
    }

    pub(crate) fn tail_back(&self) -> impl Iterator<Item = &Placed> {
        self.tail.iter().rev()
    }

    /// Header and state at a place of the chain.
    pub(crate) fn standing(&self, position: usize) -> (&EntryHeader, &State) {
        match position.checked_sub(1).and_then(|at| self.tail.get(at)) {
            Some(placed) => (placed.logged.header(), &placed.logged.entry.state),
            None => (&self.header, &self.state),
        }
    }

    /// Leaves only so many entries of the tail.
    pub(crate) fn truncate(&mut self, position: usize) {
        self.tail.truncate(position);
    }

    pub(crate) fn push(&mut self, logged: Logged) {
        let tip = logged.header().tip();
        self.tail.push_back(Placed { tip, logged });
    }

    /// The oldest entry of the tail becomes the base.
    pub(crate) fn settle_oldest(&mut self) {
        if let Some(placed) = self.tail.pop_front() {
            self.base = placed.tip;
            self.header = placed.logged.entry.proposal.header;
            self.state = placed.logged.entry.state;
        }
    }

    pub(crate) fn oldest(&self) -> Option<&Logged> {
        self.tail.front().map(|placed| &placed.logged)
    }
}
