//! There is one encoding of a value. Each other form that CBOR has for it is refused, at every
//! place of every message.

use super::cbor::{self, Head};
use super::vectors::fixed::{Message, messages};

/// Refused as what it is, or for another shape, where the decoder sees that first.
const EITHER: &[&str] = &["NotCanonical", "Encoding"];

/// Applies a breakage at each head of each message, and says how often it could be.
fn break_everywhere(breakage: impl Fn(&[u8], &Head) -> Vec<Vec<u8>>, expected: &[&str]) -> usize {
    let mut broken = 0;
    for message in messages() {
        for head in cbor::heads(&message.bytes) {
            for bytes in breakage(&message.bytes, &head) {
                let error = message.receive(&bytes).err();
                let named = error
                    .as_deref()
                    .is_some_and(|error| expected.contains(&error));
                assert!(named, "{} at {}: {error:?}", message.name, head.at);
                broken += 1;
            }
        }
    }
    broken
}

#[test]
fn every_message_decodes_to_its_own_bytes() {
    for message in messages() {
        assert_eq!(
            message.receive(&message.bytes),
            Ok(message.bytes.clone()),
            "{}",
            message.name
        );
    }
}

#[test]
fn a_longer_number_or_length_is_refused_everywhere() {
    let broken = break_everywhere(cbor::longer, &["NotCanonical"]);
    assert!(broken > 1000, "{broken}");
}

#[test]
fn an_indefinite_length_is_refused_everywhere() {
    let broken = break_everywhere(
        |bytes, at| cbor::indefinite(bytes, at).into_iter().collect(),
        EITHER,
    );
    assert!(broken > 500, "{broken}");
}

#[test]
fn an_unknown_field_is_refused_everywhere() {
    let broken = break_everywhere(
        |bytes, at| cbor::with_null(bytes, at).into_iter().collect(),
        EITHER,
    );
    assert!(broken > 100, "{broken}");
}

#[test]
fn a_map_instead_of_an_array_and_a_tag_are_refused_everywhere() {
    let broken = break_everywhere(
        |bytes, at| cbor::as_map(bytes, at).into_iter().collect(),
        EITHER,
    );
    assert!(broken > 100, "{broken}");
    let broken = break_everywhere(|bytes, at| vec![cbor::tagged(bytes, at)], EITHER);
    assert!(broken > 1000, "{broken}");
}

#[test]
fn fields_changed_about_or_left_out_never_pass_for_the_message() {
    for message in messages() {
        for head in cbor::heads(&message.bytes) {
            let mut others = cbor::reordered(&message.bytes, &head);
            others.extend(cbor::without_last(&message.bytes, &head));
            for bytes in others {
                // Refused, or another message that is canonical itself.
                if let Ok(again) = message.receive(&bytes) {
                    assert_eq!(again, bytes, "{} at {}", message.name, head.at);
                    assert_ne!(again, message.bytes);
                }
            }
        }
    }
}

#[test]
fn each_truncation_and_any_trailing_byte_is_refused() {
    for message in messages() {
        let Message { name, bytes, .. } = &message;
        for length in 0..bytes.len() {
            let error = message.receive(&bytes[..length]).err();
            assert_eq!(error.as_deref(), Some("Encoding"), "{name} cut to {length}");
        }
        for trailing in [0, 0xf6, 0xff] {
            let longer = [bytes.as_slice(), &[trailing]].concat();
            assert_eq!(
                message.receive(&longer),
                Err("NotCanonical".to_owned()),
                "{name}"
            );
        }
    }
}
