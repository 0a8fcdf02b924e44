//! Recovery codes: whatever is typed, nothing panics; one or two wrong letters are mended, three
//! are suggested, four are never taken for fewer.
//!
//! The client's module is compiled here by itself: the crate would bring its HTTP stack along.

#![no_main]

#[path = "../../../crates/strongroom-client/src"]
mod client {
    #[allow(dead_code)]
    pub mod code;
}

use client::code::{LETTERS, Parsed, RecoveryCode};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use strongroom_crypto::random::Entropy;
use strongroom_fuzz::choices::Choices;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::new(data);
    if choices.byte() % 4 == 0 {
        typed(&String::from_utf8_lossy(choices.bytes()));
    } else {
        mistyped(&mut choices);
    }
});

/// What is accepted is a code, and reads the same again.
fn typed(text: &str) {
    let Ok(Parsed::Exact(code) | Parsed::Corrected(code, _) | Parsed::Suggestion(code, _)) =
        RecoveryCode::parse(text)
    else {
        return;
    };
    let again = RecoveryCode::parse(&code.grouped());
    assert!(matches!(again, Ok(Parsed::Exact(same)) if same.expose() == code.expose()));
}

fn mistyped(choices: &mut Choices<'_>) {
    let seed: Vec<u8> = (0..24).map(|_| choices.byte()).collect();
    let code = RecoveryCode::generate(&Repeated(seed));
    let mut letters: Vec<char> = code.expose().chars().collect();
    let mut wrong = BTreeSet::new();
    for _ in 0..choices.byte() % 8 {
        let at = choices.below(LETTERS);
        let letter = char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[choices.below(32)]);
        if letter == char::from(code.expose().as_bytes()[at]) {
            wrong.remove(&at);
        } else {
            wrong.insert(at);
        }
        letters[at] = letter;
    }
    let places: Vec<usize> = wrong.iter().map(|at| at + 1).collect();
    let text: String = letters.into_iter().collect();
    let same = |found: &RecoveryCode| found.expose() == code.expose();
    match (places.len(), RecoveryCode::parse(&text)) {
        (0, Ok(Parsed::Exact(found))) => assert!(same(&found)),
        (1 | 2, Ok(Parsed::Corrected(found, at))) => assert!(same(&found) && at == places),
        (3, Ok(Parsed::Suggestion(found, at))) => assert!(same(&found) && at == places),
        (4.., Err(_)) => {}
        // Distance 7: five wrong letters may lie two from another code, six one, seven none.
        (4.., Ok(Parsed::Suggestion(..))) | (5.., Ok(_)) => {}
        (count, _) => panic!("{count} wrong letters were not told apart"),
    }
}

/// The fuzzer's bytes as randomness, again and again.
struct Repeated(Vec<u8>);

impl Entropy for Repeated {
    fn fill(&self, out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
    }
}
