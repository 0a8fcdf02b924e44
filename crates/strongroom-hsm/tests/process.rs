//! The HSM as a process: its sandbox, its directory, and hosts that break the framing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use strongroom_hsm::link::{Link, frame};
use strongroom_wire::frame::{FRAME_VERSION, HsmError, Phase, Request, Response};
use strongroom_wire::limits::FRAME_BYTES_MAX;
use strongroom_wire::manifest::{FleetKey, Manifest, Member, PlatformClass, Policy};
use strongroom_wire::{Digest, KeyId, MemberId, PublicKey, encode};

const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom-hsm");

fn alone(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--dir").arg(dir);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hello(link: &mut Link) -> Phase {
    let version = FRAME_VERSION;
    match link.call(&Request::Hello { version }).unwrap() {
        Response::Welcome(welcome) => {
            assert_eq!(welcome.class, PlatformClass::None);
            welcome.phase
        }
        other => panic!("{other:?}"),
    }
}

/// A member of a fleet of one in `dir`; its process is still running.
fn member(dir: &Path) -> Link {
    let mut link = Link::spawn(Path::new(PROGRAM), dir).unwrap();
    hello(&mut link);
    let Response::Drafted(drafted) = link.call(&Request::Draft).unwrap() else {
        panic!("no draft");
    };
    let manifest = Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public: drafted.hpke.try_into().unwrap(),
        }],
        opaque: drafted.opaque,
        members: vec![Member {
            id: MemberId(1),
            identity: drafted.identity,
            platform: "software".to_owned(),
            class: PlatformClass::None,
            measurement: Digest([0; 32]),
            site: "here".to_owned(),
            host: Digest([0; 32]),
            address: None,
        }],
        rollback_tolerance: 0,
        policy: Policy::default(),
        cells: 1,
        resurrections_max: 0,
        admin: PublicKey([1; 32]),
        operator: PublicKey([2; 32]),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    };
    let manifest = encode(&manifest);
    let begun = link
        .call(&Request::Genesis {
            manifest,
            secret: None,
        })
        .unwrap();
    assert!(matches!(begun, Response::Standing { .. }), "{begun:?}");
    link
}

#[test]
fn the_sandbox_forbids_files_outside_its_directory_sockets_and_programs() {
    let dir = tempfile::tempdir().unwrap();
    let output = alone(&["--self-test-sandbox"], &dir.path().join("hsm"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().count() >= 7, "{text}");
    assert!(
        text.lines().all(|line| line.ends_with(": denied")),
        "{text}"
    );
}

#[test]
fn wrong_usage_and_a_directory_in_use_have_exit_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("hsm");
    let output = Command::new(PROGRAM).arg("--frobnicate").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut link = Link::spawn(Path::new(PROGRAM), &place).unwrap();
    hello(&mut link);
    let second = alone(&[], &place);
    assert_eq!(second.status.code(), Some(3), "{}", words(&second));
}

#[test]
fn a_member_killed_at_any_point_of_its_founding_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("hsm");
    let mut link = Link::spawn(Path::new(PROGRAM), &place).unwrap();
    assert!(matches!(hello(&mut link), Phase::Blank));
    let first = link.call(&Request::Draft).unwrap();
    drop(link);
    let mut link = Link::spawn(Path::new(PROGRAM), &place).unwrap();
    assert!(matches!(hello(&mut link), Phase::Drafted));
    assert_eq!(
        link.call(&Request::Draft).unwrap(),
        first,
        "the draft is repeated"
    );
    drop(link);
    drop(member(&place));
    let mut link = Link::spawn(Path::new(PROGRAM), &place).unwrap();
    assert!(matches!(hello(&mut link), Phase::Waiting { .. }));
}

#[test]
fn frames_that_are_too_long_end_the_process_and_damaged_ones_are_answered_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut link = Link::spawn(Path::new(PROGRAM), &dir.path().join("hsm")).unwrap();
    let early = link.call(&Request::Draft).unwrap();
    assert_eq!(
        early,
        Response::Error(HsmError::WrongVersion),
        "Hello comes first"
    );
    hello(&mut link);
    for damaged in [
        b"".as_slice(),
        b"\xff",
        &[0; 100],
        &encode(&Request::Draft)[1..],
    ] {
        link.stream().write_all(&frame(7, damaged)).unwrap();
        let (sequence, response) = link.receive().unwrap();
        assert_eq!(
            (sequence, response),
            (7, Response::Error(HsmError::FrameMalformed))
        );
    }
    link.stream().write_all(&3_u32.to_be_bytes()).unwrap();
    link.stream().write_all(b"abc").unwrap();
    let (_, short) = link.receive().unwrap();
    assert_eq!(short, Response::Error(HsmError::FrameMalformed));
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    link.stream().write_all(&too_long.to_be_bytes()).unwrap();
    let (_, refused) = link.receive().unwrap();
    assert_eq!(refused, Response::Error(HsmError::FrameTooLong));
    assert_eq!(link.child().wait().unwrap().code(), Some(6));
}

#[test]
fn a_frame_cut_short_ends_the_process_with_a_word_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut link = Link::spawn(Path::new(PROGRAM), &dir.path().join("hsm")).unwrap();
    hello(&mut link);
    link.stream().write_all(&[0, 0, 0, 50, 1, 2]).unwrap();
    link.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(link.child().wait().unwrap().code(), Some(6));
}

#[test]
fn lost_or_damaged_keys_and_anchors_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("hsm");
    drop(member(&place));
    let files: Vec<_> = std::fs::read_dir(&place).unwrap().flatten().collect();
    let names: Vec<String> = files
        .iter()
        .map(|file| file.file_name().into_string().unwrap())
        .filter(|name| name != "lock" && !name.starts_with("anchor") && name != "draft.sealed")
        .collect();
    assert!(
        names.iter().any(|name| name == "member.sealed"),
        "{names:?}"
    );
    for name in names {
        let path = place.join(&name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for broken in [&whole[..whole.len() / 2], &flipped] {
            std::fs::write(&path, broken).unwrap();
            let output = alone(&[], &place);
            assert_eq!(output.status.code(), Some(4), "{name}: {}", words(&output));
        }
        std::fs::write(&path, &whole).unwrap();
    }
    // Both slots of the anchor gone: a host must not get a member without its memory.
    for slot in ["anchor.0", "anchor.1"] {
        std::fs::write(place.join(slot), b"").unwrap();
    }
    let output = alone(&[], &place);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert!(words(&output).contains("anchor"), "{}", words(&output));
}

#[test]
fn one_torn_slot_of_the_anchor_is_what_a_power_cut_leaves_and_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("hsm");
    drop(member(&place));
    let sizes = ["anchor.0", "anchor.1"].map(|slot| {
        let path = place.join(slot);
        (
            std::fs::metadata(&path).map_or(0, |about| about.len()),
            path,
        )
    });
    // The slot that is written next: empty so far, or the older one.
    let (_, next) = sizes.iter().min_by_key(|(size, _)| *size).unwrap();
    std::fs::write(next, b"half an anch").unwrap();
    let mut link = Link::spawn(Path::new(PROGRAM), &place).unwrap();
    assert!(matches!(hello(&mut link), Phase::Waiting { .. }));
}
