//! One call for each thing a user does.

use crate::device::{self, Device};
use crate::journal::Journal;
use crate::roots::{BundleError, Fleet, Roots};
use crate::session::{
    self, Outgoing, Ownership, ReadyRegistration, Recovery, Registration, SessionError,
};
use crate::tokens::{TokenError, TokenSource, Tokens};
use crate::transport::{Http, TransportError};
use crate::{Ksf, Os};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_crypto::wrap::Root;
use strongroom_wire::answer::{Answer, Receipt, Refusal, StatusReport, TicketGrant, Totals};
use strongroom_wire::request::Finish;
use strongroom_wire::{OpId, Slot, UnixMs, decode, encode};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Why a call failed. [`Error::Refused`] is the fleet's own answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The same code opens another slot of this device.
    #[error("this code is already used for another slot; use a different one for each")]
    CodeInUse,
    /// The journal could not be written: nothing was sent that needs it.
    #[error("this device's storage failed: {0}")]
    Journal(#[from] std::io::Error),
    /// The fleet said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The protocol broke.
    #[error(transparent)]
    Session(SessionError),
    /// No tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The network.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The guess was wrong; it is spent.
    #[error("the code is wrong; {attempts_left} attempts are left")]
    WrongCode {
        /// Guesses left.
        attempts_left: u8,
        /// Totals of the record.
        totals: Totals,
    },
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// The keys under a root, and what was stored beside it. Root itself stays inside.
pub struct BackupKeys {
    root: Root,
    /// What the app stored beside the root.
    pub payload: Zeroizing<Vec<u8>>,
}

impl BackupKeys {
    /// New keys that no fleet knows.
    pub fn generate() -> Self {
        Self::of(Root::generate(&Os), &[])
    }

    pub(crate) fn of(root: Root, payload: &[u8]) -> Self {
        let payload = Zeroizing::new(payload.to_vec());
        Self { root, payload }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Secret of the age identity that the backup is encrypted to.
    pub fn age_secret(&self) -> Zeroizing<[u8; 32]> {
        self.root.age_secret()
    }

    /// Password for restic and the like, 64 hexadecimal digits.
    pub fn repository_password(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.root.repository_password()))
    }

    /// For the device's own protected storage, so that it can replace or delete the record later.
    pub fn to_device_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(self.root.expose().to_vec());
        out.extend_from_slice(&self.payload);
        out
    }

    /// Reads what [`Self::to_device_bytes`] gave.
    pub fn from_device_bytes(bytes: &[u8]) -> Option<Self> {
        let (root, payload) = bytes.split_first_chunk::<32>()?;
        let payload = Zeroizing::new(payload.to_vec());
        Some(Self {
            root: Root::from_bytes(*root),
            payload,
        })
    }
}

/// A registration that the fleet acknowledged.
pub struct Registered {
    /// The keys.
    pub keys: BackupKeys,
    /// The fleet's receipt.
    pub receipt: Receipt,
}

/// A recovery.
pub struct Recovered {
    /// The keys.
    pub keys: BackupKeys,
    /// The receipt of the finish. None if it was not answered after the secret was here: it is in
    /// the journal then and goes out with the next call. None also if the fleet refused it, because
    /// another phone recovered at the same time.
    pub receipt: Option<Receipt>,
    /// Totals before this recovery.
    pub totals: Totals,
}

/// A connection to a fleet for one account.
pub struct Vault<S> {
    http: Http,
    fleet: Fleet,
    tokens: S,
    journal: Arc<dyn Journal>,
    ksf: Ksf,
    unanswered: Mutex<BTreeMap<Slot, Unanswered>>,
}

/// A guess that was sent and not answered, and the code it is for. Sent again with that code it is
/// the same guess, and costs no other.
struct Unanswered {
    code: Zeroizing<Vec<u8>>,
    recovery: Recovery,
}

