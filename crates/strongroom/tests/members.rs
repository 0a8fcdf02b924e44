//! Members come and go while clients work: 3 → 5 → 7 → 5, one exchanged for another, the leader
//! among those that leave; and what may not be is refused, and changes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::contend::Contenders;
use common::fleet::{Fleet, Member, free, patiently};
use common::load::Door;
use common::{PROGRAM, Ran, run};
use serde_json::Value;
use std::path::PathBuf;

/// A host that is to join, by its number: its configuration, and where it serves.
fn configured(fleet: &Fleet, number: usize) -> (PathBuf, String) {
    let place = fleet.place.path().join(format!("member-{number}"));
    std::fs::create_dir_all(&place).unwrap();
    let listen = free();
    let others = (1..number).map(|other| {
        let config = &fleet.members[other - 1].config;
        let text = std::fs::read_to_string(config).unwrap();
        let peers = text.split("[peers]").nth(1).unwrap();
        let address = peers.lines().find(|line| line.starts_with("listen"));
        format!("{other}{}\n", address.unwrap().trim_start_matches("listen"))
    });
    let others: String = others.collect();
    let config = place.join("node.toml");
    let text = format!(
        "listen = \"{listen}\"\ndata = \"{}\"\n[peers]\nlisten = \"{}\"\n\
         [peers.addresses]\n{others}",
        place.join("data").display(),
        free()
    );
    std::fs::write(&config, text).unwrap();
    (config, format!("https://{listen}"))
}

/// Starts one that waits to be taken in; what it says of itself, and where it will serve.
fn joiner(fleet: &mut Fleet, bundle: &str) -> (String, String) {
    let at = fleet.members.len();
    let (config, server) = configured(fleet, at + 1);
    let said = config.with_file_name("data").join("joiner.json");
    fleet.members.push(Member {
        config: config.clone(),
        node: None,
        program: vec![PROGRAM.to_owned()],
    });
    fleet.start_with(at, &["--join", bundle]);
    patiently("a joiner says who it is", || said.exists().then_some(()));
    (said.to_str().unwrap().to_owned(), server)
}

/// The operator's profile knows other servers from now on, and their authorities.
fn serve(fleet: &Fleet, servers: &[(usize, String)]) {
    let path = fleet.profile().join("profile.json");
    let text = std::fs::read(&path).unwrap();
    let mut profile: Value = serde_json::from_slice(&text).unwrap();
    let mut authorities = String::new();
    for (number, _) in servers {
        let data = fleet.members[number - 1].config.with_file_name("data");
        let authority = data.join("tls/ca.pem");
        let read = || std::fs::read_to_string(&authority).ok();
        authorities += &patiently("a node has its certificate", read);
    }
    let mut servers = servers
        .iter()
        .map(|(_, server)| Value::from(server.clone()));
    profile["server"] = servers.next().unwrap();
    profile["other_servers"] = servers.collect();
    std::fs::write(profile["authority"].as_str().unwrap(), authorities).unwrap();
    std::fs::write(path, serde_json::to_vec(&profile).unwrap()).unwrap();
}

fn changed(fleet: &Fleet, arguments: &[&str]) -> Ran {
    let founders = fleet.place.path().join("founders.json");
    let signed = [arguments, &["--officer", founders.to_str().unwrap()]].concat();
    run(&fleet.profile(), &[&["fleet"][..], &signed].concat(), "")
}

/// The bundle in force, which every joiner needs: it answers no other hosts than that one's.
fn newest(fleet: &Fleet) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bytes = runtime.block_on(async { Door::of(&fleet.profile()).bundle().await });
    let path = fleet.place.path().join("bundle");
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Every server the operator's profile names, by number.
fn servers(fleet: &Fleet) -> Vec<(usize, String)> {
    let text = std::fs::read(fleet.profile().join("profile.json")).unwrap();
    let profile: Value = serde_json::from_slice(&text).unwrap();
    let others = profile["other_servers"].as_array().into_iter().flatten();
    let all = std::iter::once(&profile["server"]).chain(others);
    let all = all.map(|server| server.as_str().unwrap().to_owned());
    (1..).zip(all).collect()
}

fn members(answer: &Value) -> Vec<u64> {
    let members = answer["members"].as_array().unwrap().iter();
    members.map(|member| member.as_u64().unwrap()).collect()
}

/// Until a member has ended by itself.
fn ends(fleet: &mut Fleet, at: usize) {
    let mut node = fleet.members[at].node.take().unwrap();
    patiently("a removed member ends", || {
        // `wait` would close its standard input, and so end it.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.id())).ok()?;
        stat.contains(") Z ").then_some(())
    });
    assert!(!node.wait().unwrap().success());
}

