//! The auditor's commands: a fleet's manifest is logged, witnessed and proved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::load::Door;
use common::{Dev, PROGRAM, Ran, run};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use strongroom_client::wire::entry::OfficerSignature;
use strongroom_client::wire::manifest::Bundle;
use strongroom_client::wire::{PublicKey, Signature, decode};
use strongroom_crypto::statement::{Label, SigningKey, sign};
use strongroom_log::entry::{Entry, SignedManifest};
use strongroom_log::note::VerifierKey;
use strongroom_log::policy::TrustedLog;
use strongroom_log::proof::Proof;

const ORIGIN: &str = "log.example/strongroom";

/// A process that serves until it is dropped.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(arguments: &[&str], dir: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("--json")
            .args(arguments)
            .arg("--dir")
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = ready["url"].as_str().unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn edit(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "{before}");
    std::fs::write(path, before.replacen(from, to, 1)).unwrap();
}

/// A witness of that log and its key.
fn witness(dir: &Path, log: &str) -> (Serving, String) {
    let made = run(
        dir,
        &[
            "auditor",
            "witness",
            "init",
            "--name",
            "witness.example/1",
            "--dir",
            text(dir),
        ],
        "",
    );
    let settings = dir.join("witness.toml");
    edit(&settings, "127.0.0.1:7412", "127.0.0.1:0");
    edit(&settings, "logs = []", &format!("logs = [\"{log}\"]"));
    let key = made.json()["key"].as_str().unwrap().to_owned();
    (Serving::start(&["auditor", "witness", "serve"], dir), key)
}

/// A development fleet, a log and a witness of it.
struct World {
    dev: Dev,
    key: String,
    /// Held, so that it answers.
    _witness: Serving,
    witness_key: String,
}

impl World {
    fn start() -> Self {
        let dev = Dev::start();
        let (dir, state) = (dev.path("auditor"), dev.path("state"));
        let init = [
            "auditor",
            "init",
            "--origin",
            ORIGIN,
            "--dir",
            text(&dir),
            "--state",
        ];
        let made = run(&dir, &[&init[..], &[text(&state)]].concat(), "").json();
        let key = made["key"].as_str().unwrap().to_owned();
        let (witness, witness_key) = witness(&dev.path("witness"), &key);
        let settings = dir.join("auditor.toml");
        edit(&settings, "127.0.0.1:7411", "127.0.0.1:0");
        edit(&settings, "quorum = 0", "quorum = 1");
        let asked = format!(
            "[[witnesses]]\nkey = \"{witness_key}\"\nurl = \"{}\"\n#",
            witness.url
        );
        edit(&settings, "# [[witnesses]]", &asked);
        Self {
            dev,
            key,
            _witness: witness,
            witness_key,
        }
    }

    fn serve(&self) -> Serving {
        Serving::start(&["auditor", "serve"], &self.dev.path("auditor"))
    }

    fn founders(&self) -> PathBuf {
        self.dev.path("vault/founders.json")
    }

    fn submit(&self, url: &str, entry: &[&str]) -> Ran {
        let (proof, seeds) = (self.dev.path("tlog-proof"), self.founders());
        let fixed = [
            "auditor", "submit", "--url", url, "--log", &self.key, "--quorum", "1",
        ];
        let more = [
            "--witness",
            &self.witness_key,
            "--operator",
            text(&seeds),
            "--out",
            text(&proof),
        ];
        run(
            self.dev.place.path(),
            &[&fixed[..], &more, entry].concat(),
            "",
        )
    }

    /// Verifies the newest proof as a client does.
    fn verify(&self, entry: &Entry) {
        let keys = vec![VerifierKey::parse(&self.witness_key).unwrap()];
        let trusted = TrustedLog::new(VerifierKey::parse(&self.key).unwrap(), keys, 1).unwrap();
        let proof = std::fs::read(self.dev.path("tlog-proof")).unwrap();
        let proof = Proof::parse(&proof).unwrap();
        proof.verify(&trusted, &entry.to_bytes().unwrap()).unwrap();
    }
}

