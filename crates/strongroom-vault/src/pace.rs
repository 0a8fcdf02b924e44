//! How fast a notary lets the fleet's time pass (DESIGN §6, clock; decision 0010).
//!
//! Two bounds: the own wall clock, which the host may set, and the own timer, which it cannot. The
//! timer's bound is measured from the *first* time that this process sealed, and what could move
//! that beginning gives no allowance again: were it granted with each entry, or with each adopted
//! certificate, many of them would gain days. Officers alone begin anew, with a `Clock` entry.

use crate::platform::Platform;
use core::sync::atomic::{AtomicU64, Ordering};
use strongroom_wire::UnixMs;
use strongroom_wire::limits::CLOCK_SKEW_MS;

/// Fleet time and own timer where the timer's bound begins; none before the first seal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace(Option<(UnixMs, u64)>);

impl Pace {
    /// The greatest time that an entry after one of time `before` may have, to be sealed here. Time
    /// may always stand still, so a clock set back stops time, not the vault.
    pub fn bound(self, platform: &impl Platform, before: UnixMs) -> UnixMs {
        let by_clock = platform.wall_clock().plus(CLOCK_SKEW_MS);
        self.within(platform, by_clock, CLOCK_SKEW_MS, before)
    }

    /// The time of an entry that is proposed here. Half of the timer's allowance is left out, for
    /// the other members' timers: they began at other moments.
    pub fn proposed(self, platform: &impl Platform, before: UnixMs) -> UnixMs {
        self.within(platform, platform.wall_clock(), CLOCK_SKEW_MS / 2, before)
    }

    fn within(
        self,
        platform: &impl Platform,
        by_clock: UnixMs,
        allowance_ms: u64,
        before: UnixMs,
    ) -> UnixMs {
        let by_timer = self.by_timer(platform, allowance_ms);
        by_clock.min(by_timer.unwrap_or(by_clock)).max(before)
    }

    fn by_timer(self, platform: &impl Platform, allowance_ms: u64) -> Option<UnixMs> {
        let (time, timer) = self.0?;
        // Twice its pace, so that time that stood still with a paused machine is caught up with.
        let elapsed = platform.monotonic_ms().saturating_sub(timer);
        Some(time.plus(elapsed.saturating_mul(2)).plus(allowance_ms))
    }

    /// The first seal of this process.
    pub fn begin(&mut self, platform: &impl Platform, time: UnixMs) {
        self.0.get_or_insert((time, platform.monotonic_ms()));
    }

    /// Officers set the time: it goes on from there.
    pub fn restart(&mut self, platform: &impl Platform, time: UnixMs) {
        self.0 = Some((time, platform.monotonic_ms()));
    }

    /// A quorum sealed a time that this member had not reached: its timer stood still, or began
    /// late. The bound becomes that time and nothing above it. With an allowance on top, two
    /// members that adopt what each other seals would gain it in turn, for ever.
    pub fn catch_up(&mut self, platform: &impl Platform, time: UnixMs) {
        let behind = self.by_timer(platform, CLOCK_SKEW_MS);
        if behind.is_some_and(|bound| bound < time) {
            let beginning = UnixMs(time.0.saturating_sub(CLOCK_SKEW_MS));
            self.restart(platform, beginning);
        }
    }

    /// The chain that this member moved to is at an earlier time than the one it left. A bound that
    /// the left one raised must not outlive it; this lowers the bound or leaves it.
    pub fn fall_back(&mut self, platform: &impl Platform, time: UnixMs) {
        let ahead = self.by_timer(platform, 0);
        if ahead.is_some_and(|bound| bound > time) {
            self.restart(platform, time);
        }
    }
}

/// A pace that others read while the notary keeps it, for times that no entry holds. One number, so
/// that nobody reads half of it: the fleet's time at the timer's zero.
#[derive(Debug)]
pub struct Shown(AtomicU64);

impl Default for Shown {
    fn default() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }
}

impl Shown {
    const NONE: u64 = u64::MAX;

    /// The pace is this one now.
    pub fn set(&self, pace: Pace) {
        let zero = |(time, timer): (UnixMs, u64)| time.0.saturating_sub(timer.saturating_mul(2));
        self.0
            .store(pace.0.map_or(Self::NONE, zero), Ordering::Relaxed);
    }

    /// As [`Pace::proposed`]: a clock that is wrong moves no time here either.
    pub fn time(&self, platform: &impl Platform, before: UnixMs) -> UnixMs {
        let zero = Some(self.0.load(Ordering::Relaxed)).filter(|zero| *zero != Self::NONE);
        Pace(zero.map(|zero| (UnixMs(zero), 0))).proposed(platform, before)
    }
}
