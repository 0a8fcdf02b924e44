//! Limits are enforced, and what they allow fits where it must.

use super::cbor;
use super::vectors::fixed::messages;
use strongroom_wire::answer::{
    Answer, Event, EventKind, History, Receipt, RecoverStarted, TicketGrant, Totals,
};
use strongroom_wire::codec::pad;
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass, VERSION};
use strongroom_wire::limits::*;
use strongroom_wire::request::{
    Authorization, CancelReset, Finish, RecoverStart, RegisterFinish, Start,
};
use strongroom_wire::tenant::{IssuerKey, Tenant, TokenAlgorithm};
use strongroom_wire::{
    AttemptId, CellId, Generation, Incarnation, KeyId, LogIndex, Malformed, OpId, PublicKey,
    RecordId, Signature, Slot, UnixMs, encode,
};

const CLASSES: [SizeClass; 3] = [SizeClass::Small, SizeClass::Medium, SizeClass::Large];

/// A sound envelope with key material and ciphertext of these lengths.
pub fn envelope(class: OpClass, size: SizeClass, material: usize, sealed: usize) -> Envelope {
    Envelope {
        header: Header {
            version: VERSION,
            key: KeyId(1),
            cell: CellId(0),
            class,
            size,
        },
        key_material: vec![0xa5; material],
        sealed: vec![0x5a; sealed],
    }
}

fn parse(class: OpClass, size: SizeClass, material: usize, sealed: usize) -> Result<(), Malformed> {
    Envelope::parse(&encode(&envelope(class, size, material, sealed))).map(|_| ())
}

#[test]
fn an_envelope_has_the_lengths_that_its_header_implies() {
    for size in CLASSES {
        let (start, finish) = (size.bytes() + 16, size.bytes() + 40);
        assert_eq!(parse(OpClass::Start, size, ENC_BYTES, start), Ok(()));
        assert_eq!(
            parse(OpClass::Finish, size, TICKET_BYTES_MAX, finish),
            Ok(())
        );
        assert_eq!(parse(OpClass::Finish, size, 1, finish), Ok(()));
        let out = Err(Malformed::OutOfBounds);
        for other in [start - 1, start + 1, 0, finish] {
            assert_eq!(
                parse(OpClass::Start, size, ENC_BYTES, other),
                out,
                "{other}"
            );
        }
        for other in [finish - 1, finish + 1, 0, start] {
            assert_eq!(parse(OpClass::Finish, size, 100, other), out, "{other}");
        }
        for material in [0, ENC_BYTES - 1, ENC_BYTES + 1, TICKET_BYTES_MAX] {
            assert_eq!(
                parse(OpClass::Start, size, material, start),
                out,
                "{material}"
            );
        }
        for material in [TICKET_BYTES_MAX + 1, ENC_BYTES] {
            assert_eq!(
                parse(OpClass::Finish, size, material, finish),
                out,
                "{material}"
            );
        }
    }
}

#[test]
fn all_envelopes_of_one_class_and_size_are_equally_long() {
    for size in CLASSES {
        let bytes = |key| {
            let mut one = envelope(OpClass::Start, size, ENC_BYTES, size.bytes() + 16);
            one.header.key = KeyId(key);
            encode(&one).len()
        };
        // The key id is the fleet's own: the same for all its clients.
        assert_eq!(bytes(1), bytes(23));
        assert!(bytes(u32::MAX) <= ENVELOPE_BYTES_MAX);
    }
}

