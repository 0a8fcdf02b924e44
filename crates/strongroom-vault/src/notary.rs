//! The notary: one history, sealed by a quorum (DESIGN §6).
//!
//! State: the anchor (promised epoch and tip; moved by compare-and-swap before any statement that
//! depends on it leaves) and, in RAM only, the name of this process and the pace of its clock. A
//! restart forgets leadership.
//!
//! Rules, one function each, as `strongroom-model` has them: [`Notary::promise`], [`Notary::lead`],
//! [`Notary::notarise`], [`Notary::adopt`], [`Notary::check_certificate`].
//!
//! The host chooses what to show, when, and how often. It cannot make two statements for one place
//! in one epoch, move the tip back by (epoch, index), or pass off a header that no HSM made. Who
//! decides an entry, its header says ([`Deciders`]): a member needs no word of anybody's to count
//! for a manifest that came into force while it was away.

use crate::pace::Pace;
use crate::platform::{Platform, PlatformFault};
use crate::quorum::{self, Ballot, Deciders, age};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::entry::{
    Anchor, EntryHeader, FEATURE_LEVEL, Kind, Notarised, Promised, Proposal, Signed, State, Tip,
};
use strongroom_wire::frame::HsmError;
use strongroom_wire::limits::{CLOCK_SKEW_MS, EPOCH_STEP_MAX, PIPELINE_MAX};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{
    CellId, Digest, Epoch, Incarnation, LogIndex, MemberId, ProcessId, Signature, UnixMs, encode,
};

/// Root of the empty trie.
pub const EMPTY_ROOT: Digest = Digest(strongroom_tree::EMPTY);

/// A member's part in the history.
pub struct Notary {
    identity: SigningKey,
    anchor: Anchor,
    process: ProcessId,
    tip_time: UnixMs,
    pace: Pace,
    /// What this process promised last, and to whom; used up by leading. A promise kept from before
    /// a restart does not make a leader: it could lead one epoch twice.
    promised_here: Option<Ballot>,
    anchor_writes: u64,
}

/// The header of index 0. It follows from the manifest alone, so a lost answer loses nothing.
pub fn genesis(manifest: &Manifest) -> (EntryHeader, State) {
    let state = State {
        manifest: Some(manifest.digest()),
        ..State::default()
    };
    let header = EntryHeader {
        fleet: manifest.fleet_id(),
        cell: CellId(0),
        incarnation: Incarnation(0),
        epoch: Epoch(0),
        index: LogIndex(0),
        previous: Digest([0; 32]),
        kind: Kind::Genesis,
        root: EMPTY_ROOT,
        writes: strongroom_wire::entry::writes_digest(&[]),
        state: state.digest(),
        time: UnixMs(0),
        feature_level: FEATURE_LEVEL,
    };
    (header, state)
}

/// The first anchor of a member: at the genesis, or at the certified entry where it joins. Where a
/// cut left one, it moves as by adopting that entry: its host may have applied more since.
///
/// # Errors
/// [`HsmError::AnchorMismatch`] if the one held is another's, or not older.
pub fn first_anchor(
    header: &EntryHeader,
    member: MemberId,
    held: Option<&Anchor>,
) -> Result<Anchor, HsmError> {
    let first = Anchor {
        fleet: header.fleet,
        cell: header.cell,
        incarnation: header.incarnation,
        member,
        // Nothing of an earlier epoch may be sealed beside it.
        promised: header.epoch,
        tip: header.tip(),
        retired: false,
    };
    let Some(held) = held.filter(|held| **held != first) else {
        return Ok(first);
    };
    let ours = same_chain(held, header) && held.member == member && !held.retired;
    if !ours || age(&first.tip) <= age(&held.tip) {
        return Err(HsmError::AnchorMismatch);
    }
    let promised = held.promised.max(first.promised);
    Ok(Anchor { promised, ..first })
}

impl Notary {
    /// Goes on from an anchor and the header it names.
    ///
    /// # Errors
    /// [`HsmError::AnchorMismatch`] unless the header is exactly the anchor's tip.
    pub fn resume(
        identity: SigningKey,
        anchor: Anchor,
        process: ProcessId,
        header: &EntryHeader,
    ) -> Result<Self, HsmError> {
        if !same_chain(&anchor, header) || header.tip() != anchor.tip || anchor.retired {
            return Err(HsmError::AnchorMismatch);
        }
        Ok(Self::at(identity, anchor, process, header.time))
    }

