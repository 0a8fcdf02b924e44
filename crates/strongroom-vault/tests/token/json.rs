//! JSON with one reading only: numbers, names, strings, depth, and what stands around the object.

use super::made::{Claims, EDDSA, NOW_S, Vector, bound, quoted, signed};
use strongroom_vault::token::TokenError as E;

/// All of them.
pub fn vectors() -> Vec<Vector> {
    [numbers(), twice(), escapes(), depth(), around(), letters()]
        .into_iter()
        .flatten()
        .collect()
}

fn with(name: &'static str, claim: &str, raw: impl ToString, error: Option<E>) -> Vector {
    bound(name, Claims::honest().with(claim, raw).signed(), error)
}

fn numbers() -> Vec<Vector> {
    let exp = NOW_S + 600;
    let refused = [
        ("exp_float", "exp", format!("{exp}.0")),
        ("exp_exponent", "exp", "18e8".to_owned()),
        ("exp_exponent_upper_case", "exp", "18E8".to_owned()),
        ("exp_leading_zero", "exp", format!("0{exp}")),
        ("exp_plus", "exp", format!("+{exp}")),
        ("exp_string", "exp", quoted(&exp.to_string())),
        ("exp_2_to_the_53", "exp", (1u64 << 53).to_string()),
        ("exp_2_to_the_64", "exp", "18446744073709551616".to_owned()),
        ("exp_hexadecimal", "exp", format!("{exp:#x}")),
        ("exp_negative", "exp", "-1".to_owned()),
        ("exp_null", "exp", "null".to_owned()),
        ("exp_array", "exp", format!("[{exp}]")),
        ("iat_negative", "iat", "-1".to_owned()),
        ("iat_negative_zero", "iat", "-0".to_owned()),
        ("iat_float", "iat", format!("{NOW_S}.5")),
        ("nbf_string", "nbf", quoted("0")),
        ("nbf_float", "nbf", "0.0".to_owned()),
        // Nobody reads it, but JSON readers do not agree on it.
        ("unread_float", "score", "0.5".to_owned()),
        ("unread_negative", "score", "-5".to_owned()),
        (
            "unread_beyond_2_to_the_53",
            "score",
            "9007199254740992".to_owned(),
        ),
        ("unread_not_a_number", "score", "NaN".to_owned()),
        ("unread_leading_zero", "score", "[00]".to_owned()),
    ];
    let refused = refused.map(|(name, claim, raw)| with(name, claim, raw, Some(E::Json)));
    let mut all: Vec<Vector> = refused.into();
    all.push(with("nbf_zero", "nbf", 0, None));
    all.push(with(
        "unread_greatest_number",
        "score",
        (1u64 << 53) - 1,
        None,
    ));
    all
}

