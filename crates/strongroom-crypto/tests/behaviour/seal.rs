//! XChaCha20-Poly1305 with hedged nonces.

use super::{Repeated, Seeded, bits, flipped};
use proptest::prelude::*;
use strongroom_crypto::seal::{OVERHEAD, SealError, SealingKey, open, seal};

fn key(byte: u8) -> SealingKey {
    SealingKey::from_bytes([byte; 32])
}

#[test]
fn any_changed_bit_is_refused() {
    let sealed = seal(&key(1), b"aad", b"a secret of some length", &Seeded::new(1));
    for bit in bits(sealed.len()) {
        let result = open(&key(1), b"aad", &flipped(&sealed, bit));
        assert_eq!(result.unwrap_err(), SealError, "bit {bit}");
    }
    for bit in bits(3) {
        assert!(open(&key(1), &flipped(b"aad", bit), &sealed).is_err());
    }
    assert!(open(&key(1), b"aad", &sealed).is_ok());
}

#[test]
fn every_truncation_and_any_appended_byte_is_refused() {
    let sealed = seal(&key(1), b"aad", b"plaintext", &Seeded::new(2));
    for length in 0..sealed.len() {
        assert!(open(&key(1), b"aad", &sealed[..length]).is_err());
    }
    let longer = [sealed, vec![0]].concat();
    assert!(open(&key(1), b"aad", &longer).is_err());
}

#[test]
fn another_key_opens_nothing() {
    let sealed = seal(&key(1), b"aad", b"plaintext", &Seeded::new(3));
    assert!(open(&key(2), b"aad", &sealed).is_err());
}

#[test]
fn repeated_randomness_gives_equal_nonces_only_for_equal_messages() {
    let nonce = |key: &SealingKey, aad: &[u8], plaintext: &[u8]| {
        seal(key, aad, plaintext, &Repeated(9))[..24].to_vec()
    };
    let first = nonce(&key(1), b"aad", b"plaintext");
    assert_eq!(first, nonce(&key(1), b"aad", b"plaintext"));
    assert_ne!(first, nonce(&key(1), b"aad", b"plaintexu"));
    assert_ne!(first, nonce(&key(1), b"aae", b"plaintext"));
    assert_ne!(first, nonce(&key(2), b"aad", b"plaintext"));
    // A byte that moves from the one to the other makes another message.
    assert_ne!(nonce(&key(1), b"a", b"bc"), nonce(&key(1), b"ab", b"c"));
}

#[test]
fn fresh_randomness_gives_another_nonce_for_the_same_message() {
    let entropy = Seeded::new(4);
    let first = seal(&key(1), b"aad", b"plaintext", &entropy);
    let second = seal(&key(1), b"aad", b"plaintext", &entropy);
    assert_ne!(first[..24], second[..24]);
    assert_ne!(first[24..], second[24..]);
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        key in any::<[u8; 32]>(),
        aad in prop::collection::vec(any::<u8>(), 0..80),
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
        seed in any::<u64>(),
    ) {
        let key = SealingKey::from_bytes(key);
        let sealed = seal(&key, &aad, &plaintext, &Seeded::new(seed));
        prop_assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(&*open(&key, &aad, &sealed).unwrap(), &plaintext);
    }
}
