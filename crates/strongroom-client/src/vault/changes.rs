//! Status, and what changes a record without a code: delete, reset, cancel a reset.
//!
//! Such a change is named by an op id, which is in the journal (per slot and kind, with what else
//! the request was made of) from before it is sent until it is answered. So the same call after a
//! lost answer is the same operation, and gets the same receipt instead of a refusal that nobody
//! understands.

use super::{BackupKeys, Error, Vault, leaves_open, now, unexpected};
use crate::session::{self, Outgoing, Ownership};
use crate::tokens::{TokenSource, Tokens};
use strongroom_wire::answer::{Answer, Receipt, Refusal, StatusReport};
use strongroom_wire::{Generation, Incarnation, OpId, RecordId, Slot, decode, encode};

/// What changes a record without a code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    CancelReset,
    Delete,
    Reset,
}

impl Kind {
    fn name(self, slot: Slot) -> String {
        let kind = match self {
            Self::CancelReset => "cancel-reset",
            Self::Delete => "delete",
            Self::Reset => "reset",
        };
        format!("op-{kind}-{slot}")
    }
}

/// The record as owner proofs name it.
type Named = (Incarnation, RecordId, Generation);

/// A change by its name: all that must be the same when it is sent again.
struct Change {
    kind: Kind,
    slot: Slot,
    op: OpId,
    record: Option<Named>,
    /// The reset to cancel.
    reset: Option<OpId>,
}

impl Change {
    /// CBOR `[op id, record or null, reset or null]`.
    fn to_bytes(&self) -> Vec<u8> {
        encode(&(self.op, self.record, self.reset))
    }

    fn parse(kind: Kind, slot: Slot, bytes: &[u8]) -> Option<Self> {
        let (op, record, reset) = decode(bytes).ok()?;
        Some(Self {
            kind,
            slot,
            op,
            record,
            reset,
        })
    }
}

impl<S: TokenSource> Vault<S> {
    /// The record's state, fresh; with history if the owner's keys are at hand.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status(
        &self,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<StatusReport, Error> {
        self.finish_pending().await?;
        let report = self.status_as(slot, None).await?;
        match owner {
            None => Ok(report),
            Some(keys) => {
                let owner = self.ownership(keys, named(&report));
                self.status_as(slot, Some(&owner)).await
            }
        }
    }

    async fn status_as(
        &self,
        slot: Slot,
        owner: Option<&Ownership>,
    ) -> Result<StatusReport, Error> {
        let tokens = self.tokens.tokens().await?;
        let outgoing = session::status(&self.fleet, &tokens, slot, owner)?;
        match self.send(&outgoing, Some(&tokens)).await? {
            Answer::Status(report) => Ok(report),
            other => Err(unexpected(other)),
        }
    }

    fn ownership(&self, keys: &BackupKeys, named: Named) -> Ownership {
        let (incarnation, record, generation) = named;
        Ownership::new(&keys.root, self.fleet.id(), incarnation, record, generation)
    }

