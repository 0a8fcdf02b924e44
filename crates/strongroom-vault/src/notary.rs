//! The notary: one history, sealed by a quorum (DESIGN §6).
//!
//! State: the anchor (promised epoch and tip; moved by compare-and-swap before any statement that
//! depends on it leaves) and, in RAM only, the clock's last reading. A restart forgets leadership.
//!
//! Rules, one function each: [`Notary::promise`], [`Notary::lead`], [`Notary::notarise`],
//! [`Notary::check_certificate`].
//!
//! The host chooses what to show, when, and how often. It cannot make two statements for one place
//! in one epoch, move the tip back, or pass off a header that no HSM made.
//!
//! Not here yet: adopting another branch, changes of members. One member never needs them; the
//! formats carry what they need.

use crate::platform::{Platform, PlatformFault};
use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::entry::{
    Anchor, EntryHeader, FEATURE_LEVEL, Kind, Notarised, Promised, Proposal, Signed, State, Tip,
};
use strongroom_wire::frame::HsmError;
use strongroom_wire::limits::{CLOCK_SKEW_MS, EPOCH_STEP_MAX, PIPELINE_MAX};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{
    CellId, Digest, Epoch, Incarnation, LogIndex, MemberId, PublicKey, Signature, UnixMs, encode,
};

/// Root of the empty trie.
pub const EMPTY_ROOT: Digest = Digest(strongroom_tree::EMPTY);

/// A member's part in the history.
pub struct Notary {
    identity: SigningKey,
    anchor: Anchor,
    tip_time: UnixMs,
    /// Fleet time and own timer at the *first* notarisation of this process. Never moved: were it
    /// the last one, each entry could gain `CLOCK_SKEW_MS` on the timer, and many entries days.
    paced: Option<(UnixMs, u64)>,
    /// The epoch promised by this process, and to whom. A promise kept from before a restart does
    /// not make a leader: it could lead one epoch twice.
    promised_here: Option<(Epoch, MemberId)>,
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

/// The anchor of a member that stands at the genesis.
pub fn genesis_anchor(header: &EntryHeader, member: MemberId) -> Anchor {
    Anchor {
        fleet: header.fleet,
        cell: header.cell,
        incarnation: header.incarnation,
        member,
        promised: Epoch(0),
        tip: header.tip(),
        retired: false,
    }
}

impl Notary {
    /// Goes on from an anchor and the header it names.
    ///
    /// # Errors
    /// [`HsmError::AnchorMismatch`] unless the header is exactly the anchor's tip.
    pub fn resume(
        identity: SigningKey,
        anchor: Anchor,
        header: &EntryHeader,
    ) -> Result<Self, HsmError> {
        let same_chain = header.fleet == anchor.fleet
            && header.cell == anchor.cell
            && header.incarnation == anchor.incarnation;
        if !same_chain || header.tip() != anchor.tip || anchor.retired {
            return Err(HsmError::AnchorMismatch);
        }
        let tip_time = header.time;
        Ok(Self {
            identity,
            anchor,
            tip_time,
            paced: None,
            promised_here: None,
            anchor_writes: 0,
        })
    }

    /// Where it stands.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Anchor writes since the start.
    pub fn anchor_writes(&self) -> u64 {
        self.anchor_writes
    }

    /// The greatest time that this notary would seal now (DESIGN §6, clock; decision 0010): not
    /// ahead of its own clock, nor of the first time it sealed by more than twice what its own
    /// timer says. Time may always stand still, so a clock set back stops time, not the vault.
    pub fn time_bound(&self, platform: &impl Platform, skew_ms: u64) -> UnixMs {
        let by_clock = platform.wall_clock().plus(skew_ms);
        let by_timer = self.paced.map_or(by_clock, |(time, timer)| {
            // Twice its pace, so that time that stood still with a paused machine is caught up
            // with.
            let elapsed = platform.monotonic_ms().saturating_sub(timer);
            time.plus(elapsed.saturating_mul(2)).plus(CLOCK_SKEW_MS)
        });
        by_clock.min(by_timer).max(self.tip_time)
    }

