use super::{Cosigner, KeyError, KeyType, Note, NoteError, SIGNATURES_MAX, Signer, VerifierKey};
use super::{NOTE_BYTES_MAX, format};
use alloc::format as text;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// The example of the specification.
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn verify(note: &str, keys: &[VerifierKey]) -> Result<usize, NoteError> {
    Note::parse(note.as_bytes())?
        .verify(keys)
        .map(|it| it.len())
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key = VerifierKey::parse(SPEC_KEY).unwrap();
    assert_eq!(key.to_string(), SPEC_KEY);
    assert_eq!(verify(SPEC_NOTE, &[key]), Ok(1));
    let note = Note::parse(SPEC_NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(format(note.text(), note.signatures()).unwrap(), SPEC_NOTE);
}

#[test]
fn a_changed_text_is_a_bad_signature() {
    let key = VerifierKey::parse(SPEC_KEY).unwrap();
    let changed = SPEC_NOTE.replace("example message", "another message");
    let bad = NoteError::BadSignature {
        name: "example.com/foo".to_string(),
    };
    assert_eq!(verify(&changed, &[key]), Err(bad));
}

#[test]
fn unknown_keys_are_ignored_and_do_not_count() {
    let (a, b) = (Signer::new("a", &[1; 32]), Signer::new("a", &[2; 32]));
    let (a, b) = (a.unwrap(), b.unwrap());
    let note = format("x\n", &[b.sign("x\n"), a.sign("x\n")]).unwrap();
    // The same name and another id: not the known key.
    assert_eq!(verify(&note, &[a.verifier().clone()]), Ok(1));
    let only = format("x\n", &[b.sign("x\n")]).unwrap();
    assert_eq!(
        verify(&only, &[a.verifier().clone()]),
        Err(NoteError::NoKnownSignature)
    );
}

#[test]
fn a_key_counts_once_and_its_second_signature_may_not_be_bad() {
    let witness = Cosigner::new("w", &[1; 32]).unwrap();
    let key = [witness.verifier().clone()];
    let twice = [witness.cosign("x\n", 1), witness.cosign("x\n", 2)];
    assert_eq!(verify(&format("x\n", &twice).unwrap(), &key), Ok(1));
    let second_bad = [witness.cosign("x\n", 1), witness.cosign("y\n", 2)];
    let error = verify(&format("x\n", &second_bad).unwrap(), &key);
    assert!(matches!(error, Err(NoteError::BadSignature { .. })));
}

#[test]
fn a_cosignature_covers_its_time() {
    let witness = Cosigner::new("w", &[1; 32]).unwrap();
    let mut line = witness.cosign("x\n", 7);
    let note = format("x\n", &[line.clone()]).unwrap();
    let keys = [witness.verifier().clone()];
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.verify(&keys).unwrap()[0].timestamp_s, Some(7));
    line.signature[7] = 8;
    let other = format("x\n", &[line.clone()]).unwrap();
    assert!(verify(&other, &keys).is_err());
    line.signature[0] = 0x80;
    let beyond = format("x\n", &[line]).unwrap();
    assert!(verify(&beyond, &keys).is_err());
}

#[test]
fn a_signature_of_one_type_is_none_of_the_other() {
    let log = Signer::new("k", &[1; 32]).unwrap();
    let as_witness = VerifierKey::new("k", KeyType::Cosignature, *log.verifier().public());
    let note = format("x\n", &[log.sign("x\n")]).unwrap();
    assert_eq!(
        verify(&note, &[as_witness.unwrap()]),
        Err(NoteError::NoKnownSignature)
    );
}

#[test]
fn the_last_empty_line_ends_the_text() {
    let key = Signer::new("k", &[1; 32]).unwrap();
    let body = "a\n\n— k AAAAAAA=\n\nb\n";
    let note = format(body, &[key.sign(body)]).unwrap();
    assert_eq!(Note::parse(note.as_bytes()).unwrap().text(), body);
    assert_eq!(verify(&note, &[key.verifier().clone()]), Ok(1));
}

