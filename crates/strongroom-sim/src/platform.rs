//! A machine in memory: clocks, randomness, disk and anchor, each with the ways in which it fails.
//!
//! It also watches the one thing that only it sees: that the anchor never names two entries for one
//! place, and never goes back. A test that restores a copy switches that off; where several members
//! lead, a place is an index of one epoch.

use crate::entropy::Seeded;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::SealingKey;
use strongroom_vault::{Blob, Platform, PlatformFault};
use strongroom_wire::entry::{Anchor, Tip};
use strongroom_wire::manifest::PlatformClass;
use strongroom_wire::{Digest, Epoch, LogIndex, UnixMs};

/// The wall clock of a new machine: January 2027.
pub const START: UnixMs = UnixMs(1_800_000_000_000);

/// See the module.
pub struct Memory {
    entropy: Seeded,
    wall: AtomicU64,
    monotonic: AtomicU64,
    kept: Mutex<Kept>,
}

/// How the next move of the anchor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorFault {
    /// It is not stored, and the caller is told so.
    Refused,
    /// It is stored, and the caller is told that it failed: the answer was lost.
    Unacknowledged,
}

#[derive(Clone, Default)]
struct Disk {
    draft: Option<Vec<u8>>,
    member: Option<Vec<u8>>,
    anchor: Option<Anchor>,
}

#[derive(Default)]
struct Kept {
    disk: Disk,
    faults: VecDeque<AnchorFault>,
    history: HashMap<(Epoch, LogIndex), Digest>,
    branches: bool,
    copied: bool,
}

/// A copy of disk, anchor and randomness: what a machine's snapshot is on a platform without an
/// anchor worth the name.
#[derive(Clone)]
pub struct Snapshot {
    disk: Disk,
    entropy: u64,
}

impl Memory {
    /// A blank machine.
    pub fn new(seed: u64) -> Self {
        Self {
            entropy: Seeded::new(seed),
            wall: AtomicU64::new(START.0),
            monotonic: AtomicU64::new(5_000),
            kept: Mutex::default(),
        }
    }

    /// Time passes, on both clocks.
    pub fn pass(&self, duration_ms: u64) {
        self.wall.fetch_add(duration_ms, Ordering::Relaxed);
        self.monotonic.fetch_add(duration_ms, Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as a bad time server or an operator does.
    pub fn set_wall_clock(&self, time: UnixMs) {
        self.wall.store(time.0, Ordering::Relaxed);
    }

    /// How the next moves of the anchor fail, in order.
    pub fn fail_next_swap(&self, fault: AnchorFault) {
        self.kept().faults.push_back(fault);
    }

    /// Loses the anchor, as a broken token does.
    pub fn lose_anchor(&self) {
        self.kept().disk.anchor = None;
    }

    /// This machine's member is one of several: it may seal an entry of a branch that the others
    /// leave, and then move to theirs.
    pub fn expect_branches(&self) {
        self.kept().branches = true;
    }

    /// Copies disk, anchor and randomness.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            disk: self.kept().disk.clone(),
            entropy: self.entropy.position(),
        }
    }

    /// Puts a copy back, and stops watching the anchor: what a copy does is the operator's doing.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut kept = self.kept();
        kept.disk = snapshot.disk.clone();
        kept.copied = true;
        self.entropy.rewind(snapshot.entropy);
    }

    /// Puts back disk and anchor, but goes on drawing: R members may do so (decision 0015).
    pub fn roll_back(&self, snapshot: &Snapshot) {
        let mut kept = self.kept();
        kept.disk = snapshot.disk.clone();
        kept.copied = true;
    }

    /// Puts back the randomness alone: a machine resumed from a memory snapshot draws it again.
    pub fn repeat_randomness(&self, snapshot: &Snapshot) {
        self.entropy.rewind(snapshot.entropy);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics here")
    }
}

impl Kept {
    /// One history, never back. With one member this holds per index, whatever the epoch.
    fn watch(&mut self, old: Option<&Anchor>, new: &Anchor) {
        if self.copied {
            return;
        }
        let place = |tip: &Tip| {
            let epoch = if self.branches { tip.epoch } else { Epoch(0) };
            (epoch, tip.index)
        };
        if let Some(old) = old {
            assert!(place(&new.tip) >= place(&old.tip), "the anchor went back");
            assert!(new.promised >= old.promised, "a promise was taken back");
        }
        let place = place(&new.tip);
        let first = *self.history.entry(place).or_insert(new.tip.hash);
        assert_eq!(first, new.tip.hash, "two histories were sealed");
    }
}

impl Entropy for Memory {
    fn fill(&self, out: &mut [u8]) {
        self.entropy.fill(out);
    }
}

impl Platform for Memory {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn class(&self) -> PlatformClass {
        PlatformClass::None
    }

    fn wall_clock(&self) -> UnixMs {
        UnixMs(self.wall.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }

    fn sealing_key(&self) -> SealingKey {
        SealingKey::from_bytes([5; 32])
    }

    fn load(&self, blob: Blob) -> Result<Option<Vec<u8>>, PlatformFault> {
        let kept = self.kept();
        Ok(match blob {
            Blob::Draft => kept.disk.draft.clone(),
            Blob::Member => kept.disk.member.clone(),
        })
    }

    fn store(&self, blob: Blob, bytes: &[u8]) -> Result<(), PlatformFault> {
        let mut kept = self.kept();
        let place = match blob {
            Blob::Draft => &mut kept.disk.draft,
            Blob::Member => &mut kept.disk.member,
        };
        *place = Some(bytes.to_vec());
        Ok(())
    }

    fn erase(&self, blob: Blob) -> Result<(), PlatformFault> {
        let mut kept = self.kept();
        match blob {
            Blob::Draft => kept.disk.draft = None,
            Blob::Member => kept.disk.member = None,
        }
        Ok(())
    }

    fn anchor(&self) -> Result<Option<Anchor>, PlatformFault> {
        Ok(self.kept().disk.anchor.clone())
    }

    fn swap_anchor(&self, old: Option<&Anchor>, new: &Anchor) -> Result<(), PlatformFault> {
        let mut kept = self.kept();
        if kept.disk.anchor.as_ref() != old {
            return Err(PlatformFault::AnchorMoved);
        }
        let fault = kept.faults.pop_front();
        if fault == Some(AnchorFault::Refused) {
            return Err(PlatformFault::Io);
        }
        kept.watch(old, new);
        kept.disk.anchor = Some(new.clone());
        match fault {
            None => Ok(()),
            Some(_) => Err(PlatformFault::Io),
        }
    }
}
