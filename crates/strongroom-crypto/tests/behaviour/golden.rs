//! `vectors/keys.json`: derived keys and sealed forms under fixed inputs, so that no label and no
//! layout changes unseen.
//!
//! Inputs: the fleet's secret 0x03 × 32, the fleet 0x11 × 32, root 0x04 × 32, the record 0x22 × 32,
//! the client identity 0x33 × 32, the export key 0x05 × 64, a sealing key 0x06 × 32, and randomness
//! of 0x07 throughout. `STRONGROOM_WRITE_VECTORS=1 cargo test -p strongroom-crypto` writes the file
//! anew; a change of it makes sealed records and backups unreadable.

use super::Repeated;
use serde_json::{Map, Value};
use std::path::PathBuf;
use strongroom_crypto::kdf::{FleetSecret, prf};
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::OpaqueServer;
use strongroom_crypto::seal::{SealingKey, seal};
use strongroom_crypto::statement::{Label, SigningKey, sign};
use strongroom_crypto::wrap::{Root, wrap};

const FLEET: [u8; 32] = [0x11; 32];
const RECORD: [u8; 32] = [0x22; 32];
const CLIENT: [u8; 32] = [0x33; 32];

/// What a key seals shows whether it is the same one: it has no bytes to look at.
fn sealed(key: &SealingKey) -> Vec<u8> {
    seal(key, b"aad", b"plaintext", &Repeated(7))
}

fn fleet() -> Vec<(&'static str, Vec<u8>)> {
    let secret = FleetSecret::from_bytes([3; 32]);
    let server = OpaqueServer::from_seed(&secret.opaque_seed());
    vec![
        ("fleet: hpke seed, key 1", secret.hpke_seed(1).to_vec()),
        ("fleet: opaque seed", secret.opaque_seed().to_vec()),
        ("fleet: opaque public key", server.public_key().to_vec()),
        ("fleet: name key", secret.name_key(&FLEET).to_vec()),
        (
            "fleet: entry key, incarnation 2",
            secret.entry_key(&FLEET, 2).to_vec(),
        ),
        (
            "fleet: draw key, incarnation 2",
            secret.draw_key(&FLEET, 2).to_vec(),
        ),
        (
            "fleet: sealed, record key of epoch 1",
            sealed(&secret.record_key(&FLEET, 1)),
        ),
        (
            "fleet: sealed, tenant key of epoch 1",
            sealed(&secret.tenant_key(&FLEET, 1)),
        ),
        ("fleet: sealed, ticket key, incarnation 2, key 1, kind 1", {
            sealed(&secret.ticket_key(&FLEET, 2, 1, 1))
        }),
        (
            "prf, key 6 x 32, label, bytes",
            prf(&[6; 32], "label", b"bytes").to_vec(),
        ),
        (
            "sealed, key 6 x 32, aad, plaintext",
            sealed(&SealingKey::from_bytes([6; 32])),
        ),
    ]
}

fn root() -> Vec<(&'static str, Vec<u8>)> {
    let root = Root::from_bytes([4; 32]);
    let bound = (Ksf::Argon2idM64T3, &FLEET, &CLIENT);
    let wrapped = |payload| wrap(&[5; 64], bound, &root, payload, &Repeated(7)).unwrap();
    let owner = root.owner_key(&FLEET, &RECORD);
    vec![
        ("root: owner public key", owner.public().to_vec()),
        ("root: owner proof over 'statement'", {
            sign(&owner, Label::OwnerProof, b"statement").to_vec()
        }),
        ("root: age secret", root.age_secret().to_vec()),
        (
            "root: repository password",
            root.repository_password().to_vec(),
        ),
        (
            "root: sealed, device cache key",
            sealed(&root.device_cache_key()),
        ),
        (
            "root of the 64-digit key 7 x 64",
            Root::from_digits(&[7; 64]).expose().to_vec(),
        ),
        ("wrapped, argon2id-m64-t3-p1, no payload", wrapped(b"")),
        (
            "wrapped, argon2id-m64-t3-p1, 'payload'",
            wrapped(b"payload"),
        ),
    ]
}

/// All labels of statements, by what each makes of the same key and bytes.
fn statements() -> Vec<(&'static str, Vec<u8>)> {
    let key = SigningKey::from_seed(&[8; 32]);
    let labels = [
        Label::Promised,
        Label::Notarised,
        Label::OwnerProof,
        Label::TokenPossession,
        Label::TenantCreate,
        Label::TenantKeys,
        Label::Manifest,
        Label::Clock,
        Label::Handover,
        Label::Officers,
        Label::Ready,
        Label::LogSubmission,
    ];
    labels
        .map(|label| (label.text(), sign(&key, label, b"statement").to_vec()))
        .into()
}

#[test]
fn keys_and_sealed_forms_are_what_they_always_were() {
    let made: Map<String, Value> = [fleet(), root(), statements()]
        .concat()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), Value::String(hex::encode(bytes))))
        .collect();
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "..",
        "vectors",
        "keys.json",
    ]
    .iter()
    .collect();
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        return std::fs::write(path, text + "\n").unwrap();
    }
    let kept = std::fs::read_to_string(path).expect("vectors/keys.json is there");
    let kept: Map<String, Value> = serde_json::from_str(&kept).unwrap();
    for (name, value) in &made {
        assert_eq!(kept.get(name), Some(value), "{name}");
    }
    assert_eq!(made.len(), kept.len());
    assert_eq!(made.len(), 11 + 8 + 12, "no two have one name");
}