    /// Goes on from an anchor whose header the host lost, at a newer entry that a quorum sealed. To
    /// the others it is as if this member had stood at its tip and adopted the entry.
    ///
    /// # Errors
    /// As [`Notary::adopt`]; [`HsmError::AnchorMismatch`] if this member has left the fleet.
    pub fn resume_by(
        (identity, anchor, process): (SigningKey, Anchor, ProcessId),
        platform: &impl Platform,
        deciders: &Deciders,
        header: &EntryHeader,
        certificate: &[Signed<Notarised>],
    ) -> Result<Self, HsmError> {
        if anchor.retired {
            return Err(HsmError::AnchorMismatch);
        }
        let mut notary = Self::at(identity, anchor, process, header.time);
        notary.adopt(platform, deciders, header, certificate)?;
        Ok(notary)
    }

    fn at(identity: SigningKey, anchor: Anchor, process: ProcessId, tip_time: UnixMs) -> Self {
        Self {
            identity,
            anchor,
            process,
            tip_time,
            pace: Pace::default(),
            promised_here: None,
            anchor_writes: 0,
        }
    }

    /// Where it stands.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Anchor writes since the start.
    pub fn anchor_writes(&self) -> u64 {
        self.anchor_writes
    }

    /// How its time passes.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The time of an entry that is proposed now, after one of time `before`.
    pub fn time_after(&self, platform: &impl Platform, before: UnixMs) -> UnixMs {
        self.pace.proposed(platform, before)
    }

    /// Promises an epoch to one process: once, and only for a greater one.
    ///
    /// # Errors
    /// [`HsmError::EpochStale`]; [`HsmError::EpochTooFar`]; [`HsmError::AnchorFailed`].
    pub fn promise(
        &mut self,
        platform: &impl Platform,
        epoch: Epoch,
        leader: MemberId,
        process: ProcessId,
    ) -> Result<Signed<Promised>, HsmError> {
        if epoch <= self.anchor.promised {
            return Err(HsmError::EpochStale);
        }
        self.check_step(epoch)?;
        self.move_anchor(
            platform,
            Anchor {
                promised: epoch,
                ..self.anchor.clone()
            },
        )?;
        self.promised_here = Some((epoch, leader, process));
        let statement = Promised {
            fleet: self.anchor.fleet,
            cell: self.anchor.cell,
            incarnation: self.anchor.incarnation,
            member: self.anchor.member,
            epoch,
            leader,
            process,
            tip: self.anchor.tip,
        };
        let signature = self.sign(Label::Promised, &encode(&statement));
        Ok(Signed {
            statement,
            signature,
        })
    }

    /// A host that named the greatest epoch there is would end the fleet with one message.
    fn check_step(&self, epoch: Epoch) -> Result<(), HsmError> {
        if epoch.0 > self.anchor.promised.0.saturating_add(EPOCH_STEP_MAX) {
            return Err(HsmError::EpochTooFar);
        }
        Ok(())
    }

    /// Takes an epoch on a quorum's promises to this very process, once; gives the tip to build on.
    /// It need not be the own one: what a quorum sealed is at or below the newest promised tip,
    /// wherever this member stands.
    ///
    /// # Errors
    /// [`HsmError::EpochStale`] unless this process promised the epoch to itself, and none later;
    /// [`HsmError::PromisesInvalid`]; [`HsmError::Gap`] if the header is not the newest promised
    /// tip's; [`HsmError::TooEarly`].
    pub fn lead(
        &mut self,
        platform: &impl Platform,
        deciders: &Deciders,
        epoch: Epoch,
        promises: &[Signed<Promised>],
        header: &EntryHeader,
    ) -> Result<Tip, HsmError> {
        let own = (epoch, self.anchor.member, self.process);
        if epoch != self.anchor.promised || self.promised_here != Some(own) {
            return Err(HsmError::EpochStale);
        }
        // Counted by those who decide the start itself: both sets, where it may hold a change that
        // nobody sealed yet. Whatever either of them certified is then at or below the newest tip.
        let newest = quorum::newest_promised(&self.anchor, deciders, own, promises)?;
        if !same_chain(&self.anchor, header) || header.tip() != newest {
            return Err(HsmError::Gap);
        }
        // One member whose clock is ahead may have sealed it alone. Built upon, its time would be
        // every later entry's, and nobody else could seal one. Another quorum may not know of it.
        if header.time > self.pace.bound(platform, self.tip_time) {
            return Err(HsmError::TooEarly);
        }
        // One chain per epoch, whatever becomes of this leadership.
        self.promised_here = None;
        Ok(newest)
    }