impl<S: TokenSource> Vault<S> {
    /// Fetches the fleet's bundle and checks it against the roots.
    ///
    /// # Errors
    /// [`Error::Transport`], [`Error::Bundle`].
    pub async fn connect(
        http: Http,
        roots: &Roots,
        tokens: S,
        journal: Arc<dyn Journal>,
    ) -> Result<Self, Error> {
        let fleet = Fleet::from_bundle(&http.get("/v1/fleet").await?, roots)?;
        Ok(Self {
            http,
            fleet,
            tokens,
            journal,
            ksf: Ksf::Argon2idM64T3,
            unanswered: Mutex::default(),
        })
    }

    /// Uses another key-stretching set for registrations from now on.
    #[must_use]
    pub fn with_ksf(mut self, ksf: Ksf) -> Self {
        self.ksf = ksf;
        self
    }

    /// The fleet.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Registers a new root (and `payload`) under a code. Over a live record it needs the keys that
    /// the record holds now, or a reset whose waiting period is over.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn register(
        &self,
        code: &[u8],
        payload: &[u8],
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Registered, Error> {
        let keys = BackupKeys::of(Root::generate(&Os), payload);
        let receipt = self.store(code, &keys, slot, owner).await?;
        Ok(Registered { keys, receipt })
    }

