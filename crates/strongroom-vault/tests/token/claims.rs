//! Who, for whom, for how long, and bound to which key.

use super::made::{
    Claims, ES256, FLEET, LIFE_MAX_MS, NOW_S, Vector, base64, bound, quoted, signed_es256,
};
use strongroom_vault::token::TokenError as E;
use strongroom_wire::limits::{CLOCK_SKEW_MS, ISSUER_BYTES_MAX};
use strongroom_wire::{FleetId, binding};

/// All of them.
pub fn vectors() -> Vec<Vector> {
    [names(), times(), bindings(), keys(), containers()]
        .into_iter()
        .flatten()
        .collect()
}

fn with(name: &'static str, claim: &str, raw: impl ToString, error: Option<E>) -> Vector {
    bound(name, Claims::honest().with(claim, raw).signed(), error)
}

fn without(name: &'static str, claim: &str, error: E) -> Vector {
    let token = Claims::honest().without(claim).signed();
    bound(name, token, Some(error))
}

fn names() -> Vec<Vector> {
    let ours = binding::vault_audience(FLEET);
    let longest = quoted(&"s".repeat(ISSUER_BYTES_MAX));
    let too_long = quoted(&"s".repeat(ISSUER_BYTES_MAX + 1));
    let issuer = |raw: &str| quoted(raw);
    let audience = |fleet| quoted(&binding::vault_audience(fleet));
    let admission = quoted(&binding::admission_audience(FLEET));
    vec![
        with(
            "iss_other",
            "iss",
            issuer("https://else.example"),
            Some(E::Issuer),
        ),
        with(
            "iss_prefix",
            "iss",
            issuer("https://issuer.exampl"),
            Some(E::Issuer),
        ),
        with("iss_empty", "iss", issuer(""), Some(E::Json)),
        with("iss_too_long", "iss", &too_long, Some(E::Json)),
        without("iss_missing", "iss", E::Missing),
        with(
            "aud_other_fleet",
            "aud",
            audience(FleetId([0x12; 32])),
            Some(E::Audience),
        ),
        with("aud_admission", "aud", admission, Some(E::Audience)),
        with(
            "aud_longer",
            "aud",
            quoted(&format!("{ours}1")),
            Some(E::Audience),
        ),
        with("aud_empty", "aud", quoted(""), Some(E::Audience)),
        with("aud_array", "aud", format!("[\"{ours}\"]"), Some(E::Json)),
        with("aud_null", "aud", "null", Some(E::Json)),
        without("aud_missing", "aud", E::Missing),
        with("sub_longest", "sub", longest, None),
        with("sub_too_long", "sub", too_long, Some(E::Json)),
        with("sub_empty", "sub", quoted(""), Some(E::Json)),
        with("sub_number", "sub", 7, Some(E::Json)),
        with("sub_not_ascii", "sub", quoted("užívateľ"), None),
        without("sub_missing", "sub", E::Missing),
        without("exp_missing", "exp", E::Missing),
        without("iat_missing", "iat", E::Missing),
    ]
}

fn times() -> Vec<Vector> {
    let life = LIFE_MAX_MS / 1000;
    let skew = CLOCK_SKEW_MS / 1000;
    let from_to = |name, iat: u64, exp: u64, error| {
        let claims = Claims::honest().with("iat", iat).with("exp", exp);
        bound(name, claims.signed(), error)
    };
    vec![
        from_to("life_longest", NOW_S, NOW_S + life, None),
        from_to(
            "life_too_long",
            NOW_S,
            NOW_S + life + 1,
            Some(E::LifeTooLong),
        ),
        from_to("life_for_ever", 0, (1 << 53) - 1, Some(E::LifeTooLong)),
        from_to("exp_next_second", NOW_S - 60, NOW_S + 1, None),
        from_to("exp_now", NOW_S - 60, NOW_S, Some(E::Expired)),
        from_to("exp_past", NOW_S - 60, NOW_S - 1, Some(E::Expired)),
        from_to("exp_zero", 0, 0, Some(E::Expired)),
        from_to("iat_within_skew", NOW_S + skew, NOW_S + 300, None),
        from_to(
            "iat_future",
            NOW_S + skew + 1,
            NOW_S + 300,
            Some(E::FromTheFuture),
        ),
        with("nbf_within_skew", "nbf", NOW_S + skew, None),
        with(
            "nbf_future",
            "nbf",
            NOW_S + skew + 1,
            Some(E::FromTheFuture),
        ),
        with("nbf_past", "nbf", NOW_S - 1, None),
    ]
}

