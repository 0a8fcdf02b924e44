//! What a run draws.

use crate::entropy::Seeded;

/// Choices of one run.
pub(super) struct Dice(Seeded);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Seeded::new(seed ^ 0xd1ce))
    }

    /// Less than that.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.0.number() % bound.max(1)
    }

    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most + 1 - least)
    }

    pub(super) fn place(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("less than a length")
    }

    /// One in so many.
    pub(super) fn one_in(&self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn permille(&self, part: u64) -> bool {
        self.below(1_000) < part
    }
}
