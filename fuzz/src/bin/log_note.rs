//! Signed notes: what parses formats again to the same bytes, and whatever verifies says what was
//! signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_fuzz::choices::Choices;
use strongroom_log::note::{self, Cosigner, Note, Signer, VerifierKey};

const TEXT: &str = "log.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

fuzz_target!(|data: &[u8]| {
    if let Ok(note) = Note::parse(data) {
        let again = note::format(note.text(), note.signatures());
        assert_eq!(
            again.as_deref().map(str::as_bytes),
            Ok(data),
            "another form"
        );
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(key) = VerifierKey::parse(text)
    {
        assert_eq!(key.to_string(), text, "another form of a key");
    }
    let log = Signer::new("log.example", &[1; 32]).expect("a good name");
    let witness = Cosigner::new("witness.example", &[2; 32]).expect("a good name");
    let keys = [log.verifier().clone(), witness.verifier().clone()];
    let lines = [log.sign(TEXT), witness.cosign(TEXT, 7)];
    let honest = note::format(TEXT, &lines).expect("a good note");
    let mut bytes = honest.clone().into_bytes();
    Choices::new(data).corrupt(&mut bytes);
    let Ok(note) = Note::parse(&bytes) else {
        assert_ne!(bytes, honest.as_bytes(), "an honest note is refused");
        return;
    };
    if let Ok(verified) = note.verify(&keys) {
        assert_eq!(note.text(), TEXT, "a text that nobody signed");
        let times = verified.iter().filter_map(|it| it.timestamp_s);
        assert!(
            times.into_iter().all(|time| time == 7),
            "a time that nobody signed"
        );
    }
});
