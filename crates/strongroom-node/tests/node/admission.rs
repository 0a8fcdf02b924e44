//! Admission tokens that must not let anybody in.

use crate::common::Server;
use crate::issuer::{Issuer, KID, now_s};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::sync::Arc;
use strongroom_node::Limits;
use strongroom_wire::binding;

fn parts(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Tokens of somebody who knows the issuer's public key and has a good token of another kind.
fn forged(issuer: &Issuer, claims: &Value) -> Vec<(&'static str, String)> {
    let none = parts(&json!({"alg": "none", "kid": KID, "typ": "JWT"}), claims);
    let mut hmac = Header::new(Algorithm::HS256);
    hmac.kid = Some(KID.to_owned());
    let secret = EncodingKey::from_secret(&issuer.public.public);
    let mut swapped = issuer.header();
    swapped.alg = match swapped.alg {
        Algorithm::EdDSA => Algorithm::ES256,
        _ => Algorithm::EdDSA,
    };
    let good = issuer.sign(&issuer.header(), claims);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let relabelled = parts(&serde_json::to_value(&swapped).unwrap(), claims);
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let other = Issuer::ed25519(&issuer.name);
    vec![
        ("alg none, no signature", format!("{none}.")),
        ("alg none, a signature", format!("{none}.{signature}")),
        (
            "HS256 with the public key as secret",
            jsonwebtoken::encode(&hmac, claims, &secret).unwrap(),
        ),
        (
            "the other algorithm's name",
            format!("{relabelled}.{signature}"),
        ),
        (
            "damaged signature",
            format!("{input}.{flipped}{}", &signature[1..]),
        ),
        ("empty signature", format!("{input}.")),
        ("two parts", input.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        (
            "another key of the same name",
            other.sign(&other.header(), claims),
        ),
    ]
}

/// Well signed, and not for this node, this time or this account.
fn misused(issuer: &Issuer, claims: &Value, vault: &str) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.sign(&issuer.header(), &claims)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        issuer.sign(&issuer.header(), &claims)
    };
    let (mut wrong_kid, mut no_kid, mut critical) =
        (issuer.header(), issuer.header(), issuer.header());
    wrong_kid.kid = Some("key-2".to_owned());
    no_kid.kid = None;
    critical.crit = Some(vec!["exp".to_owned()]);
    let audience = claims["aud"].clone();
    let foreign = format!("node:{}", "00".repeat(32));
    vec![
        ("expired", with("exp", json!(now_s() - 3_600))),
        ("not yet", with("nbf", json!(now_s() + 3_600))),
        ("never ends", without("exp")),
        ("another node", with("aud", json!(foreign))),
        ("the HSM's audience", with("aud", json!(vault))),
        ("two audiences", with("aud", json!([audience, vault]))),
        ("no audience", without("aud")),
        ("no subject", without("sub")),
        ("no issuer", without("iss")),
        ("another issuer", with("iss", json!("nobody.example"))),
        ("too long", with("more", json!("x".repeat(2_048)))),
        ("wrong kid", issuer.sign(&wrong_kid, claims)),
        ("no kid", issuer.sign(&no_kid, claims)),
        ("crit", issuer.sign(&critical, claims)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_but_a_good_one_lets_a_start_through_and_none_says_why_it_does_not() {
    let server = Server::start(Limits::default()).await;
    let es256 = Arc::new(Issuer::es256("other.example"));
    server.create(es256.tenant(10_000, 10_000)).await;
    let fleet = server.bundle().await;
    let vault = binding::vault_audience(server.fleet);
    let mut seen = Vec::new();
    for issuer in [&server.issuer, &es256] {
        let user = server.user_of(issuer, "alice");
        let envelope = server.status_of(&fleet, &user).envelope;
        let claims = issuer.claims(&binding::admission_audience(server.fleet), "alice");
        let mut tokens = forged(issuer, &claims);
        tokens.extend(misused(issuer, &claims, &vault));
        tokens.extend([("empty", String::new()), ("junk", "a.b.c".to_owned())]);
        for (what, token) in tokens {
            let got = server.post("/v1/vault", Some(&token), envelope.clone());
            let got = got.await;
            assert_eq!(got.status, 401, "{what}: {}", got.text());
            assert_eq!(got.problem(), "admission");
            seen.push(got.body);
        }
        let missing = server.post("/v1/vault", None, envelope.clone()).await;
        assert_eq!(missing.status, 401);
        seen.push(missing.body);
        let good = server.send(&user, envelope);
        assert_eq!(good.await.status, 200);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "one answer for all of them");
}
