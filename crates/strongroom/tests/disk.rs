//! A disk that is full, and a store that is older than its HSM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Dev, run};
use std::path::Path;
use std::process::{Command, Stdio};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

#[test]
fn a_store_restored_from_a_copy_under_a_newer_anchor_is_refused_and_the_right_one_goes_on() {
    let mut dev = Dev::start();
    let phone = dev.phone("phone");
    dev.kill();
    let (store, old) = (dev.path("vault/data/store"), dev.path("old"));
    copy(&store, &old);
    dev.again(&[]);
    dev.on(&phone, &["register", "--stretching", "light"], "")
        .json();
    dev.kill();
    std::fs::rename(&store, dev.path("right")).unwrap();
    copy(&old, &store);
    let refused = Command::new(common::PROGRAM)
        .args(["dev", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dev.path("vault"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("older") || words.contains("copy"), "{words}");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(dev.path("right"), &store).unwrap();
    dev.again(&[]);
    let status = dev.on(&phone, &["status"], "").json();
    assert_eq!(status["attempts_left"], 10);
}

/// A small file system of its own, unmounted on drop.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(place: &Path) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(place)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(place.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_is_got_over_without_help() {
    let mut dev = Dev::start();
    dev.kill();
    std::fs::remove_dir_all(dev.path("vault")).unwrap();
    let Some(_small) = Small::mount(&dev.path("vault")) else {
        println!("LEFT OUT: mounting a small file system needs root");
        return;
    };
    dev.again(&[]);
    let phone = dev.phone("phone");
    let made = dev
        .on(&phone, &["register", "--stretching", "light"], "")
        .json();
    let code = made["code"].as_str().unwrap().to_owned();
    // Fill it to the last byte.
    let filler = dev.path("vault/filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", filler.display()))
        .stderr(Stdio::null())
        .status();
    let second = dev.phone("second");
    let mut refused = 0;
    for _ in 0..40 {
        let ran = dev.on(&second, &["recover"], &code);
        if ran.code != 0 {
            assert_eq!(ran.error(5)["kind"], "unreachable", "{}", ran.err);
            refused += 1;
            break;
        }
    }
    assert!(refused > 0, "the disk never became full");
    std::fs::remove_file(&filler).unwrap();
    let back = std::time::Instant::now();
    while run(&second, &["recover"], &code).code != 0 {
        assert!(
            back.elapsed().as_secs() < 60,
            "it did not come back: {}",
            dev.log()
        );
    }
    // Each run of the program is a guess of its own; the last one proved right restores them.
    let status = dev.on(&phone, &["status"], "").json();
    assert_eq!(status["attempts_left"], 10);
}
