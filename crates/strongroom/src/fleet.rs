//! `fleet`: what an operator asks of the fleet as a whole.

mod members;

use crate::cli::Fleet;
use crate::output::{Failure, Kind, Output};
use crate::profile::Profile;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use strongroom_client::transport::Http;
use strongroom_client::wire::entry::{ClockChange, OfficerSignature, SignedClockChange};
use strongroom_client::wire::{CellId, Incarnation, PublicKey, Signature, UnixMs, encode};
use strongroom_crypto::statement::{self, Label, SigningKey};

/// What a node says of itself at `/v1/status`.
#[derive(Deserialize)]
struct Status {
    fleet: String,
    member: u8,
    leader: Option<u8>,
    quorum: usize,
    members: Vec<Member>,
    standing: Option<Standing>,
    applied: Option<Applied>,
}

#[derive(Deserialize)]
struct Member {
    id: u8,
    site: String,
}

#[derive(Deserialize)]
struct Standing {
    clock_ms: u64,
}

#[derive(Deserialize)]
struct Applied {
    index: u64,
    root: String,
    time_ms: u64,
    clock_changes: u64,
    greatest_member: Option<u8>,
}

/// Clocks further apart than this are a fault, ms: half of what notaries allow.
const CLOCKS_APART_MS: u64 = 30_000;
/// A member further behind than this is a fault, entries.
const BEHIND_MAX: u64 = 64;

/// `fleet`.
pub(crate) async fn run(profile: &Profile, command: &Fleet, output: Output) -> Result<(), Failure> {
    match command {
        Fleet::Doctor => doctor(profile, output).await,
        Fleet::Clock { officer, time } => clock(profile, officer, *time, output).await,
        Fleet::Add(added) => members::add(profile, added, output).await,
        Fleet::Remove(removed) => members::remove(profile, removed, output).await,
        Fleet::Replace { member, added } => {
            members::replace(profile, (member, added), output).await
        }
    }
}

async fn status(http: &Http) -> Result<Status, Failure> {
    let status = http.get("/v1/status").await;
    let status = status.map_err(strongroom_client::Error::from)?;
    serde_json::from_slice(&status)
        .map_err(|error| Failure::new(Kind::Fault, format!("a status that is none: {error}")))
}

async fn doctor(profile: &Profile, output: Output) -> Result<(), Failure> {
    let (nodes, _) = profile.nodes()?;
    let asked = nodes.iter().map(|(_, http)| status(http));
    let answers = futures::future::join_all(asked).await;
    let (mut said, mut faults) = (Vec::new(), Vec::new());
    for ((server, _), answer) in nodes.iter().zip(answers) {
        match answer {
            Ok(status) => said.push(status),
            Err(failure) => faults.push(format!("{server}: {}", failure.message())),
        }
    }
    let Some(first) = said.first() else {
        return Err(Failure::new(Kind::Unreachable, "no member answers"));
    };
    faults.extend(compared(&said, &profile.fleet()?.to_string()));
    let (quorum, members) = (first.quorum, first.members.len());
    let working = said.iter().filter(|s| s.standing.is_some()).count();
    let leader = said.iter().find_map(|status| status.leader);
    let spare = working.checked_sub(quorum);
    let answer = json!({
        "members": members, "quorum": quorum, "working": working, "leader": leader,
        "may_fail": spare, "faults": faults,
    });
    output.answer(&answer, || {
        let lines = said.iter().map(|status| line(status, leader));
        let faults = faults.iter().map(|fault| format!("  ! {fault}\n"));
        let text: String = lines.chain(faults).collect();
        let needed = format!("{working} of {members} members work, {quorum} are needed");
        match spare {
            Some(spare) => format!("{text}{needed}: {spare} more may fail"),
            None => format!("{text}{needed}: nothing is answered until more of them work"),
        }
    });
    match faults.len() {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::Fault, "one fault, named above")),
        several => Err(Failure::new(
            Kind::Fault,
            format!("{several} faults, named above"),
        )),
    }
}

