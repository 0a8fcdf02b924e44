//! An HSM that does not keep up, or does not answer at all.

use crate::common::{Got, SLOT, Server, guess, until};
use rustix::process::Signal;
use std::time::Duration;
use strongroom_client::session::{self, Outgoing};
use strongroom_node::Limits;
use strongroom_wire::answer::Answer;
use tokio::task::JoinHandle;

type Sent = JoinHandle<reqwest::Result<Got>>;

fn few() -> Limits {
    Limits {
        starts: 4,
        finishes: 2,
        hsm_silence: Duration::from_secs(300),
        request: Duration::from_secs(300),
        ..Limits::default()
    }
}

fn send(server: &Server, token: Option<&str>, outgoing: &Outgoing) -> Sent {
    let body = outgoing.envelope.clone();
    tokio::spawn(server.request(reqwest::Method::POST, "/v1/vault", token, body))
}

/// Waits until all but `held` are answered; gives the answers, and leaves those held.
async fn answered(sent: &mut Vec<(usize, Sent)>, held: usize) -> Vec<(usize, Got)> {
    until("those without a place are told", || async {
        let waiting = sent.iter().filter(|(_, sent)| !sent.is_finished());
        (waiting.count() == held).then_some(())
    })
    .await;
    let all = std::mem::take(sent);
    let mut told = Vec::new();
    for (name, one) in all {
        if one.is_finished() {
            told.push((name, one.await.unwrap().unwrap()));
        } else {
            sent.push((name, one));
        }
    }
    told
}

