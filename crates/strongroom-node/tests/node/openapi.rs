//! The OpenAPI document against what is served.

use crate::common::{Got, Server};
use crate::issuer::{self, Issuer};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use strongroom_node::{Limits, api};
use strongroom_wire::limits::ENVELOPE_BYTES_MAX;

fn document() -> Value {
    serde_json::from_str(api::OPENAPI).unwrap()
}

#[test]
fn the_document_lists_every_route_and_no_other() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            listed.insert((method.clone(), path.clone()));
        }
    }
    let served = api::paths().into_iter();
    let served: BTreeSet<_> = served.map(|(m, p)| (m.to_owned(), p.to_owned())).collect();
    assert_eq!(listed, served);
}

#[test]
fn every_reference_points_at_something_and_every_problem_is_one_schema() {
    let document = document();
    let problem = "#/components/schemas/Problem";
    assert!(document.pointer(&problem[1..]).is_some());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let content = response["content"].as_object();
                let schema = content.and_then(|c| c.get("application/problem+json"));
                if let Some(schema) = schema {
                    assert_eq!(schema["schema"]["$ref"], problem, "{path} {status}");
                    assert!(status.as_str() >= "400");
                }
                assert!(!response["description"].as_str().unwrap().is_empty());
            }
        }
    }
}

/// The document has this status with this content type for that route.
fn lists(document: &Value, method: &str, path: &str, got: &Got) {
    let responses = &document["paths"][path][method]["responses"];
    let listed = &responses[got.status.to_string()];
    assert!(
        listed.is_object(),
        "{method} {path}: {} is not listed",
        got.status
    );
    let kind = got.content_type.split(';').next().unwrap();
    match listed["content"].as_object() {
        None => assert!(got.body.is_empty(), "{method} {path}: {got:?}"),
        Some(content) => assert!(content.contains_key(kind), "{method} {path}: {kind}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_over_https_is_what_the_document_says() {
    let server = Server::start(Limits::default()).await;
    let served = server.get("/openapi.json").await;
    assert_eq!(served.text(), api::OPENAPI);
    let document: Value = serde_json::from_slice(&served.body).unwrap();
    for (method, path) in api::paths() {
        if method == "get" {
            lists(&document, method, path, &server.get(path).await);
        }
    }
    let user = server.user("alice");
    let zero = Arc::new(Issuer::ed25519("zero.example"));
    server.create(zero.tenant(0, 0)).await;
    let stranger = server.user_of(&zero, "alice").now().admission;
    let envelope = server.status_of(&server.bundle().await, &user).envelope;
    let token = user.now().admission;
    let junk = || b"junk".to_vec();
    let long = || vec![0; ENVELOPE_BYTES_MAX + 1];
    let tenant = |name| issuer::create(server.fleet, Issuer::es256(name).tenant(1, 1));
    let again = issuer::create(server.fleet, server.issuer.tenant(1, 1));
    for (status, path, token, body) in [
        (200, "/v1/vault", Some(&token), envelope.clone()),
        (400, "/v1/vault", Some(&token), junk()),
        (401, "/v1/vault", None, envelope.clone()),
        (413, "/v1/vault", Some(&token), long()),
        (429, "/v1/vault", Some(&stranger), envelope.clone()),
        (204, "/v1/tenants", None, tenant("new.example")),
        (400, "/v1/tenants", None, junk()),
        (409, "/v1/tenants", None, again.clone()),
        (413, "/v1/tenants", None, long()),
    ] {
        let got = server.post(path, token.map(String::as_str), body).await;
        assert_eq!(got.status, status, "{path}: {}", got.text());
        lists(&document, "post", path, &got);
    }
}

/// Whether an object has the properties of its schema, all and no others.
#[track_caller]
fn fits(object: &Value, schema: &Value) {
    let listed = schema["properties"].as_object().unwrap().keys();
    let listed: BTreeSet<&String> = listed.collect();
    let object = object.as_object().unwrap();
    assert_eq!(object.keys().collect::<BTreeSet<_>>(), listed);
    assert_eq!(schema["required"].as_array().unwrap().len(), listed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_node_has_the_fields_that_the_document_lists() {
    let server = Server::start(Limits::default()).await;
    let status = server.status().await;
    let schema = &document()["components"]["schemas"]["Status"];
    fits(&status, schema);
    let properties = &schema["properties"];
    for place in ["standing", "applied"] {
        fits(&status[place], &properties[place]["oneOf"][1]);
    }
    fits(&status["members"][0], &properties["members"]["items"]);
    assert_eq!(
        (&status["member"], &status["leader"]),
        (&1.into(), &1.into())
    );
    assert_eq!(status["members"][0]["reached"], true, "it reaches itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_hsm_answers_as_the_document_says() {
    let mut server = Server::start(Limits::default()).await;
    // The tenant is in place with the entry after its own; before, it is replayed with the HSM.
    let user = server.user("alice");
    let outgoing = server.status_of(&server.bundle().await, &user);
    server.ask(&user, &outgoing).await;
    server.stop().await;
    let silent = ["sh", "-c", "exec sleep 1000", "hsm"];
    server.config.hsm = Some(silent.map(str::to_owned).to_vec());
    server.run(Limits::default()).await;
    let document = document();
    let user = server.user("alice");
    let envelope = server.status_of(&server.bundle().await, &user).envelope;
    let tenant = issuer::create(server.fleet, Issuer::es256("new.example").tenant(1, 1));
    for (method, path, status, body) in [
        (Method::POST, "/v1/vault", 503, envelope),
        (Method::POST, "/v1/tenants", 503, tenant),
        (Method::GET, "/readyz", 503, Vec::new()),
        (Method::GET, "/v1/status", 200, Vec::new()),
        (Method::GET, "/healthz", 200, Vec::new()),
    ] {
        let name = method.as_str().to_lowercase();
        let token = user.now().admission;
        let got = server
            .request(method, path, Some(&token), body)
            .await
            .unwrap();
        assert_eq!(got.status, status, "{path}: {}", got.text());
        lists(&document, &name, path, &got);
    }
}
