//! `vectors/messages.json`: our messages, valid and invalid, byte by byte.
//!
//! `STRONGROOM_WRITE_VECTORS=1 cargo test -p strongroom-wire` writes the file anew. A change of it
//! is a change of the protocol: everybody else's client breaks.

mod bindings;
mod broken_envelopes;
pub mod fixed;
mod invalid;

use fixed::{messages, receiver};
use serde_json::{Value, json};
use std::path::PathBuf;

fn path() -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "..",
        "vectors",
        "messages.json",
    ]
    .iter()
    .collect()
}

/// The file as this code would write it.
fn made() -> Value {
    let padded = strongroom_wire::codec::pad(b"message", 24).unwrap();
    let padded = json!({
        "name": "Padded", "type": "Padded", "kind": "valid", "hex": hex::encode(padded),
    });
    let mut all: Vec<Value> = messages()
        .iter()
        .map(|message| {
            json!({
                "name": message.name, "type": message.kind, "kind": "valid",
                "hex": hex::encode(&message.bytes),
            })
        })
        .collect();
    all.push(padded);
    all.extend(invalid::invalid().iter().map(|message| {
        json!({
            "name": message.name, "type": message.kind, "kind": "invalid",
            "error": message.error, "hex": hex::encode(&message.bytes),
        })
    }));
    all.extend(bindings::bindings().iter().map(
        |(name, bytes)| json!({ "name": name, "kind": "binding", "hex": hex::encode(bytes) }),
    ));
    Value::Array(all)
}

/// The file as it is.
fn kept() -> Vec<Value> {
    let text = std::fs::read_to_string(path()).expect("vectors/messages.json is there");
    serde_json::from_str(&text).expect("vectors/messages.json is JSON")
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("{vector} has no {field}"))
}

#[test]
fn the_vectors_are_those_of_this_code() {
    let made = made();
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        std::fs::write(path(), text + "\n").unwrap();
        return;
    }
    let (made, kept) = (made.as_array().unwrap(), kept());
    for (made, kept) in made.iter().zip(&kept) {
        assert_eq!(made, kept, "{}", text(made, "name"));
    }
    assert_eq!(made.len(), kept.len());
}

#[test]
fn every_valid_vector_is_taken_and_every_invalid_one_refused_by_its_name() {
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        return;
    }
    let (mut valid, mut invalid) = (0, 0);
    for vector in kept() {
        let kind = text(&vector, "kind");
        if kind == "binding" {
            continue;
        }
        let bytes = hex::decode(text(&vector, "hex")).unwrap();
        let receiver = receiver(text(&vector, "type")).expect("its type is known");
        let name = text(&vector, "name");
        if kind == "valid" {
            assert_eq!(receiver(&bytes), Ok(bytes), "{name}");
            valid += 1;
        } else {
            assert_eq!(
                receiver(&bytes),
                Err(text(&vector, "error").to_owned()),
                "{name}"
            );
            invalid += 1;
        }
    }
    assert!(
        valid > 90 && invalid > 70,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn no_two_vectors_share_a_name() {
    let made = made();
    let mut names: Vec<&str> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| text(vector, "name"))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
