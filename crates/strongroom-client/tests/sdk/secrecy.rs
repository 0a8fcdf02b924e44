//! No secret in what is printed: neither in errors nor by `Debug`.

use super::fleet::{CODE, World};
use super::server::{Step, refuse, status};
use std::collections::BTreeSet;
use std::fmt::Debug;
use strongroom_client::code::{CodeError, Parsed, RecoveryCode};
use strongroom_client::digits::{DigitError, DigitKey};
use strongroom_client::session::{
    Opened, Outgoing, Ownership, ReadyRegistration, Recovery, Registration, SessionError,
};
use strongroom_client::tokens::{CommandTokens, TokenError, TokenSource as _, Tokens};
use strongroom_client::transport::TransportError;
use strongroom_client::weak::{UserSecret, WeakSecret};
use strongroom_client::wire::answer::{Refusal, TicketGrant, Totals};
use strongroom_client::wire::request::Authorization;
use strongroom_client::wire::{Signature, Slot};
use strongroom_client::{BackupKeys, BundleError, Error, Recovered, Registered};
use strongroom_crypto::seal::SealingKey;
use strongroom_crypto::statement::SigningKey;
use strongroom_crypto::wrap::Root;

/// Two ways to `not_printed` for what is `Debug`, and so none that compiles.
trait NotPrinted<Way> {
    fn not_printed() {}
}

impl<T: ?Sized> NotPrinted<()> for T {}

impl<T: ?Sized + Debug> NotPrinted<u8> for T {}

#[test]
fn nothing_that_holds_a_secret_can_be_printed() {
    <BackupKeys as NotPrinted<_>>::not_printed();
    <CommandTokens as NotPrinted<_>>::not_printed();
    <DigitKey as NotPrinted<_>>::not_printed();
    <Opened as NotPrinted<_>>::not_printed();
    <Outgoing as NotPrinted<_>>::not_printed();
    <Ownership as NotPrinted<_>>::not_printed();
    <Parsed as NotPrinted<_>>::not_printed();
    <ReadyRegistration as NotPrinted<_>>::not_printed();
    <Recovered as NotPrinted<_>>::not_printed();
    <Recovery as NotPrinted<_>>::not_printed();
    <RecoveryCode as NotPrinted<_>>::not_printed();
    <Registered as NotPrinted<_>>::not_printed();
    <Registration as NotPrinted<_>>::not_printed();
    <Root as NotPrinted<_>>::not_printed();
    <SealingKey as NotPrinted<_>>::not_printed();
    <SigningKey as NotPrinted<_>>::not_printed();
    <Tokens as NotPrinted<_>>::not_printed();
    <UserSecret as NotPrinted<_>>::not_printed();
}

#[test]
fn what_prints_and_holds_a_secret_prints_a_redaction() {
    let grant = TicketGrant {
        ticket: b"ticket".to_vec(),
        to_hsm: [0x55; 32],
        to_client: [0x66; 32],
    };
    assert_eq!(format!("{grant:?}"), "TicketGrant(redacted)");
    let authorization = Authorization {
        token: "token".to_owned(),
        possession: Some(Signature([1; 64])),
    };
    assert_eq!(format!("{authorization:?}"), "Authorization(redacted)");
}

/// One of each error, in words.
fn words() -> Vec<String> {
    let busy = Refusal::Busy { retry_after_ms: 5 };
    let errors: [&dyn std::error::Error; 24] = [
        &BundleError::Malformed,
        &BundleError::WrongFleet,
        &BundleError::Signature,
        &BundleError::BelowFloor,
        &CodeError::Length(29),
        &CodeError::Letter(3),
        &CodeError::TooManyErrors,
        &DigitError::Length(63),
        &DigitError::NotDigit,
        &DigitError::Check,
        &SessionError::WrongCode,
        &SessionError::Unauthentic,
        &SessionError::Unexpected,
        &SessionError::UnknownKsf,
        &SessionError::TooLong,
        &TokenError::Malformed,
        &TransportError::Busy,
        &WeakSecret::TooShort,
        &WeakSecret::CommonPin,
        &WeakSecret::Guessable,
        &Error::CodeInUse,
        &Error::CodeMayBeKnown { destroyed: 1 },
        &Error::Refused(busy),
        &Error::WrongCode {
            attempts_left: 4,
            totals: Totals::default(),
        },
    ];
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_error_has_words_of_its_own() {
    let words = words();
    let distinct: BTreeSet<&String> = words.iter().collect();
    assert_eq!(distinct.len(), words.len());
    for text in &words {
        assert!(text.len() >= 15 && !text.contains("::"), "{text}");
    }
    let left = words.last().unwrap();
    assert_eq!(left, "the code is wrong; 4 attempts are left");
}

#[tokio::test]
async fn errors_of_real_calls_hold_neither_code_nor_token_nor_keys() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault
        .register(CODE, b"pay-load", Slot(0), None)
        .await
        .unwrap();
    let mut printed = String::new();
    let steps = [
        Step::Raw(b"no answer".to_vec()),
        status(400),
        refuse(Refusal::OwnerProofNeeded),
        Step::SayBytes(vec![1; 64]),
        Step::Answer,
    ];
    for step in steps {
        world.script([step]);
        let error = vault.recover(b"tried-code", Slot(0)).await.err().unwrap();
        printed.push_str(&format!("{error} {error:?}\n"));
    }
    let error = vault
        .register(CODE, b"", Slot(1), None)
        .await
        .err()
        .unwrap();
    printed.push_str(&format!("{error} {error:?}\n"));
    let password = made.keys.repository_password();
    let code = std::str::from_utf8(CODE).unwrap();
    for secret in ["tried-code", "pay-load", "eyJ", code, &password] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[tokio::test]
async fn tokens_of_a_command_are_read_and_its_failures_named_without_its_output() {
    let claims = "eyJpc3MiOiJpIiwic3ViIjoicyJ9";
    let printed = format!(
        r#"{{"admission":"a","vault":"h.{claims}.s","possession":"{}"}}"#,
        "07".repeat(32)
    );
    let command = |text: &str| CommandTokens(text.to_owned());
    let good = command(&format!("printf %s '{printed}'"))
        .tokens()
        .await
        .ok()
        .unwrap();
    assert_eq!((good.issuer.as_str(), good.subject.as_str()), ("i", "s"));
    assert!(good.possession.is_some());
    let cases = [
        ("exit 3".to_owned(), "ended with exit status: 3"),
        ("echo secret-token".to_owned(), "printed no token JSON"),
        (
            format!("printf %s '{}'", printed.replace("07", "7")),
            "the possession key is not 32 bytes",
        ),
        (
            format!("printf %s '{}'", printed.replace(claims, "secret-token")),
            "not a JWT with an issuer and a subject",
        ),
    ];
    for (text, words) in cases {
        let error = command(&text).tokens().await.err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("secret-token"), "{error}");
    }
}