fn twice() -> Vec<Vector> {
    let and = |name, claim: &str, raw: &str| {
        let claims = Claims::honest().and(claim, raw);
        bound(name, claims.signed(), Some(E::Json))
    };
    let nested = |name, raw: &str| with(name, "extra", raw, Some(E::Json));
    vec![
        and("sub_twice", "sub", r#""user-2""#),
        and("sub_twice_alike", "sub", r#""user-1""#),
        and("iss_twice", "iss", r#""https://issuer.example""#),
        and("aud_twice", "aud", r#""x""#),
        and("exp_twice", "exp", "1800000600"),
        and("cnf_twice", "cnf", "{}"),
        bound(
            "unread_claim_twice",
            Claims::honest().and("a", 1).and("a", 1).signed(),
            Some(E::Json),
        ),
        nested("unread_member_twice", r#"{"a":1,"a":1}"#),
        nested(
            "unread_member_twice_in_an_array",
            r#"[{"a":1,"b":1,"a":2}]"#,
        ),
        with(
            "same_name_at_two_levels",
            "extra",
            r#"{"sub":"user-2","a":{"sub":1}}"#,
            None,
        ),
    ]
}

fn escapes() -> Vec<Vector> {
    let read = |name, claim: &str, raw: &str| with(name, claim, raw, Some(E::Json));
    let unread = |name, raw: &str, error| with(name, "name", raw, error);
    let named = |name, claim: &str| {
        let claims = Claims::honest().without("sub").and(claim, r#""user-1""#);
        bound(name, claims.signed(), Some(E::Json))
    };
    vec![
        named("sub_name_with_an_escape", r"\u0073ub"),
        read("member_name_with_an_escape", "extra", r#"{"\u0061":1}"#),
        read("sub_with_an_escape", "sub", r#""user\u002d1""#),
        read("sub_with_an_escaped_solidus", "sub", r#""user\/1""#),
        read("iss_with_an_escape", "iss", r#""https:\/\/issuer.example""#),
        read("aud_with_an_escape", "aud", r#""\u0031""#),
        // A name for display, say: read by nobody here.
        unread(
            "unread_escapes",
            r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00""#,
            None,
        ),
        unread("unread_unknown_escape", r#""\x41""#, Some(E::Json)),
        unread(
            "unread_escape_of_three_digits",
            r#""\u12g4""#,
            Some(E::Json),
        ),
        unread("unread_escape_cut_short", r#""\u12"#, Some(E::Json)),
        unread("unread_newline", "\"a\nb\"", Some(E::Json)),
        unread("unread_nul", "\"a\0b\"", Some(E::Json)),
        read("sub_with_a_control_character", "sub", "\"user\u{1f}1\""),
        with("sub_with_delete", "sub", "\"user\u{7f}1\"", None),
    ]
}

/// Four objects and arrays inside each other, the claims themselves counted.
fn depth() -> Vec<Vector> {
    let arrays = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
    let refused = |name, raw: String| with(name, "extra", raw, Some(E::Json));
    vec![
        with("arrays_three_deep", "extra", arrays(3), None),
        with("objects_three_deep", "extra", objects(3), None),
        with("three_deep_and_empty", "extra", "[[[]]]", None),
        refused("arrays_four_deep", arrays(4)),
        refused("objects_four_deep", objects(4)),
        refused("four_deep_and_empty", "[[[[]]]]".to_owned()),
        refused("four_deep_empty_object", r#"{"a":[[{}]]}"#.to_owned()),
        refused("arrays_500_deep", arrays(500)),
        refused("objects_150_deep", objects(150)),
        refused("arrays_opened_and_never_closed", "[".repeat(800)),
    ]
}

/// What stands around and between.
fn around() -> Vec<Vector> {
    let text = Claims::honest().text();
    let inside = |with: &str| text.replacen('{', with, 1);
    let refused = [
        ("claims_then_another_object", format!("{text}{{}}")),
        ("claims_then_a_letter", format!("{text}x")),
        ("claims_then_nul", format!("{text}\0")),
        ("claims_behind_a_byte_order_mark", format!("\u{feff}{text}")),
        ("claims_with_a_comma_too_many", text.replace("}}}", "}},}")),
        ("claims_with_a_comma_first", inside("{,")),
        ("claims_with_a_comment", inside("{/**/")),
        ("claims_behind_a_form_feed", inside("{\u{c}")),
        ("claims_behind_a_wide_space", inside("{\u{a0}")),
        ("claims_name_without_quotes", text.replace("\"sub\"", "sub")),
        ("claims_in_single_quotes", text.replace('"', "'")),
        (
            "claims_without_a_colon",
            text.replace("\"sub\":", "\"sub\" "),
        ),
        ("claims_cut_short", text[..text.len() - 1].to_owned()),
        ("claims_array", format!("[{text}]")),
        ("claims_string", quoted("claims")),
        ("claims_null", "null".to_owned()),
        ("claims_empty", String::new()),
        ("claims_true_misspelt", inside("{\"a\":True,")),
        ("claims_true_and_more", inside("{\"a\":truee,")),
    ];
    let mut all: Vec<Vector> = refused
        .into_iter()
        .map(|(name, text)| bound(name, signed(EDDSA, text), Some(E::Json)))
        .collect();
    let spaced = inside(" \t\r\n{ \n")
        .replace("\":", "\" : ")
        .replace(",\"", " ,\n\"")
        + " \n";
    all.push(bound(
        "claims_with_white_space",
        signed(EDDSA, spaced),
        None,
    ));
    all.push(bound(
        "claims_empty_object",
        signed(EDDSA, "{}"),
        Some(E::Missing),
    ));
    all.push(bound(
        "claims_unread_of_every_kind",
        Claims::honest()
            .and("a", "true")
            .and("b", "false")
            .and("c", "null")
            .and("d", "[]")
            .and("e", "{}")
            .and("", r#"[1,"x",{"y":[null]}]"#)
            .signed(),
        None,
    ));
    all
}

/// Strings are UTF-8, those that nobody reads as well.
fn letters() -> Vec<Vector> {
    let text = Claims::honest().text();
    let bytes = |name, replacement: &[u8]| {
        let (before, after) = text.split_once("user-1").unwrap();
        let bytes = [before.as_bytes(), replacement, after.as_bytes()].concat();
        bound(name, signed(EDDSA, bytes), Some(E::Json))
    };
    let mut all = Vec::new();
    all.push(bytes("sub_not_utf8", b"user\xff"));
    let escaped = text
        .replace("user-1", "user")
        .replacen('{', r#"{"name":"\nuser-1","#, 1);
    let (before, after) = escaped.split_once("user-1").unwrap();
    let escaped = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
    all.push(bound(
        "unread_escape_and_not_utf8",
        signed(EDDSA, escaped),
        Some(E::Json),
    ));
    all.push(bytes("sub_overlong_utf8", b"user\xc0\xaf"));
    all.push(bytes("sub_surrogate_in_utf8", b"user\xed\xa0\x80"));
    all
}
