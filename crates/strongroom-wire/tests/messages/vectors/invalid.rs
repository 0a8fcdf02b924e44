//! Named breakages: what a receiver must refuse, and as what.

use super::broken_envelopes::broken_envelopes;
use super::fixed::{bundle, messages, tenant};
use crate::cbor::{self, nth};
use crate::policy::genesis;
use strongroom_wire::codec::pad;
use strongroom_wire::limits::TOKEN_BYTES_MAX;
use strongroom_wire::manifest::{Manifest, Policy};
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{FleetId, MemberId, encode};

/// A message that is none.
pub struct Invalid {
    pub name: &'static str,
    pub kind: &'static str,
    pub error: &'static str,
    pub bytes: Vec<u8>,
}

pub const ENCODING: &str = "Encoding";
pub const NOT_CANONICAL: &str = "NotCanonical";
pub const OUT_OF_BOUNDS: &str = "OutOfBounds";
const PADDING: &str = "Padding";

/// All of them.
pub fn invalid() -> Vec<Invalid> {
    let mut all = Vec::new();
    let mut add = |(name, error, bytes): (&'static str, &'static str, Vec<u8>)| {
        let kind = name.split("::").next().unwrap();
        all.push(Invalid {
            name,
            kind,
            error,
            bytes,
        });
    };
    broken_envelopes().into_iter().for_each(&mut add);
    requests().into_iter().for_each(&mut add);
    frames_and_entries().into_iter().for_each(&mut add);
    policies().into_iter().for_each(&mut add);
    manifests().into_iter().for_each(&mut add);
    tenants().into_iter().for_each(&mut add);
    padding().into_iter().for_each(&mut add);
    all
}

/// Name, error and bytes.
pub type Breakage = (&'static str, &'static str, Vec<u8>);

fn message(name: &str) -> Vec<u8> {
    let found = messages().into_iter().find(|message| message.name == name);
    found
        .unwrap_or_else(|| panic!("there is a message {name}"))
        .bytes
}

/// Starts and finishes.
fn requests() -> Vec<Breakage> {
    let (status, recover) = (message("Start::Status"), message("Start::Recover"));
    let (register, proof) = (message("Finish::Register"), message("Finish::Recover"));
    let token = nth(&status, 3, 0);
    let ke1 = cbor::heads(&recover)
        .into_iter()
        .find(|head| head.argument == 96)
        .unwrap();
    let wrapped = nth(&register, 2, 2);
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    vec![
        ("Start::token_too_long", OUT_OF_BOUNDS, {
            cbor::replaced(&status, &token, &encode(&long))
        }),
        (
            "Start::token_not_utf8",
            ENCODING,
            cbor::replaced(&status, &token, &[0x61, 0xff]),
        ),
        (
            "Start::token_as_bytes",
            ENCODING,
            cbor::replaced(&status, &token, &[0x41, b'a']),
        ),
        ("Start::unknown_operation", ENCODING, {
            cbor::replaced(&status, &nth(&status, 0, 0), &[0x06])
        }),
        ("Start::ke1_one_byte_short", ENCODING, {
            cbor::replaced(&recover, &ke1, &[[0x58, 95].as_slice(), &[1; 95]].concat())
        }),
        ("Start::ke1_one_byte_long", ENCODING, {
            cbor::replaced(&recover, &ke1, &[[0x58, 97].as_slice(), &[1; 97]].concat())
        }),
        (
            "Start::null_for_ke1",
            ENCODING,
            cbor::replaced(&recover, &ke1, &[0xf6]),
        ),
        ("Start::slot_of_9_bits", ENCODING, {
            cbor::replaced(&status, &nth(&status, 0, 1), &encode(&256_u16))
        }),
        (
            "Finish::wrapped_empty",
            OUT_OF_BOUNDS,
            cbor::replaced(&register, &wrapped, &[0x40]),
        ),
        ("Finish::wrapped_too_long", OUT_OF_BOUNDS, {
            let long = [[0x59, 0x05, 0x01].as_slice(), &[1; 1281]].concat();
            cbor::replaced(&register, &wrapped, &long)
        }),
        ("Finish::ke3_one_byte_short", ENCODING, {
            let short = [[0x58, 63].as_slice(), &[1; 63]].concat();
            cbor::replaced(&proof, &nth(&proof, 2, 1), &short)
        }),
        ("Finish::op_of_15_bytes", ENCODING, {
            cbor::replaced(
                &proof,
                &nth(&proof, 2, 0),
                &[[0x4f].as_slice(), &[1; 15]].concat(),
            )
        }),
    ]
}

