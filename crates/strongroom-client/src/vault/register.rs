//! Registration, and the same keys under another code.

use super::pending::{Pending, Place};
use super::{BackupKeys, Error, Vault, unexpected};
use crate::session::{Ownership, Registration};
use crate::tokens::TokenSource;
use crate::{Os, device};
use strongroom_crypto::wrap::Root;
use strongroom_wire::Slot;
use strongroom_wire::answer::{Answer, Receipt, Refusal};

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
        let receipt = self.store(code.into(), &keys, slot, owner).await?;
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
        self.store(code.into(), keys, slot, Some(keys)).await
    }

    /// Starts over where the record changed between the two steps: the first is answered from what
    /// one member has, which may be a moment old. Whoever changed it is not overridden by that: the
    /// owner's proof names the new generation, or there is none.
    async fn store(
        &self,
        code: NewCode<'_>,
        keys: &BackupKeys,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
        self.finish_pending().await?;
        for _ in 1..STARTS {
            match self.store_once(&code, keys, slot, owner).await {
                Err(Error::Refused(Refusal::StaleTicket)) => {}
                stored => return stored,
            }
        }
        self.store_once(&code, keys, slot, owner).await
    }

    async fn store_once(
        &self,
        code: &NewCode<'_>,
        keys: &BackupKeys,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
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
            .remembered(keys, code.bytes, self.keeping());
        let pending = Pending {
            keys: BackupKeys::of(keys.root.clone(), &keys.payload),
            remembered,
            grant: ready.grant,
            finish: ready.finish,
        };
        let place = self.put_pending(&pending, slot)?;
        self.finish(&pending, &place).await
    }
}

/// How often a registration is started in all.
const STARTS: u32 = 3;

impl Place {
    /// Where registrations of a slot wait for their answers. Several, so that neither another
    /// process nor a host that withholds answers makes this device forget keys that the fleet may
    /// hold by now.
    pub(super) fn registrations(slot: Slot) -> impl Iterator<Item = String> {
        const PLACES: u8 = 4;
        (0..PLACES).map(move |place| format!("pending-register-{slot}-{place}"))
    }
}