/// With and without `cnf`, for tenants of both kinds.
fn bindings() -> Vec<Vector> {
    let unbound = Claims::honest().without("cnf");
    let bearer = |name, token| Vector {
        name,
        tenant: "bearer",
        token,
        error: None,
    };
    vec![
        bound("cnf_absent", unbound.signed(), Some(E::NotBound)),
        bound(
            "cnf_absent_es256",
            signed_es256(ES256, unbound.text()),
            Some(E::NotBound),
        ),
        bearer("bearer_without_cnf", unbound.signed()),
        // Then the request must carry the key's signature all the same.
        bearer("bearer_with_cnf", Claims::honest().signed()),
    ]
}

fn keys() -> Vec<Vector> {
    let x = base64([7; 32]);
    let jwk = |members: &str| format!(r#"{{"jwk":{{{members}}}}}"#);
    let good = format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#);
    let with_x = |x: String| jwk(&format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#));
    let cases = [
        ("cnf_good", jwk(&good), None),
        (
            "cnf_wrong_kty",
            jwk(&good.replace("OKP", "EC")),
            Some(E::Json),
        ),
        (
            "cnf_wrong_crv",
            jwk(&good.replace("Ed25519", "X25519")),
            Some(E::Json),
        ),
        (
            "cnf_private_key",
            jwk(&format!(r#"{good},"d":"{x}""#)),
            Some(E::Json),
        ),
        (
            "cnf_extra_member",
            jwk(&format!(r#"{good},"use":"sig""#)),
            Some(E::Json),
        ),
        (
            "cnf_kty_missing",
            jwk(&format!(r#""crv":"Ed25519","x":"{x}""#)),
            Some(E::Json),
        ),
        (
            "cnf_crv_missing",
            jwk(&format!(r#""kty":"OKP","x":"{x}""#)),
            Some(E::Json),
        ),
        (
            "cnf_x_missing",
            jwk(r#""kty":"OKP","crv":"Ed25519""#),
            Some(E::Json),
        ),
        ("cnf_x_31_bytes", with_x(base64([7; 31])), Some(E::Json)),
        ("cnf_x_33_bytes", with_x(base64([7; 33])), Some(E::Json)),
        ("cnf_x_empty", with_x(String::new()), Some(E::Json)),
        ("cnf_x_padded", with_x(format!("{x}=")), Some(E::Encoding)),
        (
            "cnf_x_twice",
            jwk(&format!(r#"{good},"x":"{x}""#)),
            Some(E::Json),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, cnf, error)| with(name, "cnf", cnf, error))
        .collect()
}

/// A `cnf` that is no `jwk` and nothing else.
fn containers() -> Vec<Vector> {
    let x = base64([7; 32]);
    let good = format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#);
    let cases = [
        ("cnf_empty", "{}".to_owned(), Some(E::Missing)),
        (
            "cnf_thumbprint",
            format!(r#"{{"jkt":"{x}"}}"#),
            Some(E::Json),
        ),
        (
            "cnf_beside_kid",
            format!(r#"{{"jwk":{{{good}}},"kid":"1"}}"#),
            Some(E::Json),
        ),
        ("cnf_string", quoted(&x), Some(E::Json)),
        ("cnf_null", "null".to_owned(), Some(E::Json)),
        (
            "cnf_jwk_twice",
            format!(r#"{{"jwk":{{{good}}},"jwk":{{{good}}}}}"#),
            Some(E::Json),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, cnf, error)| with(name, "cnf", cnf, error))
        .collect()
}