/// Answers, frames and history.
fn frames_and_entries() -> Vec<Breakage> {
    let (refused, hello) = (message("Refusal::WaitUntil"), message("Request::Hello"));
    let (draft, header) = (message("Request::Draft"), message("EntryHeader"));
    let started = message("Answer::RegisterStarted");
    let released = message("Response::Released");
    vec![
        (
            "Refusal::unknown",
            ENCODING,
            cbor::replaced(&refused, &nth(&refused, 0, 0), &[0x11]),
        ),
        ("Refusal::field_left_out", ENCODING, {
            cbor::without_last(&refused, &nth(&refused, 4, 1)).unwrap()
        }),
        ("Answer::number_for_bool", ENCODING, {
            cbor::replaced(&started, &nth(&started, 7, 0), &[0x01])
        }),
        (
            "Answer::unknown",
            ENCODING,
            cbor::replaced(&started, &nth(&started, 0, 0), &[0x05]),
        ),
        (
            "Request::unknown",
            ENCODING,
            cbor::replaced(&hello, &nth(&hello, 0, 0), &[0x10]),
        ),
        ("Request::without_fields", ENCODING, [0x81, 0x01].to_vec()),
        ("Request::unknown_field", NOT_CANONICAL, {
            cbor::with_null(&draft, &nth(&draft, 4, 1)).unwrap()
        }),
        ("Response::count_beyond_the_bytes", ENCODING, {
            let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            cbor::replaced(&released, &nth(&released, 4, 2), &huge)
        }),
        ("EntryHeader::digest_of_31_bytes", ENCODING, {
            let short = [[0x58, 31].as_slice(), &[1; 31]].concat();
            cbor::replaced(&header, &nth(&header, 2, 1), &short)
        }),
        ("EntryHeader::unknown_kind", ENCODING, {
            // fleet and four digests are bytes; cell, incarnation, epoch, index, kind are numbers.
            cbor::replaced(&header, &nth(&header, 0, 4), &[0x05])
        }),
        ("HsmError::unknown", ENCODING, vec![0x18, 0x1d]),
    ]
}

/// Policies that are canonical and out of range.
fn policies() -> Vec<Breakage> {
    let policy = |change: fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        encode(&policy)
    };
    vec![
        (
            "Policy::no_attempts",
            "AttemptsOutOfRange",
            policy(|p| p.attempts_max = 0),
        ),
        (
            "Policy::eleven_attempts",
            "AttemptsOutOfRange",
            policy(|p| p.attempts_max = 11),
        ),
        (
            "Policy::no_reset_wait",
            "PolicyOutOfRange",
            policy(|p| p.reset_wait_ms = 0),
        ),
        (
            "Policy::seventeen_delays",
            "PolicyOutOfRange",
            policy(|p| p.delays_ms = vec![1; 17]),
        ),
    ]
}

/// Manifests that are canonical and break a rule.
fn manifests() -> Vec<Breakage> {
    let with = |n, change: fn(&mut Manifest)| {
        let mut manifest = genesis(n, 0);
        change(&mut manifest);
        encode(&manifest)
    };
    vec![
        (
            "Manifest::no_members",
            "Members",
            with(1, |m| m.members.clear()),
        ),
        (
            "Manifest::two_in_one_slot",
            "Members",
            with(3, |m| m.members[1].id = MemberId(0)),
        ),
        ("Manifest::eight_members", "Members", with(8, |_| ())),
        ("Manifest::quorum_unreachable", "QuorumUnreachable", {
            with(3, |m| m.rollback_tolerance = 3)
        }),
        ("Manifest::genesis_names_a_fleet", "FleetId", {
            with(1, |m| m.fleet = Some(FleetId([1; 32])))
        }),
        (
            "Manifest::later_names_no_fleet",
            "FleetId",
            with(1, |m| m.epoch = 1),
        ),
        (
            "Manifest::no_fleet_key",
            "FleetKeys",
            with(1, |m| m.keys.clear()),
        ),
        (
            "Bundle::manifest_breaks_a_rule",
            OUT_OF_BOUNDS,
            encode(&bundle(&genesis(1, 1))),
        ),
        ("Bundle::manifest_not_canonical", NOT_CANONICAL, {
            let mut bundle = bundle(&genesis(1, 0));
            bundle.manifest.push(0);
            encode(&bundle)
        }),
    ]
}

/// Tenants that are canonical and break a rule.
fn tenants() -> Vec<Breakage> {
    let with = |change: fn(&mut Tenant)| {
        let mut tenant = tenant();
        change(&mut tenant);
        encode(&tenant)
    };
    let cases: [(&'static str, Vec<u8>); 6] = [
        ("Tenant::no_issuer", with(|t| t.issuer.clear())),
        (
            "Tenant::issuer_too_long",
            with(|t| t.issuer = "i".repeat(257)),
        ),
        ("Tenant::no_keys", with(|t| t.keys.clear())),
        (
            "Tenant::one_kid_twice",
            with(|t| t.keys[1].kid = "1".to_owned()),
        ),
        (
            "Tenant::key_of_another_algorithms_length",
            with(|t| t.keys[0].public = vec![4; 65]),
        ),
        (
            "Tenant::kid_too_long",
            with(|t| t.keys[0].kid = "k".repeat(65)),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, bytes)| (name, "TenantInvalid", bytes))
        .collect()
}

fn padding() -> Vec<Breakage> {
    let sound = pad(b"message", 24).unwrap();
    let with = |position: usize, byte| {
        let mut bytes = sound.clone();
        bytes[position] = byte;
        bytes
    };
    vec![
        ("Padded::one_byte_not_zero", PADDING, with(23, 1)),
        ("Padded::length_beyond_the_end", PADDING, with(3, 21)),
        ("Padded::length_of_32_bits", PADDING, with(0, 0xff)),
        ("Padded::length_too_small", PADDING, with(3, 6)),
        ("Padded::no_length", PADDING, vec![0; 3]),
    ]
}
