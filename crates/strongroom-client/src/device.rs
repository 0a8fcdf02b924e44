//! What a device keeps of its own: the backup keys, and the code sealed under a child of the root,
//! so that it can be rehearsed without a guess and is not used for two slots (DESIGN §12).
//!
//! All of it lies in the app's [`Journal`]. Something registered but not yet acknowledged lies
//! beside it under a name of its own, and takes its place when the fleet has acknowledged it.

use crate::Os;
use crate::journal::Journal;
use crate::vault::BackupKeys;
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
        self.keys_named(&self.name("keys"))
    }

    /// Keeps keys, and the code they were recovered or made with.
    ///
    /// # Errors
    /// The journal's.
    pub fn keep(&self, keys: &BackupKeys, code: Option<&[u8]>) -> Result<()> {
        self.write(["keys", "code"], keys, code)
    }

    /// Removes everything of this slot.
    ///
    /// # Errors
    /// The journal's.
    pub fn forget(&self) -> Result<()> {
        ["keys", "code", "pending-keys", "pending-code"]
            .iter()
            .try_for_each(|what| self.journal.remove(&self.name(what)))
    }

    /// Compares a code with the one kept. Sends nothing and spends nothing.
    ///
    /// # Errors
    /// The journal's.
    pub fn rehearse(&self, code: &[u8]) -> Result<Rehearsal> {
        let (Some(keys), Some(sealed)) = (self.keys()?, self.journal.get(&self.name("code"))?)
        else {
            return Ok(Rehearsal::Unknown);
        };
        let kept = seal::open(&keys.root().device_cache_key(), &self.aad(), &sealed);
        Ok(match kept {
            Ok(kept) if bool::from(kept.as_slice().ct_eq(code)) => Rehearsal::Right,
            Ok(_) => Rehearsal::Wrong,
            Err(_) => Rehearsal::Unknown,
        })
    }

    /// Puts down what is about to be registered: a crash before the answer must not lose it.
    pub(crate) fn put_pending(&self, keys: &BackupKeys, code: &[u8]) -> Result<()> {
        self.write(["pending-keys", "pending-code"], keys, Some(code))
    }

    /// The fleet acknowledged: the pending keys are the keys, if they are those it acknowledged.
    /// Another process may have put down its own meanwhile; a backup under those is lost.
    pub(crate) fn promote(&self, acknowledged: impl Fn(&BackupKeys) -> bool) -> Result<()> {
        let pending = self.keys_named(&self.name("pending-keys"))?;
        let Some(keys) = pending.filter(acknowledged) else {
            return Ok(());
        };
        // The code first: sealed under keys that are not here yet it merely does not open.
        if let Some(code) = self.journal.get(&self.name("pending-code"))? {
            self.journal.put(&self.name("code"), &code)?;
        }
        self.journal
            .put(&self.name("keys"), &keys.to_device_bytes())?;
        self.drop_pending()
    }

    /// The fleet refused: the pending keys are nothing.
    pub(crate) fn drop_pending(&self) -> Result<()> {
        self.journal.remove(&self.name("pending-code"))?;
        self.journal.remove(&self.name("pending-keys"))
    }

    fn keys_named(&self, name: &str) -> Result<Option<BackupKeys>> {
        let Some(bytes) = self.journal.get(name)? else {
            return Ok(None);
        };
        BackupKeys::from_device_bytes(&Zeroizing::new(bytes))
            .map(Some)
            .ok_or_else(|| {
                let words = "the backup key on this device is damaged; recover it with the code";
                Error::new(ErrorKind::InvalidData, words)
            })
    }

    fn write(
        &self,
        [keys_as, code_as]: [&str; 2],
        keys: &BackupKeys,
        code: Option<&[u8]>,
    ) -> Result<()> {
        if let Some(code) = code {
            let sealed = seal::seal(&keys.root().device_cache_key(), &self.aad(), code, &Os);
            self.journal.put(&self.name(code_as), &sealed)?;
        }
        self.journal
            .put(&self.name(keys_as), &keys.to_device_bytes())
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

/// Whether a code is already used by another slot of this device: one thief's guess must not open
/// two records.
pub(crate) fn used_elsewhere(
    journal: &dyn Journal,
    slot: Slot,
    slots: u8,
    code: &[u8],
) -> Result<bool> {
    for other in (0..slots).map(Slot).filter(|other| *other != slot) {
        if Device::new(journal, other).rehearse(code)? == Rehearsal::Right {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{Device, Rehearsal, used_elsewhere};
    use crate::code::RecoveryCode;
    use crate::{BackupKeys, Journal as _, MemoryJournal, Os};
    use strongroom_wire::Slot;

    #[test]
    fn a_rehearsal_tells_right_from_wrong_and_knows_when_it_does_not_know() {
        let journal = MemoryJournal::default();
        let device = Device::new(&journal, Slot(0));
        assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Unknown);
        device.keep(&BackupKeys::generate(), Some(b"code")).unwrap();
        assert_eq!(device.rehearse(b"code").unwrap(), Rehearsal::Right);
        assert_eq!(device.rehearse(b"cod").unwrap(), Rehearsal::Wrong);
        assert!(used_elsewhere(&journal, Slot(1), 4, b"code").unwrap());
        assert!(!used_elsewhere(&journal, Slot(0), 4, b"code").unwrap());
    }

    #[test]
    fn pending_keys_become_the_keys_only_when_promoted_and_the_code_is_never_in_clear() {
        let journal = MemoryJournal::default();
        let device = Device::new(&journal, Slot(2));
        let code = RecoveryCode::generate(&Os).expose();
        let (old, new) = (BackupKeys::generate(), BackupKeys::generate());
        device.keep(&old, None).unwrap();
        device.put_pending(&new, code.as_bytes()).unwrap();
        let held = device.keys().unwrap().unwrap();
        assert_eq!(*held.age_secret(), *old.age_secret());
        device.promote(|_| false).unwrap();
        let held = device.keys().unwrap().unwrap();
        assert_eq!(*held.age_secret(), *old.age_secret());
        device.promote(|_| true).unwrap();
        let held = device.keys().unwrap().unwrap();
        assert_eq!(*held.age_secret(), *new.age_secret());
        assert_eq!(device.rehearse(code.as_bytes()).unwrap(), Rehearsal::Right);
        let sealed = journal.get("code-2").unwrap().unwrap();
        assert!(!sealed.windows(5).any(|part| part == &code.as_bytes()[..5]));
    }
}
