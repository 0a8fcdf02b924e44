//! What a person at a terminal does, through the real program, and what it answers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Dev, run};

const LIGHT: [&str; 2] = ["--stretching", "light"];

fn register(dev: &Dev, phone: &std::path::Path) -> String {
    let made = dev.on(phone, &["register", LIGHT[0], LIGHT[1]], "").json();
    assert_eq!(made["receipt"]["attempts_left"], 10);
    made["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_lost_phone_comes_back_with_its_backup() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    let code = register(&dev, &phone);
    let files = dev.path("files");
    std::fs::create_dir_all(files.join("empty")).unwrap();
    std::fs::write(files.join("letter.txt"), "see you").unwrap();
    let store = dev.path("store").display().to_string();
    let source = files.display().to_string();
    let done = dev.on(&phone, &["backup", &source, "--store", &store], "");
    assert_eq!(done.json()["contents"]["files"], 1);

    std::fs::remove_dir_all(&phone).unwrap();
    let phone = dev.phone("new phone");
    let target = dev.path("target").display().to_string();
    let restore = ["restore", &target, "--store", &store];
    assert_eq!(dev.on(&phone, &restore, "").error(8)["kind"], "not-set-up");
    let wrong_letter = code.replacen(&code[..1], if code.starts_with('7') { "8" } else { "7" }, 1);
    assert_eq!(
        dev.on(&phone, &["rehearse"], &code).error(8)["kind"],
        "not-set-up"
    );
    dev.on(&phone, &["recover"], &wrong_letter).json();
    dev.on(&phone, &["rehearse"], &code).json();
    dev.on(&phone, &restore, "").json();
    let back = std::fs::read_to_string(dev.path("target/letter.txt")).unwrap();
    assert_eq!(back, "see you");
    assert!(dev.path("target/empty").is_dir());
    assert_eq!(dev.on(&phone, &restore, "").error(2)["kind"], "usage");
}

#[test]
fn wrong_codes_are_told_apart_from_typing_errors_and_cost_what_they_should() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    let code = register(&dev, &phone);
    let thief = dev.phone("thief");
    let typing_error = dev.on(&thief, &["recover"], "7777-777").error(3);
    assert!(
        typing_error["message"]
            .as_str()
            .unwrap()
            .contains("Nothing was sent")
    );
    let password = dev
        .on(&thief, &["recover", "--password"], "a guess")
        .error(3);
    assert_eq!(password["details"]["attempts_left"], 9);
    let status = dev.on(&phone, &["status"], "").json();
    assert_eq!(
        (&status["attempts_left"], &status["guesses_ever"]),
        (&9.into(), &1.into())
    );
    let right = dev.on(&thief, &["recover"], &code).json();
    assert_eq!(right["wrong_guesses_ever"], 1);
}

#[test]
fn codes_change_resets_wait_and_what_is_deleted_is_gone() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    assert_eq!(dev.on(&phone, &["status"], "").error(4)["kind"], "refused");
    let old = register(&dev, &phone);
    assert_eq!(dev.on(&phone, &["register"], "").error(2)["kind"], "usage");
    let new = dev
        .on(&phone, &["change-code", LIGHT[0], LIGHT[1]], "")
        .json();
    let new = new["code"].as_str().unwrap();
    assert_eq!(
        dev.on(&phone, &["recover"], &old).error(3)["details"]["attempts_left"],
        9
    );

    let stranger = dev.phone("stranger");
    let taken = dev
        .on(&stranger, &["register", LIGHT[0], LIGHT[1]], "")
        .error(4);
    assert!(
        taken["message"]
            .as_str()
            .unwrap()
            .contains("waiting period")
    );
    assert!(dev.on(&stranger, &["reset"], "").json()["reset_until_unix_ms"].is_u64());
    assert!(dev.on(&phone, &["status"], "").json()["reset_until_unix_ms"].is_u64());
    dev.on(&phone, &["cancel-reset"], "").json();
    assert_eq!(
        dev.on(&phone, &["cancel-reset"], "").error(4)["kind"],
        "refused"
    );

    assert_eq!(dev.on(&phone, &["delete"], "").error(2)["kind"], "usage");
    dev.on(&phone, &["delete", "--yes"], "").json();
    let gone = dev.on(&stranger, &["recover"], new).error(4);
    assert_eq!(gone["details"]["refusal"], "destroyed");
}

