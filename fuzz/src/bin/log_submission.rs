//! Submissions and entries: what opens is what was signed, what parses encodes to the same bytes,
//! and the auditor's rules take anything without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_crypto::statement::SigningKey;
use strongroom_fuzz::choices::Choices;
use strongroom_log::entry::Entry;
use strongroom_log::registry::{Registry, Verdict};
use strongroom_log::submission::Submission;
use strongroom_wire::PublicKey;

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_seed(&[1; 32]);
    let submitters = [PublicKey(key.public())];
    if let Ok(entry) = Entry::parse(data) {
        assert_eq!(entry.to_bytes().as_deref(), Ok(data), "another form");
    }
    let mut registry = Registry::default();
    if let Ok(Verdict::New(admitted)) = registry.judge(data) {
        registry.record(0, admitted.bytes()).expect("it was judged");
        assert!(
            matches!(registry.judge(data), Ok(Verdict::Known(0))),
            "logged twice"
        );
    }
    assert!(
        Submission::open(data, "log.example", &submitters).is_err(),
        "forged"
    );
    let mut choices = Choices::new(data);
    let entry = choices.bytes().to_vec();
    let honest = Submission::sign(&key, "log.example", &entry).to_bytes();
    let mut bytes = honest.clone();
    choices.corrupt(&mut bytes);
    match Submission::open(&bytes, "log.example", &submitters) {
        Ok(opened) => assert_eq!(opened, entry, "an entry that nobody signed"),
        Err(_) => assert_ne!(bytes, honest, "an honest submission is refused"),
    }
    assert!(Submission::open(&honest, "another.example", &submitters).is_err());
});
