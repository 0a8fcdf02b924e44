//! Labelled derivations: every key of a fleet is a child of its secret (HKDF-SHA-256, RFC 5869).
//!
//! `child = HKDF-Expand(PRK = HKDF-Extract("strongroom/v1", secret), info, 32)`, where `info` is
//! the label behind its length and then each context part behind its length (2 bytes, big endian).
//! The labels stand in the functions that use them.
//!
//! HPKE and OPAQUE keys do not depend on the fleet id: the id is the digest of the manifest that
//! shows their public halves.

use crate::seal::SealingKey;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const SALT: &[u8] = b"strongroom/v1";

/// Expands a child of `secret`.
pub(crate) fn derive(secret: &[u8], label: &str, context: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), secret);
    let mut info = alloc::vec::Vec::with_capacity(128);
    for part in core::iter::once(label.as_bytes()).chain(context.iter().copied()) {
        let length = u16::try_from(part.len()).expect("labels and contexts are short and ours");
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(part);
    }
    let mut child = Zeroizing::new([0; 32]);
    hkdf.expand(&info, &mut *child)
        .expect("32 bytes are within HKDF's limit");
    child
}

/// HMAC-SHA-256 over the label behind its length (2 bytes), then `bytes`: a keyed name or mark.
pub fn prf(key: &[u8; 32], label: &str, bytes: &[u8]) -> [u8; 32] {
    let length = u16::try_from(label.len()).expect("labels are short constants of ours");
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&length.to_be_bytes());
    mac.update(label.as_bytes());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// The fleet's secret. Whoever has it has the fleet: it never leaves the boundary unsealed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FleetSecret([u8; 32]);

impl FleetSecret {
    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn child(&self, label: &str, context: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        derive(&self.0, label, context)
    }

    /// Seed of the X-Wing key of that id.
    pub fn hpke_seed(&self, key_id: u32) -> Zeroizing<[u8; 32]> {
        self.child("hpke", &[&key_id.to_be_bytes()])
    }

    /// Seed of the OPAQUE server key pair.
    pub fn opaque_seed(&self) -> Zeroizing<[u8; 32]> {
        self.child("opaque", &[])
    }

    /// Seals records of that key epoch. Not bound to the incarnation: a resurrected fleet must
    /// still open them (the AAD carries the incarnation each was sealed in).
    pub fn record_key(&self, fleet: &[u8; 32], key_epoch: u32) -> SealingKey {
        SealingKey::from_bytes(*self.child("record", &[fleet, &key_epoch.to_be_bytes()]))
    }

    /// Seals tenants.
    pub fn tenant_key(&self, fleet: &[u8; 32], key_epoch: u32) -> SealingKey {
        SealingKey::from_bytes(*self.child("tenant", &[fleet, &key_epoch.to_be_bytes()]))
    }

    /// Names records and tenants. Not bound to the incarnation: names must stay.
    pub fn name_key(&self, fleet: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        self.child("name", &[fleet])
    }

    /// Marks entries that HSM code made.
    pub fn entry_key(&self, fleet: &[u8; 32], incarnation: u32) -> Zeroizing<[u8; 32]> {
        self.child("entry", &[fleet, &incarnation.to_be_bytes()])
    }

    /// Seals tickets of one kind and age; another incarnation opens none of them.
    pub fn ticket_key(
        &self,
        fleet: &[u8; 32],
        incarnation: u32,
        key_id: u32,
        kind: u8,
    ) -> SealingKey {
        let context: [&[u8]; 4] = [
            fleet,
            &incarnation.to_be_bytes(),
            &key_id.to_be_bytes(),
            &[kind],
        ];
        SealingKey::from_bytes(*self.child("ticket", &context))
    }

    /// Hedges what is drawn for one operation (OPRF seeds, finish keys) against repeated
    /// randomness.
    pub fn draw_key(&self, fleet: &[u8; 32], incarnation: u32) -> Zeroizing<[u8; 32]> {
        self.child("draw", &[fleet, &incarnation.to_be_bytes()])
    }
}