#[test]
fn malformed_notes_are_refused() {
    use NoteError::{Characters, MalformedSignature, NoSignatures};
    let line = "— k AAAAAAA=";
    assert!(Note::parse(text!("x\n\n{line}\n").as_bytes()).is_ok());
    let cases: [(String, NoteError); 14] = [
        ("".into(), NoSignatures),
        ("x\n".into(), NoSignatures),
        ("x\n\n".into(), NoSignatures),
        (text!("x\n\n{line}"), NoSignatures),
        (text!("x\n{line}\n"), NoSignatures),
        (text!("x\n\n{line}\n\n"), NoSignatures),
        (text!("x\n\n{line}\nx\n"), MalformedSignature),
        (text!("x\r\n\n{line}\n"), Characters),
        (text!("x\t\n\n{line}\n"), Characters),
        ("x\n\n— k AAAAAA==\n".into(), MalformedSignature),
        ("x\n\n— k AAAAAAB=\n".into(), MalformedSignature),
        ("x\n\n— k  AAAAAAA=\n".into(), MalformedSignature),
        ("x\n\n— k+ AAAAAAA=\n".into(), MalformedSignature),
        ("x\n\n— k\u{a0}l AAAAAAA=\n".into(), MalformedSignature),
    ];
    for (note, error) in cases {
        assert_eq!(Note::parse(note.as_bytes()), Err(error), "{note:?}");
    }
    assert_eq!(Note::parse(b"x\xff\n\n"), Err(Characters));
}

#[test]
fn sizes_and_lines_are_bounded() {
    let lines = |count| text!("x\n\n{}", "— k AAAAAAA=\n".repeat(count));
    assert!(Note::parse(lines(16).as_bytes()).is_ok());
    assert!(Note::parse(lines(SIGNATURES_MAX).as_bytes()).is_ok());
    let error = Note::parse(lines(SIGNATURES_MAX + 1).as_bytes()).map(drop);
    assert_eq!(error, Err(NoteError::TooManySignatures));
    let long = text!("{}\n\n— k AAAAAAA=\n", "x".repeat(NOTE_BYTES_MAX));
    assert_eq!(Note::parse(long.as_bytes()), Err(NoteError::TooLong));
}

#[test]
fn a_note_that_would_read_otherwise_is_not_made() {
    let key = Signer::new("k", &[1; 32]).unwrap();
    for bad in ["", "x", "x\r\n"] {
        assert!(format(bad, &[key.sign(bad)]).is_err(), "{bad:?}");
    }
    assert_eq!(format("x\n", &[]), Err(NoteError::NoSignatures));
}

#[test]
fn keys_have_one_text_form() {
    use KeyError::{Form, Id, Name, Public, Type};
    let cases = [
        (SPEC_KEY.replace("530d", "530D"), Form),
        (SPEC_KEY.replace("+530d903a", "+530d903"), Form),
        (SPEC_KEY.replace("530d903a", "530d903b"), Id),
        (SPEC_KEY.replace("example", "exampla"), Id),
        (SPEC_KEY.replace("example.com", "example com"), Name),
        (SPEC_KEY.replace("example.com/foo", ""), Name),
        (SPEC_KEY.replace("+Aeky", "+Aeky\n"), Form),
        (SPEC_KEY.replace("+Aeky", "+Beky"), Type),
        ("x".to_string(), Form),
        ("x+00000000+AQ==".to_string(), Public),
        ("x+00000000+".to_string(), Form),
    ];
    for (key, error) in cases {
        assert_eq!(VerifierKey::parse(&key), Err(error), "{key}");
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    for weak in [[0; 32], one] {
        let made = VerifierKey::new("k", KeyType::Ed25519, weak);
        assert_eq!(made.map(drop), Err(KeyError::Public));
    }
}

#[test]
fn signing_keys_come_back_from_their_text() {
    let key = Signer::new("example.com/log", &[7; 32]).unwrap();
    let back = Signer::parse(&key.private_text()).unwrap();
    assert_eq!(back.verifier(), key.verifier());
    assert_eq!(back.sign("x\n"), key.sign("x\n"));
    // A log's key does not cosign, and a witness's signs no log.
    assert_eq!(
        Cosigner::parse(&key.private_text()).err(),
        Some(KeyError::Type)
    );
    let witness = Cosigner::new("w", &[7; 32]).unwrap();
    assert_eq!(
        Signer::parse(&witness.private_text()).err(),
        Some(KeyError::Type)
    );
    assert!(Cosigner::parse(&witness.private_text()).is_ok());
    let other: Vec<_> = key.private_text().replace("log", "lag").into_bytes();
    let other = String::from_utf8(other).unwrap();
    assert_eq!(Signer::parse(&other).err(), Some(KeyError::Id));
}
