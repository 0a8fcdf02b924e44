//! What a member keeps across restarts: drafted keys, then identity and fleet secret, each sealed
//! under the platform's key (DESIGN §8).

use crate::handover;
use crate::platform::{Blob, Platform};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use strongroom_crypto::channel::FleetKem;
use strongroom_crypto::kdf::FleetSecret;
use strongroom_crypto::opaque::OpaqueServer;
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::frame::{Drafted, HandoverKey, HsmError, SealedSecret};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{FleetId, KeyId, MemberId, PublicKey, Signature, decode, encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The first HPKE key's name.
const FIRST_KEY: KeyId = KeyId(1);

/// Keys made for a genesis.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct Draft {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
    /// Seed of the key to which another member seals its secret, where this one joins.
    #[cbor(n(2), with = "minicbor::bytes")]
    handover: [u8; 32],
}

/// A member's own keys.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct Member {
    /// The fleet secret.
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    /// Seed of the identity key; never leaves this member.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub identity: [u8; 32],
    /// The fleet.
    #[n(2)]
    #[zeroize(skip)]
    pub fleet: FleetId,
    /// The slot.
    #[n(3)]
    #[zeroize(skip)]
    pub id: MemberId,
    /// Epoch of the manifest that took it in; absent for a member of the genesis.
    #[n(4)]
    #[zeroize(skip)]
    pub since: Option<u64>,
}

impl Draft {
    /// Draws a fleet secret, an identity and a key for the hand-over.
    pub fn generate(entropy: &impl Entropy) -> Self {
        let mut draft = Self {
            secret: [0; 32],
            identity: [0; 32],
            handover: [0; 32],
        };
        entropy.fill(&mut draft.secret);
        entropy.fill(&mut draft.identity);
        entropy.fill(&mut draft.handover);
        draft
    }

    /// The public halves, for the manifest and for the member that hands its secret over.
    pub fn public(&self) -> Drafted {
        let identity = SigningKey::from_seed(&self.identity);
        let (hpke, opaque) = fleet_keys(&self.secret);
        let key = self.handover_key().public().to_vec();
        let statement = encode(&HandoverKey { key: key.clone() });
        Drafted {
            identity: PublicKey(identity.public()),
            hpke,
            opaque,
            handover: key,
            signature: Signature(statement::sign(&identity, Label::Handover, &statement)),
        }
    }

    /// The key pair for the hand-over.
    pub fn handover_key(&self) -> FleetKem {
        FleetKem::from_seed(&self.handover)
    }

    /// Takes the place that a genesis manifest gives these keys: with the secret drafted here, or
    /// with the one that another member sealed to this one. The other is forgotten with the draft.
    ///
    /// # Errors
    /// [`HsmError::ManifestInvalid`] if it is no valid genesis, names other keys, or says of this
    /// member that it runs on another platform than it does; [`HsmError::HandoverInvalid`] if a
    /// secret does not open, or is not the one whose public halves the manifest shows.
    pub fn into_member(
        self,
        manifest: &Manifest,
        sealed: Option<&SealedSecret>,
        platform: &impl Platform,
    ) -> Result<Member, HsmError> {
        if manifest.epoch != 0 {
            return Err(HsmError::ManifestInvalid);
        }
        self.named_by(manifest, sealed, platform)
    }

    /// Takes the place that a later manifest gives these keys, with the secret handed over.
    ///
    /// # Errors
    /// As [`Draft::into_member`].
    pub fn into_joiner(
        self,
        manifest: &Manifest,
        sealed: &SealedSecret,
        platform: &impl Platform,
    ) -> Result<Member, HsmError> {
        self.named_by(manifest, Some(sealed), platform)
    }

    fn named_by(
        self,
        manifest: &Manifest,
        sealed: Option<&SealedSecret>,
        platform: &impl Platform,
    ) -> Result<Member, HsmError> {
        if manifest.check().is_err() {
            return Err(HsmError::ManifestInvalid);
        }
        let identity = PublicKey(SigningKey::from_seed(&self.identity).public());
        let slot = manifest
            .members
            .iter()
            .find(|slot| slot.identity == identity)
            .filter(|slot| slot.platform == platform.name() && slot.class == platform.class())
            .ok_or(HsmError::ManifestInvalid)?;
        let fleet = manifest.fleet_id();
        let (secret, otherwise) = match sealed {
            None => (Zeroizing::new(self.secret), HsmError::ManifestInvalid),
            Some(sealed) => {
                let secret = handover::open(&self, &fleet, slot, sealed)?;
                (secret, HsmError::HandoverInvalid)
            }
        };
        if !shows_keys_of(manifest, &secret) {
            return Err(otherwise);
        }
        Ok(Member {
            secret: *secret,
            identity: self.identity,
            fleet,
            id: slot.id,
            since: (manifest.epoch > 0).then_some(manifest.epoch),
        })
    }
}

/// The public keys that follow from a fleet secret: HPKE and OPAQUE.
fn fleet_keys(secret: &[u8; 32]) -> (Vec<u8>, PublicKey) {
    let secret = FleetSecret::from_bytes(*secret);
    let kem = FleetKem::from_seed(&secret.hpke_seed(FIRST_KEY.0));
    let opaque = OpaqueServer::from_seed(&secret.opaque_seed());
    (kem.public().to_vec(), PublicKey(opaque.public_key()))
}

/// Whether the fleet keys of a genesis are this secret's, and no others.
fn shows_keys_of(manifest: &Manifest, secret: &[u8; 32]) -> bool {
    let (hpke, opaque) = fleet_keys(secret);
    let [key] = &manifest.keys[..] else {
        return false;
    };
    manifest.opaque == opaque && key.id == FIRST_KEY && key.public[..] == hpke
}

impl Member {
    /// The fleet secret.
    pub fn secret(&self) -> FleetSecret {
        FleetSecret::from_bytes(self.secret)
    }

    /// Its bytes, to be sealed to another member and nowhere else.
    pub fn secret_bytes(&self) -> &[u8; 32] {
        &self.secret
    }
}

fn aad(blob: Blob) -> Vec<u8> {
    let name = match blob {
        Blob::Draft => "draft",
        Blob::Member => "member",
    };
    encode(&("strongroom/v1 blob", name))
}

/// Loads and opens a blob.
///
/// # Errors
/// [`HsmError::Fault`] if there is one and it does not open: damaged, or another device's.
pub fn load<T>(
    platform: &impl Platform,
    blob: Blob,
    key: &SealingKey,
) -> Result<Option<T>, HsmError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let Some(sealed) = platform.load(blob).map_err(|_| HsmError::Fault)? else {
        return Ok(None);
    };
    let plaintext = seal::open(key, &aad(blob), &sealed).map_err(|_| HsmError::Fault)?;
    decode(&plaintext).map(Some).map_err(|_| HsmError::Fault)
}

/// Seals and stores a blob.
///
/// # Errors
/// [`HsmError::Fault`] if the platform could not store it.
pub fn store<T: Encode<()>>(
    platform: &impl Platform,
    blob: Blob,
    value: &T,
) -> Result<(), HsmError> {
    let plaintext = Zeroizing::new(encode(value));
    let sealed = seal::seal(&platform.sealing_key(), &aad(blob), &plaintext, platform);
    platform.store(blob, &sealed).map_err(|_| HsmError::Fault)
}
