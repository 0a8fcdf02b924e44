//! What a quorum of members says together: promises of an epoch, and certificates (DESIGN §6).
//!
//! Every statement is checked against the manifest in force: who is a member, and how many are
//! enough. The host chooses what to show, and how often; it cannot make a member say anything.

use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label};
use strongroom_wire::entry::{Anchor, Notarised, Promised, Signed, Tip};
use strongroom_wire::frame::HsmError;
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Epoch, MemberId, ProcessId, PublicKey, Signature, encode};

/// An epoch, and the one start of a member's process that may lead it.
pub type Ballot = (Epoch, MemberId, ProcessId);

/// Checks a quorum's promises of one epoch to one process; gives the newest promised tip, which is
/// where that process begins. Whatever a quorum sealed in earlier epochs is at or below it.
///
/// # Errors
/// [`HsmError::PromisesInvalid`].
pub fn newest_promised(
    anchor: &Anchor,
    manifest: &Manifest,
    ballot: Ballot,
    promises: &[Signed<Promised>],
) -> Result<Tip, HsmError> {
    let (epoch, leader, process) = ballot;
    let mut members = Vec::new();
    for Signed {
        statement: promise,
        signature,
    } in promises
    {
        let ours = promise.fleet == anchor.fleet
            && promise.cell == anchor.cell
            && promise.incarnation == anchor.incarnation
            && promise.epoch == epoch
            && promise.leader == leader
            && promise.process == process;
        let bytes = encode(promise);
        if !ours || !signed_by(manifest, promise.member, Label::Promised, &bytes, signature) {
            return Err(HsmError::PromisesInvalid);
        }
        members.push(promise.member);
    }
    if !is_quorum(manifest, members) {
        return Err(HsmError::PromisesInvalid);
    }
    let tips = promises.iter().map(|promise| promise.statement.tip);
    tips.max_by_key(age).ok_or(HsmError::PromisesInvalid)
}

/// Checks that a certificate holds for one tip by a quorum of distinct members; gives the tip.
///
/// # Errors
/// [`HsmError::CertificateInvalid`].
pub fn certified(
    anchor: &Anchor,
    manifest: &Manifest,
    certificate: &[Signed<Notarised>],
) -> Result<Tip, HsmError> {
    let tip = certificate
        .first()
        .ok_or(HsmError::CertificateInvalid)?
        .statement
        .tip;
    let mut members = Vec::new();
    for Signed {
        statement,
        signature,
    } in certificate
    {
        let ours = statement.fleet == anchor.fleet
            && statement.cell == anchor.cell
            && statement.incarnation == anchor.incarnation
            && statement.tip == tip;
        let bytes = encode(statement);
        if !ours
            || !signed_by(
                manifest,
                statement.member,
                Label::Notarised,
                &bytes,
                signature,
            )
        {
            return Err(HsmError::CertificateInvalid);
        }
        members.push(statement.member);
    }
    if is_quorum(manifest, members) {
        Ok(tip)
    } else {
        Err(HsmError::CertificateInvalid)
    }
}

/// What orders tips: the epoch, then the index. Of two tips in one epoch the lower one is below the
/// other, because an epoch has one chain.
pub fn age(tip: &Tip) -> (Epoch, strongroom_wire::LogIndex) {
    (tip.epoch, tip.index)
}

/// Whether the member of that slot signed it.
pub fn signed_by(
    manifest: &Manifest,
    member: MemberId,
    label: Label,
    bytes: &[u8],
    signature: &Signature,
) -> bool {
    let Some(PublicKey(key)) = manifest.member(member).map(|m| m.identity) else {
        return false;
    };
    statement::verify(&key, label, bytes, &signature.0).is_ok()
}

/// Whether these are Q or more, all distinct. One name twice is refused, not counted once: an
/// honest host has no reason to send it.
fn is_quorum(manifest: &Manifest, mut members: Vec<MemberId>) -> bool {
    let sent = members.len();
    members.sort_unstable();
    members.dedup();
    members.len() == sent && sent >= manifest.quorum()
}
