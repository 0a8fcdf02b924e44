//! A member at work: what it builds on, what it speculates, and whether it leads (DESIGN §6).
//!
//! Leadership is in RAM only, and so is speculation, with the answers that it holds. An answer
//! leaves by [`Standing::release`] alone, which the caller reaches with a certificate in hand.
//!
//! Safety does not depend on when leadership ends: the notary promised the epoch to one process,
//! and lets it lead once. It ends early so that nothing is held, or proposed, in vain.

use crate::keys::Keys;
use crate::member::Member;
use crate::notary::Notary;
use crate::pace::Shown;
use crate::platform::Platform;
use crate::prepare::Preparer;
use crate::propose::Decided;
use crate::quorum::{Deciders, age};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use strongroom_wire::entry::{
    EntryHeader, FEATURE_LEVEL, Kind, Proposal, State, Tip, Write, writes_digest,
};
use strongroom_wire::frame::{AnswerBytes, HsmError, LeftOut, Place, ReleasedAnswer, Response};
use strongroom_wire::limits::{BATCH_MAX, PIPELINE_MAX};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Epoch, Handle, LogIndex, UnixMs};

/// See the module.
pub struct Standing<P> {
    /// What any thread may use.
    pub preparer: Arc<Preparer<P>>,
    /// Its part in the history.
    pub notary: Notary,
    /// Its own keys, for those to whom it hands the secret over.
    pub member: Member,
    /// Where speculation begins: the newest entry of the own chain that a certificate released, the
    /// start of the epoch led, or what was resumed from.
    base: EntryHeader,
    base_state: State,
    base_deciders: Deciders,
    /// A certificate showed this process that one set decides from here on. Else the next entry is
    /// decided as the base is, by both sets, and settles the change with itself.
    settled: bool,
    leading: Option<Epoch>,
    speculation: VecDeque<Speculated>,
}

/// A proposed entry that no certificate covers yet, and the answers it pays for.
struct Speculated {
    header: EntryHeader,
    state: State,
    deciders: Deciders,
    answers: Vec<(Handle, AnswerBytes)>,
}

impl<P: Platform> Standing<P> {
    /// Stands at that entry, leading nothing.
    pub fn new(
        preparer: Preparer<P>,
        notary: Notary,
        member: Member,
        (base, base_state): (EntryHeader, State),
        base_deciders: Deciders,
    ) -> Self {
        Self {
            preparer: Arc::new(preparer),
            notary,
            member,
            base,
            base_state,
            settled: !base_deciders.joint(),
            base_deciders,
            leading: None,
            speculation: VecDeque::new(),
        }
    }

    /// The epoch that it leads.
    pub fn leading(&self) -> Option<Epoch> {
        self.leading
    }

    /// Answers held.
    pub fn held(&self) -> usize {
        self.speculation.iter().map(|s| s.answers.len()).sum()
    }

    /// The newest index of the own chain; of the anchor, where this member leads none.
    pub fn speculative(&self) -> LogIndex {
        match self.leading {
            Some(_) => self.newest().0.index,
            None => self.notary.anchor().tip.index,
        }
    }

    /// The newest entry, speculated or certified.
    pub fn newest(&self) -> (&EntryHeader, &State) {
        self.speculation
            .back()
            .map_or((&self.base, &self.base_state), |newest| {
                (&newest.header, &newest.state)
            })
    }

    /// The time of an entry proposed now.
    pub fn now(&self) -> UnixMs {
        let time = self.newest().0.time;
        if self.clock_waits() {
            // The pace begins anew when the change is sealed. Until then time stands still, or what
            // is proposed now might be too early for those who seal it then.
            return time;
        }
        self.notary.time_after(&*self.preparer.platform, time)
    }

    /// Whether a change of the clock is proposed, and not sealed by this member.
    fn clock_waits(&self) -> bool {
        let tip = self.notary.anchor().tip;
        let sealed = self.speculation.iter().rposition(|s| s.header.tip() == tip);
        let waiting = sealed.map_or(0, |at| at + 1);
        let mut waiting = self.speculation.range(waiting..);
        waiting.any(|s| s.header.kind == Kind::Clock)
    }

