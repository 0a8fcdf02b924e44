//! What the vault keeps for the user: root and payload under the export key.

use super::{Repeated, Seeded, bits, flipped};
use proptest::prelude::*;
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::wrap::{PAYLOAD_MAX, Root, WrapError, unwrap, wrap};

const KSF: Ksf = Ksf::Argon2idM64T3;
const KEY: [u8; 64] = [1; 64];
const FLEET: [u8; 32] = [2; 32];
const CLIENT: [u8; 32] = [3; 32];

fn wrapped(payload: &[u8]) -> Vec<u8> {
    let root = Root::from_bytes([4; 32]);
    wrap(
        &KEY,
        (KSF, &FLEET, &CLIENT),
        &root,
        payload,
        &Seeded::new(1),
    )
    .unwrap()
}

fn refused(key: &[u8; 64], bound: (Ksf, &[u8; 32], &[u8; 32]), bytes: &[u8]) -> bool {
    matches!(unwrap(key, bound, bytes), Err(WrapError))
}

#[test]
fn root_and_payload_come_back_for_every_length() {
    for length in [0, 1, 63, 64, 65, 100, 1023, PAYLOAD_MAX] {
        let payload = vec![0xab; length];
        let (root, opened) = unwrap(&KEY, (KSF, &FLEET, &CLIENT), &wrapped(&payload)).unwrap();
        assert!(*root.expose() == [4; 32]);
        assert_eq!(*opened, payload);
    }
}

#[test]
fn there_are_two_sizes_and_a_payload_above_the_limit_is_refused() {
    // Commitment 32, nonce 24, tag 16.
    for (length, size) in [(0, 136), (64, 136), (65, 1064), (PAYLOAD_MAX, 1064)] {
        assert_eq!(wrapped(&vec![1; length]).len(), size + 32 + 24 + 16);
    }
    let root = Root::from_bytes([4; 32]);
    let payload = [0; PAYLOAD_MAX + 1];
    let result = wrap(
        &KEY,
        (KSF, &FLEET, &CLIENT),
        &root,
        &payload,
        &Seeded::new(1),
    );
    assert_eq!(result.err(), Some(WrapError));
}

#[test]
fn another_key_set_fleet_or_identity_opens_nothing() {
    let bytes = wrapped(b"payload");
    let (other, key) = ([9; 32], flipped(&KEY, 511).try_into().unwrap());
    assert!(refused(&key, (KSF, &FLEET, &CLIENT), &bytes));
    assert!(refused(&KEY, (Ksf::Argon2idM19T2, &FLEET, &CLIENT), &bytes));
    assert!(refused(
        &KEY,
        (Ksf::Argon2idM128T3, &FLEET, &CLIENT),
        &bytes
    ));
    assert!(refused(&KEY, (KSF, &other, &CLIENT), &bytes));
    assert!(refused(&KEY, (KSF, &FLEET, &other), &bytes));
    assert!(refused(&KEY, (KSF, &CLIENT, &FLEET), &bytes));
    assert!(!refused(&KEY, (KSF, &FLEET, &CLIENT), &bytes));
}

#[test]
fn any_changed_bit_or_length_is_refused() {
    let bytes = wrapped(b"payload");
    for bit in 0..bytes.len() * 8 {
        let refused = refused(&KEY, (KSF, &FLEET, &CLIENT), &flipped(&bytes, bit));
        assert!(refused, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(refused(&KEY, (KSF, &FLEET, &CLIENT), &bytes[..length]));
    }
    let longer = [bytes, vec![0]].concat();
    assert!(refused(&KEY, (KSF, &FLEET, &CLIENT), &longer));
}

#[test]
fn the_commitment_binds_the_key_whatever_the_cipher_would_accept() {
    // The inner ciphertext of one wrapping under the commitment of another key's.
    let (bytes, other_key) = (wrapped(b"payload"), [8; 64]);
    let root = Root::from_bytes([4; 32]);
    let bound = (KSF, &FLEET, &CLIENT);
    let other = wrap(&other_key, bound, &root, b"payload", &Seeded::new(1)).unwrap();
    assert_ne!(bytes[..32], other[..32]);
    let mixed = [&other[..32], &bytes[32..]].concat();
    assert!(refused(&KEY, bound, &mixed));
    assert!(refused(&other_key, bound, &mixed));
}

#[test]
fn repeated_randomness_shows_equal_secrets_only() {
    let wrap_root = |byte| {
        let root = Root::from_bytes([byte; 32]);
        wrap(&KEY, (KSF, &FLEET, &CLIENT), &root, b"", &Repeated(5)).unwrap()
    };
    assert_eq!(wrap_root(1), wrap_root(1));
    assert_ne!(wrap_root(1)[32..56], wrap_root(2)[32..56]);
}

#[test]
fn the_children_of_root_differ_by_purpose_fleet_and_record() {
    let root = Root::from_bytes([4; 32]);
    let prints = [
        root.owner_key(&FLEET, &[1; 32]).public().to_vec(),
        root.owner_key(&FLEET, &[2; 32]).public().to_vec(),
        root.owner_key(&CLIENT, &[1; 32]).public().to_vec(),
        Root::from_bytes([5; 32])
            .owner_key(&FLEET, &[1; 32])
            .public()
            .to_vec(),
        root.age_secret().to_vec(),
        root.repository_password().to_vec(),
        root.expose().to_vec(),
        Root::from_bytes([5; 32]).age_secret().to_vec(),
    ];
    for (i, one) in prints.iter().enumerate() {
        assert!(
            prints[i + 1..].iter().all(|other| one != other),
            "child {i}"
        );
    }
    let again = Root::from_bytes([4; 32])
        .owner_key(&FLEET, &[1; 32])
        .public();
    assert_eq!(again.to_vec(), prints[0]);
}

#[test]
fn a_64_digit_key_gives_one_root_and_each_digit_counts() {
    let digits = [7; 64];
    let root = Root::from_digits(&digits);
    assert!(root.expose() == Root::from_digits(&digits).expose());
    for position in [0, 31, 63] {
        let mut other = digits;
        other[position] = 8;
        assert!(root.expose() != Root::from_digits(&other).expose());
    }
}

#[test]
fn generated_roots_differ_and_use_all_their_randomness() {
    let entropy = Seeded::new(6);
    let (one, other) = (Root::generate(&entropy), Root::generate(&entropy));
    assert!(one.expose() != other.expose());
    assert!(one.expose()[24..] != [0; 8]);
}

proptest! {
    #[test]
    fn foreign_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(refused(&KEY, (KSF, &FLEET, &CLIENT), &bytes));
    }
}

#[test]
fn all_bits_are_sampled_for_short_strings() {
    // The helper of these tests: flipping nothing would let every test above pass.
    assert_eq!(bits(128).count(), 1024);
    assert!(bits(1000).count() > 600);
}
