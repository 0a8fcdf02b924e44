//! Three canonical parts, their size, and the signature over the first two.

use super::made::{
    Claims, EDDSA, ES256, SMALL_ORDER, Vector, base64, bound, eddsa, es256_signature, input,
    sign_input, signed, signed_es256, stranger, with_signature,
};
use strongroom_vault::token::TokenError as E;
use strongroom_wire::limits::TOKEN_BYTES_MAX;

/// All of them.
pub fn vectors() -> Vec<Vector> {
    [parts(), encodings(), sizes(), by_eddsa(), by_es256()]
        .into_iter()
        .flatten()
        .collect()
}

fn parts() -> Vec<Vector> {
    let honest = Claims::honest().signed();
    let [header, claims, signature] = honest.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token has three parts")
    };
    let refused = |name, token: String| bound(name, token, Some(E::Encoding));
    vec![
        refused("no_part", String::new()),
        refused("one_part", header.to_owned()),
        refused("two_parts", format!("{header}.{claims}")),
        refused("four_parts", format!("{honest}.")),
        refused("five_parts", format!("{honest}.{header}.{claims}")),
        bound(
            "signature_of_no_bytes",
            format!("{header}.{claims}."),
            Some(E::Signature),
        ),
        bound("only_dots", "..".to_owned(), Some(E::Json)),
        bound(
            "claims_and_header_exchanged",
            format!("{claims}.{header}.{signature}"),
            Some(E::Header),
        ),
    ]
}

/// One token, one spelling.
fn encodings() -> Vec<Vector> {
    let refused = |name, token: String| bound(name, token, Some(E::Encoding));
    // Lengths that leave bits over: 2 and 4 of them.
    let header_of = |length: usize| {
        let text = format!("{EDDSA:<length$}");
        base64(text)
    };
    let claims = base64(Claims::honest().text());
    // The last letter of the next value has the same bits but for those left over.
    let nudged = |part: &str| {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = part.bytes().next_back().unwrap();
        let at = letters.iter().position(|letter| *letter == last).unwrap();
        format!("{}{}", &part[..part.len() - 1], char::from(letters[at + 1]))
    };
    let (four, two) = (header_of(40), header_of(41));
    let wide = Claims::honest().with("sub", "\"\u{3f}\u{3f}>>~~\u{7ff}\u{7ff}\"");
    let wide = base64(wide.text());
    assert!(wide.contains('-') || wide.contains('_'));
    let standard = wide.replace('-', "+").replace('_', "/");
    let honest = Claims::honest().signed();
    vec![
        bound(
            "header_with_two_bits_over",
            sign_input(&format!("{two}.{claims}")),
            None,
        ),
        bound(
            "header_with_four_bits_over",
            sign_input(&format!("{four}.{claims}")),
            None,
        ),
        refused(
            "header_with_two_bits_over_not_zero",
            sign_input(&format!("{}.{claims}", nudged(&two))),
        ),
        refused(
            "header_with_four_bits_over_not_zero",
            sign_input(&format!("{}.{claims}", nudged(&four))),
        ),
        refused("signature_with_bits_over_not_zero", nudged(&honest)),
        refused("header_padded", sign_input(&format!("{two}=.{claims}"))),
        refused("signature_padded", format!("{honest}==")),
        bound(
            "claims_in_the_alphabet_for_urls",
            sign_input(&format!("{}.{wide}", base64(EDDSA))),
            None,
        ),
        refused(
            "claims_in_the_standard_alphabet",
            sign_input(&format!("{}.{standard}", base64(EDDSA))),
        ),
        refused("space_before", format!(" {honest}")),
        refused("newline_behind", format!("{honest}\n")),
        refused("newline_inside", honest.replacen('.', "\n.", 1)),
        refused("letter_of_no_alphabet", honest.replacen('.', "é.", 1)),
        refused("header_one_letter_over", {
            // Five letters: the last has six bits and no byte.
            sign_input(&format!("{}.{claims}", &four[..four.len() - 1]))
        }),
    ]
}

/// A token of exactly this many bytes. Base64url knows no lengths of 4n + 1, so that claims alone
/// do not reach every length; spaces in the header fill up.
fn of_length(length: usize) -> String {
    let make = |spaces: usize, filler: usize| {
        let claims = Claims::honest().and("fill", format!("\"{}\"", "f".repeat(filler)));
        signed(&format!("{EDDSA}{}", " ".repeat(spaces)), claims.text())
    };
    let shortest = make(0, 0).len();
    let filler = (length - shortest) * 3 / 4;
    (0..3)
        .flat_map(|spaces| (filler - 4..=filler).map(move |filler| (spaces, filler)))
        .map(|(spaces, filler)| make(spaces, filler))
        .find(|token| token.len() == length)
        .expect("spaces and letters together make every length")
}

