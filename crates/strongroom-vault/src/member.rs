//! What a member keeps across restarts: drafted keys, then identity and fleet secret, each sealed
//! under the platform's key (DESIGN §8).

use crate::platform::{Blob, Platform};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use strongroom_crypto::channel::FleetKem;
use strongroom_crypto::kdf::FleetSecret;
use strongroom_crypto::opaque::OpaqueServer;
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::SigningKey;
use strongroom_wire::frame::{Drafted, HsmError};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{FleetId, KeyId, MemberId, PublicKey, decode, encode};
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
}

impl Draft {
    /// Draws a fleet secret and an identity.
    pub fn generate(entropy: &impl Entropy) -> Self {
        let mut draft = Self {
            secret: [0; 32],
            identity: [0; 32],
        };
        entropy.fill(&mut draft.secret);
        entropy.fill(&mut draft.identity);
        draft
    }

    /// The public halves, for the manifest.
    pub fn public(&self) -> Drafted {
        let secret = FleetSecret::from_bytes(self.secret);
        let kem = FleetKem::from_seed(&secret.hpke_seed(FIRST_KEY.0));
        let opaque = OpaqueServer::from_seed(&secret.opaque_seed());
        let identity = SigningKey::from_seed(&self.identity).public();
        crate::vault::drafted(
            PublicKey(identity),
            kem.public().to_vec(),
            PublicKey(opaque.public_key()),
        )
    }

    /// Takes the place that a genesis manifest gives these keys.
    ///
    /// # Errors
    /// [`HsmError::ManifestInvalid`] if it is no valid genesis, names other keys, or says of this
    /// member that it runs on another platform than it does.
    pub fn into_member(
        self,
        manifest: &Manifest,
        platform: &impl Platform,
    ) -> Result<Member, HsmError> {
        let public = self.public();
        let member = manifest
            .members
            .iter()
            .find(|m| m.identity == public.identity)
            .filter(|m| m.platform == platform.name() && m.class == platform.class());
        let keys_match = manifest.opaque == public.opaque
            && manifest.keys.len() == 1
            && manifest
                .keys
                .iter()
                .all(|k| k.id == FIRST_KEY && k.public[..] == public.hpke);
        match member {
            Some(member) if keys_match && manifest.epoch == 0 && manifest.check().is_ok() => {
                Ok(Member {
                    secret: self.secret,
                    identity: self.identity,
                    fleet: manifest.fleet_id(),
                    id: member.id,
                })
            }
            _ => Err(HsmError::ManifestInvalid),
        }
    }
}

impl Member {
    /// The fleet secret.
    pub fn secret(&self) -> FleetSecret {
        FleetSecret::from_bytes(self.secret)
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