    /// Whether it may propose so many operations: it leads, promised nothing later, and has room.
    ///
    /// # Errors
    /// [`HsmError::NotLeading`]; [`HsmError::BatchTooLarge`]; [`HsmError::Busy`];
    /// [`HsmError::Unsettled`].
    pub fn can_propose(&self, operations: usize) -> Result<(), HsmError> {
        if self.leading.is_none() || self.leading != Some(self.notary.anchor().promised) {
            return Err(HsmError::NotLeading);
        }
        if operations > BATCH_MAX {
            return Err(HsmError::BatchTooLarge);
        }
        // Before anything is spent: a quorum that is away must not cost guesses.
        if self.speculation.len() >= PIPELINE_MAX {
            return Err(HsmError::Busy);
        }
        let newest = self.speculation.back();
        if newest.is_some_and(|newest| newest.deciders.joint()) {
            return Err(HsmError::Unsettled);
        }
        Ok(())
    }

    /// Who decides what is proposed next.
    fn next_deciders(&self) -> Deciders {
        match self.speculation.back() {
            Some(newest) => newest.deciders.clone(),
            None if self.settled => Deciders::single(self.base_deciders.new.clone()),
            None => self.base_deciders.clone(),
        }
    }

    /// The manifest that decides what is proposed next, if it is one alone.
    ///
    /// # Errors
    /// [`HsmError::Unsettled`].
    pub fn in_force(&self) -> Result<Arc<Manifest>, HsmError> {
        let Deciders { new, old } = self.next_deciders();
        match old {
            None => Ok(new),
            Some(_) => Err(HsmError::Unsettled),
        }
    }

    /// Makes an entry of a change of members: quorums of both manifests decide it.
    pub fn speculate_members(
        &mut self,
        manifest: Manifest,
        now: UnixMs,
        decided: Decided,
    ) -> Response {
        let deciders = Deciders {
            new: Arc::new(manifest),
            old: Some(self.next_deciders().new),
        };
        self.speculate_by(deciders, Kind::Reconfigure, now, decided)
    }

    /// Makes an entry of what was decided, and holds its answers.
    pub fn speculate(&mut self, kind: Kind, now: UnixMs, mut decided: Decided) -> Response {
        let deciders = self.next_deciders();
        if !deciders.joint() {
            decided.state.before = None;
        }
        self.speculate_by(deciders, kind, now, decided)
    }

    fn speculate_by(
        &mut self,
        deciders: Deciders,
        kind: Kind,
        now: UnixMs,
        decided: Decided,
    ) -> Response {
        let (previous, _) = self.newest();
        let header = EntryHeader {
            fleet: previous.fleet,
            cell: previous.cell,
            incarnation: previous.incarnation,
            epoch: self
                .leading
                .expect("can_propose checked that this member leads"),
            index: previous.index.next(),
            previous: previous.hash(),
            kind,
            root: decided.root,
            writes: writes_digest(&decided.writes),
            state: decided.state.digest(),
            time: now,
            feature_level: FEATURE_LEVEL,
        };
        let Decided {
            state,
            writes,
            answers,
            left_out,
            ..
        } = decided;
        self.speculation.push_back(Speculated {
            header: header.clone(),
            state: state.clone(),
            deciders,
            answers,
        });
        proposed(self.preparer.keys.marked(header), state, writes, left_out)
    }

    /// Who decides an entry of the own chain.
    ///
    /// # Errors
    /// [`HsmError::NotOnChain`].
    pub fn deciders_of(&self, tip: &Tip) -> Result<Deciders, HsmError> {
        let mut speculated = self.speculation.iter();
        let found = speculated.find(|s| s.header.tip() == *tip);
        match found {
            Some(found) => Ok(found.deciders.clone()),
            None if self.base.tip() == *tip => Ok(self.base_deciders.clone()),
            None => Err(HsmError::NotOnChain),
        }
    }

