//! Recovery: one guess, however often it must be sent.
//!
//! A guess that was not answered is kept until its answer was understood: in memory, not on the
//! device. It goes when its keys and finish are down, when the code proved wrong, or when the fleet
//! looked at the record and said no; not for a lost connection, a busy fleet or a bad token.
//!
//! Why not on the device, where an app that is killed would find it again: whatever makes the same
//! KE1 from the same code tells the code. With the blind it does so offline; with a salt it does so
//! at the fleet, which answers the pending KE1 again and another one with `StaleAttempt`, and
//! spends nothing on either. A thief with a lost phone *and* the account would have an oracle for
//! the code typed last (decision 0014). So a killed app pays a guess, which the right finish gives
//! back.

use super::pending::{Pending, Place};
use super::{BackupKeys, Error, Vault, leaves_open, now, unexpected};
use crate::Os;
use crate::session::{self, Recovery, SessionError};
use crate::tokens::{TokenSource, Tokens};
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use strongroom_crypto::kdf::prf;
use strongroom_crypto::random::Entropy as _;
use strongroom_wire::answer::{Answer, Receipt, RecoverStarted, Refusal, Totals};
use strongroom_wire::limits::ATTEMPT_AHEAD_MS;
use strongroom_wire::{AttemptId, Slot, UnixMs};
use zeroize::Zeroizing;

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
    /// Why this device could not keep the keys (its storage is full, say): they are here and
    /// nowhere else. The guesses are restored all the same.
    pub not_kept: Option<Error>,
}

/// A guess that was not answered yet.
pub(super) struct Unanswered {
    attempt: AttemptId,
    /// Its blind and keys come from this and the code: the code itself is not kept.
    salt: Zeroizing<[u8; 32]>,
}

/// A guess under way.
struct Guess {
    attempt: AttemptId,
    recovery: Recovery,
    /// It was sent by an earlier call. Whether for this code is not known: the fleet will say.
    resumed: bool,
}

impl<S: TokenSource> Vault<S> {
    /// Recovers with a code. A wrong one costs a guess; a lost answer does not: called again with
    /// the same code after a failure of the network, or after it was cancelled, it goes on with the
    /// same guess. (After the app was killed it is a new one; a success restores all of them.)
    ///
    /// # Errors
    /// [`Error::WrongCode`] and the rest of [`Error`].
    pub async fn recover(&self, code: &[u8], slot: Slot) -> Result<Recovered, Error> {
        self.finish_pending().await?;
        let tokens = self.tokens.tokens().await?;
        let mut guess = self.guess(code, slot)?;
        let started = self.start(code, slot, &mut guess, &tokens).await?;
        let opened = match guess.recovery.answered(&self.fleet, &tokens, &started) {
            Err(SessionError::WrongCode) => {
                self.forget_guess(slot, &guess);
                let (attempts_left, totals) = (started.attempts_left, started.totals);
                return Err(Error::WrongCode {
                    attempts_left,
                    totals,
                });
            }
            other => other?,
        };
        let pending = Pending {
            keys: BackupKeys {
                root: opened.root,
                payload: opened.payload,
            },
            remembered: Vec::new(),
            grant: opened.grant,
            finish: opened.finish,
        };
        // The secret is here: nothing that becomes of device or finish takes it away again. A
        // device whose storage is full sends the finish too, else each right code would cost a
        // guess.
        let (receipt, not_kept) = match self.put_recovered(&pending, slot) {
            Ok(place) => (self.finish(&pending, &place).await.ok(), None),
            Err(error) => (self.finish_unkept(&pending).await.ok(), Some(error)),
        };
        if not_kept.is_none() || receipt.is_some() {
            self.forget_guess(slot, &guess);
        }
        // Last, for it takes half a second: a cut here loses the rehearsal and nothing else. So
        // does a full device, which then says that it does not know the code.
        let keys = pending.keys;
        if not_kept.is_none() {
            let _ = self.device(slot).remember(&keys, code, self.keeping());
        }
        Ok(Recovered {
            keys,
            receipt,
            totals: started.totals,
            not_kept,
        })
    }

