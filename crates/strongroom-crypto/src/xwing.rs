//! X-Wing (draft-connolly-cfrg-xwing-kem) as the fleet opens it: with the key expanded once and
//! kept, and the formally verified ML-KEM-768 of libcrux (decision 0013).
//!
//! [`Resident`] is a KEM for the `hpke` crate that is X-Wing to the byte: same id, same keys, same
//! encapsulations, same secrets (`tests/published`). It decapsulates itself; everything else it has
//! `hpke`'s own X-Wing do, which is also what clients use.
//!
//! An attacker controls the encapsulation, all of it: ML-KEM rejects implicitly, in constant time,
//! and X25519 takes any point.

use hpke::kem::{Kem, SharedSecret, XWing};
use hpke::{Deserializable, HpkeError, Serializable};
use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize as _, Zeroizing};

type Seed = <XWing as Kem>::PrivateKey;
type PublicKey = <XWing as Kem>::PublicKey;

/// Size of an ML-KEM-768 ciphertext, bytes; an X25519 key follows it.
const CIPHERTEXT_BYTES: usize = 1088;
/// Size of an encapsulation, bytes.
const ENC_BYTES: usize = CIPHERTEXT_BYTES + 32;
/// The combiner's label: a drawing of an X-Wing.
const LABEL: &[u8; 6] = br"\.//^\";

/// X-Wing with a resident key.
pub enum Resident {}

/// A private key, expanded. It lives as long as its process, in locked memory.
#[derive(Clone)]
pub struct PrivateKey {
    seed: Seed,
    lattice: MlKem768PrivateKey,
    curve: x25519_dalek::StaticSecret,
    curve_public: [u8; 32],
}

/// An encapsulation.
#[derive(Clone)]
pub struct EncappedKey([u8; ENC_BYTES]);

impl PrivateKey {
    /// `expandDecapsulationKey`: SHAKE256 of the seed gives ML-KEM's d ‖ z, then the X25519 key.
    fn expand(seed: Seed) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        seed.write_exact(&mut *bytes);
        let expanded = Zeroizing::new(libcrux_sha3::shake256::<96>(&*bytes));
        let (mut dz, mut scalar) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 32]));
        dz.copy_from_slice(&expanded[..64]);
        scalar.copy_from_slice(&expanded[64..]);
        let (lattice, _) = mlkem768::generate_key_pair(*dz).into_parts();
        let curve = x25519_dalek::StaticSecret::from(*scalar);
        let curve_public = x25519_dalek::PublicKey::from(&curve).to_bytes();
        Self {
            seed,
            lattice,
            curve,
            curve_public,
        }
    }
}

impl Serializable for PrivateKey {
    type OutputSize = <Seed as Serializable>::OutputSize;

    fn write_exact(&self, buf: &mut [u8]) {
        self.seed.write_exact(buf);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        Seed::from_bytes(encoded).map(Self::expand)
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.seed.ct_eq(&other.seed)
    }
}

impl Serializable for EncappedKey {
    type OutputSize = <<XWing as Kem>::EncappedKey as Serializable>::OutputSize;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(&self.0);
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let bytes = encoded.try_into();
        bytes.map(Self).map_err(|_| HpkeError::ValidationError)
    }
}

impl Kem for Resident {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = <XWing as Kem>::NSecret;

    const KEM_ID: u16 = XWing::KEM_ID;

    fn sk_to_pk(sk: &PrivateKey) -> PublicKey {
        XWing::sk_to_pk(&sk.seed)
    }

    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        let (seed, public) = XWing::derive_keypair(ikm);
        (PrivateKey::expand(seed), public)
    }

    /// `Decapsulate`: both secrets, combined by SHA3-256 with the X25519 halves of encapsulation
    /// and key. X-Wing authenticates no sender.
    fn decap(
        sk: &PrivateKey,
        sender: Option<&PublicKey>,
        enc: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let (lattice, curve) = enc.0.split_at(CIPHERTEXT_BYTES);
        let ciphertext =
            MlKem768Ciphertext::try_from(lattice).map_err(|_| HpkeError::DecapError)?;
        let point: [u8; 32] = curve.try_into().map_err(|_| HpkeError::DecapError)?;
        let mut from_lattice = mlkem768::decapsulate(&sk.lattice, &ciphertext);
        let from_curve = sk.curve.diffie_hellman(&point.into());
        let mut input = Zeroizing::new([0; 134]);
        let parts: [&[u8]; 5] = [
            &from_lattice,
            from_curve.as_bytes(),
            &point,
            &sk.curve_public,
            LABEL,
        ];
        let mut rest = &mut input[..];
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        from_lattice.zeroize();
        Ok(SharedSecret(libcrux_sha3::sha256(&*input).into()))
    }

    fn encap_with_rng(
        public: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        csprng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (secret, enc) = XWing::encap_with_rng(public, None, csprng)?;
        let mut bytes = [0; ENC_BYTES];
        enc.write_exact(&mut bytes);
        Ok((SharedSecret(secret.0), EncappedKey(bytes)))
    }
}