#[test]
fn a_fleets_manifest_is_logged_witnessed_and_proved() {
    let world = World::start();
    let door = Door::of(&world.dev.phone("phone"));
    let bundle = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(door.bundle());
    let (file, founders) = (world.dev.path("bundle"), world.founders());
    std::fs::write(&file, &bundle).unwrap();
    let manifest = ["manifest", text(&file), "--officer", text(&founders)];
    let auditor = world.serve();
    let refused = world.submit(&auditor.url, &manifest).error(4);
    let words = refused["message"].as_str().unwrap();
    let own = words.rsplit(' ').next().unwrap();
    assert_eq!(own.len(), 64, "{words}");
    drop(auditor);
    let settings = world.dev.path("auditor/auditor.toml");
    edit(
        &settings,
        "submitters = []",
        &format!("submitters = [\"{own}\"]"),
    );

    let auditor = world.serve();
    for _ in 0..2 {
        let answer = world.submit(&auditor.url, &manifest).json();
        assert_eq!(
            (&answer["index"], &answer["cosigned"]),
            (&0.into(), &1.into())
        );
    }
    let bundle: Bundle = decode(&bundle).unwrap();
    world.verify(&Entry::Manifest(SignedManifest {
        officers: vec![approved(&bundle.manifest, &founders)],
        manifest: bundle.manifest,
        operator: bundle.operator,
    }));
}

#[test]
fn a_release_is_logged_once_and_refusals_have_exit_codes() {
    let world = World::start();
    let seeds: Value = serde_json::from_slice(&std::fs::read(world.founders()).unwrap()).unwrap();
    let seed = hex::decode(seeds["operator"].as_str().unwrap()).unwrap();
    let own = hex::encode(SigningKey::from_seed(&seed.try_into().unwrap()).public());
    let settings = world.dev.path("auditor/auditor.toml");
    edit(
        &settings,
        "submitters = []",
        &format!("submitters = [\"{own}\"]"),
    );
    let auditor = world.serve();
    let (one, two) = ("ab".repeat(32), "ac".repeat(32));
    let release = ["release", "1.0.0", "--date", "7", "--measurement", &one];
    assert_eq!(world.submit(&auditor.url, &release).json()["index"], 0);
    let again = ["release", "1.0.0", "--date", "8", "--measurement", &two];
    world.submit(&auditor.url, &again).error(4);
    world.submit("http://127.0.0.1:9", &release).error(5);
    let short = ["release", "1", "--date", "8", "--measurement", "ab"];
    world.submit(&auditor.url, &short).error(2);
}

fn approved(manifest: &[u8], founders: &Path) -> OfficerSignature {
    let seeds: Value = serde_json::from_slice(&std::fs::read(founders).unwrap()).unwrap();
    let seed = hex::decode(seeds["officer"].as_str().unwrap()).unwrap();
    let key = SigningKey::from_seed(&seed.try_into().unwrap());
    OfficerSignature {
        officer: PublicKey(key.public()),
        signature: Signature(sign(&key, Label::Officers, manifest)),
    }
}

#[test]
fn a_log_is_made_once_and_missing_ones_are_named() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("log");
    let at = |arguments: &[&str]| {
        let arguments = [&["auditor"], arguments, &["--dir", text(&dir)]].concat();
        run(place.path(), &arguments, "")
    };
    for command in ["key", "serve"] {
        let message = at(&[command]).error(8)["message"].to_string();
        assert!(message.contains("auditor init"), "{message}");
    }
    let key = at(&["init", "--origin", ORIGIN]).json()["key"].clone();
    assert_eq!(at(&["key"]).json()["key"], key);
    at(&["init", "--origin", ORIGIN]).error(2);
    at(&["init", "--origin", "other"]).error(2);
    at(&["init", "--origin", "two words"]).error(2);
}
