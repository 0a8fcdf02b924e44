//! One call for each thing a user does. What a call sends and must not forget is in the journal
//! before it is sent: guesses (`recover`), finishes (`pending`), changes (`changes`).

mod changes;
mod pending;
mod recover;
mod register;

pub use pending::{Outcome, Settled};
pub use recover::Recovered;
pub use register::{NewCode, Registered};

use crate::device::{Device, Keeping};
use crate::journal::Journal;
use crate::roots::{BundleError, Fleet, Roots};
use crate::session::{Outgoing, SessionError};
use crate::tokens::{TokenError, TokenSource, Tokens};
use crate::transport::{Http, TransportError};
use crate::{Ksf, Os};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_crypto::wrap::Root;
use strongroom_wire::answer::{Answer, Refusal, Totals};
use strongroom_wire::{Slot, UnixMs};
use zeroize::Zeroizing;

/// Why a call failed. [`Error::Refused`] is the fleet's own answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Guessing destroyed so many generations of this record: whoever guessed may come back, and
    /// knows what the code was not, or was told it. Nothing was registered. Ask for another code
    /// than the one used then, and say so with [`NewCode::confirmed_different`].
    #[error(
        "a key of this account was erased after too many wrong codes ({destroyed} so far); use \
         another code than the one it had"
    )]
    CodeMayBeKnown {
        /// Generations destroyed.
        destroyed: u32,
    },
    /// The same code opens another slot of this device.
    #[error("this code is already used for another slot; use a different one for each")]
    CodeInUse,
    /// The journal could not be written: nothing was sent that needs it.
    #[error("this device's storage failed: {0}")]
    Journal(#[from] std::io::Error),
    /// The fleet said no.
    #[error("{}", refused(.0))]
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

/// A connection to a fleet for one account.
pub struct Vault<S> {
    http: Http,
    fleet: Fleet,
    tokens: S,
    journal: Arc<dyn Journal>,
    ksf: Ksf,
    code_kept: bool,
    settled: Mutex<Vec<Settled>>,
    unanswered: Mutex<BTreeMap<Slot, recover::Unanswered>>,
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
            code_kept: false,
            settled: Mutex::default(),
            unanswered: Mutex::default(),
        })
    }

    /// Uses another key-stretching set for registrations from now on.
    #[must_use]
    pub fn with_ksf(mut self, ksf: Ksf) -> Self {
        self.ksf = ksf;
        self
    }

    /// Keeps the codes themselves on this device from now on, sealed under their keys, and not only
    /// what a rehearsal needs. For users who allowed it (DESIGN §9).
    #[must_use]
    pub fn with_code_kept(mut self, kept: bool) -> Self {
        self.code_kept = kept;
        self
    }

    fn keeping(&self) -> Keeping {
        if self.code_kept {
            Keeping::Code
        } else {
            Keeping::Verifier(self.ksf)
        }
    }

    /// The fleet.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
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

/// A refusal in words. Busy is what one request met: an earlier one, whose answer was lost, may
/// have been paid.
fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Busy { .. } => "the vault is busy; try again shortly: nothing more is spent by \
                                 sending it again"
            .to_owned(),
        other => other.to_string(),
    }
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
