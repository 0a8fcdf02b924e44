//! Requests that are none, and what a whole session needs.

use crate::common::{SLOT, Server, guess};
use crate::issuer::{self, Issuer};
use reqwest::Method;
use std::sync::Arc;
use strongroom_client::session::Registration;
use strongroom_client::tokens::Tokens;
use strongroom_client::{BackupKeys, Error};
use strongroom_node::Limits;
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::envelope::Envelope;
use strongroom_wire::limits::ENVELOPE_BYTES_MAX;
use strongroom_wire::{KeyId, decode, encode};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_problems_with_names() {
    let server = Server::start(Limits::default()).await;
    for path in [
        "/",
        "/v1",
        "/v1/vault/",
        "/v2/vault",
        "/v1/%66leet/x",
        "/admin",
    ] {
        let got = server.get(path).await;
        assert_eq!(
            (got.status, got.problem().as_str()),
            (404, "not-found"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/vault", "POST"),
        (Method::DELETE, "/v1/vault", "POST"),
        (Method::POST, "/v1/fleet", "GET,HEAD"),
        (Method::PUT, "/v1/tenants", "POST"),
        (Method::POST, "/metrics", "GET,HEAD"),
    ] {
        let got = server
            .request(method, path, None, Vec::new())
            .await
            .unwrap();
        assert_eq!(
            (got.status, got.problem().as_str()),
            (405, "method"),
            "{path}"
        );
        assert_eq!(got.allow.as_deref(), Some(allow), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_longer_than_any_envelope_is_refused_as_too_large() {
    let server = Server::start(Limits::default()).await;
    for path in ["/v1/vault", "/v1/tenants"] {
        let whole = server.post(path, None, vec![0; ENVELOPE_BYTES_MAX]).await;
        assert_eq!((whole.status, whole.problem().as_str()), (400, "malformed"));
        let long = server
            .post(path, None, vec![0; ENVELOPE_BYTES_MAX + 1])
            .await;
        assert_eq!((long.status, long.problem().as_str()), (413, "too-large"));
        // Of a much longer one not even the rest is read; its sender may see that first.
        let huge = server.request(Method::POST, path, None, vec![0; 4 << 20]);
        assert!(huge.await.map_or(true, |got| got.status == 413));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_an_envelope_its_sender_learns_one_and_the_same() {
    let server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    let fleet = server.bundle().await;
    let good = server.status_of(&fleet, &user).envelope;
    let envelope = || decode::<Envelope>(&good).unwrap();
    let (mut other_key, mut bad_seal, mut bad_enc) = (envelope(), envelope(), envelope());
    other_key.header.key = KeyId(2);
    bad_seal.sealed[700] ^= 1;
    bad_enc.key_material[5] ^= 1;
    let bodies = [
        Vec::new(),
        b"junk".to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        encode(&other_key),
        encode(&bad_seal),
        encode(&bad_enc),
    ];
    let token = user.now().admission;
    let mut seen = Vec::new();
    for body in bodies {
        let got = server.post("/v1/vault", Some(&token), body).await;
        assert_eq!((got.status, got.problem().as_str()), (400, "malformed"));
        seen.push(got.body);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "no oracle");
    // The HSM holds nothing of all this.
    assert_eq!(server.standing("open").await, 0);
}

async fn register_recover_and_mistype(server: &Server, issuer: &Arc<Issuer>) {
    let user = server.user_of(issuer, "alice");
    let vault = server.vault(&user).await;
    let first = vault
        .register(b"the code", b"payload", SLOT, None)
        .await
        .unwrap();
    let back = vault.recover(b"the code", SLOT).await.unwrap();
    assert!(back.receipt.is_some());
    assert_eq!(*back.keys.age_secret(), *first.keys.age_secret());
    assert_eq!(*back.keys.payload, b"payload");
    let wrong = vault.recover(b"another code", SLOT).await;
    let wrong = wrong.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            wrong,
            Error::WrongCode {
                attempts_left: 9,
                ..
            }
        ),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_of_both_algorithms_are_admitted_and_their_vault_tokens_accepted_inside() {
    let server = Server::start(Limits::default()).await;
    register_recover_and_mistype(&server, &server.issuer.clone()).await;
    let es256 = Arc::new(Issuer::es256("other.example"));
    server.create(es256.tenant(10_000, 10_000)).await;
    register_recover_and_mistype(&server, &es256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_token_is_any_good_in_the_place_of_the_other() {
    let server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    let vault = server.vault(&user).await;
    let keys: BackupKeys = vault
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap()
        .keys;
    drop(keys);
    let fleet = server.bundle().await;
    let tokens = user.now();
    // The vault token outside.
    let outgoing = server.status_of(&fleet, &user);
    let got = server.post("/v1/vault", Some(&tokens.vault), outgoing.envelope);
    let got = got.await;
    assert_eq!((got.status, got.problem().as_str()), (401, "admission"));
    // The admission token inside: the node cannot see it, the HSM says no and spends nothing.
    let admission = tokens.admission;
    let swapped = Tokens::new(admission.clone(), admission, tokens.possession).unwrap();
    let outgoing = guess(b"the code").request(&fleet, &swapped).unwrap();
    let answer = server.ask(&user, &outgoing).await;
    let refused = Answer::Refused(Refusal::WrongTokenOrTenant);
    assert_eq!(format!("{answer:?}"), format!("{refused:?}"));
    assert_eq!(server.attempts_left(&user).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_needs_a_token_and_its_finish_none() {
    let server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    let (fleet, tokens) = (server.bundle().await, user.now());
    let registration = Registration::new(b"the code", SLOT).unwrap();
    let outgoing = registration.request(&fleet, &tokens).unwrap();
    let refused = server
        .post("/v1/vault", None, outgoing.envelope.clone())
        .await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (401, "admission")
    );
    let Answer::RegisterStarted(started) = server.ask(&user, &outgoing).await else {
        panic!("not started");
    };
    let root = strongroom_crypto::wrap::Root::from_bytes([5; 32]);
    let ksf = strongroom_client::Ksf::Argon2idM19T2;
    let secret = (&root, b"".as_slice());
    let ready = registration.answered(&fleet, &tokens, &started, ksf, secret, None);
    let ready = ready.unwrap();
    let finish =
        strongroom_client::session::seal_finish(&fleet, &ready.grant, &ready.finish).unwrap();
    let got = server
        .post("/v1/vault", None, finish.envelope.clone())
        .await;
    assert_eq!(got.content_type, "application/octet-stream");
    let Answer::Receipt(receipt) = finish.open(&got.body).unwrap() else {
        panic!("no receipt");
    };
    // Sent again byte for byte: the same receipt, and no second entry's effect.
    let again = server
        .post("/v1/vault", None, finish.envelope.clone())
        .await;
    let Answer::Receipt(repeated) = finish.open(&again.body).unwrap() else {
        panic!("no receipt");
    };
    assert_eq!(repeated.generation, receipt.generation);
    assert_eq!(server.attempts_left(&user).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_changed_by_their_keys_only_and_admission_follows_at_once() {
    let mut server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    let fleet = server.bundle().await;
    let index = server.standing("index").await;
    let create = issuer::create(server.fleet, server.issuer.tenant(1, 1));
    let exists = server.post("/v1/tenants", None, create).await;
    assert_eq!((exists.status, exists.problem().as_str()), (409, "tenant"));
    assert!(exists.text().contains("Exists"), "{}", exists.text());
    let mut forged = issuer::create(server.fleet, Issuer::es256("evil.example").tenant(1, 1));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = server.post("/v1/tenants", None, forged).await;
    assert!(forged.text().contains("WrongSigner"), "{}", forged.text());
    let unknown = issuer::keys(server.fleet, "nobody.example", 2, Vec::new());
    let unknown = server.post("/v1/tenants", None, unknown).await;
    assert!(unknown.text().contains("Unknown"), "{}", unknown.text());
    assert_eq!(
        server.standing("index").await,
        index,
        "nothing was committed"
    );
    // New keys: the old ones are refused from then on, outside and inside, also after a restart.
    let new = Arc::new(Issuer::es256(&server.issuer.name));
    let change = issuer::keys(
        server.fleet,
        &server.issuer.name,
        2,
        vec![new.public.clone()],
    );
    assert_eq!(server.post("/v1/tenants", None, change).await.status, 204);
    for restart in [false, true] {
        if restart {
            server.stop().await;
            server.run(Limits::default()).await;
            server.ready().await;
        }
        let old = server.status_of(&fleet, &user).envelope;
        let old = server.send(&user, old).await;
        assert_eq!(old.status, 401, "{}", old.text());
        let now = server.user_of(&new, "alice");
        let outgoing = server.status_of(&fleet, &now);
        let answer = server.ask(&now, &outgoing).await;
        assert!(
            matches!(answer, Answer::Refused(Refusal::NeverRegistered)),
            "{answer:?}"
        );
    }
}
