//! Registration, and the same keys under another code.

use super::pending::{Pending, Place};
use super::{BackupKeys, Error, Vault, unexpected};
use crate::session::{Ownership, Registration};
use crate::tokens::TokenSource;
use crate::{Os, device};
use strongroom_crypto::wrap::Root;
use strongroom_wire::Slot;
use strongroom_wire::answer::{Answer, Receipt};

/// A code to register under.
#[derive(Clone, Copy)]
pub struct NewCode<'a> {
    bytes: &'a [u8],
    confirmed_different: bool,
}

impl<'a> NewCode<'a> {
    /// The code: what OPAQUE gets.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            confirmed_different: false,
        }
    }

    /// The user said, or it was drawn just now: it is not the code of a key that guessing
    /// destroyed.
    #[must_use]
    pub fn confirmed_different(mut self) -> Self {
        self.confirmed_different = true;
        self
    }
}

impl<'a> From<&'a [u8]> for NewCode<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for NewCode<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::new(bytes)
    }
}

/// A registration that the fleet acknowledged.
pub struct Registered {
    /// The keys.
    pub keys: BackupKeys,
    /// The fleet's receipt.
    pub receipt: Receipt,
}

impl<S: TokenSource> Vault<S> {
    /// Registers a new root (and `payload`) under a code. Over a live record it needs the keys that
    /// the record holds now, or a reset whose waiting period is over.
    ///
    /// Show the user a drawn code before this is called: if the answer is lost, a later call may
    /// find that it counts ([`Self::take_settled`]).
    ///
    /// # Errors
    /// [`Error::CodeMayBeKnown`] and the rest of [`Error`].
    pub async fn register(
        &self,
        code: impl Into<NewCode<'_>>,
        payload: &[u8],
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Registered, Error> {
        let keys = BackupKeys::of(Root::generate(&Os), payload);
        let (keys, receipt) = self.store(code.into(), keys, slot, owner).await?;
        Ok(Registered { keys, receipt })
    }

    /// Puts the same keys under another code.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub async fn change_code(
        &self,
        code: impl Into<NewCode<'_>>,
        keys: &BackupKeys,
        slot: Slot,
    ) -> Result<Receipt, Error> {
        let same = BackupKeys::of(keys.root.clone(), &keys.payload);
        let (_, receipt) = self.store(code.into(), same, slot, Some(keys)).await?;
        Ok(receipt)
    }

    async fn store(
        &self,
        code: NewCode<'_>,
        keys: BackupKeys,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<(BackupKeys, Receipt), Error> {
        self.finish_pending().await?;
        let slots = self.fleet.manifest().policy.slots_max;
        if device::used_elsewhere(self.journal.as_ref(), slot, slots, code.bytes) {
            return Err(Error::CodeInUse);
        }
        let tokens = self.tokens.tokens().await?;
        let registration = Registration::new(code.bytes, slot)?;
        let outgoing = registration.request(&self.fleet, &tokens)?;
        let started = match self.send(&outgoing, Some(&tokens)).await? {
            Answer::RegisterStarted(started) => started,
            other => return Err(unexpected(other)),
        };
        // The old code is unknown here, even to compare with: its user is asked.
        if started.destroyed > 0 && !code.confirmed_different {
            let destroyed = started.destroyed;
            return Err(Error::CodeMayBeKnown { destroyed });
        }
        let owner = owner.filter(|_| started.live).map(|owner| {
            let (fleet, incarnation) = (self.fleet.id(), started.incarnation);
            let generation = started.generation;
            Ownership::new(&owner.root, fleet, incarnation, started.record, generation)
        });
        let secret = (&keys.root, keys.payload.as_slice());
        let ready = registration.answered(
            &self.fleet,
            &tokens,
            &started,
            self.ksf,
            secret,
            owner.as_ref(),
        )?;
        let remembered = self
            .device(slot)
            .remembered(&keys, code.bytes, self.keeping());
        let pending = Pending {
            keys,
            remembered,
            grant: ready.grant,
            finish: ready.finish,
        };
        let place = self.put_pending(&pending, slot)?;
        let receipt = self.finish(&pending, &place).await?;
        Ok((pending.keys, receipt))
    }
}

impl Place {
    /// Where registrations of a slot wait for their answers. Several, so that neither another
    /// process nor a host that withholds answers makes this device forget keys that the fleet may
    /// hold by now.
    pub(super) fn registrations(slot: Slot) -> impl Iterator<Item = String> {
        const PLACES: u8 = 4;
        (0..PLACES).map(move |place| format!("pending-register-{slot}-{place}"))
    }
}
