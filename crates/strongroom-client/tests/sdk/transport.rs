//! HTTPS: bounded tries, bounded waits, bounded answers, and words that a person can act on.

use super::fleet::{CODE, World};
use super::server::{Step, refuse};
use std::time::{Duration, Instant};
use strongroom_client::Error;
use strongroom_client::transport::{Http, TransportError};
use strongroom_client::wire::Slot;
use strongroom_client::wire::answer::Refusal;

const BUSY: Step = Step::Http(503, "retry-after: 0\r\n", "");
const LIMITED: Step = Step::Http(429, "retry-after: 0\r\n", "");

#[tokio::test]
async fn a_busy_node_is_asked_again_and_answers() {
    let world = World::new().await;
    world.script([BUSY, LIMITED, BUSY]);
    world
        .vault()
        .await
        .register(CODE, b"", Slot(0), None)
        .await
        .unwrap();
    assert_eq!(world.requests().len(), 5);
}

#[tokio::test]
async fn a_node_that_stays_busy_is_asked_six_times() {
    let world = World::new().await;
    world.script([BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY]);
    let failed = world.vault().await.status(Slot(0), None).await.err();
    let Some(Error::Transport(error @ TransportError::Busy)) = failed else {
        panic!("{failed:?}")
    };
    assert!(
        error
            .to_string()
            .contains("nothing more is spent by sending it again")
    );
    assert_eq!(world.requests().len(), 6);
}

#[tokio::test]
async fn a_server_says_when_to_come_back_and_is_not_asked_before() {
    let world = World::new().await;
    let vault = world.vault().await;
    let began = Instant::now();
    world.script([Step::Http(503, "retry-after: 1\r\n", "")]);
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_refused_request_is_not_sent_again_and_the_nodes_words_are_kept() {
    for refused in [400, 401, 404, 409, 413, 500, 502] {
        let world = World::new().await;
        let detail = r#"{"title":"malformed","detail":"the envelope is malformed"}"#;
        world.script([Step::Http(refused, "", detail)]);
        let failed = world.vault().await.status(Slot(0), None).await.err();
        let Some(Error::Transport(TransportError::Refused { status, detail })) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (status, detail.as_str()),
            (refused, "the envelope is malformed")
        );
        assert_eq!(world.requests().len(), 1);
    }
    let world = World::new().await;
    world.script([Step::Http(400, "", "no JSON")]);
    let failed = world
        .vault()
        .await
        .status(Slot(0), None)
        .await
        .err()
        .unwrap();
    assert_eq!(failed.to_string(), "the server refused the request (400): ");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_the_end() {
    let world = World::new().await;
    world.script([Step::Raw(vec![0; (1 << 20) + 1])]);
    let failed = world
        .vault()
        .await
        .status(Slot(0), None)
        .await
        .err()
        .unwrap();
    assert!(
        failed.to_string().contains("the answer is too long"),
        "{failed}"
    );
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_none_and_plain_http_are_settings_not_bad_luck() {
    for base in ["http://localhost:1", "localhost", "not an address", ""] {
        let began = Instant::now();
        let http = Http::new(base, None).unwrap();
        let failed = http.get("/v1/fleet").await.err();
        assert!(
            matches!(failed, Some(TransportError::Settings(_))),
            "{base}: {failed:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "nothing to wait for"
        );
    }
    let bad = Http::new("https://localhost", Some(b"no certificate")).err();
    assert!(
        matches!(bad, None | Some(TransportError::Settings(_))),
        "{bad:?}"
    );
}

#[tokio::test]
async fn a_server_under_another_authority_is_not_spoken_to() {
    let (world, other) = (World::new().await, World::new().await);
    let http = Http::new(world.url(), Some(other.authority().as_bytes())).unwrap();
    let failed = http.post("/v1/vault", None, b"secret").await.err();
    assert!(
        matches!(failed, Some(TransportError::Unreachable(_))),
        "{failed:?}"
    );
    assert!(world.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_unreachable() {
    let world = World::new().await;
    world.script((0..6).map(|_| Step::Drop));
    let vault = world.vault().await;
    let failed = vault.status(Slot(0), None).await.err();
    assert!(matches!(
        failed,
        Some(Error::Transport(TransportError::Unreachable(_)))
    ));
    assert_eq!(world.requests().len(), 6);
}

#[tokio::test]
async fn nothing_that_is_told_denies_that_a_lost_answer_may_have_been_paid() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    let busy = Refusal::Busy { retry_after_ms: 1 };
    for last in [refuse(busy), BUSY] {
        // Paid, answer lost, then busy for good.
        world.script([Step::Drop, last, BUSY, BUSY, BUSY, BUSY]);
        let failed = vault
            .recover(CODE, Slot(0))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            failed.contains("nothing more is spent by sending it again"),
            "{failed}"
        );
        world.shared.script.lock().unwrap().clear();
        assert!(world.shared.hsm.guesses() > 0);
    }
}
