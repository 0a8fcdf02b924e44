//! Vault tokens: nothing panics, and a token that the strict reader accepts says the same to a
//! lenient one, in canonical form, without what the profile forbids.

#![no_main]

use base64ct::{Base64UrlUnpadded, Encoding as _};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use strongroom_vault::token::Token;
use strongroom_wire::tenant::{IssuerKey, Tenant, TokenAlgorithm};
use strongroom_wire::{PublicKey, UnixMs};

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    match choice % 2 {
        0 => check(&String::from_utf8_lossy(bytes)),
        _ => check(&assembled(bytes)),
    }
});

/// Three parts between bytes that JSON does not have.
fn assembled(bytes: &[u8]) -> String {
    let parts = bytes.split(|byte| *byte == 0xff).take(3);
    parts
        .map(Base64UrlUnpadded::encode_string)
        .collect::<Vec<_>>()
        .join(".")
}

fn check(text: &str) {
    let Ok(token) = Token::parse(text) else {
        return;
    };
    assert!(text.len() <= 2048);
    let parts: Vec<Vec<u8>> = text
        .split('.')
        .map(|part| Base64UrlUnpadded::decode_vec(part).expect("accepted as base64url"))
        .collect();
    assert_eq!(parts.len(), 3);
    let encoded = parts
        .iter()
        .map(|part| Base64UrlUnpadded::encode_string(part));
    assert_eq!(
        encoded.collect::<Vec<_>>().join("."),
        text,
        "accepted in another form"
    );
    let header: Value = serde_json::from_slice(&parts[0]).expect("the header is JSON");
    // Half of a surrogate pair is in the grammar of RFC 8259, and refused by the lenient reader. It
    // can only stand in a claim that the vault does not read.
    let Ok(claims) = serde_json::from_slice::<Value>(&parts[1]) else {
        let escapes = parts[1].windows(2).any(|pair| pair == b"\\u");
        assert!(escapes, "the claims are not JSON");
        return;
    };
    assert!(header["alg"] == "EdDSA" || header["alg"] == "ES256");
    assert!(header["kid"].as_str().is_some_and(|kid| !kid.is_empty()));
    let known = ["alg", "kid", "typ"];
    let names = header.as_object().expect("the header is an object").keys();
    assert!(names.into_iter().all(|name| known.contains(&name.as_str())));
    assert_eq!(claims["iss"].as_str(), Some(token.issuer()));
    assert_eq!(claims["sub"].as_str(), Some(token.subject()));
    assert!(claims["aud"].is_string() && claims["exp"].is_u64() && claims["iat"].is_u64());
    assert_eq!(claims.get("cnf").is_some(), token.cnf().is_some());
    refused_unsigned(&token);
}

/// Nobody here has a tenant's key, so no token may pass.
fn refused_unsigned(token: &Token) {
    let key = |kid: &str, algorithm, public: Vec<u8>| IssuerKey {
        kid: kid.to_owned(),
        algorithm,
        public,
    };
    let tenant = Tenant {
        issuer: token.issuer().to_owned(),
        root: PublicKey([1; 32]),
        version: 1,
        keys: vec![
            key("a", TokenAlgorithm::EdDsa, vec![0x58; 32]),
            key("b", TokenAlgorithm::Es256, vec![4; 65]),
        ],
        bearer: true,
        account_rate: 1,
        tenant_rate: 1,
    };
    assert!(token.check_signature(&tenant, "fleet").is_err());
    let _ = token.check_times(UnixMs(1_800_000_000_000), 900_000);
}
