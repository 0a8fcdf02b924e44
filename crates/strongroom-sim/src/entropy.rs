//! Randomness that repeats: a finding must replay.

use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_crypto::random::Entropy;

/// The step of splitmix64: any two streams are far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random bytes that can be taken back to where it was.
pub struct Seeded(AtomicU64);

impl Seeded {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(mix(seed.wrapping_add(1))))
    }

    /// Where the stream is.
    pub fn position(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes back to a position: from here on, everything is drawn again.
    pub fn rewind(&self, position: u64) {
        self.0.store(position, Ordering::Relaxed);
    }

    /// A random number.
    pub fn number(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed))
    }

    /// A random array.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// splitmix64's output function.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
