//! A recovery: the secret after one round trip, the guesses restored after the second (DESIGN §4).

use super::{Outgoing, SessionError, new_op, seal_start};
use crate::roots::Fleet;
use crate::tokens::Tokens;
use crate::{Ksf, Os};
use std::cell::Cell;
use std::sync::Arc;
use strongroom_crypto::kdf::prf;
use strongroom_crypto::opaque::{ClientLogin, Identities};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::wrap::{self, Root};
use strongroom_wire::answer::{RecoverStarted, TicketGrant};
use strongroom_wire::request::{Finish, RecoverFinish, RecoverStart, Start};
use strongroom_wire::{AttemptId, Slot, binding};
use zeroize::Zeroizing;

/// The random bytes that a seed stands for: HMAC-SHA-256 of a counter, block after block.
struct Drawn<'a> {
    seed: &'a [u8; 32],
    blocks: Cell<u64>,
}

impl<'a> From<&'a [u8; 32]> for Drawn<'a> {
    fn from(seed: &'a [u8; 32]) -> Self {
        let blocks = Cell::new(0);
        Self { seed, blocks }
    }
}

impl Entropy for Drawn<'_> {
    fn fill(&self, out: &mut [u8]) {
        for part in out.chunks_mut(32) {
            let block = self.blocks.replace(self.blocks.get() + 1);
            // The label: these bytes become a login's blind, nonce and ephemeral key.
            let bytes = prf(self.seed, "strongroom/v1 login", &block.to_be_bytes());
            let bytes = Zeroizing::new(bytes);
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}

/// A guess. Keep it until it is answered: its retries are free, another one costs.
#[derive(Clone)]
pub struct Recovery {
    slot: Slot,
    attempt: AttemptId,
    opaque: Arc<ClientLogin>,
}

/// A recovery that opened, and the finish that restores the guesses.
pub struct Opened {
    /// The root.
    pub root: Root,
    /// The payload.
    pub payload: Zeroizing<Vec<u8>>,
    /// For the finish.
    pub grant: TicketGrant,
    /// The finish. Keep it durably until it is answered.
    pub finish: Finish,
}

impl Recovery {
    /// Begins with a code as typed, and randomness that is gone with this value.
    ///
    /// # Errors
    /// [`SessionError::Unexpected`], never in practice.
    pub fn new(code: &[u8], slot: Slot, attempt: AttemptId) -> Result<Self, SessionError> {
        let mut seed = Zeroizing::new([0; 32]);
        Os.fill(&mut *seed);
        Self::from_seed(code, slot, attempt, &seed)
    }

    /// Begins with a code as typed; blind, nonce and ephemeral key come from `seed`. The same code,
    /// attempt and seed are the same guess (the same KE1). Whoever knows the seed can tell from
    /// KE1, or from whether the fleet takes it for the same guess, if a code is the one: it stays
    /// in memory (docs/protocol.md §13).
    ///
    /// # Errors
    /// [`SessionError::Unexpected`], never in practice.
    pub fn from_seed(
        code: &[u8],
        slot: Slot,
        attempt: AttemptId,
        seed: &[u8; 32],
    ) -> Result<Self, SessionError> {
        let drawn = Drawn::from(seed);
        let (opaque, _) = ClientLogin::start(code, &drawn).map_err(|_| SessionError::Unexpected)?;
        Ok(Self {
            slot,
            attempt,
            opaque: Arc::new(opaque),
        })
    }

    /// Takes another attempt id, after `StaleAttempt`: under that one nothing is spent.
    pub fn renumber(&mut self, attempt: AttemptId) {
        self.attempt = attempt;
    }

    /// The request; the same guess however often it is made.
    ///
    /// # Errors
    /// As [`seal_start`].
    pub fn request(&self, fleet: &Fleet, tokens: &Tokens) -> Result<Outgoing, SessionError> {
        seal_start(fleet, tokens, |authorization, _| {
            let (slot, attempt, ke1) = (self.slot, self.attempt, self.opaque.ke1());
            Start::Recover(RecoverStart {
                authorization,
                slot,
                attempt,
                ke1,
            })
        })
    }

    /// Stretches the code (about half a second), opens the secret and makes the finish.
    ///
    /// # Errors
    /// [`SessionError::WrongCode`]; [`SessionError::UnknownKsf`].
    pub fn answered(
        &self,
        fleet: &Fleet,
        tokens: &Tokens,
        started: &RecoverStarted,
    ) -> Result<Opened, SessionError> {
        let ksf = Ksf::from_code(started.ksf).ok_or(SessionError::UnknownKsf)?;
        let client = binding::client_identity(&tokens.issuer, &tokens.subject, self.slot);
        let context = binding::opaque_context(fleet.id());
        let server = fleet.id();
        let identities = Identities {
            client: &client.0,
            server: &server.0,
            context: &context,
        };
        let server_key = &fleet.manifest().opaque.0;
        let (ke3, export_key) = self
            .opaque
            .finish(&started.ke2, server_key, &identities, ksf, &Os)
            .map_err(|_| SessionError::WrongCode)?;
        let (root, payload) =
            wrap::unwrap(&export_key, (ksf, &server.0, &client.0), &started.wrapped)
                .map_err(|_| SessionError::Unauthentic)?;
        let finish = Finish::Recover(RecoverFinish {
            op: new_op(crate::vault::now(), None),
            ke3,
        });
        Ok(Opened {
            root,
            payload,
            grant: started.grant.clone(),
            finish,
        })
    }
}