    /// Deletes the record: by owner proof, or by the account alone after a reset.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, slot: Slot, owner: Option<&BackupKeys>) -> Result<Receipt, Error> {
        self.change(Kind::Delete, slot, owner).await
    }

    /// Begins a reset's waiting period.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reset(&self, slot: Slot) -> Result<Receipt, Error> {
        self.change(Kind::Reset, slot, None).await
    }

    /// Cancels the reset that waits.
    ///
    /// # Errors
    /// [`Error`]; `NoSuchReset` if none waits.
    pub async fn cancel_reset(&self, slot: Slot, owner: &BackupKeys) -> Result<Receipt, Error> {
        self.change(Kind::CancelReset, slot, Some(owner)).await
    }

    async fn change(
        &self,
        kind: Kind,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
        self.finish_pending().await?;
        let kept = self.journal.get(&kind.name(slot))?;
        if let Some(change) = kept.and_then(|bytes| Change::parse(kind, slot, &bytes)) {
            match self.send_change(&change, owner).await {
                Ok(receipt) if self.stands(&change).await? => {
                    self.forget_change(&change)?;
                    return Ok(receipt);
                }
                // It was for a generation or a reset that is gone: the user wants it now.
                Ok(_) => {}
                Err(Error::Refused(refusal)) if !leaves_open(&refusal) => {}
                Err(error) => return Err(error),
            }
            self.forget_change(&change)?;
        }
        let change = self.new_change(kind, slot, owner).await?;
        match self.send_new(&change, owner).await {
            // Once more, under a greater id: the fleet has accepted one from a clock ahead of ours.
            Err(Error::Refused(Refusal::StaleOp { greatest, now })) => {
                let op = session::new_op(now, Some(greatest));
                self.send_new(&Change { op, ..change }, owner).await
            }
            other => other,
        }
    }

    /// A change under a new name, of the record as it is now.
    async fn new_change(
        &self,
        kind: Kind,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Change, Error> {
        let report = match owner {
            Some(_) => Some(self.status_as(slot, None).await?),
            None => None,
        };
        let reset = report.as_ref().and_then(|report| report.reset);
        if kind == Kind::CancelReset && reset.is_none() {
            return Err(Error::Refused(Refusal::NoSuchReset));
        }
        Ok(Change {
            kind,
            slot,
            op: session::new_op(now(), None),
            record: report.as_ref().map(named),
            reset: reset.map(|reset| reset.op),
        })
    }

    async fn send_new(
        &self,
        change: &Change,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
        let name = change.kind.name(change.slot);
        self.journal.put(&name, &change.to_bytes())?;
        let receipt = self.send_change(change, owner).await;
        let open = match &receipt {
            Ok(_) => false,
            Err(Error::Refused(refusal)) => leaves_open(refusal),
            Err(_) => true,
        };
        if !open {
            self.forget_change(change)?;
        }
        receipt
    }

    fn forget_change(&self, change: &Change) -> Result<(), Error> {
        let name = change.kind.name(change.slot);
        Ok(self.journal.remove_own(&name, &change.to_bytes())?)
    }

    async fn send_change(
        &self,
        change: &Change,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
        let tokens = self.tokens.tokens().await?;
        let outgoing = self.sealed(change, owner, &tokens)?;
        match self.send(&outgoing, Some(&tokens)).await? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(other)),
        }
    }

    fn sealed(
        &self,
        change: &Change,
        owner: Option<&BackupKeys>,
        tokens: &Tokens,
    ) -> Result<Outgoing, Error> {
        let (fleet, slot, op) = (&self.fleet, change.slot, change.op);
        let owner = owner.zip(change.record);
        let owner = owner.map(|(keys, named)| self.ownership(keys, named));
        Ok(match (change.kind, owner, change.reset) {
            (Kind::Delete, owner, _) => session::delete(fleet, tokens, slot, op, owner.as_ref())?,
            (Kind::Reset, ..) => session::reset(fleet, tokens, slot, op)?,
            (Kind::CancelReset, Some(owner), Some(reset)) => {
                session::cancel_reset(fleet, tokens, slot, (op, reset), &owner)?
            }
            // Kept by nobody: a cancellation always has both.
            (Kind::CancelReset, ..) => return Err(Error::Refused(Refusal::NoSuchReset)),
        })
    }

    /// Whether a change that the fleet remembers is still how things are: it may have remembered it
    /// across a registration or another reset.
    async fn stands(&self, change: &Change) -> Result<bool, Error> {
        let report = match self.status_as(change.slot, None).await {
            Err(Error::Refused(refusal)) if !leaves_open(&refusal) => return Ok(true),
            report => report?,
        };
        Ok(match change.kind {
            Kind::CancelReset => report.reset.is_none(),
            Kind::Delete => false,
            Kind::Reset => report.reset.is_some_and(|reset| reset.op == change.op),
        })
    }
}

fn named(report: &StatusReport) -> Named {
    (report.incarnation, report.record, report.generation)
}
