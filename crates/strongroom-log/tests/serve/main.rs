//! The service over HTTP, with real witnesses, on a real disk.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../common/mod.rs"]
mod common;
mod running;

use common::root;
use running::{
    ANY, ORIGIN, SEED, auditor, copy, get, liar_at, post, release, serve, submission,
    with_witnesses, witness,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use strongroom_crypto::statement::SigningKey;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::note::{self, Cosigner, Note, Signer};
use strongroom_log::policy::TrustedLog;
use strongroom_log::proof::Proof;
use strongroom_log::serve::{ServeError, Service, Unpublished};
use strongroom_log::settings::{SetupError, create, read_key};
use strongroom_log::submission::Submission;
use strongroom_log::tiles::entries;

#[tokio::test]
async fn what_is_submitted_is_proved_and_served() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let running = serve(&dir);
    let url = &running.url;
    let trusted = TrustedLog::new(key, vec![], 0).unwrap();
    let mut all = Vec::new();
    for number in 0..3 {
        let entry = release(number);
        let (status, proof) = post(url, submission(&entry)).await;
        assert_eq!(status, 200, "{proof}");
        let proof = Proof::parse(proof.as_bytes()).unwrap();
        let inclusion = proof.verify(&trusted, &entry).unwrap();
        assert_eq!(inclusion.index(), u64::from(number));
        all.push(entry);
    }
    let (status, body, kind, cached) = get(url, "checkpoint").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert_eq!(cached, "no-cache");
    let checkpoint = trusted.verify(&body).unwrap();
    assert_eq!((checkpoint.size(), *checkpoint.root()), (3, root(&all)));
    let (status, bundle, kind, cached) = get(url, "tile/entries/000.p/3").await;
    assert_eq!((status, kind.as_str()), (200, "application/octet-stream"));
    assert!(cached.contains("immutable"));
    assert_eq!(entries(&bundle, 3).unwrap(), all);
    assert_eq!(get(url, "tile/0/000.p/3").await.1.len(), 96);
    running.end().await;
}

#[tokio::test]
async fn nothing_but_the_published_tree_is_served() {
    let place = tempfile::tempdir().unwrap();
    let (dir, _) = auditor(&place);
    let running = serve(&dir);
    let url = &running.url;
    post(url, submission(&release(0))).await;
    // As a crash may leave it: a tile of a tree that nobody signed.
    fs::copy(dir.join("tile/0/000.p/1"), dir.join("tile/0/000.p/2")).unwrap();
    for path in [
        "tile/0/000.p/2",
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/0/001",
        "tile/0/../../key",
        "tile/..%2fkey",
        "tile/%2e%2e/key",
        "key",
        "pending",
        "auditor.toml",
        "lock",
        "",
    ] {
        let (status, body, kind, _) = get(url, path).await;
        assert_eq!(
            (status, kind.as_str()),
            (404, "application/problem+json"),
            "{path}"
        );
        assert!(
            !String::from_utf8_lossy(&body).contains("PRIVATE"),
            "{path}"
        );
    }
    assert_eq!(post(url, vec![]).await.0, 400);
    let client = reqwest::Client::new();
    let wrong = client
        .post(format!("{url}/checkpoint"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status().as_u16(), 405);
    running.end().await;
}

#[tokio::test]
async fn submissions_are_refused_with_a_reason() {
    let place = tempfile::tempdir().unwrap();
    let (dir, _) = auditor(&place);
    let running = serve(&dir);
    let stranger = SigningKey::from_seed(&[21; 32]);
    let entry = release(0);
    let cases = [
        (
            403,
            "submitter",
            Submission::sign(&stranger, ORIGIN, &entry).to_bytes(),
        ),
        (
            403,
            "origin",
            Submission::sign(&SigningKey::from_seed(&SEED), "other", &entry).to_bytes(),
        ),
        (400, "malformed", b"nonsense".to_vec()),
        (409, "denied", submission(b"not an entry")),
        (413, "malformed", vec![0; 70_000]),
    ];
    for (status, name, body) in cases {
        let (answered, problem) = post(&running.url, body).await;
        assert_eq!(answered, status, "{problem}");
        assert!(
            problem.contains(&format!("urn:strongroom:problem:{name}")),
            "{problem}"
        );
    }
    // A lost answer: the same again has the same place.
    let (_, first) = post(&running.url, submission(&entry)).await;
    assert_eq!(post(&running.url, submission(&entry)).await, (200, first));
    running.end().await;
}

#[tokio::test]
async fn proofs_carry_the_cosignatures_of_a_quorum() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let (one, key_one) = witness(&place, 1, &key, ANY);
    let (two, key_two) = witness(&place, 2, &key, ANY);
    with_witnesses(&dir, &[(&one.url, &key_one), (&two.url, &key_two)], 2);
    let running = serve(&dir);
    let both = TrustedLog::new(key.clone(), vec![key_one.clone(), key_two], 2).unwrap();
    for number in 0..3 {
        let entry = release(number);
        let (status, proof) = post(&running.url, submission(&entry)).await;
        assert_eq!(status, 200, "{proof}");
        Proof::parse(proof.as_bytes())
            .unwrap()
            .verify(&both, &entry)
            .unwrap();
    }
    assert!(
        both.verify(&get(&running.url, "checkpoint").await.1)
            .is_ok()
    );
    // One of two is gone: it is logged, and the submitter is told to come back.
    two.end().await;
    let entry = release(3);
    let (status, problem) = post(&running.url, submission(&entry)).await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem.contains("unwitnessed") && problem.contains("index 3"),
        "{problem}"
    );
    let alone = TrustedLog::new(key, vec![key_one], 1).unwrap();
    assert_eq!(
        alone
            .verify(&get(&running.url, "checkpoint").await.1)
            .unwrap()
            .size(),
        4
    );
    running.end().await;
    one.end().await;
}

