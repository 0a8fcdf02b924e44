//! Prometheus metrics: named, described, moving, and silent about users.

use crate::common::{SLOT, Server, until};
use rustix::process::Signal;
use std::collections::BTreeSet;
use strongroom_node::{Limits, metrics};

/// The sum of a metric over its labels.
fn value(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let of_it = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let named = series.split('{').next() == Some(name);
        named.then(|| value.parse::<f64>().unwrap())
    });
    of_it.sum()
}

/// The names of all series.
fn names(text: &str) -> BTreeSet<&str> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect()
}

async fn scrape(server: &Server) -> String {
    let got = server.get("/metrics").await;
    assert_eq!(got.content_type, "text/plain; version=0.0.4");
    String::from_utf8(got.body).unwrap()
}

/// One of everything that is counted.
async fn live(server: &Server) {
    let user = server.user("alice-the-account");
    let vault = server.vault(&user).await;
    vault.register(b"the code", b"", SLOT, None).await.unwrap();
    vault.recover(b"the code", SLOT).await.unwrap();
    assert!(vault.recover(b"wrong", SLOT).await.is_err());
    let token = user.now().admission;
    assert_eq!(
        server
            .post("/v1/vault", Some(&token), b"junk".to_vec())
            .await
            .status,
        400
    );
    let mut other = server.status_of(&server.bundle().await, &user).envelope;
    let last = other.len() - 1;
    other[last] ^= 1;
    assert_eq!(
        server.post("/v1/vault", None, other.clone()).await.status,
        401
    );
    assert_eq!(
        server.post("/v1/vault", Some(&token), other).await.status,
        400
    );
    let first = server.hsm_pid().unwrap();
    server.signal(Signal::KILL);
    until("another HSM", || async {
        server.hsm_pid().filter(|pid| *pid != first)
    })
    .await;
    server.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described_and_moves_with_what_it_counts() {
    let server = Server::start(Limits::default()).await;
    let before = scrape(&server).await;
    live(&server).await;
    let after = scrape(&server).await;
    for (name, least) in [
        (metrics::PROBLEMS.to_owned(), 3.0),
        (metrics::HSM_ERRORS.to_owned(), 1.0),
        (metrics::RESTARTS.to_owned(), 1.0),
        (metrics::REPLICA_EVENTS.to_owned(), 1.0),
        (metrics::INDEX.to_owned(), 4.0),
        (format!("{}_count", metrics::BATCH), 4.0),
        (format!("{}_count", metrics::COMMIT), 4.0),
        (format!("{}_count", metrics::REQUEST), 5.0),
    ] {
        let moved = value(&after, &name) - value(&before, &name);
        assert!(moved >= least, "{name} moved by {moved}\n{after}");
    }
    assert!(value(&after, metrics::READY) >= 1.0);
    assert!(value(&after, metrics::TENANTS) >= 1.0);
    for name in names(&after) {
        let family = name.trim_end_matches("_count").trim_end_matches("_sum");
        assert!(
            after.contains(&format!("# HELP {family} ")),
            "{name} is not described"
        );
        assert!(name.starts_with("strongroom_"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_holds_an_account_a_token_or_anything_but_fixed_names() {
    let server = Server::start(Limits::default()).await;
    live(&server).await;
    let text = scrape(&server).await;
    let mut labels = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, rest)) = line.split_once('{') else {
            continue;
        };
        for label in rest.split_once('}').unwrap().0.split(',') {
            let (name, value) = label.split_once('=').unwrap();
            labels.insert(name.to_owned());
            let value = value.trim_matches('"');
            let fixed = value.len() <= 20
                && value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
            assert!(fixed, "{line}");
        }
    }
    let known = ["class", "error", "event", "problem", "quantile"].map(str::to_owned);
    assert!(
        labels.iter().all(|label| known.contains(label)),
        "{labels:?}"
    );
    for secret in ["alice", "eyJ", &server.issuer.name] {
        assert!(!text.contains(secret), "{secret}");
    }
}