fn line(status: &Status, leader: Option<u8>) -> String {
    let member = status.member;
    let site = status.members.iter().find(|m| m.id == member);
    let site = site.map_or("?", |m| m.site.as_str());
    let role = match leader == Some(member) {
        true => "leads",
        false => "follows",
    };
    let at = status.applied.as_ref();
    let at = at.map_or_else(String::new, |applied| format!(", entry {}", applied.index));
    format!("  member {member} at {site}: {role}{at}\n")
}

/// What does not fit together.
fn compared(said: &[Status], fleet: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut roots: BTreeMap<u64, &str> = BTreeMap::new();
    let index = |status: &Status| status.applied.as_ref().map_or(0, |applied| applied.index);
    let newest = said.iter().map(index).max().unwrap_or(0);
    let clocks = said.iter().filter_map(|s| s.standing.as_ref());
    let clocks: Vec<u64> = clocks.map(|standing| standing.clock_ms).collect();
    if let (Some(least), Some(greatest)) = (clocks.iter().min(), clocks.iter().max())
        && greatest - least > CLOCKS_APART_MS
    {
        let apart = (greatest - least) / 1000;
        faults.push(format!(
            "the HSMs' clocks are {apart} s apart: set the wrong one right"
        ));
    }
    for status in said {
        let member = status.member;
        if status.fleet != fleet {
            faults.push(format!(
                "member {member} is of another fleet, {}",
                status.fleet
            ));
        }
        if status.standing.is_none() {
            faults.push(format!(
                "member {member}: its HSM is not at work; see its node's log"
            ));
        }
        if status.leader.is_none() {
            faults.push(format!("member {member} knows of no leader"));
        }
        let Some(applied) = &status.applied else {
            continue;
        };
        let behind = newest - applied.index;
        if behind > BEHIND_MAX {
            faults.push(format!("member {member} is {behind} entries behind"));
        }
        let other = roots.insert(applied.index, &applied.root);
        if other.is_some_and(|other| other != applied.root) {
            faults.push(format!(
                "two members have different roots at entry {}",
                applied.index
            ));
        }
    }
    faults
}

/// The key whose seed stands under that name in a file of founders: `officer`, `operator`.
fn key_of(path: &Path, whose: &str) -> Result<SigningKey, Failure> {
    let named =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| named(&error))?;
    let seeds: serde_json::Value = serde_json::from_slice(&text).map_err(|error| named(&error))?;
    let seed = seeds.get(whose).and_then(serde_json::Value::as_str);
    let seed = seed.and_then(|seed| hex::decode(seed).ok());
    let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let seed = seed.ok_or_else(|| named(&format!("no seed of 32 bytes in hex for {whose}")))?;
    Ok(SigningKey::from_seed(&seed))
}

async fn clock(
    profile: &Profile,
    officer: &Path,
    time: Option<u64>,
    output: Output,
) -> Result<(), Failure> {
    let key = key_of(officer, "officer")?;
    let (nodes, any) = profile.nodes()?;
    let asked = nodes.iter().map(|(_, http)| status(http));
    let answers = futures::future::join_all(asked).await;
    // A follower may be an entry behind.
    let applied = answers
        .into_iter()
        .flatten()
        .filter_map(|status| status.applied);
    let applied = applied.max_by_key(|applied| applied.index);
    let applied =
        applied.ok_or_else(|| Failure::new(Kind::Unreachable, "no HSM of the fleet is at work"))?;
    let change = ClockChange {
        fleet: profile.fleet()?,
        cell: CellId(0),
        incarnation: Incarnation(0),
        number: applied.clock_changes + 1,
        time: UnixMs(time.unwrap_or_else(now)),
    };
    let signed = OfficerSignature {
        officer: PublicKey(key.public()),
        signature: Signature(statement::sign(&key, Label::Clock, &encode(&change))),
    };
    let new = change.time.0;
    let officers = vec![signed];
    let change = encode(&SignedClockChange { change, officers });
    let done = any.post("/v1/clock", None, &change).await;
    done.map_err(strongroom_client::Error::from)?;
    let before = applied.time_ms;
    let answer = json!({"before_ms": before, "now_ms": new});
    output.answer(&answer, || {
        format!("The fleet's time was {before} ms, and is {new} ms.")
    });
    Ok(())
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
