//! The HSM killed under way, and answers that are lost.

use crate::common::{SLOT, Server, guess, until};
use rustix::process::Signal;
use std::sync::Arc;
use std::time::Duration;
use strongroom_node::Limits;
use strongroom_wire::answer::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn after_its_hsm_was_killed_the_node_is_not_ready_and_then_ready_by_itself() {
    let server = Arc::new(Server::start(Limits::default()).await);
    let user = server.user("alice");
    server
        .vault(&user)
        .await
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap();
    let fleet = server.bundle().await;
    for round in 0..3 {
        let first = server.hsm_pid().unwrap();
        server.signal(Signal::KILL);
        until("not ready", || async {
            assert_eq!(server.get("/healthz").await.status, 200);
            let not = server.get("/readyz").await.status == 503;
            // It may be back before anybody looked.
            (not || server.hsm_pid() != Some(first)).then_some(())
        })
        .await;
        let outgoing = server.status_of(&fleet, &user);
        let token = user.now().admission;
        until("answered again", || async {
            let got = server.post("/v1/vault", Some(&token), outgoing.envelope.clone());
            let got = got.await;
            if got.status == 503 {
                assert_eq!((got.problem().as_str(), got.retry_after), ("busy", Some(1)));
            }
            (got.status == 200).then_some(())
        })
        .await;
        assert_eq!(server.get("/readyz").await.status, 200);
        assert_eq!(server.attempts_left(&user).await, 10, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_whose_answer_was_lost_is_the_same_guess_when_it_is_sent_again() {
    let server = Server::start(Limits::default()).await;
    let user = server.user("alice");
    server
        .vault(&user)
        .await
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap();
    let fleet = server.bundle().await;
    let outgoing = guess(b"the code").request(&fleet, &user.now()).unwrap();
    let token = user.now().admission;
    let body = || outgoing.envelope.clone();
    // Its client hangs up, sooner and later; and the HSM dies with it at work.
    for pause in 0..4_u64 {
        let sent = server.request(reqwest::Method::POST, "/v1/vault", Some(&token), body());
        let _ = tokio::time::timeout(Duration::from_millis(pause * 2), sent).await;
    }
    let sent = server.request(reqwest::Method::POST, "/v1/vault", Some(&token), body());
    let sent = tokio::spawn(sent);
    server.signal(Signal::KILL);
    assert!(matches!(sent.await.unwrap().unwrap().status, 200 | 503));
    let answer = until("answered", || async {
        let got = server.post("/v1/vault", Some(&token), body()).await;
        (got.status == 200).then(|| outgoing.open(&got.body).unwrap())
    })
    .await;
    let Answer::RecoverStarted(started) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((started.attempts_left, started.totals.starts), (9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_while_the_hsm_dies_again_and_again_get_their_own_answer_or_busy() {
    let server = Arc::new(Server::start(Limits::default()).await);
    let fleet = Arc::new(server.bundle().await);
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let (server, fleet) = (server.clone(), fleet.clone());
            tokio::spawn(async move {
                let user = server.user(&format!("account {n}"));
                let mut answers = 0;
                while answers < 60 {
                    let outgoing = server.status_of(&fleet, &user);
                    let token = user.now().admission;
                    let body = outgoing.envelope.clone();
                    let got = server.post("/v1/vault", Some(&token), body).await;
                    if got.status == 503 {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    assert_eq!(got.status, 200, "{}", got.text());
                    // Opens only if it is the answer to this very request.
                    outgoing.open(&got.body).unwrap();
                    answers += 1;
                }
            })
        })
        .collect();
    for _ in 0..4 {
        server.ready().await;
        let first = server.hsm_pid().unwrap();
        server.signal(Signal::KILL);
        until("another HSM process", || async {
            server.hsm_pid().filter(|pid| *pid != first)
        })
        .await;
    }
    for client in clients {
        client.await.unwrap();
    }
    until("nothing is open", || async {
        (server.standing("open").await == 0).then_some(())
    })
    .await;
}
