//! The header fixes nothing: algorithm and key come from the tenant in state.

use super::made::{
    Claims, ES256, Vector, base64, bound, eddsa, input, signed, signed_es256, stranger,
    with_signature,
};
use strongroom_crypto::hash::sha256;
use strongroom_vault::token::TokenError as E;

/// All of them.
pub fn vectors() -> Vec<Vector> {
    [algorithms(), steering(), names()]
        .into_iter()
        .flatten()
        .collect()
}

/// HMAC-SHA-256 of a key of at most 64 bytes (RFC 2104).
fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> [u8; 64] {
        std::array::from_fn(|at| key.get(at).copied().unwrap_or_default() ^ with)
    };
    sha256(&[&pad(0x5c)[..], &sha256(&[&pad(0x36)[..], bytes])[..]])
}

fn algorithms() -> Vec<Vector> {
    let claims = Claims::honest().text();
    let none = input(r#"{"alg":"none","kid":"ed"}"#, &claims);
    let hs256 = input(r#"{"alg":"HS256","kid":"ed"}"#, &claims);
    let mac = hmac(&eddsa().public(), hs256.as_bytes());
    let eddsa_as = |header: &str| signed(header, &claims);
    vec![
        bound("eddsa", Claims::honest().signed(), None),
        bound("es256", signed_es256(ES256, &claims), None),
        bound("alg_none", with_signature(&none, []), Some(E::Algorithm)),
        bound(
            "alg_none_with_a_signature",
            eddsa_as(r#"{"alg":"none","kid":"ed"}"#),
            Some(E::Algorithm),
        ),
        bound(
            "alg_none_in_another_case",
            eddsa_as(r#"{"alg":"nOnE","kid":"ed"}"#),
            Some(E::Algorithm),
        ),
        bound(
            "alg_hs256_keyed_with_the_public_key",
            with_signature(&hs256, mac),
            Some(E::Algorithm),
        ),
        bound(
            "alg_es256_for_an_eddsa_key",
            signed_es256(r#"{"alg":"ES256","kid":"ed"}"#, &claims),
            Some(E::Algorithm),
        ),
        bound(
            "alg_eddsa_for_an_es256_key",
            eddsa_as(r#"{"alg":"EdDSA","kid":"p256"}"#),
            Some(E::Algorithm),
        ),
        bound(
            "alg_in_lower_case",
            eddsa_as(r#"{"alg":"eddsa","kid":"ed"}"#),
            Some(E::Algorithm),
        ),
        bound(
            "alg_number",
            eddsa_as(r#"{"alg":1,"kid":"ed"}"#),
            Some(E::Algorithm),
        ),
        bound("alg_missing", eddsa_as(r#"{"kid":"ed"}"#), Some(E::Missing)),
    ]
}

/// Parameters that would have a verifier take its key or rules from the attacker.
fn steering() -> Vec<Vector> {
    let claims = Claims::honest().text();
    let x = base64(stranger().public());
    let own = [
        (
            "jwk",
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
        ),
        ("jku", r#""https://evil.example/keys""#.to_owned()),
        ("x5c", r#"["MIIB"]"#.to_owned()),
        ("x5u", r#""https://evil.example/chain""#.to_owned()),
    ];
    let by_stranger = own.map(|(name, raw)| {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed","{name}":{raw}}}"#);
        let input = input(&header, &claims);
        let token = with_signature(&input, stranger().sign_raw(input.as_bytes()));
        bound(name, token, Some(E::Header))
    });
    let signed_well = [
        ("crit", r#"["exp"]"#),
        ("crit_empty", "[]"),
        ("b64", "false"),
        ("cty", r#""JWT""#),
        ("x5t", r#""AAAA""#),
        ("unknown_parameter", "null"),
    ];
    let signed_well = signed_well.map(|(name, raw)| {
        let parameter = name.trim_end_matches("_empty");
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed","{parameter}":{raw}}}"#);
        bound(name, signed(&header, &claims), Some(E::Header))
    });
    by_stranger.into_iter().chain(signed_well).collect()
}

fn names() -> Vec<Vector> {
    let cases = [
        ("typ_absent", r#"{"alg":"EdDSA","kid":"ed"}"#, None),
        (
            "header_in_another_order",
            r#"{ "typ" : "JWT",  "kid":"ed", "alg":"EdDSA" }"#,
            None,
        ),
        (
            "typ_other",
            r#"{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}"#,
            Some(E::Header),
        ),
        (
            "typ_in_lower_case",
            r#"{"alg":"EdDSA","kid":"ed","typ":"jwt"}"#,
            Some(E::Header),
        ),
        ("kid_missing", r#"{"alg":"EdDSA"}"#, Some(E::Missing)),
        ("kid_empty", r#"{"alg":"EdDSA","kid":""}"#, Some(E::Header)),
        ("kid_number", r#"{"alg":"EdDSA","kid":1}"#, Some(E::Header)),
        (
            "kid_of_another_tenant",
            r#"{"alg":"EdDSA","kid":"other-ed"}"#,
            Some(E::KeyUnknown),
        ),
        (
            "kid_with_an_escape",
            r#"{"alg":"EdDSA","kid":"e\u0064"}"#,
            Some(E::Header),
        ),
        (
            "alg_with_an_escape",
            r#"{"alg":"\u0045dDSA","kid":"ed"}"#,
            Some(E::Algorithm),
        ),
        (
            "header_name_with_an_escape",
            r#"{"\u0061lg":"EdDSA","kid":"ed"}"#,
            Some(E::Json),
        ),
        (
            "header_alg_twice",
            r#"{"alg":"EdDSA","alg":"EdDSA","kid":"ed"}"#,
            Some(E::Json),
        ),
        (
            "header_kid_twice",
            r#"{"alg":"EdDSA","kid":"ed","kid":"p256"}"#,
            Some(E::Json),
        ),
        (
            "header_typ_twice",
            r#"{"alg":"EdDSA","kid":"ed","typ":"JWT","typ":"JWT"}"#,
            Some(E::Json),
        ),
        ("header_empty_object", "{}", Some(E::Missing)),
        ("header_array", r#"["EdDSA","ed"]"#, Some(E::Json)),
        ("header_empty", "", Some(E::Json)),
    ];
    let claims = Claims::honest().text();
    cases
        .into_iter()
        .map(|(name, header, error)| bound(name, signed(header, &claims), error))
        .collect()
}
