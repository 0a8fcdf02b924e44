//! A registration, in two round trips (DESIGN §4).

use super::{Outgoing, Ownership, SessionError, new_op, seal_start};
use crate::roots::Fleet;
use crate::tokens::Tokens;
use crate::{Ksf, Os};
use strongroom_crypto::opaque::{ClientRegistration, Identities};
use strongroom_crypto::wrap::{self, Root};
use strongroom_wire::answer::{RegisterStarted, TicketGrant};
use strongroom_wire::envelope::material_digest;
use strongroom_wire::request::{Finish, Operation, RegisterFinish, RegisterStart, Start};
use strongroom_wire::{Incarnation, PublicKey, RecordId, Slot, binding};

/// A registration's first half.
pub struct Registration {
    slot: Slot,
    opaque: ClientRegistration,
    request: [u8; 32],
}

/// A registration ready to be finished. Keep it durably before it is sent.
pub struct ReadyRegistration {
    /// For the finish.
    pub grant: TicketGrant,
    /// The finish.
    pub finish: Finish,
    /// Who owns the record from then on (its generation comes with the receipt).
    pub record: RecordId,
    /// The incarnation.
    pub incarnation: Incarnation,
}

impl Registration {
    /// Begins with a code.
    ///
    /// # Errors
    /// [`SessionError::Unexpected`], never in practice.
    pub fn new(code: &[u8], slot: Slot) -> Result<Self, SessionError> {
        let (opaque, request) =
            ClientRegistration::start(code, &Os).map_err(|_| SessionError::Unexpected)?;
        Ok(Self {
            slot,
            opaque,
            request,
        })
    }

    /// The first request.
    ///
    /// # Errors
    /// As [`seal_start`].
    pub fn request(&self, fleet: &Fleet, tokens: &Tokens) -> Result<Outgoing, SessionError> {
        seal_start(fleet, tokens, |authorization, _| {
            let (slot, request) = (self.slot, self.request);
            Start::Register(RegisterStart {
                authorization,
                slot,
                request,
            })
        })
    }

    /// Stretches the code (about half a second) and makes the finish.
    ///
    /// # Errors
    /// [`SessionError::Unauthentic`] if the answer is not by this fleet.
    pub fn answered(
        self,
        fleet: &Fleet,
        tokens: &Tokens,
        started: &RegisterStarted,
        ksf: Ksf,
        (root, payload): (&Root, &[u8]),
        owner: Option<&Ownership>,
    ) -> Result<ReadyRegistration, SessionError> {
        let client = binding::client_identity(&tokens.issuer, &tokens.subject, self.slot);
        let context = binding::opaque_context(fleet.id());
        let server = fleet.id();
        let identities = Identities {
            client: &client.0,
            server: &server.0,
            context: &context,
        };
        let server_key = &fleet.manifest().opaque.0;
        let (upload, export_key) = self
            .opaque
            .finish(&started.response, server_key, &identities, ksf, &Os)
            .map_err(|_| SessionError::Unauthentic)?;
        let bound = (ksf, &server.0, &client.0);
        let wrapped = wrap::wrap(&export_key, bound, root, payload, &Os)
            .map_err(|_| SessionError::TooLong)?;
        let owner_key = root.owner_key(&server.0, &started.record.0);
        let mut finish = RegisterFinish {
            op: new_op(crate::vault::now(), None),
            upload,
            wrapped,
            owner_key: PublicKey(owner_key.public()),
            ksf: ksf.code(),
            owner_proof: None,
        };
        let ticket = material_digest(&started.grant.ticket);
        let body = finish.body(&ticket);
        finish.owner_proof =
            owner.map(|owner| owner.prove(Operation::Replace, finish.op, body, ticket));
        Ok(ReadyRegistration {
            grant: started.grant.clone(),
            finish: Finish::Register(finish),
            record: started.record,
            incarnation: started.incarnation,
        })
    }
}
