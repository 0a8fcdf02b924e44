//! Labelled derivations: no two children are alike, and each depends on all of its context.

use super::Seeded;
use strongroom_crypto::kdf::{FleetSecret, prf};
use strongroom_crypto::seal::{SealingKey, seal};

const FLEET: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

/// A sealing key shows its bytes to nobody; what it seals with fixed randomness stands for it.
fn print(key: &SealingKey) -> Vec<u8> {
    seal(key, b"", b"", &Seeded::new(0))
}

/// Every child of a secret, each in several contexts, by name.
fn children(secret: &FleetSecret) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![("opaque".to_owned(), secret.opaque_seed().to_vec())];
    let mut add = |name: String, bytes: Vec<u8>| all.push((name, bytes));
    for number in [0, 1, 256, u32::MAX] {
        add(format!("hpke {number}"), secret.hpke_seed(number).to_vec());
    }
    for (name, fleet) in [("fleet", &FLEET), ("other", &OTHER)] {
        add(format!("name {name}"), secret.name_key(fleet).to_vec());
        for number in [0, 1, 256, u32::MAX] {
            let at = format!("{name} {number}");
            add(
                format!("record {at}"),
                print(&secret.record_key(fleet, number)),
            );
            add(
                format!("tenant {at}"),
                print(&secret.tenant_key(fleet, number)),
            );
            add(
                format!("entry {at}"),
                secret.entry_key(fleet, number).to_vec(),
            );
            add(
                format!("draw {at}"),
                secret.draw_key(fleet, number).to_vec(),
            );
            for (key, kind) in [(0, 0), (0, 1), (1, 0), (number, 7)] {
                let ticket = secret.ticket_key(fleet, number, key, kind);
                add(format!("ticket {at} {key} {kind}"), print(&ticket));
            }
        }
    }
    all
}

#[test]
fn no_two_children_are_alike() {
    let mut all = children(&FleetSecret::from_bytes([3; 32]));
    all.extend(children(&FleetSecret::from_bytes([4; 32])));
    for (i, (name, bytes)) in all.iter().enumerate() {
        for (other, equal) in &all[i + 1..] {
            assert!(bytes != equal, "{name} equals {other}");
        }
    }
}

#[test]
fn children_are_the_same_at_each_derivation() {
    let secret = FleetSecret::from_bytes([3; 32]);
    assert!(children(&secret) == children(&secret.clone()));
}

#[test]
fn hpke_seed_1_of_a_known_secret_is_what_hkdf_gives() {
    // Extract(salt "strongroom/v1"), expand with the label and the key id behind their lengths.
    let info = [[0, 4].as_slice(), b"hpke", &[0, 4], &[0, 0, 0, 1]].concat();
    let mut expected = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(b"strongroom/v1"), &[3; 32])
        .expand(&info, &mut expected)
        .unwrap();
    assert!(*FleetSecret::from_bytes([3; 32]).hpke_seed(1) == expected);
}

#[test]
fn a_keyed_name_depends_on_key_label_and_bytes() {
    let first = prf(&[1; 32], "label", b"bytes");
    assert_eq!(first, prf(&[1; 32], "label", b"bytes"));
    assert_ne!(first, prf(&[2; 32], "label", b"bytes"));
    assert_ne!(first, prf(&[1; 32], "lobel", b"bytes"));
    assert_ne!(first, prf(&[1; 32], "label", b"bytez"));
    // The label cannot run into the bytes.
    assert_ne!(prf(&[1; 32], "ab", b"c"), prf(&[1; 32], "a", b"bc"));
}
