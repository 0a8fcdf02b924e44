//! A bounded number of places. The newest wins; the oldest is told to go.

use crate::counts::{Counts, Event};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// By age: the number of each is greater than those before.
#[derive(Default)]
struct Held {
    next: u64,
    places: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The places. When they are dropped, every holder is told to go.
pub(crate) struct Places {
    most: usize,
    held: Arc<Mutex<Held>>,
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    pub(crate) fn take(&self, counts: &Counts) -> Place {
        let mut held = lock(&self.held);
        if held.places.len() >= self.most {
            held.places.pop_first();
            counts.count(Event::Crowded);
        }
        let number = held.next;
        held.next += 1;
        let (sender, gone) = oneshot::channel();
        held.places.insert(number, sender);
        Place {
            held: self.held.clone(),
            number,
            gone,
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        lock(&self.held).places.clear();
    }
}

/// One place, given back when it is dropped.
pub(crate) struct Place {
    held: Arc<Mutex<Held>>,
    number: u64,
    gone: oneshot::Receiver<()>,
}

impl Place {
    /// Until a newer one has it, or there are no places any more.
    pub(crate) async fn taken(&mut self) {
        // Nothing is ever sent: the sender goes.
        let _ = (&mut self.gone).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.held).places.remove(&self.number);
    }
}
