//! A platform in memory. It also watches the one thing that only it sees: that the anchor never
//! names two entries for one place, and never goes back.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::SealingKey;
use strongroom_vault::{Blob, Platform, PlatformFault};
use strongroom_wire::entry::Anchor;
use strongroom_wire::manifest::PlatformClass;
use strongroom_wire::{Digest, LogIndex, UnixMs};

/// See the module.
pub struct Memory {
    draws: AtomicU64,
    clock: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    draft: Option<Vec<u8>>,
    member: Option<Vec<u8>>,
    anchor: Option<Anchor>,
    history: HashMap<LogIndex, Digest>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            draws: AtomicU64::new(1),
            clock: AtomicU64::new(1_800_000_000_000),
            kept: Mutex::default(),
        }
    }
}

impl Memory {
    /// Moves the wall clock.
    pub fn pass(&self, duration_ms: u64) {
        self.clock.fetch_add(duration_ms, Ordering::Relaxed);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics here")
    }
}

impl Entropy for Memory {
    /// Repeatable: a finding must replay. (splitmix64)
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let draw = self.draws.fetch_add(1, Ordering::Relaxed);
            let mut word = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Platform for Memory {
    fn name(&self) -> &'static str {
        "fuzz"
    }

    fn class(&self) -> PlatformClass {
        PlatformClass::None
    }

    fn wall_clock(&self) -> UnixMs {
        UnixMs(self.clock.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        self.wall_clock().0
    }

    fn sealing_key(&self) -> SealingKey {
        SealingKey::from_bytes([5; 32])
    }

    fn load(&self, blob: Blob) -> Result<Option<Vec<u8>>, PlatformFault> {
        let kept = self.kept();
        Ok(match blob {
            Blob::Draft => kept.draft.clone(),
            Blob::Member => kept.member.clone(),
        })
    }

    fn store(&self, blob: Blob, bytes: &[u8]) -> Result<(), PlatformFault> {
        let mut kept = self.kept();
        let place = match blob {
            Blob::Draft => &mut kept.draft,
            Blob::Member => &mut kept.member,
        };
        *place = Some(bytes.to_vec());
        Ok(())
    }

    fn anchor(&self) -> Result<Option<Anchor>, PlatformFault> {
        Ok(self.kept().anchor.clone())
    }

    fn swap_anchor(&self, old: Option<&Anchor>, new: &Anchor) -> Result<(), PlatformFault> {
        let mut kept = self.kept();
        if kept.anchor.as_ref() != old {
            return Err(PlatformFault::AnchorMoved);
        }
        if let Some(old) = old {
            assert!(new.tip.index >= old.tip.index, "the anchor went back");
            assert!(new.promised >= old.promised, "a promise was taken back");
        }
        let first = *kept.history.entry(new.tip.index).or_insert(new.tip.hash);
        assert_eq!(first, new.tip.hash, "two histories were sealed");
        kept.anchor = Some(new.clone());
        Ok(())
    }
}
