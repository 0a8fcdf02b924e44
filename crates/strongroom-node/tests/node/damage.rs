//! A store that is not what was written: the HSM finds it out, nothing is decided on it, and
//! nothing stays open inside.

use crate::common::{SLOT, Server, until};
use crate::store::damage;
use strongroom_client::session::Registration;
use strongroom_node::Limits;
use strongroom_wire::answer::Answer;

/// A registered account's record id, and the server stopped.
async fn stopped() -> (Server, [u8; 32]) {
    let mut server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    server
        .vault(&user)
        .await
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap();
    let registration = Registration::new(b"x", SLOT).unwrap();
    let outgoing = registration
        .request(&server.bundle().await, &user.now())
        .unwrap();
    let Answer::RegisterStarted(started) = server.ask(&user, &outgoing).await else {
        panic!("not started");
    };
    // What an entry changed is in place with the entry after it; before, the log would mend it.
    server
        .ask(&user, &server.status_of(&server.bundle().await, &user))
        .await;
    let other = server.user("carol");
    server
        .ask(&other, &server.status_of(&server.bundle().await, &other))
        .await;
    server
        .ask(&other, &server.status_of(&server.bundle().await, &other))
        .await;
    server.stop().await;
    (server, started.record.0)
}

/// Damages the store of a stopped server, once its last hand has let go of it.
async fn harm(server: &Server, keyspace: &str, key: &[u8], value: &[u8]) {
    let dir = server.config.store_dir();
    until("the store is let go of", || async {
        strongroom_node::store::Store::open(&dir).ok().map(drop)
    })
    .await;
    damage(&dir, keyspace, key, value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_leaf_is_a_fault_of_its_record_alone_and_leaves_nothing_open() {
    let (mut server, record) = stopped().await;
    harm(&server, "leaves", &record, b"not a sealed record").await;
    server.run(Limits::default()).await;
    server.ready().await;
    let fleet = server.bundle().await;
    let (user, other) = (server.user("alice"), server.user("bob"));
    for _ in 0..10 {
        let envelope = server.status_of(&fleet, &user).envelope;
        let got = server.send(&user, envelope).await;
        assert_eq!((got.status, got.problem().as_str()), (500, "fault"));
    }
    let outgoing = server.status_of(&fleet, &other);
    server.ask(&other, &outgoing).await;
    until("nothing is open", || async {
        (server.standing("open").await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_standing_header_or_bundle_is_damaged_is_not_served() {
    let (mut server, _) = stopped().await;
    harm(&server, "meta", b"standing", b"\xff").await;
    server.run(Limits::default()).await;
    let error = server.ended().await.unwrap_err().to_string();
    assert!(
        error.contains("damaged") && error.contains("standing"),
        "{error}"
    );
    harm(&server, "meta", b"bundle", b"\xff").await;
    let error = strongroom_node::Node::open(&server.config)
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("bundle"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_of_the_trie_stops_the_node_by_name() {
    let (mut server, _) = stopped().await;
    let pages: Vec<Vec<u8>> = {
        let dir = server.config.store_dir();
        let open = || async { fjall::Database::builder(&dir).open().ok() };
        let database = until("the store is let go of", open).await;
        let pages = database.keyspace("pages", fjall::KeyspaceCreateOptions::default);
        let pages = pages.unwrap();
        let ids = pages
            .iter()
            .map(|item| item.into_inner().unwrap().0.to_vec());
        ids.collect()
    };
    assert!(!pages.is_empty());
    for page in pages {
        harm(&server, "pages", &page, b"\xff").await;
    }
    server.run(Limits::default()).await;
    let running = until("it stops, or it is asked", || async {
        if server.has_ended() {
            return Some(false);
        }
        let got = server.request(reqwest::Method::GET, "/readyz", None, Vec::new());
        (got.await.ok()?.status == 200).then_some(true)
    })
    .await;
    if running {
        // Found out at the first proof.
        let user = server.user("bob");
        let envelope = server.status_of(&server.bundle().await, &user).envelope;
        let token = user.now().admission;
        let asked = server.request(reqwest::Method::POST, "/v1/vault", Some(&token), envelope);
        assert!(asked.await.map_or(true, |got| got.status == 503));
    }
    let error = server.ended().await.unwrap_err().to_string();
    assert!(error.contains("page") && error.contains("copy"), "{error}");
}
