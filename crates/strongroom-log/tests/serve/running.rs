//! Logs and witnesses at work, and requests to them.

use std::fs;
use std::path::{Path, PathBuf};
use strongroom_crypto::statement::SigningKey;
use strongroom_log::entry::{Entry, Release};
use strongroom_log::note::VerifierKey;
use strongroom_log::serve::{ServeError, Service, WitnessService, create_witness};
use strongroom_log::settings::create;
use strongroom_log::submission::Submission;
use strongroom_wire::{Digest, UnixMs};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const ORIGIN: &str = "log.example/strongroom";
pub const SEED: [u8; 32] = [20; 32];

pub fn release(number: u8) -> Vec<u8> {
    let release = Release {
        measurement: Digest([number; 32]),
        version: format!("1.0.{number}"),
        date: UnixMs(7),
    };
    Entry::Release(release).to_bytes().unwrap()
}

pub fn submission(entry: &[u8]) -> Vec<u8> {
    Submission::sign(&SigningKey::from_seed(&SEED), ORIGIN, entry).to_bytes()
}

/// Writes what stands behind a key of a configuration.
pub fn set(path: &Path, key: &str, value: &str) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| match line.starts_with(&format!("{key} =")) {
            true => format!("{key} = {value}\n"),
            false => format!("{line}\n"),
        });
    fs::write(path, lines.collect::<String>()).unwrap();
}

/// A directory with a log that one key may submit to.
pub fn auditor(place: &TempDir) -> (PathBuf, VerifierKey) {
    let dir = place.path().join("log");
    let key = create(&dir, ORIGIN, Some(&place.path().join("state"))).unwrap();
    let settings = dir.join("auditor.toml");
    set(&settings, "listen", "\"127.0.0.1:0\"");
    let public: String = SigningKey::from_seed(&SEED)
        .public()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    set(&settings, "submitters", &format!("[\"{public}\"]"));
    (dir, key)
}

pub struct Running {
    pub url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// Ends it in order: locks are free, connections closed.
    pub async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

pub fn serve(dir: &Path) -> Running {
    let service = Service::open(dir).unwrap();
    let url = format!("http://{}", service.address().unwrap());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(service.run(async { drop(stopped.await) }));
    Running { url, stop, task }
}

/// A witness that watches this log, at a free port, or again at the one it had.
pub fn witness(place: &TempDir, number: u8, log: &VerifierKey, at: &str) -> (Running, VerifierKey) {
    let dir = place.path().join(format!("witness{number}"));
    let key = create_witness(&dir, &format!("witness.example/{number}")).unwrap();
    let address = at.trim_start_matches("http://");
    set(
        &dir.join("witness.toml"),
        "listen",
        &format!("\"{address}\""),
    );
    set(&dir.join("witness.toml"), "logs", &format!("[\"{log}\"]"));
    let service = WitnessService::open(&dir).unwrap();
    let url = format!("http://{}", service.address().unwrap());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(service.run(async { drop(stopped.await) }));
    (Running { url, stop, task }, key)
}

pub const ANY: &str = "127.0.0.1:0";

pub fn with_witnesses(dir: &Path, witnesses: &[(&str, &VerifierKey)], quorum: usize) {
    let path = dir.join("auditor.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (url, key) in witnesses {
        text += &format!("[[witnesses]]\nkey = \"{key}\"\nurl = \"{url}/\"\n");
    }
    fs::write(&path, text).unwrap();
    set(&path, "quorum", &quorum.to_string());
}

pub async fn get(url: &str, path: &str) -> (u16, Vec<u8>, String, String) {
    let response = reqwest::get(format!("{url}/{path}")).await.unwrap();
    let header = |name| {
        let value = response.headers().get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    let (kind, cached) = (header("content-type"), header("cache-control"));
    let status = response.status().as_u16();
    (
        status,
        response.bytes().await.unwrap().to_vec(),
        kind,
        cached,
    )
}

pub async fn post(url: &str, body: Vec<u8>) -> (u16, String) {
    let client = reqwest::Client::new();
    let response = client
        .post(format!("{url}/submit"))
        .body(body)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// A witness that shows this and answers that, to everybody, until the test ends.
pub async fn liar_at(shown: String, (status, answer): (u16, &'static str)) -> String {
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let routes = axum::Router::new()
        .route(
            "/{hash}/checkpoint",
            axum::routing::get(move || async { shown }),
        )
        .route(
            "/add-checkpoint",
            axum::routing::post(move || async move { (status, answer) }),
        );
    let listener = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    url
}
