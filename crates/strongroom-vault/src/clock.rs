//! Changes of the clock (DESIGN §6): the officers' way out when a wrong time was sealed, which no
//! later entry could otherwise take back.
//!
//! The host brings the change, and could bring it again; the state counts them. Officers can
//! shorten or lengthen waits by it, and nothing else depends on time.

use crate::keys::Keys;
use crate::members::signed_by_officers;
use crate::platform::Platform;
use crate::propose::Decided;
use alloc::vec::Vec;
use strongroom_crypto::statement::Label;
use strongroom_wire::encode;
use strongroom_wire::entry::{EntryHeader, SignedClockChange, State};
use strongroom_wire::frame::HsmError;
use strongroom_wire::limits::CLOCK_SKEW_MS;

/// Decides a change on top of the newest entry: nothing is written but the count of changes.
///
/// # Errors
/// [`HsmError::ClockChangeInvalid`] unless it is this history's next change, enough officers signed
/// it, and its time is not ahead of the own clock by more than the skew.
pub fn decide(
    keys: &Keys,
    platform: &impl Platform,
    signed: &SignedClockChange,
    (header, mut state): (&EntryHeader, State),
) -> Result<Decided, HsmError> {
    let change = &signed.change;
    let next = state.clock_changes.checked_add(1);
    let ours = change.fleet == keys.fleet
        && change.cell == header.cell
        && change.incarnation == keys.incarnation
        && Some(change.number) == next;
    let ahead = change.time > platform.wall_clock().plus(CLOCK_SKEW_MS);
    let bytes = encode(change);
    let signed = signed_by_officers(&keys.manifest, Label::Clock, &bytes, &signed.officers);
    if !ours || ahead || !signed {
        return Err(HsmError::ClockChangeInvalid);
    }
    state.clock_changes = change.number;
    Ok(Decided {
        root: header.root,
        state,
        writes: Vec::new(),
        answers: Vec::new(),
        left_out: Vec::new(),
    })
}
