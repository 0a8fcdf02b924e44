//! `vectors/tokens.json`: tokens, good and bad, with the rule that refuses each.
//!
//! `STRONGROOM_WRITE_VECTORS=1 cargo test -p strongroom-vault` writes the file anew. A token that
//! is accepted and was refused, or the other way round, is a change of the profile.

use super::made::{FLEET, LIFE_MAX_MS, NOW_S, Vector, judge, tenant};
use super::{claims, header, json, signature};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn path() -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "..",
        "vectors",
        "tokens.json",
    ]
    .iter()
    .collect()
}

/// All vectors, as made.
pub fn all() -> Vec<Vector> {
    let groups = [
        header::vectors(),
        claims::vectors(),
        json::vectors(),
        signature::vectors(),
    ];
    groups.into_iter().flatten().collect()
}

/// The file as this code would write it.
fn made() -> Value {
    let tenants = ["bound", "bearer", "small-order"].map(|name| {
        let tenant = tenant(name);
        let keys: Vec<Value> = tenant
            .keys
            .iter()
            .map(|key| {
                json!({
                    "kid": key.kid, "algorithm": format!("{:?}", key.algorithm),
                    "public": hex::encode(&key.public),
                })
            })
            .collect();
        json!({
            "name": name, "issuer": tenant.issuer, "bearer": tenant.bearer, "keys": keys,
        })
    });
    let tokens: Vec<Value> = all()
        .iter()
        .map(|vector| {
            json!({
                "name": vector.name, "tenant": vector.tenant, "token": vector.token,
                "error": vector.error.map(|error| format!("{error:?}")),
            })
        })
        .collect();
    json!({
        "fleet": FLEET.to_string(), "now_ms": NOW_S * 1000, "life_max_ms": LIFE_MAX_MS,
        "tenants": tenants, "tokens": tokens,
    })
}

/// The file as it is.
fn kept() -> Value {
    let text = std::fs::read_to_string(path()).expect("vectors/tokens.json is there");
    serde_json::from_str(&text).expect("vectors/tokens.json is JSON")
}

fn writing() -> bool {
    std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some()
}

#[test]
fn the_vectors_are_those_of_this_code() {
    let made = made();
    if writing() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        return std::fs::write(path(), text + "\n").unwrap();
    }
    let kept = kept();
    let tokens = |file: &Value| file["tokens"].as_array().unwrap().clone();
    for (made, kept) in tokens(&made).iter().zip(&tokens(&kept)) {
        assert_eq!(made, kept, "{}", made["name"]);
    }
    assert_eq!(made, kept);
}

#[test]
fn every_good_token_is_accepted_and_every_bad_one_refused_by_its_name() {
    if writing() {
        return;
    }
    let (mut good, mut bad) = (0, 0);
    for vector in kept()["tokens"].as_array().unwrap() {
        let tenant = tenant(vector["tenant"].as_str().unwrap());
        let judged = judge(vector["token"].as_str().unwrap(), &tenant);
        let error = judged.err().map(|error| format!("{error:?}"));
        assert_eq!(
            error.as_deref(),
            vector["error"].as_str(),
            "{}",
            vector["name"]
        );
        *(if error.is_none() { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 25 && bad > 130, "{good} good, {bad} bad");
}

#[test]
fn no_two_vectors_share_a_name_or_a_token_and_every_refusal_has_one() {
    let all = all();
    let names: BTreeSet<&str> = all.iter().map(|vector| vector.name).collect();
    assert_eq!(names.len(), all.len());
    let tokens: BTreeSet<(&str, &str)> = all
        .iter()
        .map(|vector| (vector.tenant, vector.token.as_str()))
        .collect();
    assert_eq!(tokens.len(), all.len());
    let errors: BTreeSet<String> = all
        .iter()
        .filter_map(|vector| vector.error)
        .map(|error| format!("{error:?}"))
        .collect();
    assert_eq!(errors.len(), 14, "{errors:?}");
}