#[test]
fn the_largest_envelopes_fit_and_longer_bytes_are_refused_unread() {
    let size = SizeClass::Large;
    for (class, material, overhead) in [
        (OpClass::Start, ENC_BYTES, 16),
        (OpClass::Finish, TICKET_BYTES_MAX, 40),
    ] {
        let mut largest = envelope(class, size, material, size.bytes() + overhead);
        largest.header.key = KeyId(u32::MAX);
        largest.header.cell = CellId(u16::MAX);
        largest.header.version = u8::MAX;
        assert!(encode(&largest).len() <= ENVELOPE_BYTES_MAX);
        assert!(Envelope::parse(&encode(&largest)).is_ok());
    }
    let long = vec![0; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(Envelope::parse(&long), Err(Malformed::OutOfBounds));
    assert_eq!(Envelope::parse(&long[1..]), Err(Malformed::Encoding));
}

#[test]
fn a_size_class_holds_its_message_and_the_length_before_it() {
    assert_eq!(CLASSES.map(SizeClass::bytes), SIZE_CLASSES);
    for (length, class) in [
        (0, Some(SizeClass::Small)),
        (1020, Some(SizeClass::Small)),
        (1021, Some(SizeClass::Medium)),
        (2044, Some(SizeClass::Medium)),
        (2045, Some(SizeClass::Large)),
        (4092, Some(SizeClass::Large)),
        (4093, None),
    ] {
        assert_eq!(SizeClass::for_length(length), class, "{length}");
        if let Some(class) = class {
            assert_eq!(
                pad(&vec![1; length], class.bytes()).unwrap().len(),
                class.bytes()
            );
        }
    }
}

fn authorization(token: usize) -> Authorization {
    Authorization {
        token: "t".repeat(token),
        possession: Some(Signature([0xff; 64])),
    }
}

#[test]
fn a_token_above_its_limit_is_refused() {
    let start = |token| {
        Start::CancelReset(CancelReset {
            authorization: authorization(token),
            slot: Slot(u8::MAX),
            op: OpId([0xff; 16]),
            reset: OpId([0xff; 16]),
            owner_proof: Signature([0xff; 64]),
        })
    };
    assert_eq!(start(TOKEN_BYTES_MAX).check(), Ok(()));
    assert_eq!(
        start(TOKEN_BYTES_MAX + 1).check(),
        Err(Malformed::OutOfBounds)
    );
    assert_eq!(start(0).check(), Ok(()));
    assert!(SizeClass::for_length(encode(&start(TOKEN_BYTES_MAX)).len()).is_some());
}

fn finish(wrapped: usize) -> RegisterFinish {
    RegisterFinish {
        op: OpId([0xff; 16]),
        upload: [0xff; REGISTRATION_UPLOAD_BYTES],
        wrapped: vec![0xff; wrapped],
        owner_key: PublicKey([0xff; 32]),
        ksf: u8::MAX,
        owner_proof: Some(Signature([0xff; 64])),
    }
}

#[test]
fn an_empty_or_oversized_wrapped_secret_is_refused() {
    assert_eq!(finish(0).check(), Err(Malformed::OutOfBounds));
    assert_eq!(finish(1).check(), Ok(()));
    assert_eq!(finish(WRAPPED_BYTES_MAX).check(), Ok(()));
    assert_eq!(
        finish(WRAPPED_BYTES_MAX + 1).check(),
        Err(Malformed::OutOfBounds)
    );
}

#[test]
fn the_largest_requests_have_a_size_class() {
    let recover = Start::Recover(RecoverStart {
        authorization: authorization(TOKEN_BYTES_MAX),
        slot: Slot(u8::MAX),
        attempt: AttemptId([0xff; 16]),
        ke1: [0xff; KE1_BYTES],
    });
    assert!(SizeClass::for_length(encode(&recover).len()).is_some());
    let register = Finish::Register(finish(WRAPPED_BYTES_MAX));
    assert!(SizeClass::for_length(encode(&register).len()).is_some());
    let small = Finish::Register(finish(WRAPPED_BYTES_SMALL));
    assert_eq!(
        SizeClass::for_length(encode(&small).len()),
        Some(SizeClass::Small)
    );
}

const TOTALS: Totals = Totals {
    starts: u32::MAX,
    unproved: u32::MAX,
    resets: u32::MAX,
    replacements: u32::MAX,
    destructions: u32::MAX,
};

#[test]
fn the_largest_answers_have_a_size_class() {
    let recover = Answer::RecoverStarted(RecoverStarted {
        ke2: [0xff; KE2_BYTES],
        wrapped: vec![0xff; WRAPPED_BYTES_MAX],
        ksf: u8::MAX,
        grant: TicketGrant {
            ticket: vec![0xff; TICKET_BYTES_MAX],
            to_hsm: [0xff; 32],
            to_client: [0xff; 32],
        },
        record: RecordId([0xff; 32]),
        generation: Generation(u64::MAX),
        incarnation: Incarnation(u32::MAX),
        attempts_left: u8::MAX,
        totals: TOTALS,
    });
    assert!(SizeClass::for_length(encode(&recover).len()).is_some());
    let ring = vec![
        Event {
            kind: EventKind::Destroyed,
            at: UnixMs(u64::MAX)
        };
        RING
    ];
    let receipt = Answer::Receipt(Receipt {
        kind: EventKind::Destroyed,
        op: OpId([0xff; 16]),
        record: RecordId([0xff; 32]),
        generation: Generation(u64::MAX),
        index: LogIndex(u64::MAX),
        at: UnixMs(u64::MAX),
        attempts_left: u8::MAX,
        totals: TOTALS,
        history: Some(History {
            proved: ring.clone(),
            unproved: ring,
        }),
        reset_until: Some(UnixMs(u64::MAX)),
    });
    assert_eq!(
        SizeClass::for_length(encode(&receipt).len()),
        Some(SizeClass::Small)
    );
}

/// The largest valid tenant.
fn tenant() -> Tenant {
    let key = |i: usize| IssuerKey {
        kid: format!("{i}{}", "k".repeat(63)),
        algorithm: TokenAlgorithm::Es256,
        public: vec![4; 65],
    };
    Tenant {
        issuer: "i".repeat(ISSUER_BYTES_MAX),
        root: PublicKey([0xff; 32]),
        version: u64::MAX,
        keys: (0..ISSUER_KEYS_MAX).map(key).collect(),
        bearer: true,
        account_rate: u32::MAX,
        tenant_rate: u32::MAX,
    }
}

#[test]
fn the_largest_tenant_is_valid_and_fits_its_leaf() {
    assert!(tenant().is_valid());
    assert!(pad(&encode(&tenant()), TENANT_BYTES).is_ok());
}

#[test]
fn each_broken_rule_makes_a_tenant_invalid() {
    let breakages: [fn(&mut Tenant); 10] = [
        |t| t.issuer.clear(),
        |t| t.issuer.push('i'),
        |t| t.keys.clear(),
        |t| {
            t.keys.push(IssuerKey {
                kid: "ninth".to_owned(),
                ..t.keys[0].clone()
            })
        },
        |t| t.keys[0].kid.clear(),
        |t| t.keys[0].kid.push('k'),
        |t| t.keys[7].kid = t.keys[0].kid.clone(),
        |t| t.keys[0].public.truncate(64),
        |t| t.keys[0].public.push(0),
        |t| t.keys[0].algorithm = TokenAlgorithm::EdDsa,
    ];
    for (i, breakage) in breakages.into_iter().enumerate() {
        let mut tenant = tenant();
        breakage(&mut tenant);
        assert!(!tenant.is_valid(), "{i}");
    }
    let mut edwards = tenant();
    edwards.keys[0].algorithm = TokenAlgorithm::EdDsa;
    edwards.keys[0].public.truncate(32);
    assert!(edwards.is_valid());
}

#[test]
fn a_claimed_length_or_count_beyond_the_bytes_is_refused_and_allocates_nothing() {
    for message in messages() {
        for head in cbor::heads(&message.bytes) {
            if !(2..=4).contains(&head.major) {
                continue;
            }
            for claimed in [u64::from(u32::MAX), 1 << 40, u64::MAX] {
                let mut bytes = message.bytes[..head.at].to_vec();
                bytes.push(head.major << 5 | 27);
                bytes.extend(claimed.to_be_bytes());
                bytes.extend(&message.bytes[head.at + head.length..]);
                // An allocation of that size would abort the test.
                assert!(
                    message.receive(&bytes).is_err(),
                    "{} at {}",
                    message.name,
                    head.at
                );
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    for opening in [0x81, 0x9f, 0xa1, 0xc6, 0x5f] {
        let nested = vec![opening; FRAME_BYTES_MAX];
        for message in messages() {
            assert!(message.receive(&nested).is_err(), "{}", message.name);
        }
        // In the place of an unknown field, which the decoder skips: array(12) becomes array(13).
        let header = messages()
            .into_iter()
            .find(|m| m.name == "EntryHeader")
            .unwrap();
        assert_eq!(header.bytes[0], 0x8c);
        let unknown = [&[0x8d], &header.bytes[1..], &nested].concat();
        assert!(header.receive(&unknown).is_err());
    }
}