fn is_busy(got: &Got) {
    assert_eq!((got.status, got.problem().as_str()), (503, "busy"));
    assert_eq!(got.retry_after, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_beyond_their_places_are_refused_at_once_while_finishes_have_places() {
    let server = Server::start(few()).await;
    let fleet = server.bundle().await;
    let users: Vec<_> = (0..7)
        .map(|n| server.user(&format!("account {n}")))
        .collect();
    for user in &users {
        let vault = server.vault(user).await;
        vault.register(b"the code", b"", SLOT, None).await.unwrap();
    }
    // One recovery stands before its finish.
    let (last, users) = users.split_last().unwrap();
    let recovery = guess(b"the code");
    let outgoing = recovery.request(&fleet, &last.now()).unwrap();
    let Answer::RecoverStarted(started) = server.ask(last, &outgoing).await else {
        panic!("not started");
    };
    let opened = recovery.answered(&fleet, &last.now(), &started).unwrap();
    let finish = session::seal_finish(&fleet, &opened.grant, &opened.finish).unwrap();

    server.freeze_hsm().await;
    let guesses: Vec<Outgoing> = users
        .iter()
        .map(|user| guess(b"wrong").request(&fleet, &user.now()).unwrap())
        .collect();
    let mut starts: Vec<(usize, Sent)> = (0..6)
        .map(|n| {
            (
                n,
                send(&server, Some(&users[n].now().admission), &guesses[n]),
            )
        })
        .collect();
    let refused = answered(&mut starts, 4).await;
    assert_eq!(refused.len(), 2);
    refused.iter().for_each(|(_, got)| is_busy(got));
    // The places of finishes are their own; each further one is refused.
    let mut finishes: Vec<(usize, Sent)> =
        (0..3).map(|n| (n, send(&server, None, &finish))).collect();
    answered(&mut finishes, 2)
        .await
        .iter()
        .for_each(|(_, got)| is_busy(got));
    assert_eq!(server.get("/healthz").await.status, 200);

    server.signal(Signal::CONT);
    for (n, start) in starts {
        let got = start.await.unwrap().unwrap();
        let Answer::RecoverStarted(started) = guesses[n].open(&got.body).unwrap() else {
            panic!("not started");
        };
        assert_eq!(started.attempts_left, 9);
    }
    for (_, got) in answered(&mut finishes, 0).await {
        assert!(matches!(
            finish.open(&got.body).unwrap(),
            Answer::Receipt(_)
        ));
    }
    assert_eq!(server.attempts_left(last).await, 10);
    for (n, _) in refused {
        assert_eq!(
            server.attempts_left(&users[n]).await,
            10,
            "busy spends nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_leave_nothing_open_inside() {
    let server = Server::start(few()).await;
    let fleet = server.bundle().await;
    let user = server.user("alice");
    server
        .vault(&user)
        .await
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap();
    for _ in 0..3 {
        server.freeze_hsm().await;
        let outgoing = server.status_of(&fleet, &user);
        let token = user.now().admission;
        let mut sent = (0..6)
            .map(|n| (n, send(&server, Some(&token), &outgoing)))
            .collect();
        // Those that hold a place are before the HSM now; their clients go away.
        answered(&mut sent, 4)
            .await
            .iter()
            .for_each(|(_, got)| is_busy(got));
        for (_, one) in sent {
            one.abort();
            assert!(one.await.unwrap_err().is_cancelled());
        }
        server.signal(Signal::CONT);
        until("nothing is open", || async {
            (server.standing("open").await == 0).then_some(())
        })
        .await;
        until("the places are free", || async {
            let got = server.post("/v1/vault", Some(&token), outgoing.envelope.clone());
            (got.await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_that_hangs_is_replaced_and_holds_no_request_for_ever() {
    let limits = Limits {
        hsm_silence: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let fleet = server.bundle().await;
    let user = server.user("alice");
    server
        .vault(&user)
        .await
        .register(b"the code", b"", SLOT, None)
        .await
        .unwrap();
    let first = server.hsm_pid().unwrap();
    server.freeze_hsm().await;
    let outgoing = server.status_of(&fleet, &user);
    let held = send(&server, Some(&user.now().admission), &outgoing);
    is_busy(&held.await.unwrap().unwrap());
    // Nobody helps: the process is another one, and the same request is answered.
    until("another HSM process", || async {
        server.hsm_pid().filter(|pid| *pid != first)
    })
    .await;
    server.ready().await;
    assert_eq!(server.attempts_left(&user).await, 10);
    // Nor is a request needed to find out.
    let second = server.hsm_pid().unwrap();
    server.freeze_hsm().await;
    until("a third HSM process", || async {
        server.hsm_pid().filter(|pid| *pid != second)
    })
    .await;
    server.ready().await;
    assert_eq!(server.attempts_left(&user).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_hsm_that_never_speaks_the_node_lives_and_is_not_ready() {
    let mut server = Server::found().await;
    let silent = ["sh", "-c", "exec sleep 1000", "hsm"];
    server.config.hsm = Some(silent.map(str::to_owned).to_vec());
    let limits = Limits {
        hsm_silence: Duration::from_millis(200),
        ..Limits::default()
    };
    server.run(limits).await;
    for _ in 0..3 {
        assert_eq!(server.get("/healthz").await.status, 200);
        assert_eq!(server.get("/readyz").await.status, 503);
        let status = server.get("/v1/status").await;
        assert!(
            status.text().contains("\"standing\":null"),
            "{}",
            status.text()
        );
        let fleet = server.bundle().await;
        let user = server.user("alice");
        let envelope = server.status_of(&fleet, &user).envelope;
        // Its tenant is unknown here; with or without one, nothing is held.
        let got = server.send(&user, envelope);
        assert_eq!(got.await.status, 401);
        let change = crate::issuer::create(server.fleet, server.issuer.tenant(1, 1));
        // A stranger's change is refused by the node itself: it never reaches an HSM.
        let mut forged = change.clone();
        *forged.last_mut().unwrap() ^= 1;
        let forged = server.post("/v1/tenants", None, forged).await;
        assert_eq!((forged.status, forged.problem().as_str()), (409, "tenant"));
        is_busy(&server.post("/v1/tenants", None, change).await);
    }
    server.stop().await;
}
