//! Accounts and tenants that ask too often.

use crate::common::{SLOT, Server, guess};
use crate::issuer::Issuer;
use std::sync::Arc;
use strongroom_node::Limits;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_over_its_rate_is_told_when_to_come_back_and_spends_nothing() {
    let mut server = Server::start(Limits::default()).await;
    let issuer = Arc::new(Issuer::es256("slow.example"));
    // A request each 15 seconds, four at once.
    server.create(issuer.tenant(4, 1_000)).await;
    let user = server.user_of(&issuer, "alice");
    let vault = server.vault(&user).await;
    vault.register(b"the code", b"", SLOT, None).await.unwrap();
    let fleet = server.bundle().await;
    let mut refused = 0;
    for _ in 0..100 {
        let envelope = server.status_of(&fleet, &user).envelope;
        let got = server.send(&user, envelope).await;
        if got.status == 200 {
            continue;
        }
        assert_eq!((got.status, got.problem().as_str()), (429, "rate"));
        assert!((1..=16).contains(&got.retry_after.unwrap()), "{got:?}");
        refused += 1;
        break;
    }
    assert_eq!(refused, 1, "the rate never ran out");
    let index = server.standing("index").await;
    let mut last = 0;
    while last != 429 {
        let outgoing = guess(b"a wrong code").request(&fleet, &user.now()).unwrap();
        let token = user.now().admission;
        let got = server
            .post("/v1/vault", Some(&token), outgoing.envelope)
            .await;
        last = got.status;
    }
    // Another account of the tenant goes on.
    let other = server.user_of(&issuer, "bob");
    let outgoing = server.status_of(&fleet, &other);
    server.ask(&other, &outgoing).await;
    let spent = server.standing("index").await - index - 1;
    // Rates are kept in memory: after a restart the account may look.
    server.stop().await;
    server.run(Limits::default()).await;
    server.ready().await;
    let left = u64::from(server.attempts_left(&user).await);
    assert_eq!(
        left + spent,
        10,
        "what was refused by its rate spent nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_rate_is_refused_and_its_neighbour_is_not() {
    let server = Server::start(Limits::default()).await;
    let issuer = Arc::new(Issuer::ed25519("busy.example"));
    server.create(issuer.tenant(10_000, 1)).await;
    let fleet = server.bundle().await;
    let mut refused = None;
    for number in 0..1_000 {
        let user = server.user_of(&issuer, &format!("account {number}"));
        let envelope = server.status_of(&fleet, &user).envelope;
        let got = server.send(&user, envelope);
        let got = got.await;
        if got.status == 429 {
            refused = Some(got);
            break;
        }
        assert_eq!(got.status, 200);
    }
    let refused = refused.expect("a second request within the second");
    assert_eq!(refused.problem(), "rate");
    assert!(refused.retry_after.is_some());
    let neighbour = server.user("alice");
    let outgoing = server.status_of(&fleet, &neighbour);
    server.ask(&neighbour, &outgoing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_zero_lets_nobody_through() {
    let server = Server::start(Limits::default()).await;
    let fleet = server.bundle().await;
    for (name, account, tenant) in [("a.example", 0, 10), ("b.example", 10, 0)] {
        let issuer = Arc::new(Issuer::ed25519(name));
        server.create(issuer.tenant(account, tenant)).await;
        let user = server.user_of(&issuer, "alice");
        let index = server.standing("index").await;
        for _ in 0..3 {
            let envelope = server.status_of(&fleet, &user).envelope;
            let got = server.send(&user, envelope);
            assert_eq!(got.await.status, 429);
        }
        assert_eq!(server.standing("index").await, index);
    }
}
