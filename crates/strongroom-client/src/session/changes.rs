//! Status, and what changes a record without a code (DESIGN §4, §5).

use super::{Outgoing, Ownership, SessionError, seal_start};
use crate::roots::Fleet;
use crate::tokens::Tokens;
use strongroom_wire::request::{CancelReset, Delete, Operation, Reset, Start, Status};
use strongroom_wire::{OpId, Signature, Slot};

/// `Status`, with history if the owner asks.
///
/// # Errors
/// As [`seal_start`].
pub fn status(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    owner: Option<&Ownership>,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let mut status = Status {
            authorization,
            slot,
            owner_proof: None,
        };
        let body = status.body();
        status.owner_proof =
            owner.map(|owner| owner.prove(Operation::Status, Status::OP, body, enc));
        Start::Status(status)
    })
}

/// `Delete`: by the owner, or by the account after a reset.
///
/// # Errors
/// As [`seal_start`].
pub fn delete(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    op: OpId,
    owner: Option<&Ownership>,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let mut delete = Delete {
            authorization,
            slot,
            op,
            owner_proof: None,
        };
        let body = delete.body();
        delete.owner_proof = owner.map(|owner| owner.prove(Operation::Delete, op, body, enc));
        Start::Delete(delete)
    })
}

/// `Reset`.
///
/// # Errors
/// As [`seal_start`].
pub fn reset(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    op: OpId,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, _| {
        Start::Reset(Reset {
            authorization,
            slot,
            op,
        })
    })
}

/// `CancelReset` of the reset named `reset`.
///
/// # Errors
/// As [`seal_start`].
pub fn cancel_reset(
    fleet: &Fleet,
    tokens: &Tokens,
    slot: Slot,
    (op, reset): (OpId, OpId),
    owner: &Ownership,
) -> Result<Outgoing, SessionError> {
    seal_start(fleet, tokens, |authorization, enc| {
        let owner_proof = Signature([0; 64]);
        let mut cancel = CancelReset {
            authorization,
            slot,
            op,
            reset,
            owner_proof,
        };
        cancel.owner_proof = owner.prove(Operation::CancelReset, op, cancel.body(), enc);
        Start::CancelReset(cancel)
    })
}