fn sizes() -> Vec<Vector> {
    vec![
        bound("longest", of_length(TOKEN_BYTES_MAX), None),
        bound(
            "one_byte_too_long",
            of_length(TOKEN_BYTES_MAX + 1),
            Some(E::TooLong),
        ),
        bound(
            "far_too_long",
            "a".repeat(4 * TOKEN_BYTES_MAX),
            Some(E::TooLong),
        ),
    ]
}

/// The group's order, little endian (RFC 8032).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn plus_order(s: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let sum = s.iter().zip(ORDER).map(|(a, b)| {
        carry += u16::from(*a) + u16::from(b);
        let byte = (carry & 0xff) as u8;
        carry >>= 8;
        byte
    });
    sum.collect()
}

fn by_eddsa() -> Vec<Vector> {
    let claims = Claims::honest().text();
    let input = input(EDDSA, &claims);
    let sound = eddsa().sign_raw(input.as_bytes());
    let (r, s) = sound.split_at(32);
    let with = |name, signature: &[u8]| {
        let token = with_signature(&input, signature);
        bound(name, token, Some(E::Signature))
    };
    let other = Claims::honest().with("sub", "\"user-2\"").text();
    let other = super::made::input(EDDSA, other);
    // Under the identity as key R = identity, s = 0 fits every message, unless it is refused.
    let anybodys = [SMALL_ORDER, [0; 32]].concat();
    vec![
        with(
            "eddsa_by_a_stranger",
            &stranger().sign_raw(input.as_bytes()),
        ),
        with("eddsa_s_not_reduced", &[r, &plus_order(s)].concat()),
        with("eddsa_s_zero", &[r, &[0; 32]].concat()),
        with("eddsa_all_zero", &[0; 64]),
        with("eddsa_63_bytes", &sound[..63]),
        with("eddsa_65_bytes", &[sound.as_slice(), &[0]].concat()),
        with("eddsa_small_order_r", &anybodys),
        Vector {
            tenant: "small-order",
            ..with("eddsa_small_order_key", &anybodys)
        },
        bound(
            "eddsa_over_other_claims",
            with_signature(&other, sound),
            Some(E::Signature),
        ),
    ]
}

fn by_es256() -> Vec<Vector> {
    let claims = Claims::honest().text();
    let input = input(ES256, &claims);
    let low = es256_signature(&input);
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    let fixed = low.to_bytes();
    let (r, s) = (fixed[..32].to_vec(), fixed[32..].to_vec());
    let with = |name, signature: &[u8]| {
        let token = with_signature(&input, signature);
        bound(name, token, Some(E::Signature))
    };
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let order = order.unwrap();
    let other = Claims::honest().with("sub", "\"user-2\"").text();
    let other = super::made::input(ES256, other);
    vec![
        // RFC 7518 does not ask for the low half: both are accepted, for the same claims.
        bound(
            "es256_high_s",
            with_signature(&input, high.to_bytes()),
            None,
        ),
        with("es256_der", low.to_der().as_bytes()),
        with("es256_r_zero", &[[0; 32].as_slice(), &s].concat()),
        with("es256_s_zero", &[r.as_slice(), &[0; 32]].concat()),
        with("es256_all_zero", &[0; 64]),
        with("es256_r_is_the_order", &[order.as_slice(), &s].concat()),
        with("es256_s_is_the_order", &[r.as_slice(), &order].concat()),
        with("es256_63_bytes", &fixed[..63]),
        with("es256_65_bytes", &[fixed.as_slice(), &[0]].concat()),
        with("es256_halves_exchanged", &[s.as_slice(), &r].concat()),
        bound(
            "es256_over_other_claims",
            with_signature(&other, fixed),
            Some(E::Signature),
        ),
        bound(
            "es256_header_signed_by_the_eddsa_key",
            signed(ES256, &claims),
            Some(E::Signature),
        ),
        bound(
            "eddsa_header_signed_by_the_es256_key",
            signed_es256(EDDSA, &claims),
            Some(E::Signature),
        ),
    ]
}