/// A removed member ends, starts no more, and has no secret.
fn has_left(fleet: &mut Fleet, at: usize) {
    ends(fleet, at);
    fleet.start(at);
    ends(fleet, at);
    let said = fleet.log(at);
    assert!(said.contains("removed from the fleet"), "{said}");
    let hsm = fleet.members[at].config.with_file_name("data").join("hsm");
    let kept = std::fs::read_dir(hsm).unwrap().flatten();
    let kept: Vec<_> = kept.map(|file| file.file_name()).collect();
    let secret = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("member") || name.starts_with("draft")
    };
    assert_eq!(kept.iter().find(secret), None, "the secret is erased");
}

/// Takes two more in; the operator knows them from now on.
fn two_join(fleet: &mut Fleet, known: &mut Vec<(usize, String)>) -> Value {
    let bundle = newest(fleet);
    let next = fleet.members.len() + 1;
    let (one, server_one) = joiner(fleet, &bundle);
    let (other, server_other) = joiner(fleet, &bundle);
    let added = changed(fleet, &["add", "--joiner", &one, "--joiner", &other]).json();
    known.extend([(next, server_one), (next + 1, server_other)]);
    serve(fleet, known);
    added
}

#[test]
fn three_become_five_seven_and_five_under_load_and_the_leader_leaves() {
    let mut fleet = Fleet::of(3);
    fleet.leader();
    let mut known = servers(&fleet);
    let profile = fleet.profile();
    let load = Contenders::on(|| Door::of(&profile), 2, 2);
    load.go_on("with three", 10);

    let five = two_join(&mut fleet, &mut known);
    assert_eq!(
        (members(&five), &five["quorum"]),
        (vec![1, 2, 3, 4, 5], &3.into())
    );
    load.go_on("with five", 10);
    fleet.all_well(5);

    // Two of five are away: the three that are left may be the old ones, or not.
    fleet.kill(0);
    fleet.kill(3);
    load.go_on("with two of five away", 10);
    fleet.start(0);
    fleet.start(3);
    fleet.all_well(5);

    let seven = two_join(&mut fleet, &mut known);
    assert_eq!((members(&seven).len(), &seven["quorum"]), (7, &4.into()));
    load.go_on("with seven", 10);
    fleet.all_well(7);

    // Whoever leads leaves, and one that joined; never all of those that clients know.
    let leader = fleet.leader();
    let other = if leader == 4 { 5 } else { 4 };
    let leave = [(leader + 1).to_string(), (other + 1).to_string()];
    let five = changed(
        &fleet,
        &["remove", "--member", &leave[0], "--member", &leave[1]],
    )
    .json();
    assert_eq!(members(&five).len(), 5);
    load.go_on("with five again", 10);
    has_left(&mut fleet, leader);
    has_left(&mut fleet, other);
    known.retain(|(number, _)| !leave.contains(&number.to_string()));
    serve(&fleet, &known);
    fleet.all_well(5);

    // One for another, in one change. Its number is new, though the greatest one left before.
    let bundle = newest(&fleet);
    let (eighth, server8) = joiner(&mut fleet, &bundle);
    let goes = known.last().unwrap().0;
    let exchanged = changed(
        &fleet,
        &[
            "replace",
            "--member",
            &goes.to_string(),
            "--joiner",
            &eighth,
        ],
    );
    let exchanged = members(&exchanged.json());
    assert!(exchanged.contains(&8) && !exchanged.contains(&(goes as u64)));
    has_left(&mut fleet, goes - 1);
    known.retain(|(number, _)| *number != goes);
    known.push((8, server8));
    serve(&fleet, &known);
    fleet.all_well(5);
    load.go_on("after all that", 10);
    load.judge();
}

