//! The hand-over: how the fleet's secret comes to its other members (DESIGN §9).
//!
//! One member drafts the secret; each of the others drafts an X-Wing key pair, and its identity
//! signs the public half. A member hands the secret to a slot of the manifest in force alone, or
//! of one that its officers signed to follow, sealed to a key that the slot's identity signed. The
//! host carries it, and learns nothing.
//!
//! Anyone may seal anything to a public key. What the joiner opens is believed only because the
//! fleet's public keys follow from it, and they stand in the manifest. That those keys were made
//! inside is for the evidence beside the manifest to say.

use crate::member::{Draft, Member};
use crate::quorum::signed_by;
use alloc::vec::Vec;
use strongroom_crypto::channel::{ENC_BYTES, Sender};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::statement::Label;
use strongroom_wire::frame::{HandoverKey, HsmError, SealedSecret};
use strongroom_wire::manifest::{self, Manifest};
use strongroom_wire::{FleetId, MemberId, Signature, encode};
use zeroize::Zeroizing;

/// A joiner's slot and key, as its host brings them.
pub struct Joiner {
    /// Its slot.
    pub member: MemberId,
    /// X-Wing public key.
    pub key: Vec<u8>,
    /// Its identity's signature over the key.
    pub signature: Signature,
}

/// Seals the secret of a member to another one of its fleet.
///
/// # Errors
/// [`HsmError::HandoverInvalid`] unless the manifest names the joiner, it is another member, and
/// the slot's identity signed the key.
pub fn seal(
    member: &Member,
    manifest: &Manifest,
    joiner: Joiner,
    entropy: &impl Entropy,
) -> Result<SealedSecret, HsmError> {
    let Joiner {
        member: id,
        key,
        signature,
    } = joiner;
    let slot = manifest.member(id).filter(|slot| slot.id != member.id);
    let slot = slot.ok_or(HsmError::HandoverInvalid)?;
    let statement = encode(&HandoverKey { key: key.clone() });
    if !signed_by(manifest, id, Label::Handover, &statement, &signature) {
        return Err(HsmError::HandoverInvalid);
    }
    let (info, aad) = (info(&member.fleet), aad(slot));
    let sender = Sender::new(&key, &info, entropy).map_err(|_| HsmError::HandoverInvalid)?;
    let mut sealed = sender.enc().to_vec();
    let (ciphertext, _) = sender
        .seal(&aad, member.secret_bytes())
        .map_err(|_| HsmError::HandoverInvalid)?;
    sealed.extend_from_slice(&ciphertext);
    Ok(SealedSecret(sealed))
}

/// Opens what another member sealed to this draft, for that fleet and slot.
///
/// # Errors
/// [`HsmError::HandoverInvalid`].
pub fn open(
    draft: &Draft,
    fleet: &FleetId,
    slot: &manifest::Member,
    sealed: &SealedSecret,
) -> Result<Zeroizing<[u8; 32]>, HsmError> {
    let (enc, ciphertext) = sealed
        .0
        .split_at_checked(ENC_BYTES)
        .ok_or(HsmError::HandoverInvalid)?;
    let (plaintext, _) = draft
        .handover_key()
        .open(&info(fleet), &aad(slot), enc, ciphertext)
        .map_err(|_| HsmError::HandoverInvalid)?;
    let mut secret = Zeroizing::new([0; 32]);
    if plaintext.len() != secret.len() {
        return Err(HsmError::HandoverInvalid);
    }
    secret.copy_from_slice(&plaintext);
    Ok(secret)
}

/// The purpose and the fleet. Another fleet's secret does not open.
fn info(fleet: &FleetId) -> Vec<u8> {
    encode(&("strongroom/v1 handover", fleet))
}

/// The joiner.
fn aad(slot: &manifest::Member) -> Vec<u8> {
    encode(&(slot.id, slot.identity))
}