    /// Seals a run of entries: links first, then one anchor write, then one statement. The same
    /// write moves the tip to the leader's start where the run begins there; that is no vote for
    /// anything but the run's last entry.
    ///
    /// # Errors
    /// [`HsmError::EntryForged`], [`HsmError::EpochStale`], [`HsmError::Stale`], [`HsmError::Gap`],
    /// [`HsmError::TooEarly`], [`HsmError::BatchTooLarge`]; [`HsmError::AnchorFailed`].
    pub fn notarise(
        &mut self,
        platform: &impl Platform,
        run: &[Proposal],
        start: Option<&EntryHeader>,
        is_ours: impl Fn(&Digest, &Digest) -> bool,
    ) -> Result<Signed<Notarised>, HsmError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Err(HsmError::Gap);
        };
        if run.len() > PIPELINE_MAX {
            return Err(HsmError::BatchTooLarge);
        }
        if last.header.tip() == self.anchor.tip {
            // Said before; a member may repeat it at any time.
            return Ok(self.statement());
        }
        let epoch = first.header.epoch;
        if epoch < self.anchor.promised {
            return Err(HsmError::EpochStale);
        }
        self.check_step(epoch)?;
        for Proposal { header, mark } in run {
            if !is_ours(&header.hash(), mark) {
                return Err(HsmError::EntryForged);
            }
        }
        let start = self.start_of(&first.header, start);
        let mut tip = start;
        for Proposal { header, .. } in run {
            self.check_link(&tip, header, epoch)?;
            tip = header.tip();
        }
        let pace = self.check_times(platform, run, start == self.anchor.tip)?;
        self.move_anchor(
            platform,
            Anchor {
                promised: epoch,
                tip,
                ..self.anchor.clone()
            },
        )?;
        self.tip_time = last.header.time;
        self.pace = pace;
        Ok(self.statement())
    }

    /// The entry that a run must follow: the own tip, or, from a lower epoch only, the leader's
    /// start. Within an epoch there is one chain, and what was said of it stays said.
    ///
    /// The run's marks say that an HSM led, by a quorum's promises, and from where: whatever entry
    /// of the epoch follows one of a lower epoch is its leader's first.
    fn start_of(&self, first: &EntryHeader, start: Option<&EntryHeader>) -> Tip {
        let tip = self.anchor.tip;
        let follows = first.previous == tip.hash && first.index == tip.index.next();
        match start {
            Some(start)
                if !follows
                    && tip.epoch < first.epoch
                    && start.epoch < first.epoch
                    && start.hash() == first.previous =>
            {
                start.tip()
            }
            _ => tip,
        }
    }

    fn check_link(&self, tip: &Tip, header: &EntryHeader, epoch: Epoch) -> Result<(), HsmError> {
        let ours = same_chain(&self.anchor, header)
            && header.epoch == epoch
            && header.feature_level == FEATURE_LEVEL;
        if !ours || header.index <= tip.index {
            return Err(HsmError::Stale);
        }
        if header.index > tip.index.next() {
            return Err(HsmError::Gap);
        }
        if header.previous != tip.hash {
            return Err(HsmError::Stale);
        }
        Ok(())
    }

    /// Checks the times along a run; gives the pace after it.
    ///
    /// After a move to a leader's start that start's time is not known here, so the first entry is
    /// held against the bound alone, which is no looser than before: the own tip's time may be
    /// later, and then goes back with the tip. The branch that is left was sealed by no quorum, so
    /// nobody was told its time, and its time no longer holds the bound up.
    fn check_times(
        &self,
        platform: &impl Platform,
        run: &[Proposal],
        continues: bool,
    ) -> Result<Pace, HsmError> {
        let mut pace = self.pace;
        let mut before = if continues { self.tip_time } else { UnixMs(0) };
        // A time that this member sealed or adopted before, it may seal again on another branch:
        // else clocks that are set back would stop every member that has to move.
        let mut known = self.tip_time;
        for Proposal { header, .. } in run {
            if header.kind == Kind::Clock {
                // Its mark says that an HSM of this fleet checked the officers. The own clock still
                // bounds it; the timer and the time before do not.
                if header.time > platform.wall_clock().plus(CLOCK_SKEW_MS) {
                    return Err(HsmError::TooEarly);
                }
                pace.restart(platform, header.time);
            } else {
                if header.time < before {
                    return Err(HsmError::Stale);
                }
                if header.time > pace.bound(platform, before.max(known)) {
                    return Err(HsmError::TooEarly);
                }
            }
            (before, known) = (header.time, header.time);
        }
        if before < self.tip_time {
            pace.fall_back(platform, before);
        }
        pace.begin(platform, before);
        Ok(pace)
    }

    /// Moves to an entry that a quorum sealed, from any branch. No vote: its statement adds nothing
    /// to a certificate that is whole. The step of an epoch is not bounded here: a quorum took it.
    ///
    /// # Errors
    /// [`HsmError::CertificateInvalid`]; [`HsmError::Stale`] unless it is newer than the own tip by
    /// (epoch, index), or that very tip; [`HsmError::AnchorFailed`].
    pub fn adopt(
        &mut self,
        platform: &impl Platform,
        deciders: &Deciders,
        header: &EntryHeader,
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let tip = quorum::certified(&self.anchor, deciders, certificate)?;
        if header.tip() != tip || !same_chain(&self.anchor, header) {
            return Err(HsmError::CertificateInvalid);
        }
        if tip == self.anchor.tip {
            return Ok(());
        }
        if age(&tip) <= age(&self.anchor.tip) {
            return Err(HsmError::Stale);
        }
        self.move_anchor(
            platform,
            Anchor {
                // Nothing of an earlier epoch may be sealed beside it any more.
                promised: self.anchor.promised.max(tip.epoch),
                tip,
                ..self.anchor.clone()
            },
        )?;
        match header.kind {
            Kind::Clock => self.pace.restart(platform, header.time),
            _ if header.time < self.tip_time => self.pace.fall_back(platform, header.time),
            _ => self.pace.catch_up(platform, header.time),
        }
        self.tip_time = header.time;
        Ok(())
    }

    /// Checks that a certificate holds for one tip by a quorum of distinct members; gives the tip.
    ///
    /// # Errors
    /// [`HsmError::CertificateInvalid`].
    pub fn check_certificate(
        &self,
        deciders: &Deciders,
        certificate: &[Signed<Notarised>],
    ) -> Result<Tip, HsmError> {
        quorum::certified(&self.anchor, deciders, certificate)
    }

    /// Leaves for ever, on a certificate of an entry that its members decided without this one.
    ///
    /// Not on one that both sets decided: until something above the change is certified, a new
    /// leader may still need the promises of those who leave.
    ///
    /// # Errors
    /// [`HsmError::CertificateInvalid`]; [`HsmError::ManifestInvalid`] if it is a member there, the
    /// change is not settled, or the manifest is not later than `since`, which took it in;
    /// [`HsmError::AnchorFailed`].
    pub fn retire(
        &mut self,
        platform: &impl Platform,
        deciders: &Deciders,
        (header, since): (&EntryHeader, u64),
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let tip = quorum::certified(&self.anchor, deciders, certificate)?;
        if header.tip() != tip || !same_chain(&self.anchor, header) {
            return Err(HsmError::CertificateInvalid);
        }
        // A manifest from before it joined proves nothing.
        let later = deciders.new.epoch > since;
        if !later || deciders.joint() || deciders.new.member(self.anchor.member).is_some() {
            return Err(HsmError::ManifestInvalid);
        }
        self.move_anchor(
            platform,
            Anchor {
                retired: true,
                ..self.anchor.clone()
            },
        )
    }

    fn statement(&self) -> Signed<Notarised> {
        let statement = Notarised {
            fleet: self.anchor.fleet,
            cell: self.anchor.cell,
            incarnation: self.anchor.incarnation,
            member: self.anchor.member,
            tip: self.anchor.tip,
        };
        let signature = self.sign(Label::Notarised, &encode(&statement));
        Signed {
            statement,
            signature,
        }
    }

    fn move_anchor(&mut self, platform: &impl Platform, new: Anchor) -> Result<(), HsmError> {
        platform
            .swap_anchor(Some(&self.anchor), &new)
            .map_err(|_: PlatformFault| HsmError::AnchorFailed)?;
        self.anchor = new;
        self.anchor_writes += 1;
        Ok(())
    }

    fn sign(&self, label: Label, bytes: &[u8]) -> Signature {
        Signature(statement::sign(&self.identity, label, bytes))
    }
}

fn same_chain(anchor: &Anchor, header: &EntryHeader) -> bool {
    header.fleet == anchor.fleet
        && header.cell == anchor.cell
        && header.incarnation == anchor.incarnation
}
