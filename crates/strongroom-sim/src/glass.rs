//! The eye that opens every seal: for checkers, never for a host or a phone.
//!
//! It reads the member's own blob, derives the record keys as the vault does, and opens leaves. It
//! is a second reader of formats that are private to the vault, on purpose: a change there that
//! nobody meant fails here.

use minicbor::{Decode, Encode};
use strongroom_crypto::kdf::FleetSecret;
use strongroom_crypto::seal;
use strongroom_crypto::statement::SigningKey;
use strongroom_vault::record::Record;
use strongroom_vault::{Blob, Platform};
use strongroom_wire::{
    CellId, FleetId, Generation, Incarnation, KeyEpoch, MemberId, RecordId, decode, encode,
};

/// See the module.
pub struct Glass {
    secret: FleetSecret,
    fleet: FleetId,
    identity: [u8; 32],
}

/// A member as the vault stores it.
#[derive(Encode, Decode)]
struct Member {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
    #[n(2)]
    fleet: FleetId,
    #[n(3)]
    id: MemberId,
}

/// A leaf as the host stores it.
#[derive(Encode, Decode)]
struct SealedLeaf {
    #[n(0)]
    key_epoch: KeyEpoch,
    #[n(1)]
    incarnation: Incarnation,
    #[n(2)]
    generation: Generation,
    #[cbor(n(3), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

impl Glass {
    /// Takes the keys out of a member.
    ///
    /// # Panics
    /// If there is no member, or its blob has another format.
    pub fn of(platform: &impl Platform) -> Self {
        let blob = platform.load(Blob::Member).expect("memory does not fail");
        let aad = encode(&("strongroom/v1 blob", "member"));
        let opened = seal::open(
            &platform.sealing_key(),
            &aad,
            &blob.expect("a member is stored"),
        );
        let member: Member =
            decode(&opened.expect("the platform's own key")).expect("the member's format");
        Self {
            secret: FleetSecret::from_bytes(member.secret),
            fleet: member.fleet,
            identity: member.identity,
        }
    }

    /// The member's identity key.
    pub fn identity(&self) -> SigningKey {
        SigningKey::from_seed(&self.identity)
    }

    /// Opens a record's leaf; none if it is a tenant's, or no leaf of that name.
    pub fn record(&self, id: &RecordId, leaf: &[u8]) -> Option<Record> {
        let leaf: SealedLeaf = decode(leaf).ok()?;
        let place = (self.fleet, CellId(0), leaf.incarnation, leaf.key_epoch);
        let aad = encode(&("strongroom/v1 leaf", place, "record", *id, leaf.generation));
        let key = self.secret.record_key(&self.fleet.0, leaf.key_epoch.0);
        Record::from_padded(&seal::open(&key, &aad, &leaf.sealed).ok()?).ok()
    }

    /// The sealed part of a leaf: nonce, then ciphertext.
    pub fn sealed_part(leaf: &[u8]) -> Option<Vec<u8>> {
        decode::<SealedLeaf>(leaf).ok().map(|leaf| leaf.sealed)
    }
}
