//! Broken envelopes: in another form, of other values, of other lengths.

use super::fixed::envelopes;
use super::invalid::{Breakage, ENCODING, NOT_CANONICAL, OUT_OF_BOUNDS};
use crate::cbor::{self, nth};
use strongroom_wire::encode;
use strongroom_wire::envelope::{Envelope, SizeClass};
use strongroom_wire::limits::{ENVELOPE_BYTES_MAX, TICKET_BYTES_MAX};

/// All of them.
pub fn broken_envelopes() -> Vec<Breakage> {
    [forms(), values(), lengths()].concat()
}

/// An envelope in each form that CBOR has for it and we do not.
fn forms() -> Vec<Breakage> {
    let bytes = encode(&envelopes()[0]);
    let (whole, key, sealed) = (nth(&bytes, 4, 0), nth(&bytes, 0, 1), nth(&bytes, 2, 1));
    let last = |forms: Vec<Vec<u8>>| forms.into_iter().next_back().unwrap();
    let cut = &bytes[..bytes.len() - 1];
    let not_canonical = [
        ("Envelope::trailing_zero", [bytes.as_slice(), &[0]].concat()),
        (
            "Envelope::key_id_in_8_bytes",
            last(cbor::longer(&bytes, &key)),
        ),
        (
            "Envelope::array_count_in_8_bytes",
            last(cbor::longer(&bytes, &whole)),
        ),
        (
            "Envelope::length_in_8_bytes",
            last(cbor::longer(&bytes, &sealed)),
        ),
        (
            "Envelope::indefinite_array",
            cbor::indefinite(&bytes, &whole).unwrap(),
        ),
        (
            "Envelope::unknown_field",
            cbor::with_null(&bytes, &whole).unwrap(),
        ),
    ];
    let encoding = [
        ("Envelope::empty", Vec::new()),
        ("Envelope::cut_in_the_header", bytes[..3].to_vec()),
        ("Envelope::cut_before_the_last_byte", cut.to_vec()),
        (
            "Envelope::indefinite_bytes",
            cbor::indefinite(&bytes, &sealed).unwrap(),
        ),
        (
            "Envelope::field_left_out",
            cbor::without_last(&bytes, &whole).unwrap(),
        ),
        ("Envelope::as_map", cbor::as_map(&bytes, &whole).unwrap()),
        ("Envelope::tagged", cbor::tagged(&bytes, &whole)),
    ];
    let named = not_canonical.map(|(name, bytes)| (name, NOT_CANONICAL, bytes));
    named
        .into_iter()
        .chain(encoding.map(|(name, bytes)| (name, ENCODING, bytes)))
        .collect()
}

/// An envelope with values of other types, or outside theirs.
fn values() -> Vec<Breakage> {
    let bytes = encode(&envelopes()[0]);
    let number = |nth: usize, by: Vec<u8>| {
        // Version, key id, cell, class, size.
        cbor::replaced(&bytes, &cbor::nth(&bytes, 0, nth), &by)
    };
    let text = encode(&"a".repeat(1040));
    [
        (
            "Envelope::text_for_bytes",
            cbor::replaced(&bytes, &nth(&bytes, 2, 1), &text),
        ),
        ("Envelope::negative_key_id", number(1, vec![0x20])),
        (
            "Envelope::key_id_of_33_bits",
            number(1, encode(&(1_u64 << 32))),
        ),
        ("Envelope::version_of_9_bits", number(0, encode(&256_u16))),
        ("Envelope::unknown_class", number(3, encode(&2_u8))),
        ("Envelope::unknown_size", number(4, encode(&3_u8))),
    ]
    .map(|(name, bytes)| (name, ENCODING, bytes))
    .into()
}

/// Envelopes that are canonical and whose lengths are not those of their header.
fn lengths() -> Vec<Breakage> {
    let [start, finish] = envelopes();
    let with = |envelope: &Envelope, change: fn(&mut Envelope)| {
        let mut envelope = envelope.clone();
        change(&mut envelope);
        encode(&envelope)
    };
    let overhead = with(&finish, |e| e.sealed.truncate(1040));
    let ticket = with(&finish, |e| e.key_material = vec![0; TICKET_BYTES_MAX + 1]);
    [
        (
            "Envelope::encapsulation_short",
            with(&start, |e| e.key_material.truncate(1119)),
        ),
        (
            "Envelope::encapsulation_long",
            with(&start, |e| e.key_material.push(0)),
        ),
        (
            "Envelope::ciphertext_short",
            with(&start, |e| e.sealed.truncate(1039)),
        ),
        (
            "Envelope::ciphertext_long",
            with(&start, |e| e.sealed.push(0)),
        ),
        (
            "Envelope::ciphertext_without_tag",
            with(&start, |e| e.sealed.truncate(1024)),
        ),
        (
            "Envelope::size_of_another_class",
            with(&start, |e| e.header.size = SizeClass::Medium),
        ),
        ("Envelope::finish_with_the_overhead_of_a_start", overhead),
        ("Envelope::ticket_too_long", ticket),
        ("Envelope::too_long", vec![0; ENVELOPE_BYTES_MAX + 1]),
    ]
    .map(|(name, bytes)| (name, OUT_OF_BOUNDS, bytes))
    .into()
}
