//! Finishes that are sent until they are answered, each in the journal with the keys it is about:
//! one value, so that no cut leaves one without the other.
//!
//! A value is keys ‖ what is kept of the code ‖ CBOR `[grant, finish]`, the first two behind their
//! lengths (2 bytes, big endian). Each registration has a place of its own and is settled by
//! itself; a slot has one recovery, for the fleet takes the finish of the latest guess only.

use super::{BackupKeys, Error, Vault, leaves_open, unexpected};
use crate::session;
use crate::tokens::TokenSource;
use crate::transport::TransportError;
use std::sync::PoisonError;
use strongroom_wire::answer::{Answer, Receipt, Refusal, TicketGrant};
use strongroom_wire::request::Finish;
use strongroom_wire::{OpId, Slot, decode, encode};
use zeroize::Zeroizing;

/// Most that is kept of it for [`Vault::take_settled`]: every place of every slot, three times.
const SETTLED_MAX: usize = 64;

/// What a call found of an earlier one that had no answer.
#[derive(Debug)]
pub struct Settled {
    /// The slot it is about.
    pub slot: Slot,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of something that had no answer.
#[derive(Debug)]
pub enum Outcome {
    /// What was to be sent is damaged, and lies under this name now.
    Damaged {
        /// Name in the journal.
        kept_as: String,
    },
    /// A recovery is complete: the guesses are restored, the keys are here.
    Recovered(Receipt),
    /// A recovery came too late; the keys that it gave are here.
    RecoveryRefused(Refusal),
    /// A registration counts: the code shown for it opens the backup, and its keys are here.
    Registered(Receipt),
    /// A registration does not count, nor does the code shown for it.
    RegistrationRefused(Refusal),
    /// The storage could not be read; the other slots go on.
    Unreadable(std::io::Error),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { kept_as } => write!(
                f,
                "a message that was still to be sent is damaged on this device; it is kept as \
                 {kept_as}"
            ),
            Self::Recovered(_) => f.write_str("an earlier recovery is complete now"),
            Self::RecoveryRefused(refusal) => {
                write!(f, "an earlier recovery was not completed: {refusal}")
            }
            Self::Registered(_) => f.write_str(
                "an earlier registration is confirmed now: the code shown for it opens the backup",
            ),
            Self::RegistrationRefused(refusal) => write!(
                f,
                "an earlier registration was refused, and the code shown for it opens nothing: \
                 {refusal}"
            ),
            Self::Unreadable(error) => write!(f, "this device's storage failed: {error}"),
        }
    }
}

/// A finish to be sent, and what it is about.
pub(super) struct Pending {
    pub(super) keys: BackupKeys,
    /// What is kept of the code, sealed under the keys; empty if that is none.
    pub(super) remembered: Vec<u8>,
    pub(super) grant: TicketGrant,
    pub(super) finish: Finish,
}

impl Pending {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(4096));
        for part in [self.keys.to_device_bytes().as_slice(), &self.remembered] {
            let length = u16::try_from(part.len()).expect("keys and codes are shorter than 64 KiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(part);
        }
        let message = Zeroizing::new(encode(&(&self.grant, &self.finish)));
        out.extend_from_slice(&message);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let part = |bytes: &mut &[u8]| {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (part, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            *bytes = rest;
            Some(part.to_vec())
        };
        let mut rest = bytes;
        let keys = Zeroizing::new(part(&mut rest)?);
        let remembered = part(&mut rest)?;
        let (grant, finish) = decode(rest).ok()?;
        Some(Self {
            keys: BackupKeys::from_device_bytes(&keys)?,
            remembered,
            grant,
            finish,
        })
    }

    fn op(&self) -> OpId {
        match &self.finish {
            Finish::Register(finish) => finish.op,
            Finish::Recover(finish) => finish.op,
        }
    }
}

/// Where something pending lies.
pub(super) struct Place {
    slot: Slot,
    name: String,
}

impl Place {
    fn recovery(slot: Slot) -> String {
        format!("pending-recover-{slot}")
    }

    fn all(slot: Slot) -> impl Iterator<Item = Self> {
        let names = std::iter::once(Self::recovery(slot)).chain(Self::registrations(slot));
        names.map(move |name| Self { slot, name })
    }
}

impl<S: TokenSource> Vault<S> {
    /// Puts a finish down with its keys, before it is sent.
    pub(super) fn put_pending(&self, pending: &Pending, slot: Slot) -> Result<Place, Error> {
        let bytes = pending.to_bytes();
        let name = match pending.finish {
            Finish::Recover(_) => {
                let name = Place::recovery(slot);
                self.journal.put(&name, &bytes)?;
                name
            }
            Finish::Register(_) => self.put_registration(&bytes, slot)?,
        };
        Ok(Place { slot, name })
    }

    /// In the first free place; if none is, in that of the oldest, whose ticket has expired by now
    /// unless this user registers four times in a few minutes.
    fn put_registration(&self, bytes: &[u8], slot: Slot) -> Result<String, Error> {
        for name in Place::registrations(slot) {
            if self.journal.put_new(&name, bytes)? {
                return Ok(name);
            }
        }
        let mut oldest = (None, String::new());
        for name in Place::registrations(slot) {
            let waiting = self.journal.get(&name)?.map(Zeroizing::new);
            let op = waiting.and_then(|bytes| Some(Pending::from_bytes(&bytes)?.op()));
            if oldest.1.is_empty() || op < oldest.0 {
                oldest = (op, name);
            }
        }
        self.journal.put(&oldest.1, bytes)?;
        Ok(oldest.1)
    }