    /// Promises an epoch: once, and only for a greater one.
    ///
    /// # Errors
    /// [`HsmError::EpochStale`]; [`HsmError::EpochTooFar`]; [`HsmError::AnchorFailed`].
    pub fn promise(
        &mut self,
        platform: &impl Platform,
        epoch: Epoch,
        leader: MemberId,
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
        self.promised_here = Some((epoch, leader));
        let statement = Promised {
            fleet: self.anchor.fleet,
            cell: self.anchor.cell,
            incarnation: self.anchor.incarnation,
            member: self.anchor.member,
            epoch,
            leader,
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

    /// Checks a quorum's promises to this member; gives the tip to build on.
    ///
    /// # Errors
    /// [`HsmError::PromisesInvalid`]; [`HsmError::EpochStale`] unless this process promised the
    /// epoch to itself, and none later; [`HsmError::Gap`] if another member's tip is newer: it must
    /// come here first.
    pub fn lead(
        &self,
        manifest: &Manifest,
        epoch: Epoch,
        promises: &[Signed<Promised>],
    ) -> Result<Tip, HsmError> {
        let own = Some((epoch, self.anchor.member));
        if epoch != self.anchor.promised || self.promised_here != own {
            return Err(HsmError::EpochStale);
        }
        let mut members = Vec::new();
        for promise in promises {
            let p = &promise.statement;
            let ours = p.fleet == self.anchor.fleet
                && p.cell == self.anchor.cell
                && p.incarnation == self.anchor.incarnation
                && p.epoch == epoch
                && p.leader == self.anchor.member;
            let bytes = encode(p);
            if !ours
                || !signed_by(
                    manifest,
                    p.member,
                    Label::Promised,
                    &bytes,
                    &promise.signature,
                )
            {
                return Err(HsmError::PromisesInvalid);
            }
            members.push(p.member);
        }
        if !is_quorum(manifest, members) {
            return Err(HsmError::PromisesInvalid);
        }
        let newest = promises
            .iter()
            .map(|p| p.statement.tip)
            .max_by_key(|t| (t.epoch, t.index));
        if newest != Some(self.anchor.tip) {
            return Err(HsmError::Gap);
        }
        Ok(self.anchor.tip)
    }

    /// Seals a run of entries: links first, then one anchor write, then one statement.
    ///
    /// # Errors
    /// [`HsmError::EntryForged`], [`HsmError::EpochStale`], [`HsmError::Stale`], [`HsmError::Gap`],
    /// [`HsmError::TooEarly`], [`HsmError::BatchTooLarge`]; [`HsmError::AnchorFailed`].
    pub fn notarise(
        &mut self,
        platform: &impl Platform,
        run: &[Proposal],
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
        let mut tip = self.anchor.tip;
        for Proposal { header, mark } in run {
            if !is_ours(&header.hash(), mark) {
                return Err(HsmError::EntryForged);
            }
            self.check_link(&tip, header, epoch)?;
            tip = header.tip();
        }
        let time = last.header.time;
        let monotone = run.windows(2).all(|w| w[0].header.time <= w[1].header.time);
        if !monotone || first.header.time < self.tip_time {
            return Err(HsmError::Stale);
        }
        if time > self.time_bound(platform, CLOCK_SKEW_MS) {
            return Err(HsmError::TooEarly);
        }
        self.move_anchor(
            platform,
            Anchor {
                promised: epoch,
                tip,
                ..self.anchor.clone()
            },
        )?;
        self.tip_time = time;
        self.paced.get_or_insert((time, platform.monotonic_ms()));
        Ok(self.statement())
    }

    fn check_link(&self, tip: &Tip, header: &EntryHeader, epoch: Epoch) -> Result<(), HsmError> {
        let same_chain = header.fleet == self.anchor.fleet
            && header.cell == self.anchor.cell
            && header.incarnation == self.anchor.incarnation
            && header.epoch == epoch
            && header.feature_level == FEATURE_LEVEL;
        if !same_chain || header.index <= tip.index {
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

    /// Checks that a certificate holds for one tip by a quorum of distinct members; gives the tip.
    ///
    /// # Errors
    /// [`HsmError::CertificateInvalid`].
    pub fn check_certificate(
        &self,
        manifest: &Manifest,
        certificate: &[Signed<Notarised>],
    ) -> Result<Tip, HsmError> {
        let tip = certificate
            .first()
            .ok_or(HsmError::CertificateInvalid)?
            .statement
            .tip;
        let mut members = Vec::new();
        for Signed {
            statement,
            signature,
        } in certificate
        {
            let ours = statement.fleet == self.anchor.fleet
                && statement.cell == self.anchor.cell
                && statement.incarnation == self.anchor.incarnation
                && statement.tip == tip;
            let bytes = encode(statement);
            if !ours
                || !signed_by(
                    manifest,
                    statement.member,
                    Label::Notarised,
                    &bytes,
                    signature,
                )
            {
                return Err(HsmError::CertificateInvalid);
            }
            members.push(statement.member);
        }
        if is_quorum(manifest, members) {
            Ok(tip)
        } else {
            Err(HsmError::CertificateInvalid)
        }
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

fn signed_by(
    manifest: &Manifest,
    member: MemberId,
    label: Label,
    bytes: &[u8],
    signature: &Signature,
) -> bool {
    let Some(PublicKey(key)) = manifest.member(member).map(|m| m.identity) else {
        return false;
    };
    statement::verify(&key, label, bytes, &signature.0).is_ok()
}

/// Whether these are Q or more, all distinct. One name twice is refused, not counted once: an
/// honest host has no reason to send it.
fn is_quorum(manifest: &Manifest, mut members: Vec<MemberId>) -> bool {
    let sent = members.len();
    members.sort_unstable();
    members.dedup();
    members.len() == sent && sent >= manifest.quorum()
}
