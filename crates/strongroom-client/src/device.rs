//! What a device keeps of its own: the backup keys, and enough of the code to rehearse it without
//! a guess and to notice that it is used for two slots (DESIGN §9, §12).
//!
//! All of it lies in the app's [`Journal`]. Of the code the device keeps a verifier, stretched and
//! salted, sealed under a child of root ([`Keeping::Verifier`]); the code itself only where the
//! user allowed it ([`Keeping::Code`]).
//!
//! What remains: whoever has the device's keys can test codes against the verifier, offline and at
//! the cost of the stretching. The code buys them nothing here, for they hold what it opens; a code
//! that its user also uses elsewhere is worth something there. A device without keys holds no
//! verifier, and does not know the codes of slots that other devices registered.

use crate::journal::Journal;
use crate::stretched::{Salt, Stretched};
use crate::vault::BackupKeys;
use crate::{Ksf, Os};
use std::io::{Error, ErrorKind, Result};
use strongroom_crypto::seal;
use strongroom_wire::Slot;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What a device keeps in a journal for one slot.
pub struct Device<'a> {
    journal: &'a dyn Journal,
    slot: Slot,
}

/// How a rehearsal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// It is the code.
    Right,
    /// It is not.
    Wrong,
    /// This device does not know the code.
    Unknown,
}

/// What a device keeps of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// What tells this code from others, at the cost of that stretching.
    Verifier(Ksf),
    /// The code itself. Only where its user allowed it.
    Code,
}

/// First byte of what is sealed: which [`Keeping`] it is.
const CODE: u8 = 0;
const VERIFIER: u8 = 1;

impl<'a> Device<'a> {
    /// What `journal` keeps for `slot`.
    pub fn new(journal: &'a dyn Journal, slot: Slot) -> Self {
        Self { journal, slot }
    }

    /// The keys, if the device holds any.
    ///
    /// # Errors
    /// The journal's; `InvalidData` if they are damaged.
    pub fn keys(&self) -> Result<Option<BackupKeys>> {
        let Some(bytes) = self.journal.get(&self.name("keys"))? else {
            return Ok(None);
        };
        BackupKeys::from_device_bytes(&Zeroizing::new(bytes))
            .map(Some)
            .ok_or_else(|| {
                let words = "the backup key on this device is damaged; recover it with the code";
                Error::new(ErrorKind::InvalidData, words)
            })
    }

    /// Keeps keys.
    ///
    /// # Errors
    /// The journal's.
    pub fn keep(&self, keys: &BackupKeys) -> Result<()> {
        self.journal
            .put(&self.name("keys"), &keys.to_device_bytes())
    }

    /// Keeps what these keys were recovered or registered with, for [`Self::rehearse`].
    ///
    /// # Errors
    /// The journal's.
    pub fn remember(&self, keys: &BackupKeys, code: &[u8], keeping: Keeping) -> Result<()> {
        self.put_remembered(&self.remembered(keys, code, keeping))
    }

    /// What [`Self::remember`] puts down.
    pub(crate) fn remembered(&self, keys: &BackupKeys, code: &[u8], keeping: Keeping) -> Vec<u8> {
        let mut plain = Zeroizing::new(Vec::with_capacity(128));
        match keeping {
            Keeping::Code => {
                plain.push(CODE);
                plain.extend_from_slice(code);
            }
            Keeping::Verifier(ksf) => {
                let stretched = Stretched::new(code, Salt::draw(ksf));
                plain.extend_from_slice(&[VERIFIER, ksf.code()]);
                plain.extend_from_slice(&stretched.salt.bytes);
                plain.extend_from_slice(&*stretched.verifier());
            }
        }
        seal::seal(&keys.root().device_cache_key(), &self.aad(), &plain, &Os)
    }

    /// Nothing, if that is nothing: a former code must not be taken for the one of these keys.
    pub(crate) fn put_remembered(&self, sealed: &[u8]) -> Result<()> {
        if sealed.is_empty() {
            return self.journal.remove(&self.name("code"));
        }
        self.journal.put(&self.name("code"), sealed)
    }

    /// Removes keys and code of this slot. What is not answered yet stays until it is, with the
    /// keys it is about: call [`crate::Vault::finish_pending`] before.
    ///
    /// # Errors
    /// The journal's.
    pub fn forget(&self) -> Result<()> {
        ["code", "keys"]
            .iter()
            .try_for_each(|what| self.journal.remove(&self.name(what)))
    }

