//! What the host keeps, logs and sees, searched for what it must not have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Dev;
use std::path::{Path, PathBuf};

fn files(top: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top).unwrap().flatten();
    let below = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    below.collect()
}

#[test]
fn no_secret_is_on_disk_in_logs_at_trace_level_or_in_all_that_the_host_saw() {
    let mut dev = Dev::start();
    dev.kill();
    let record = dev.path("vault/seen").display().to_string();
    dev.again(&["--record", &record]);
    let phone = dev.phone("phone");
    let made = dev
        .on(&phone, &["register", "--stretching", "light"], "")
        .json();
    let code = made["code"].as_str().unwrap().to_owned();
    dev.on(&dev.phone("new"), &["recover"], &code).json();
    dev.on(
        &dev.phone("thief"),
        &["recover", "--password"],
        "wrong secret",
    )
    .error(3);
    let password = dev
        .on(&phone, &["recover", "--print"], "")
        .out
        .trim()
        .to_owned();
    let device = std::fs::read(phone.join("device/keys-0")).unwrap();
    let root = &device[..32];
    dev.kill();

    // The log is on: else its silence proves nothing.
    assert!(dev.log().lines().count() > 50, "{}", dev.log());
    let needles: Vec<Vec<u8>> = [
        code.clone().into_bytes(),
        code.replace('-', "").into_bytes(),
        b"wrong secret".to_vec(),
        password.clone().into_bytes(),
        hex::decode(&password).unwrap(),
        root.to_vec(),
        hex::encode(root).into_bytes(),
    ]
    .into();
    let seen = std::fs::read(dev.path("vault/seen")).unwrap();
    assert!(
        seen.windows(4)
            .any(|part| part == b"eyJ0" || part == b"eyJh"),
        "tokens were seen"
    );
    let mut paths = files(&dev.path("vault"));
    paths.push(dev.path("log"));
    for path in paths {
        let content = std::fs::read(&path).unwrap();
        for needle in &needles {
            let found = content.windows(needle.len()).any(|part| part == needle);
            assert!(!found, "{} holds a secret", path.display());
        }
        // Account tokens are seen, but never kept and never logged.
        if path != dev.path("vault/seen") {
            let token = content.windows(10).any(|part| part == b"eyJhbGciOi");
            assert!(!token, "{} holds an account token", path.display());
        }
    }
}