    /// Keys and finish onto the device, before the finish is sent.
    fn put_recovered(&self, pending: &Pending, slot: Slot) -> Result<Place, Error> {
        let place = self.put_pending(pending, slot)?;
        let device = self.device(slot);
        device.put_remembered(&pending.remembered)?;
        device.keep(&pending.keys)?;
        Ok(place)
    }

    /// Sends a guess until it is answered.
    async fn start(
        &self,
        code: &[u8],
        slot: Slot,
        guess: &mut Guess,
        tokens: &Tokens,
    ) -> Result<RecoverStarted, Error> {
        loop {
            let outgoing = guess.recovery.request(&self.fleet, tokens)?;
            match self.send(&outgoing, Some(tokens)).await? {
                Answer::RecoverStarted(started) => return Ok(started),
                Answer::Refused(Refusal::StaleAttempt { greatest, now }) => {
                    let next = beats(greatest, now);
                    if next.time() > now.plus(ATTEMPT_AHEAD_MS) {
                        self.forget_guess(slot, guess);
                        return Err(Error::Refused(Refusal::StaleAttempt { greatest, now }));
                    }
                    if guess.resumed {
                        // It was for another code, or another phone guessed since: a new guess.
                        *guess = self.new_guess(code, slot, next)?;
                    } else {
                        // Our clock is behind (or ahead), and nothing was spent.
                        guess.attempt = next;
                        guess.recovery.renumber(next);
                        if let Some(unanswered) = self.unanswered().get_mut(&slot) {
                            unanswered.attempt = next;
                        }
                    }
                }
                Answer::Refused(refusal) => {
                    if !leaves_open(&refusal) {
                        self.forget_guess(slot, guess);
                    }
                    return Err(Error::Refused(refusal));
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// The guess that was not answered, else a new one; kept in any case, before it is sent.
    fn guess(&self, code: &[u8], slot: Slot) -> Result<Guess, Error> {
        let kept = self.unanswered();
        if let Some(unanswered) = kept.get(&slot) {
            let recovery = unanswered.recovery(code, slot)?;
            return Ok(Guess {
                attempt: unanswered.attempt,
                recovery,
                resumed: true,
            });
        }
        drop(kept);
        self.new_guess(code, slot, session::new_attempt(now(), None))
    }

    fn new_guess(&self, code: &[u8], slot: Slot, attempt: AttemptId) -> Result<Guess, Error> {
        let mut salt = Zeroizing::new([0; 32]);
        Os.fill(&mut *salt);
        let unanswered = Unanswered { attempt, salt };
        let recovery = unanswered.recovery(code, slot)?;
        self.unanswered().insert(slot, unanswered);
        Ok(Guess {
            attempt,
            recovery,
            resumed: false,
        })
    }

    /// Another call may have begun a guess of its own since.
    fn forget_guess(&self, slot: Slot, guess: &Guess) {
        let mut kept = self.unanswered();
        if kept
            .get(&slot)
            .is_some_and(|kept| kept.attempt == guess.attempt)
        {
            kept.remove(&slot);
        }
    }

    fn unanswered(&self) -> MutexGuard<'_, BTreeMap<Slot, Unanswered>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unanswered {
    /// With the same code the same KE1; with another code another one.
    fn recovery(&self, code: &[u8], slot: Slot) -> Result<Recovery, Error> {
        let seed = Zeroizing::new(prf(&self.salt, "strongroom/v1 guess seed", code));
        Ok(Recovery::from_seed(code, slot, self.attempt, &seed)?)
    }
}

/// An attempt id that beats the greatest, at the fleet's time.
fn beats(greatest: AttemptId, now: UnixMs) -> AttemptId {
    session::new_attempt(now, Some(greatest))
}