    /// Puts the same keys under another code.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn change_code(
        &self,
        code: &[u8],
        keys: &BackupKeys,
        slot: Slot,
    ) -> Result<Receipt, Error> {
        self.store(code, keys, slot, Some(keys)).await
    }

    async fn store(
        &self,
        code: &[u8],
        keys: &BackupKeys,
        slot: Slot,
        owner: Option<&BackupKeys>,
    ) -> Result<Receipt, Error> {
        self.finish_pending().await?;
        let slots = self.fleet.manifest().policy.slots_max;
        if device::used_elsewhere(self.journal.as_ref(), slot, slots, code)? {
            return Err(Error::CodeInUse);
        }
        let tokens = self.tokens.tokens().await?;
        let registration = Registration::new(code, slot)?;
        let outgoing = registration.request(&self.fleet, &tokens)?;
        let started = match self.send(&outgoing, Some(&tokens)).await? {
            Answer::RegisterStarted(started) => started,
            other => return Err(unexpected(other)),
        };
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
        let ReadyRegistration { grant, finish, .. } = ready;
        self.device(slot).put_pending(keys, code)?;
        self.put_finish(&grant, &finish, slot)?;
        let receipt = self.finish(&grant, &finish, slot).await?;
        // Promoted already, unless another process put its own in the place of what was pending.
        self.device(slot).keep(keys, Some(code))?;
        Ok(receipt)
    }

    /// Recovers with a code. A wrong one costs a guess; a lost answer does not: called again with
    /// the same code after a failure of the network, or after it was cancelled, it goes on with the
    /// same guess.
    ///
    /// # Errors
    /// [`Error::WrongCode`] and the rest of [`Error`].
    pub async fn recover(&self, code: &[u8], slot: Slot) -> Result<Recovered, Error> {
        self.finish_pending().await?;
        let tokens = self.tokens.tokens().await?;
        let mut recovery = self.attempt(code, slot)?;
        let started = loop {
            let outgoing = recovery.request(&self.fleet, &tokens)?;
            match self.send(&outgoing, Some(&tokens)).await? {
                Answer::RecoverStarted(started) => break started,
                Answer::Refused(Refusal::StaleAttempt { greatest, now }) => {
                    // Our clock is behind (or ahead): the fleet says what to beat.
                    let next = session::new_attempt(now, Some(greatest));
                    if next.time() > now.plus(strongroom_wire::limits::ATTEMPT_AHEAD_MS) {
                        self.forget_unanswered(slot);
                        return Err(Error::Refused(Refusal::StaleAttempt { greatest, now }));
                    }
                    recovery.renumber(next);
                    self.put_unanswered(code, slot, &recovery);
                }
                Answer::Refused(refusal) => {
                    if !leaves_open(&refusal) {
                        self.forget_unanswered(slot);
                    }
                    return Err(Error::Refused(refusal));
                }
                other => return Err(unexpected(other)),
            }
        };
        let opened = match recovery.answered(&self.fleet, &tokens, &started) {
            Err(SessionError::WrongCode) => {
                self.forget_unanswered(slot);
                let (attempts_left, totals) = (started.attempts_left, started.totals);
                return Err(Error::WrongCode {
                    attempts_left,
                    totals,
                });
            }
            other => other?,
        };
        let keys = BackupKeys {
            root: opened.root,
            payload: opened.payload,
        };
        // Until keys and finish are down the guess counts as unanswered: a device whose storage is
        // full must not pay with another guess each time the right code is typed.
        self.device(slot).keep(&keys, Some(code))?;
        self.put_finish(&opened.grant, &opened.finish, slot)?;
        self.forget_unanswered(slot);
        // The secret is here: nothing that becomes of the finish takes it away again.
        let receipt = self.finish(&opened.grant, &opened.finish, slot).await.ok();
        Ok(Recovered {
            keys,
            receipt,
            totals: started.totals,
        })
    }

    /// The guess that was not answered, if it is with this code; else a new one, put down first.
    fn attempt(&self, code: &[u8], slot: Slot) -> Result<Recovery, Error> {
        if let Some(unanswered) = self.lock_unanswered().get(&slot)
            && bool::from(unanswered.code.as_slice().ct_eq(code))
        {
            return Ok(unanswered.recovery.clone());
        }
        let recovery = Recovery::new(code, slot, session::new_attempt(now(), None))?;
        self.put_unanswered(code, slot, &recovery);
        Ok(recovery)
    }

    fn put_unanswered(&self, code: &[u8], slot: Slot, recovery: &Recovery) {
        let unanswered = Unanswered {
            code: Zeroizing::new(code.to_vec()),
            recovery: recovery.clone(),
        };
        self.lock_unanswered().insert(slot, unanswered);
    }

    fn forget_unanswered(&self, slot: Slot) {
        self.lock_unanswered().remove(&slot);
    }

    fn lock_unanswered(&self) -> MutexGuard<'_, BTreeMap<Slot, Unanswered>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

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
                self.status_as(slot, Some(&self.ownership(keys, &report)))
                    .await
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

    fn ownership(&self, keys: &BackupKeys, report: &StatusReport) -> Ownership {
        let fleet = self.fleet.id();
        Ownership::new(
            &keys.root,
            fleet,
            report.incarnation,
            report.record,
            report.generation,
        )
    }

    /// Deletes the record: by owner proof, or by the account alone after a reset.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, slot: Slot, owner: Option<&BackupKeys>) -> Result<Receipt, Error> {
        let ownership = match owner {
            Some(keys) => Some(self.ownership(keys, &self.status(slot, None).await?)),
            None => None,
        };
        self.change(|tokens, op| session::delete(&self.fleet, tokens, slot, op, ownership.as_ref()))
            .await
    }

    /// Begins a reset's waiting period.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reset(&self, slot: Slot) -> Result<Receipt, Error> {
        self.change(|tokens, op| session::reset(&self.fleet, tokens, slot, op))
            .await
    }

    /// Cancels the reset that waits.
    ///
    /// # Errors
    /// [`Error`]; `NoSuchReset` if none waits.
    pub async fn cancel_reset(&self, slot: Slot, owner: &BackupKeys) -> Result<Receipt, Error> {
        let report = self.status(slot, None).await?;
        let reset = report.reset.ok_or(Error::Refused(Refusal::NoSuchReset))?;
        let ownership = self.ownership(owner, &report);
        self.change(|tokens, op| {
            let ids = (op, reset.op);
            session::cancel_reset(&self.fleet, tokens, slot, ids, &ownership)
        })
        .await
    }

    /// Sends a request that names an operation; once more, under a greater id, if the fleet has
    /// accepted one from a clock ahead of ours.
    async fn change(
        &self,
        make: impl Fn(&Tokens, OpId) -> Result<Outgoing, SessionError>,
    ) -> Result<Receipt, Error> {
        let tokens = self.tokens.tokens().await?;
        let outgoing = make(&tokens, session::new_op(now(), None))?;
        match self.receipt(&outgoing, &tokens).await {
            Err(Error::Refused(Refusal::StaleOp { greatest, now })) => {
                let outgoing = make(&tokens, session::new_op(now, Some(greatest)))?;
                self.receipt(&outgoing, &tokens).await
            }
            other => other,
        }
    }

    async fn receipt(&self, outgoing: &Outgoing, tokens: &Tokens) -> Result<Receipt, Error> {
        match self.send(outgoing, Some(tokens)).await? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(other)),
        }
    }

    /// Puts a finish down, before it is sent.
    fn put_finish(&self, grant: &TicketGrant, finish: &Finish, slot: Slot) -> Result<(), Error> {
        let pending = Zeroizing::new(encode(&(grant, finish)));
        Ok(self.journal.put(&pending_finish(slot), &pending)?)
    }

    /// Sends a finish that is in the journal, until it is answered.
    async fn finish(
        &self,
        grant: &TicketGrant,
        finish: &Finish,
        slot: Slot,
    ) -> Result<Receipt, Error> {
        let outgoing = session::seal_finish(&self.fleet, grant, finish)?;
        let answer = self.send(&outgoing, None).await?;
        if let Answer::Refused(refusal) = &answer
            && leaves_open(refusal)
        {
            return Err(unexpected(answer));
        }
        // Answered, whatever it says: it need not be sent again.
        if let Finish::Register(register) = finish {
            match &answer {
                Answer::Receipt(receipt) => {
                    let (fleet, record) = (self.fleet.id(), receipt.record);
                    self.device(slot).promote(|keys| {
                        let owner = keys.root.owner_key(&fleet.0, &record.0);
                        owner.public() == register.owner_key.0
                    })?;
                }
                _ => self.device(slot).drop_pending()?,
            }
        }
        self.journal.remove(&pending_finish(slot))?;
        match answer {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(other)),
        }
    }

    /// Sends what an earlier call could not: a finish without an answer restores no guesses.
    ///
    /// # Errors
    /// [`Error`]; a refusal of an old finish is no error.
    pub async fn finish_pending(&self) -> Result<(), Error> {
        for slot in 0..self.fleet.manifest().policy.slots_max {
            let slot = Slot(slot);
            let Some(bytes) = self.journal.get(&pending_finish(slot))? else {
                continue;
            };
            let bytes = Zeroizing::new(bytes);
            let Ok((grant, finish)) = decode::<(TicketGrant, Finish)>(&bytes) else {
                self.journal.remove(&pending_finish(slot))?;
                continue;
            };
            match self.finish(&grant, &finish, slot).await {
                Ok(_) | Err(Error::Refused(_)) => {}
                // A node's word, not the fleet's: the key of that ticket was rotated away, say, or
                // the node lies. The finish stays for the next call, and locks nobody out of this.
                Err(Error::Session(_) | Error::Transport(TransportError::Refused { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What this device keeps for a slot: keys are kept by [`Self::register`] once acknowledged,
    /// and by [`Self::recover`].
    pub fn device(&self, slot: Slot) -> Device<'_> {
        Device::new(self.journal.as_ref(), slot)
    }

    async fn send(&self, outgoing: &Outgoing, tokens: Option<&Tokens>) -> Result<Answer, Error> {
        let admission = tokens.map(|tokens| tokens.admission.as_str());
        let bytes = self
            .http
            .post("/v1/vault", admission, &outgoing.envelope)
            .await?;
        Ok(outgoing.open(&bytes)?)
    }
}

fn pending_finish(slot: Slot) -> String {
    format!("pending-finish-{slot}")
}

/// Refusals before the fleet looked at the record: a request that was sent before, and lost its
/// answer, may have been carried out all the same. It is to be sent again.
fn leaves_open(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Busy { .. } | Refusal::WrongTokenOrTenant)
}

fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Refused(refusal) => Error::Refused(refusal),
        _ => Error::Session(SessionError::Unexpected),
    }
}

/// This device's clock.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