#[test]
fn one_becomes_three_and_may_then_be_lost() {
    let mut fleet = Fleet::alone();
    fleet.start(0);
    fleet.all_well(1);
    let profile = fleet.profile();
    let load = Contenders::on(|| Door::of(&profile), 2, 2);
    load.go_on("alone", 10);
    let mut known = servers(&fleet);
    let bundle = newest(&fleet);
    let (second, server2) = joiner(&mut fleet, &bundle);
    let (third, server3) = joiner(&mut fleet, &bundle);
    let three = changed(&fleet, &["add", "--joiner", &second, "--joiner", &third]).json();
    assert_eq!(
        (members(&three), &three["quorum"]),
        (vec![1, 2, 3], &2.into())
    );
    load.go_on("with three", 10);
    load.judge();
    known.extend([(2, server2), (3, server3)]);
    serve(&fleet, &known);
    fleet.all_well(3);
    // The one that everything began with is lost for ever, and its number with it.
    fleet.kill(0);
    let load = Contenders::on(|| Door::of(&profile), 2, 2);
    load.go_on("with two of three", 10);
    let bundle = newest(&fleet);
    let (fourth, server4) = joiner(&mut fleet, &bundle);
    let replaced = changed(&fleet, &["replace", "--member", "1", "--joiner", &fourth]).json();
    assert_eq!(members(&replaced), [2, 3, 4]);
    known.retain(|(number, _)| *number != 1);
    known.push((4, server4));
    serve(&fleet, &known);
    fleet.all_well(3);
    load.go_on("with three again", 10);
    load.judge();
    // It comes back all the same, from wherever it was: nobody speaks with it, it leads nothing.
    fleet.start(0);
    let load = Contenders::on(|| Door::of(&profile), 1, 2);
    load.go_on("and it disturbs nobody", 10);
    load.judge();
    fleet.all_well(3);
}

#[test]
fn a_member_that_was_away_over_a_change_comes_back_under_a_leader_it_never_heard_of() {
    let mut fleet = Fleet::of(3);
    fleet.leader();
    let mut known = servers(&fleet);
    fleet.kill(2);
    patiently("two of three go on", || {
        let leader = fleet.examined()?["leader"].as_u64()?;
        (leader < 3).then_some(())
    });
    two_join(&mut fleet, &mut known);
    // Until one of the two that joined leads: an old one is killed, and comes back to follow.
    for _ in 0..20 {
        let leader = fleet.leader();
        if leader > 2 {
            break;
        }
        fleet.kill(leader);
        let left = patiently("another leads", || {
            let next = fleet.examined()?["leader"].as_u64()?;
            (next != leader as u64 + 1).then_some(next)
        });
        fleet.start(leader);
        if left > 3 {
            break;
        }
        patiently("it is back", || {
            (fleet.examined()?["working"] == 4).then_some(())
        });
    }
    fleet.start(2);
    fleet.all_well(5);
}

#[test]
fn a_change_that_may_not_be_changes_nothing() {
    let mut fleet = Fleet::of(3);
    let leader = fleet.leader();
    let bundle = newest(&fleet);
    let (fourth, _) = joiner(&mut fleet, &bundle);
    // Signed by somebody else: the same file with another officer in it.
    let founders = std::fs::read_to_string(fleet.place.path().join("founders.json")).unwrap();
    let mut other: Value = serde_json::from_str(&founders).unwrap();
    other["officer"] = "11".repeat(32).into();
    let other_founders = fleet.place.path().join("others.json");
    std::fs::write(&other_founders, other.to_string()).unwrap();
    let forged = ["fleet", "add", "--joiner", &fourth, "--officer"];
    let forged = [&forged[..], &[other_founders.to_str().unwrap()]].concat();
    let refused = run(&fleet.profile(), &forged, "").error(4);
    assert!(
        refused["message"].as_str().unwrap().contains("signatures"),
        "{refused}"
    );
    // A member that is not there.
    changed(&fleet, &["remove", "--member", "9"]).error(2);
    // One that joins and is not running.
    fleet.kill(3);
    let refused = changed(&fleet, &["add", "--joiner", &fourth]).error(4);
    assert!(
        refused["message"].as_str().unwrap().contains("not reached"),
        "{refused}"
    );
    // Of two that would be left, one is away.
    let followers: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    fleet.kill(followers[0]);
    patiently("the leader sees that it is gone", || {
        let gone = (followers[1] + 1).to_string();
        let refused = changed(&fleet, &["remove", "--member", &gone]);
        let words = refused.error(4)["message"].as_str().unwrap().to_owned();
        words.contains("lose the majority").then_some(())
    });
    fleet.start(followers[0]);
    fleet.all_well(3);
    // The joiner goes on where it was killed, and all is as if nothing had been tried.
    fleet.start_with(3, &["--join", &bundle]);
    let four = patiently("the joiner is taken in", || {
        let ran = changed(&fleet, &["add", "--joiner", &fourth]);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(members(&four), [1, 2, 3, 4]);
    assert_eq!(
        four["manifest_epoch"], 1,
        "none of the others was ever in force"
    );
    // A member that joined is killed and comes back as any other, with --join or without.
    fleet.kill(3);
    fleet.start(3);
    fleet.all_well(3);
}
