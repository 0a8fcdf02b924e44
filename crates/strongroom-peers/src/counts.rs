//! What went wrong between hosts, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// The metric's name; its label `event` is [`Event::name`].
pub const PEER_EVENTS: &str = "strongroom_peer_events_total";

/// Something to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection or a handshake made room for a newer one.
    Crowded,
    /// A message was dropped: the peer's queue is full, or it is too long.
    Dropped,
    /// A response came when nobody waited for it any more.
    Late,
    /// A peer sent what is no frame, or no frame for it to send.
    Misbehaved,
    /// A key that is not pinned was refused in the handshake.
    Refused,
}

impl Event {
    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Dropped => "dropped",
            Self::Late => "late",
            Self::Misbehaved => "misbehaved",
            Self::Refused => "refused",
        }
    }
}

/// How often, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; 5]);

impl Counts {
    pub(crate) fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!(PEER_EVENTS, "event" => event.name()).increment(1);
    }

    pub(crate) fn of(&self, event: Event) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }
}
