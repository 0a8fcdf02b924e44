//! The programs that people have already: Debian's restic and age, with what `recover --print`
//! says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Dev, PROGRAM, Ran};
use std::process::Command;

/// Starts a program; a missing one fails the test and says how to get it.
fn tool(program: &str) -> Command {
    let known = Command::new(program).arg("--version").output();
    let known = known.or_else(|_| Command::new(program).arg("version").output());
    assert!(
        known.is_ok(),
        "{program} is missing: `cargo xtask test --only packages`"
    );
    Command::new(program)
}

#[test]
fn restic_backs_up_and_restores_under_a_recovered_password() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    let made = dev
        .on(&phone, &["register", "--stretching", "light"], "")
        .json();
    let code = made["code"].as_str().unwrap().to_owned();
    std::fs::create_dir(dev.path("files")).unwrap();
    std::fs::write(dev.path("files/letter.txt"), "see you").unwrap();
    let restic = |phone: &std::path::Path, arguments: &[&str]| {
        let command = format!(
            "'{PROGRAM}' --profile '{}' recover --print",
            phone.display()
        );
        let ran = tool("restic")
            .args(["--no-cache", "--repo"])
            .arg(dev.path("repository"))
            .args(arguments)
            .current_dir(dev.place.path())
            .env("RESTIC_PASSWORD_COMMAND", command)
            .output()
            .unwrap();
        let ran = Ran::of(ran);
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    restic(&phone, &["init"]);
    restic(&phone, &["backup", "files"]);
    std::fs::remove_dir_all(&phone).unwrap();
    let phone = dev.phone("new phone");
    dev.on(&phone, &["recover"], &code).json();
    restic(&phone, &["restore", "latest", "--target", "back"]);
    let back = std::fs::read_to_string(dev.path("back/files/letter.txt")).unwrap();
    assert_eq!(back, "see you");
    restic(&phone, &["check"]);
}

#[test]
fn the_stock_age_opens_a_backup_with_the_printed_identity() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    dev.on(&phone, &["register", "--stretching", "light"], "")
        .json();
    std::fs::create_dir(dev.path("files")).unwrap();
    std::fs::write(dev.path("files/letter.txt"), "see you").unwrap();
    let store = dev.path("store").display().to_string();
    let files = dev.path("files").display().to_string();
    let done = dev
        .on(&phone, &["backup", &files, "--store", &store], "")
        .json();
    let name = done["snapshot"]["name"].as_str().unwrap();
    let object = dev.path(&format!("store/snapshots/{name}.tar.zst.age"));
    let identity = dev.on(&phone, &["recover", "--print", "age"], "");
    assert_eq!(identity.code, 0, "{}", identity.err);
    std::fs::write(dev.path("identity"), &identity.out).unwrap();
    drop(tool("age"));
    let ran = Command::new("sh")
        .arg("-c")
        .arg(
            "set -e; age -d -i \"$1\" -o plain \"$2\"; zstd -dcq plain \
               | tar -xO --wildcards '*letter.txt'",
        )
        .args([
            "sh".as_ref(),
            dev.path("identity").as_os_str(),
            object.as_os_str(),
        ])
        .current_dir(dev.place.path())
        .output()
        .unwrap();
    let ran = Ran::of(ran);
    assert_eq!((ran.code, ran.out.as_str()), (0, "see you"), "{}", ran.err);
}
