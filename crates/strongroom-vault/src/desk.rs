//! The desk: operations that wait between two requests of the host.
//!
//! What `prepare` computed stays here, inside, until `propose` decides with it. The host holds
//! handles only. Bounded by `HANDLES_MAX`, so a host that opens and never proposes gets `Busy`.

use crate::prepare::{Opened, Prepared};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::cell::RefCell;
use strongroom_wire::frame::HsmError;
use strongroom_wire::limits::HANDLES_MAX;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{Digest, Handle};

/// Parsed tenants kept at hand, by the digest of their sealed leaf.
const TENANTS_CACHED: usize = 64;

/// How far an operation has come.
pub enum Stage {
    /// Its envelope is open.
    Opened(Opened),
    /// All is computed that needs no decision.
    Prepared(Box<Prepared>),
}

/// Open operations and the tenant cache.
#[derive(Default)]
pub struct Desk {
    next: u64,
    stages: BTreeMap<Handle, Stage>,
    tenants: BTreeMap<Digest, Arc<Tenant>>,
    tenants_order: VecDeque<Digest>,
}

impl Desk {
    /// Keeps an operation under a new handle.
    ///
    /// # Errors
    /// [`HsmError::Busy`] if `HANDLES_MAX` are open.
    pub fn put(&mut self, stage: Stage) -> Result<Handle, HsmError> {
        if self.stages.len() >= HANDLES_MAX {
            return Err(HsmError::Busy);
        }
        self.next = self
            .next
            .checked_add(1)
            .expect("2^64 handles are never given");
        let handle = Handle(self.next);
        self.stages.insert(handle, stage);
        Ok(handle)
    }

    /// Takes an operation away.
    pub fn take(&mut self, handle: Handle) -> Option<Stage> {
        self.stages.remove(&handle)
    }

    /// Puts an operation back under the handle it had.
    pub fn put_back(&mut self, handle: Handle, stage: Stage) {
        let replaced = self.stages.insert(handle, stage);
        assert!(
            replaced.is_none(),
            "a handle is taken by one step at a time"
        );
    }

    /// Operations open now.
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// A tenant seen before in a leaf of this digest.
    pub fn tenant(&self, leaf: &Digest) -> Option<Arc<Tenant>> {
        self.tenants.get(leaf).cloned()
    }

    /// Remembers a tenant by the digest of its leaf; forgets the one remembered longest.
    pub fn remember_tenant(&mut self, leaf: Digest, tenant: Arc<Tenant>) {
        if self.tenants.insert(leaf, tenant).is_some() {
            return;
        }
        self.tenants_order.push_back(leaf);
        if self.tenants_order.len() > TENANTS_CACHED {
            let oldest = self
                .tenants_order
                .pop_front()
                .expect("it is longer than the limit");
            self.tenants.remove(&oldest);
        }
    }
}

/// Exclusive access to the desk, for as long as one closure runs: a `RefCell` on one thread, a
/// mutex in the image. No cryptography happens under it.
pub trait Table {
    /// Runs `f` on the desk.
    fn with<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R;
}

impl Table for RefCell<Desk> {
    fn with<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R {
        f(&mut self.borrow_mut())
    }
}