#[test]
fn passwords_are_judged_and_a_64_digit_key_needs_no_vault() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    for weak in ["123456", "password", "alice123", "270991"] {
        let refused = dev.on(&phone, &["register", "--password"], weak).error(3);
        assert_eq!(refused["kind"], "wrong-code", "{weak}");
    }
    let good = "mango tram orbit lantern";
    dev.on(
        &phone,
        &["register", "--password", LIGHT[0], LIGHT[1]],
        good,
    )
    .json();
    dev.on(&dev.phone("other"), &["recover", "--password"], good)
        .json();

    let alone = dev.phone("alone");
    let key = dev.on(&alone, &["key", "new"], "").json();
    let key = key["key"].as_str().unwrap();
    let second = dev.phone("second");
    let mistyped = key.replacen(&key[..1], if key.starts_with('1') { "2" } else { "1" }, 1);
    dev.on(&second, &["key", "enter"], &mistyped).error(3);
    dev.on(&second, &["key", "enter"], key).json();
    let [one, two] = [&alone, &second].map(|phone| run(phone, &["recover", "--print"], "").out);
    assert_eq!((one.len(), &one), (65, &two));
}

#[test]
fn an_unknown_fleet_a_dead_server_and_a_missing_profile_have_exit_codes_of_their_own() {
    let mut dev = Dev::start();
    let phone = dev.phone("phone");
    let path = phone.join("profile.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let fleet = serde_json::from_str::<serde_json::Value>(&good).unwrap();
    let fleet = fleet["fleet"].as_str().unwrap();
    std::fs::write(&path, good.replace(fleet, &"ab".repeat(32))).unwrap();
    assert_eq!(
        dev.on(&phone, &["status"], "").error(6)["kind"],
        "untrusted"
    );
    std::fs::write(
        &path,
        good.replace("\"class_min\": \"none\"", "\"class_min\": \"isolating\""),
    )
    .unwrap();
    assert_eq!(
        dev.on(&phone, &["status"], "").error(6)["kind"],
        "untrusted"
    );
    let (none, one) = (
        "\"rollback_tolerance_min\": 0",
        "\"rollback_tolerance_min\": 1",
    );
    assert!(good.contains(none));
    std::fs::write(&path, good.replace(none, one)).unwrap();
    assert_eq!(
        dev.on(&phone, &["status"], "").error(6)["kind"],
        "untrusted"
    );
    // A profile from before R could be asked for.
    let line = format!("  {none},\n");
    std::fs::write(&path, good.replace(&line, "")).unwrap();
    register(&dev, &phone);
    std::fs::write(&path, &good).unwrap();
    dev.kill();
    assert_eq!(
        dev.on(&phone, &["status"], "").error(5)["kind"],
        "unreachable"
    );
    assert_eq!(
        run(&dev.path("none"), &["status"], "").error(8)["kind"],
        "not-set-up"
    );
}

#[test]
fn a_drawn_code_is_shown_before_it_is_sent_and_counts_with_the_last_line() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    let made = dev.on(&phone, &["register", LIGHT[0], LIGHT[1]], "");
    let lines: Vec<serde_json::Value> = made
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{}", made.out);
    assert!(lines[0]["receipt"].is_null() && lines[1]["receipt"].is_object());
    assert_eq!(lines[0]["code"], lines[1]["code"]);
    // Refused: the code was shown, and no line says that it counts.
    let stranger = dev.phone("stranger");
    let refused = dev.on(&stranger, &["register", LIGHT[0], LIGHT[1]], "");
    refused.error(4);
    assert_eq!(refused.out.lines().count(), 1);
}

#[test]
fn after_guessing_erased_a_key_another_password_is_asked_for() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    register(&dev, &phone);
    let thief = dev.phone("thief");
    let mut guesses = 0;
    // Waits are refusals: they are asked again until they are over.
    loop {
        let tried = dev.on(&thief, &["recover", "--password"], "a guess of a thief");
        match tried.code {
            3 => guesses += 1,
            _ if tried.error(4)["details"]["refusal"] == "destroyed" => break,
            _ => {}
        }
    }
    assert_eq!(guesses, 10);
    let fresh = dev.phone("fresh");
    let words = "mango tram orbit lantern";
    let again = ["register", "--password", LIGHT[0], LIGHT[1]];
    let asked = dev.on(&fresh, &again, words).error(9);
    assert_eq!(asked["kind"], "code-may-be-known");
    assert_eq!(asked["details"]["destroyed"], 1);
    let confirmed = [again.as_slice(), &["--different-code"]].concat();
    dev.on(&fresh, &confirmed, words).json();
    // A drawn code is another one in any case.
    dev.on(&fresh, &["change-code", LIGHT[0], LIGHT[1]], "")
        .json();
}

#[test]
fn what_became_of_an_earlier_command_is_told_by_the_next() {
    let dev = Dev::start();
    let phone = dev.phone("phone");
    register(&dev, &phone);
    std::fs::write(phone.join("device/pending-register-0-0"), "no finish").unwrap();
    let status = dev.on(&phone, &["status"], "");
    status.json();
    let note: serde_json::Value = serde_json::from_str(status.err.trim()).unwrap();
    assert_eq!(note["note"]["settled"], "damaged");
    assert_eq!(note["note"]["slot"], 0);
    assert!(phone.join("device/damaged-pending-register-0-0-0").exists());
    assert!(dev.on(&phone, &["status"], "").err.is_empty(), "told once");
}