/// Directory and state come back from copies of one age, which nobody on this machine can tell.
#[tokio::test]
async fn a_witness_stops_a_log_that_was_rolled_back() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let (one, key_one) = witness(&place, 1, &key, ANY);
    with_witnesses(&dir, &[(&one.url, &key_one)], 1);
    let running = serve(&dir);
    assert_eq!(post(&running.url, submission(&release(0))).await.0, 200);
    running.end().await;
    let (kept, state) = (place.path().join("kept"), place.path().join("state"));
    copy(&dir, &kept);
    let kept_state = fs::read(&state).unwrap();
    let running = serve(&dir);
    assert_eq!(post(&running.url, submission(&release(1))).await.0, 200);
    running.end().await;
    copy(&kept, &dir);
    fs::write(&state, kept_state).unwrap();
    let service = Service::open(&dir).unwrap();
    let running = service.run(std::future::pending());
    let error = tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .unwrap();
    let Err(ServeError::Unpublished(Unpublished::Forked { size: 2, .. })) = error else {
        panic!("{error:?}");
    };
    // With the witness away at the start, nothing is logged until it is back, and then nothing.
    let url = one.url.clone();
    one.end().await;
    let running = serve(&dir);
    let (status, problem) = post(&running.url, submission(&release(2))).await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem.contains("urn:strongroom:problem:not-compared"),
        "{problem}"
    );
    let (again, _) = witness(&place, 1, &key, &url);
    for _ in 0..2 {
        let (status, problem) = post(&running.url, submission(&release(2))).await;
        assert_eq!(status, 500, "{problem}");
        assert!(
            problem.contains("urn:strongroom:problem:forked"),
            "{problem}"
        );
    }
    let checkpoint = get(&running.url, "checkpoint").await.1;
    assert_eq!(
        String::from_utf8(checkpoint).unwrap().lines().nth(1),
        Some("1")
    );
    running.end().await;
    again.end().await;
}

