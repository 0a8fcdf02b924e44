//! The reader against serde_json: what it takes is JSON, and it takes all JSON that its rules let
//! through.
extern crate std;

use super::{DEPTH_MAX, NUMBER_MAX, Reader, Value};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;

/// Whether the reader takes the bytes as an object.
fn taken(bytes: &[u8]) -> bool {
    Reader::object(bytes, |_, _| Ok(())).is_ok()
}

/// JSON by another's reading. Surrogates that stand alone are well-formed escapes (RFC 8259 §7).
fn is_json(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Pieces that come together as almost-JSON often enough.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(std::vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"a\"",
        "\"b\"",
        "\"a\":",
        "\"b\":",
        "1",
        "0",
        "-",
        ".5",
        "e1",
        "01",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\\",
        "\\u00e9",
        "\\ud800",
        "\\x",
        "\u{1}",
        "é",
        "{\"a\":1}",
        "[1]",
        "{\"a\":",
        "9007199254740991",
        "9007199254740992",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| {
        let text: String = pieces.concat();
        text.into_bytes()
    })
}

/// JSON of every kind, spelled as serde_json does it.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        (0..NUMBER_MAX + 2).prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (0.0..1e9f64).prop_map(serde_json::Value::from),
        "\\PC{0,8}|[\"\\\\\n]{0,3}".prop_map(serde_json::Value::from),
    ];
    let below = leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-c\n]{1,2}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-c]{1,2}", below, 0..4)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

/// What the rules let through: whole numbers below 2^53, names without escapes, bounded depth.
fn within_the_rules(value: &serde_json::Value, depth: usize) -> bool {
    use serde_json::Value as Json;
    match value {
        Json::Null | Json::Bool(_) | Json::String(_) => true,
        Json::Number(number) => number.as_u64().is_some_and(|number| number < NUMBER_MAX),
        Json::Array(values) => depth > 0 && values.iter().all(|v| within_the_rules(v, depth - 1)),
        Json::Object(map) => {
            let names = map.keys().all(|name| !name.contains('\n'));
            depth > 0 && names && map.values().all(|v| within_the_rules(v, depth - 1))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_bytes_are_judged_and_what_is_taken_is_json(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assert!(!taken(&bytes) || is_json(&bytes));
    }

    #[test]
    fn what_is_taken_of_almost_json_is_json(bytes in pieces()) {
        prop_assert!(!taken(&bytes) || is_json(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn almost_json_inside_an_object_is_taken_only_if_it_is_json(bytes in pieces()) {
        let bytes = [b"{\"a\":".as_slice(), &bytes, b"}"].concat();
        prop_assert!(!taken(&bytes) || is_json(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn json_is_taken_exactly_if_it_is_within_the_rules(value in values()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(taken(text.as_bytes()), within_the_rules(&value, DEPTH_MAX), "{}", text);
    }

    #[test]
    fn members_are_given_as_they_stand(value in values()) {
        let text = serde_json::to_string(&value).unwrap();
        let mut names = BTreeSet::new();
        let read = Reader::object(text.as_bytes(), |name, seen| {
            let known = &value[name];
            names.insert(String::from(name));
            let same = match seen {
                Value::Text(text) => known.as_str() == Some(text),
                Value::Number(number) => known.as_u64() == Some(number),
                Value::Object(bytes) => {
                    known.is_object()
                        && serde_json::from_slice::<serde_json::Value>(bytes).ok().as_ref()
                            == Some(known)
                }
                Value::Other => !known.is_number() && !known.is_object(),
            };
            assert!(same, "{name} of {text}");
            Ok(())
        });
        if read.is_ok() {
            prop_assert_eq!(names.len(), value.as_object().map_or(0, serde_json::Map::len));
        }
    }
}

#[test]
fn depth_is_bounded_whatever_is_opened() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in 0..1_000 {
            let text = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            assert_eq!(
                taken(text.as_bytes()),
                depth < DEPTH_MAX,
                "{depth} of {open}"
            );
        }
        assert!(!taken(
            format!("{{\"a\":{}", open.repeat(1_000_000)).as_bytes()
        ));
    }
}
