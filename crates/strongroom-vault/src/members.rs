//! Changes of members (DESIGN §6, reconfigure; §9): another manifest comes into force.
//!
//! The officers of the manifest in force sign the next one; each joiner says that it holds the
//! secret. The entry is decided by quorums of both manifests, and nothing is proposed above it
//! before. Operator, officers and host together cannot loosen what the genesis says.
//!
//! That a joiner's identity was made inside an HSM is for its evidence to say, where its platform
//! has any; those who sign the manifest have seen it.

use crate::propose::Decided;
use crate::quorum::signed_by;
use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label};
use strongroom_wire::entry::{EntryHeader, OfficerSignature, Ready, Signed, State};
use strongroom_wire::frame::HsmError;
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::{MemberId, PublicKey, decode, encode};

/// Decides a change on top of the newest entry.
///
/// # Errors
/// As [`next`]; [`HsmError::NotReady`] unless exactly the joiners are ready for this manifest.
pub fn decide(
    in_force: &Manifest,
    change: &SignedManifest,
    ready: &[Signed<Ready>],
    (header, mut state): (&EntryHeader, State),
) -> Result<(Manifest, Decided), HsmError> {
    let greatest = greatest_member(in_force, &state);
    let manifest = next(in_force, change, greatest)?;
    let joins = manifest.members.iter();
    let joins = joins.filter(|slot| in_force.member(slot.id).is_none());
    for slot in joins {
        let ready = ready.iter().filter(|it| it.statement.member == slot.id);
        let is_ready = |it: &Signed<Ready>| is_ready(&manifest, header, it);
        // A joiner that lost its secret would count towards a quorum that it never helps to reach.
        if !ready.clone().any(is_ready) {
            return Err(HsmError::NotReady);
        }
    }
    state.before = state.manifest;
    state.manifest = Some(manifest.digest());
    state.manifest_epoch = manifest.epoch;
    state.greatest_member = Some(greatest.max(manifest.greatest_member()));
    let decided = Decided {
        root: header.root,
        state,
        writes: Vec::new(),
        answers: Vec::new(),
        left_out: Vec::new(),
    };
    Ok((manifest, decided))
}

/// The greatest number that a member ever had.
pub fn greatest_member(in_force: &Manifest, state: &State) -> MemberId {
    state
        .greatest_member
        .unwrap_or_else(|| in_force.greatest_member())
}

/// The manifest of a change, if it may follow the one in force and its officers want it.
///
/// # Errors
/// [`HsmError::ManifestInvalid`]; [`HsmError::OfficersInvalid`].
pub fn next(
    in_force: &Manifest,
    change: &SignedManifest,
    greatest: MemberId,
) -> Result<Manifest, HsmError> {
    let manifest: Manifest = decode(&change.manifest).map_err(|_| HsmError::ManifestInvalid)?;
    manifest
        .check_follows(in_force, greatest)
        .map_err(|_| HsmError::ManifestInvalid)?;
    let operator = (&manifest.operator.0, &change.operator.0);
    if statement::verify(operator.0, Label::Manifest, &change.manifest, operator.1).is_err() {
        return Err(HsmError::ManifestInvalid);
    }
    if !signed_by_officers(
        in_force,
        Label::Officers,
        &change.manifest,
        &change.officers,
    ) {
        return Err(HsmError::OfficersInvalid);
    }
    Ok(manifest)
}

/// Whether as many officers as the manifest asks for, all distinct, signed those bytes. A fleet
/// whose manifest asks for none has no officers: then nobody changes it.
pub fn signed_by_officers(
    manifest: &Manifest,
    label: Label,
    bytes: &[u8],
    signatures: &[OfficerSignature],
) -> bool {
    let named = |key: &[u8; 32]| manifest.officers.contains(&PublicKey(*key));
    let threshold = usize::from(manifest.officers_threshold);
    let signatures = signatures.iter();
    let signatures = signatures.map(|each| (&each.officer.0, &each.signature.0));
    statement::signed_by_enough(named, threshold, label, bytes, signatures)
}

fn is_ready(manifest: &Manifest, header: &EntryHeader, ready: &Signed<Ready>) -> bool {
    let said = &ready.statement;
    said.fleet == header.fleet
        && said.cell == header.cell
        && said.incarnation == header.incarnation
        && said.manifest == manifest.digest()
        && signed_by(
            manifest,
            said.member,
            Label::Ready,
            &encode(said),
            &ready.signature,
        )
}