/// What it says of a greater tree is believed with this log's own signature only.
#[tokio::test]
async fn a_lying_witness_stops_no_log() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let liar = Cosigner::new("witness.example/liar", &[66; 32]).unwrap();
    let other = Signer::new(ORIGIN, &[67; 32]).unwrap();
    let text = Checkpoint::new(ORIGIN, 99, [9; 32]).unwrap().to_string();
    let shown = note::format(&text, &[other.sign(&text), liar.cosign(&text, 7)]).unwrap();
    for conflict in [(409, "99\n"), (422, ""), (409, "0\n"), (200, "nonsense")] {
        let url = liar_at(shown.clone(), conflict).await;
        let settings = fs::read_to_string(dir.join("auditor.toml")).unwrap();
        with_witnesses(&dir, &[(&url, liar.verifier())], 0);
        let running = serve(&dir);
        let entry = release(1);
        let (status, proof) = post(&running.url, submission(&entry)).await;
        assert_eq!(status, 200, "{proof}");
        let trusted = TrustedLog::new(key.clone(), vec![], 0).unwrap();
        Proof::parse(proof.as_bytes())
            .unwrap()
            .verify(&trusted, &entry)
            .unwrap();
        running.end().await;
        fs::write(dir.join("auditor.toml"), settings).unwrap();
    }
}

#[tokio::test]
async fn a_witness_keeps_what_it_cosigned() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let (one, key_one) = witness(&place, 1, &key, ANY);
    with_witnesses(&dir, &[(&one.url, &key_one)], 1);
    let running = serve(&dir);
    post(&running.url, submission(&release(0))).await;
    one.end().await;
    let (again, _) = witness(&place, 1, &key, ANY);
    let hash = strongroom_log::witness::core::origin_hash(ORIGIN);
    let (status, body, ..) = get(&again.url, &format!("{hash}/checkpoint")).await;
    assert_eq!(status, 200);
    let note = Note::parse(&body).unwrap();
    assert_eq!(note.verify(&[key, key_one]).unwrap().len(), 2);
    assert_eq!(Checkpoint::parse(note.text()).unwrap().size(), 1);
    assert_eq!(get(&again.url, "00/checkpoint").await.0, 404);
    running.end().await;
    again.end().await;
}

#[test]
fn a_directory_is_set_up_once_and_its_key_is_its_owners() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    assert_eq!(
        fs::metadata(dir.join("key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(*read_key(&dir).unwrap().verifier(), key);
    assert!(matches!(
        create(&dir, ORIGIN, None),
        Err(SetupError::Log(_) | SetupError::Io { .. })
    ));
    assert!(matches!(
        create(&dir, "other", None),
        Err(SetupError::OtherOrigin(_))
    ));
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read_key(&dir), Err(SetupError::KeyIsOpen(_))));
    let none = Service::open(&place.path().join("nothing")).err().unwrap();
    assert!(
        matches!(none, ServeError::Setup(SetupError::NoLog(_))),
        "{none}"
    );
    // Interrupted after the key was written.
    let half = place.path().join("half");
    fs::create_dir(&half).unwrap();
    fs::copy(dir.join("key"), half.join("key")).unwrap();
    fs::set_permissions(half.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(create(&half, ORIGIN, None).unwrap(), key);
}

#[test]
fn a_wrong_configuration_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (dir, key) = auditor(&place);
    let path = dir.join("auditor.toml");
    let good = fs::read_to_string(&path).unwrap();
    for (wrong, word) in [
        ("nothing = 1\n".to_owned(), "nothing"),
        (
            good.replace("submitters = [\"", "submitters = [\"00"),
            "submitters",
        ),
        (
            good.replace("quorum = 0", "quorum = 1"),
            "cosignatures wanted",
        ),
        (
            format!("{good}[[witnesses]]\nkey = \"x\"\nurl = \"u\"\n"),
            "witness",
        ),
        (
            format!("{good}[[witnesses]]\nkey = \"{key}\"\nurl = \"u\"\n"),
            "type",
        ),
    ] {
        fs::write(&path, wrong).unwrap();
        let error = Service::open(&dir).err().unwrap().to_string();
        assert!(
            error.contains(word) && error.contains("auditor.toml"),
            "{error}"
        );
    }
}