    /// Sends a finish that is in the journal, until it is answered.
    pub(super) async fn finish(&self, pending: &Pending, place: &Place) -> Result<Receipt, Error> {
        let outgoing = session::seal_finish(&self.fleet, &pending.grant, &pending.finish)?;
        let answer = self.send(&outgoing, None).await?;
        if let Answer::Refused(refusal) = &answer
            && leaves_open(refusal)
        {
            return Err(unexpected(answer));
        }
        // Answered, whatever it says: it need not be sent again. First what it means for the keys.
        let device = self.device(place.slot);
        let registered = matches!(
            (&pending.finish, &answer),
            (Finish::Register(_), Answer::Receipt(_))
        );
        let lost =
            matches!(pending.finish, Finish::Recover(_)) && !matches!(device.keys(), Ok(Some(_)));
        if registered || lost {
            // The code first: sealed under keys that are not here yet it merely does not open.
            device.put_remembered(&pending.remembered)?;
            device.keep(&pending.keys)?;
        }
        self.journal.remove_own(&place.name, &pending.to_bytes())?;
        match answer {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(other)),
        }
    }

    /// Sends the finish of a recovery that the device could not keep: it restores the guesses, and
    /// the keys are the caller's.
    pub(super) async fn finish_unkept(&self, pending: &Pending) -> Result<Receipt, Error> {
        let outgoing = session::seal_finish(&self.fleet, &pending.grant, &pending.finish)?;
        match self.send(&outgoing, None).await? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(other)),
        }
    }

    /// Sends what an earlier call could not: a finish without an answer restores no guesses. Every
    /// call begins with it; call it when the app starts, too. What it found is in
    /// [`Self::take_settled`].
    ///
    /// # Errors
    /// [`Error`]; a refusal of an old finish is no error, nor is a damaged value.
    pub async fn finish_pending(&self) -> Result<(), Error> {
        let slots = (0..self.fleet.manifest().policy.slots_max).map(Slot);
        for place in slots.flat_map(Place::all) {
            let outcome = match self.journal.get(&place.name) {
                Ok(None) => continue,
                Ok(Some(bytes)) => self.settle(&place, &Zeroizing::new(bytes)).await?,
                Err(error) => Some(Outcome::Unreadable(error)),
            };
            if let Some(outcome) = outcome {
                let slot = place.slot;
                let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                // An app that never asks must not fill its memory.
                if settled.len() == SETTLED_MAX {
                    settled.remove(0);
                }
                settled.push(Settled { slot, outcome });
            }
        }
        Ok(())
    }

    /// What calls found of earlier ones that had no answer, since this was asked last.
    pub fn take_settled(&self) -> Vec<Settled> {
        std::mem::take(&mut self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn settle(&self, place: &Place, bytes: &[u8]) -> Result<Option<Outcome>, Error> {
        let Some(pending) = Pending::from_bytes(bytes) else {
            let kept = self.set_aside(place, bytes);
            return Ok(Some(kept.unwrap_or_else(Outcome::Unreadable)));
        };
        let recovery = matches!(pending.finish, Finish::Recover(_));
        match self.finish(&pending, place).await {
            Ok(receipt) if recovery => Ok(Some(Outcome::Recovered(receipt))),
            Ok(receipt) => Ok(Some(Outcome::Registered(receipt))),
            Err(Error::Refused(refusal)) if leaves_open(&refusal) => Ok(None),
            Err(Error::Refused(refusal)) if recovery => Ok(Some(Outcome::RecoveryRefused(refusal))),
            Err(Error::Refused(refusal)) => Ok(Some(Outcome::RegistrationRefused(refusal))),
            // A node's word, not the fleet's: the key of that ticket was rotated away, say, or
            // the node lies. The finish stays for the next call, and locks nobody out of this.
            Err(Error::Session(_)) => Ok(None),
            Err(Error::Transport(TransportError::Refused { .. })) => Ok(None),
            // Answered, and the storage of this slot takes nothing: the others go on.
            Err(Error::Journal(error)) => Ok(Some(Outcome::Unreadable(error))),
            Err(error) => Err(error),
        }
    }

    /// What cannot be read is kept under another name, for somebody who can; it stops nothing.
    fn set_aside(&self, place: &Place, bytes: &[u8]) -> std::io::Result<Outcome> {
        const ASIDE: u8 = 8;
        let names = (0..ASIDE).map(|number| format!("damaged-{}-{number}", place.name));
        for kept_as in names {
            if self.journal.put_new(&kept_as, bytes)? {
                self.journal.remove_own(&place.name, bytes)?;
                return Ok(Outcome::Damaged { kept_as });
            }
        }
        // Eight are enough to find out what damages them; the ninth stays where it is.
        let kept_as = place.name.clone();
        Ok(Outcome::Damaged { kept_as })
    }
}