    /// Who decides an entry that an HSM of this fleet made.
    ///
    /// # Errors
    /// [`HsmError::EntryForged`]; [`HsmError::ManifestInvalid`].
    pub fn deciders_at(&self, place: &Place) -> Result<Deciders, HsmError> {
        let Proposal { header, mark } = &place.proposal;
        if !self.preparer.keys.is_marked(&header.hash(), mark) {
            return Err(HsmError::EntryForged);
        }
        Deciders::of(place)
    }

    /// A quorum sealed the entry at `tip`, and the caller saw the certificate: what it decides
    /// holds from now on. As [`Standing::release`].
    ///
    /// # Errors
    /// [`HsmError::NotOnChain`].
    pub fn release_certified(&mut self, tip: &Tip) -> Result<Vec<ReleasedAnswer>, HsmError> {
        let answers = self.release(tip)?;
        if self.base.tip() == *tip {
            self.settled = true;
            self.put_in_force();
        }
        Ok(answers)
    }

    /// What handlers work with follows the manifest in force at the base.
    fn put_in_force(&mut self) {
        let manifest = &self.base_deciders.new;
        if Arc::ptr_eq(manifest, &self.preparer.keys.manifest)
            || *manifest == self.preparer.keys.manifest
        {
            return;
        }
        let (secret, incarnation) = (self.member.secret(), self.base.incarnation);
        let keys = Keys::new(secret, manifest.clone(), incarnation);
        let pace = Shown::default();
        pace.set(self.notary.pace());
        self.preparer = Arc::new(Preparer {
            platform: self.preparer.platform.clone(),
            keys: Arc::new(keys),
            tip: AtomicU64::new(self.base.index.0),
            tip_time: AtomicU64::new(self.base.time.0),
            pace,
        });
    }

    /// Lets go of the answers up to `tip`, cumulative along the own chain.
    ///
    /// # Errors
    /// [`HsmError::NotOnChain`].
    pub fn release(&mut self, tip: &Tip) -> Result<Vec<ReleasedAnswer>, HsmError> {
        let position = self.speculation.iter().position(|s| s.header.tip() == *tip);
        let Some(position) = position else {
            // Released before: nothing is behind it, and nothing is wrong.
            let known = self.base.tip() == *tip;
            return if known {
                Ok(Vec::new())
            } else {
                Err(HsmError::NotOnChain)
            };
        };
        let mut answers = Vec::new();
        for released in self.speculation.drain(..=position) {
            let each = released.answers.into_iter();
            answers.extend(each.map(|(handle, answer)| ReleasedAnswer { handle, answer }));
            self.base = released.header;
            self.base_state = released.state;
            self.settled = !released.deciders.joint();
            self.base_deciders = released.deciders;
        }
        self.preparer.moved_to(&self.base);
        Ok(answers)
    }

    /// Leads from that entry, whatever this member led or stood at before.
    pub fn lead_from(
        &mut self,
        epoch: Epoch,
        (header, state): (EntryHeader, State),
        deciders: Deciders,
    ) {
        self.preparer.moved_to(&header);
        self.base = header;
        self.base_state = state;
        self.settled = !deciders.joint();
        self.base_deciders = deciders;
        self.put_in_force();
        self.speculation.clear();
        self.leading = Some(epoch);
    }

    /// The anchor moved to that entry. Leadership goes on if it is of the own chain: of the epoch
    /// led, which has no other chain, or not above the base, because what a quorum sealed in
    /// earlier epochs is at or below it. Else it ends, with all that is held.
    pub fn moved_to(&mut self, header: &EntryHeader) {
        let below = age(&header.tip()) <= age(&self.base.tip());
        let own = self.leading == Some(header.epoch) || (self.leading.is_some() && below);
        if !own {
            self.stop_leading();
            self.preparer.moved_to(header);
        }
    }

    /// Ends leadership. What was notarised stays; its answers are dropped with everything above it
    /// (their clients retry).
    pub fn stop_leading(&mut self) {
        self.leading = None;
        let tip = self.notary.anchor().tip;
        let _ = self.release(&tip);
        self.speculation.clear();
    }
}

fn proposed(
    proposal: Proposal,
    state: State,
    writes: Vec<Write>,
    left_out: Vec<LeftOut>,
) -> Response {
    Response::Proposed {
        proposal,
        state,
        writes,
        left_out,
    }
}