    /// Compares a code with what is kept of it. Sends nothing and spends nothing.
    ///
    /// # Errors
    /// The journal's; `InvalidData` if the keys are damaged.
    pub fn rehearse(&self, code: &[u8]) -> Result<Rehearsal> {
        let (Some(keys), Some(sealed)) = (self.keys()?, self.journal.get(&self.name("code"))?)
        else {
            return Ok(Rehearsal::Unknown);
        };
        let Ok(kept) = seal::open(&keys.root().device_cache_key(), &self.aad(), &sealed) else {
            return Ok(Rehearsal::Unknown);
        };
        let right = match kept.split_first() {
            Some((&CODE, kept)) => bool::from(kept.ct_eq(code)),
            Some((&VERIFIER, kept)) => match verifies(kept, code) {
                Some(right) => right,
                None => return Ok(Rehearsal::Unknown),
            },
            _ => return Ok(Rehearsal::Unknown),
        };
        Ok(if right {
            Rehearsal::Right
        } else {
            Rehearsal::Wrong
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.slot)
    }

    fn aad(&self) -> Vec<u8> {
        let mut aad = b"strongroom/v1 device code".to_vec();
        aad.push(self.slot.0);
        aad
    }
}

/// Whether a code is the one that a verifier was made from; none if it is no verifier of ours.
fn verifies(kept: &[u8], code: &[u8]) -> Option<bool> {
    let (ksf, kept) = kept.split_first()?;
    let (bytes, verifier) = kept.split_first_chunk::<32>()?;
    let salt = Salt {
        ksf: Ksf::from_code(*ksf)?,
        bytes: *bytes,
    };
    let typed = Stretched::new(code, salt).verifier();
    Some(verifier.ct_eq(typed.as_slice()).into())
}

/// Whether a code is already used by another slot of this device: one thief's guess must not open
/// two records. A slot that cannot be read cannot tell, and stops no other.
pub(crate) fn used_elsewhere(journal: &dyn Journal, slot: Slot, slots: u8, code: &[u8]) -> bool {
    (0..slots)
        .map(Slot)
        .filter(|other| *other != slot)
        .any(|other| {
            matches!(
                Device::new(journal, other).rehearse(code),
                Ok(Rehearsal::Right)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::{Device, Keeping, Rehearsal, used_elsewhere};
    use crate::code::RecoveryCode;
    use crate::{BackupKeys, Journal as _, Ksf, MemoryJournal, Os};
    use strongroom_crypto::seal;
    use strongroom_wire::Slot;

    const VERIFIER: Keeping = Keeping::Verifier(Ksf::DangerIdentity);

    #[test]
    fn a_rehearsal_tells_right_from_wrong_and_knows_when_it_does_not_know() {
        for keeping in [
            Keeping::Code,
            VERIFIER,
            Keeping::Verifier(Ksf::Argon2idM19T2),
        ] {
            let journal = MemoryJournal::default();
            let device = Device::new(&journal, Slot(0));
            assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Unknown);
            let keys = BackupKeys::generate();
            device.keep(&keys).unwrap();
            assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Unknown);
            device.remember(&keys, b"code", keeping).unwrap();
            assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Right);
            assert_eq!(device.rehearse(b"cod").unwrap(), Rehearsal::Wrong);
            assert!(used_elsewhere(&journal, Slot(1), 4, b"code"));
            assert!(!used_elsewhere(&journal, Slot(0), 4, b"code"));
            assert!(!used_elsewhere(&journal, Slot(1), 4, b"cod"));
            // Of other keys than these nothing is known.
            device.keep(&BackupKeys::generate()).unwrap();
            assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Unknown);
        }
    }

    #[test]
    fn the_code_is_on_the_device_only_where_its_user_allowed_it_and_never_in_clear() {
        let journal = MemoryJournal::default();
        let (device, keys) = (Device::new(&journal, Slot(2)), BackupKeys::generate());
        let code = RecoveryCode::generate(&Os).expose();
        let holds = |bytes: &[u8]| bytes.windows(5).any(|part| part == &code.as_bytes()[..5]);
        for (keeping, kept) in [(VERIFIER, false), (Keeping::Code, true)] {
            device.remember(&keys, code.as_bytes(), keeping).unwrap();
            let sealed = journal.get("code-2").unwrap().unwrap();
            assert!(!holds(&sealed));
            let opened = seal::open(&keys.root().device_cache_key(), &device.aad(), &sealed);
            assert_eq!(holds(&opened.unwrap()), kept);
        }
    }

    #[test]
    fn one_damaged_slot_does_not_keep_a_code_from_being_looked_for_in_the_others() {
        let journal = MemoryJournal::default();
        let (device, keys) = (Device::new(&journal, Slot(2)), BackupKeys::generate());
        device.keep(&keys).unwrap();
        device.remember(&keys, b"code", VERIFIER).unwrap();
        journal.put("keys-1", b"short").unwrap();
        assert!(used_elsewhere(&journal, Slot(0), 4, b"code"));
        assert!(!used_elsewhere(&journal, Slot(0), 4, b"another"));
    }
}
