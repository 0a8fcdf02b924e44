//! The chain this host follows: what a quorum sealed and it applied, and the entries after that.
//!
//! Everything here is on disk too. The disk may hold entries of other branches beside these; they
//! go when what replaces them is applied, because until then this host's HSM may stand on one.

use crate::certificate::Electorate;
use crate::message::Logged;
use std::collections::VecDeque;
use std::sync::Arc;
use strongroom_wire::entry::{EntryHeader, Proposal, State, Tip};
use strongroom_wire::frame::Place;

pub(crate) struct Placed {
    pub(crate) tip: Tip,
    pub(crate) logged: Logged,
    /// Who decides it.
    pub(crate) electorate: Arc<Electorate>,
}

/// The applied entry and the chain above it.
pub(crate) struct Log {
    pub(crate) base: Tip,
    proposal: Proposal,
    state: State,
    electorate: Arc<Electorate>,
    tail: VecDeque<Placed>,
}

impl Log {
    pub(crate) fn new(proposal: Proposal, state: State, electorate: Electorate) -> Self {
        Self {
            base: proposal.header.tip(),
            proposal,
            state,
            electorate: Arc::new(electorate),
            tail: VecDeque::new(),
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

    fn placed(&self, position: usize) -> Option<&Placed> {
        position.checked_sub(1).and_then(|at| self.tail.get(at))
    }

    /// Header and state at a place of the chain.
    pub(crate) fn standing(&self, position: usize) -> (&EntryHeader, &State) {
        match self.placed(position) {
            Some(placed) => (placed.logged.header(), &placed.logged.entry.state),
            None => (&self.proposal.header, &self.state),
        }
    }

    /// Who decides the entry at a place of the chain.
    pub(crate) fn electorate(&self, position: usize) -> &Arc<Electorate> {
        let placed = self.placed(position);
        placed.map_or(&self.electorate, |placed| &placed.electorate)
    }

    /// Who decides the newest entry.
    pub(crate) fn newest_electorate(&self) -> &Arc<Electorate> {
        self.electorate(self.tail.len())
    }

    /// The first place whose manifests name a member or not, as asked.
    pub(crate) fn first(&self, mut holds: impl FnMut(&Electorate) -> bool) -> Option<usize> {
        (0..=self.tail.len()).find(|at| holds(self.electorate(*at)))
    }

    /// A place of the chain, for the HSM.
    pub(crate) fn place(&self, position: usize) -> Place {
        let (proposal, state) = match self.placed(position) {
            Some(placed) => (&placed.logged.entry.proposal, &placed.logged.entry.state),
            None => (&self.proposal, &self.state),
        };
        Place {
            proposal: proposal.clone(),
            state: state.clone(),
            manifests: self.electorate(position).to_bytes(),
        }
    }

    /// Leaves only so many entries of the tail.
    pub(crate) fn truncate(&mut self, position: usize) {
        self.tail.truncate(position);
    }

    pub(crate) fn push(&mut self, logged: Logged, electorate: Arc<Electorate>) {
        let tip = logged.header().tip();
        self.tail.push_back(Placed {
            tip,
            logged,
            electorate,
        });
    }

    /// The oldest entry of the tail becomes the base.
    pub(crate) fn settle_oldest(&mut self) {
        if let Some(placed) = self.tail.pop_front() {
            self.base = placed.tip;
            self.electorate = placed.electorate;
            self.proposal = placed.logged.entry.proposal;
            self.state = placed.logged.entry.state;
        }
    }

    pub(crate) fn oldest(&self) -> Option<&Logged> {
        self.tail.front().map(|placed| &placed.logged)
    }
}
