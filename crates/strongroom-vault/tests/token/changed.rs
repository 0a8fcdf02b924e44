//! Tokens changed after they were signed, and bytes that never were tokens.

use super::made::{Claims, ES256, base64, judge, quoted, signed_es256, tenant};
use super::vectors::all;
use proptest::prelude::*;
use strongroom_vault::token::Token;

/// All letters of base64url and what is near it.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";

/// Puts `letter` in place of the one at `at`.
fn changed(token: &str, at: usize, letter: char) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    letters[at] = letter;
    letters.into_iter().collect()
}

#[test]
fn no_single_letter_of_an_eddsa_token_can_be_changed() {
    let (token, tenant) = (Claims::honest().signed(), tenant("bound"));
    assert!(judge(&token, &tenant).is_ok());
    for (at, was) in token.chars().enumerate() {
        for letter in LETTERS.chars().filter(|letter| *letter != was) {
            let token = changed(&token, at, letter);
            assert!(judge(&token, &tenant).is_err(), "{at}: {letter}");
        }
    }
}

#[test]
fn no_single_letter_of_an_es256_token_can_be_changed() {
    let token = signed_es256(ES256, Claims::honest().text());
    let tenant = tenant("bound");
    assert!(judge(&token, &tenant).is_ok());
    for (at, was) in token.chars().enumerate() {
        // The neighbour in the alphabet changes the fewest bits, the last ones first.
        let near = LETTERS.chars().cycle().skip_while(|letter| *letter != was);
        for letter in near.skip(1).step_by(17).take(3) {
            let token = changed(&token, at, letter);
            assert!(judge(&token, &tenant).is_err(), "{at}: {letter}");
        }
    }
}

#[test]
fn no_letter_can_be_left_out_or_doubled() {
    let (token, tenant) = (Claims::honest().signed(), tenant("bound"));
    for at in 0..token.len() {
        let (before, after) = token.split_at(at);
        assert!(judge(&format!("{before}{}", &after[1..]), &tenant).is_err());
        assert!(judge(&format!("{before}{}{after}", &after[..1]), &tenant).is_err());
        assert!(judge(before, &tenant).is_err(), "cut at {at}");
    }
}

#[test]
fn parts_of_two_good_tokens_make_no_third() {
    let tenant = tenant("bound");
    let one = Claims::honest().signed();
    let other = Claims::honest().with("sub", quoted("user-2")).signed();
    let es256 = signed_es256(ES256, Claims::honest().text());
    let tokens = [one, other, es256];
    let parts: Vec<Vec<&str>> = tokens.iter().map(|t| t.split('.').collect()).collect();
    for (a, b, c) in (0..27).map(|n| (n / 9, n / 3 % 3, n % 3)) {
        let token = [parts[a][0], parts[b][1], parts[c][2]].join(".");
        let whole = tokens.contains(&token);
        assert_eq!(judge(&token, &tenant).is_ok(), whole, "{a} {b} {c}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_byte_of_any_vector_may_change_and_nothing_new_is_accepted(
        pick in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        letter in any::<char>(),
    ) {
        thread_local! {
            static ALL: Vec<(String, &'static str, bool)> = all()
                .into_iter()
                .map(|vector| (vector.token, vector.tenant, vector.error.is_none()))
                .collect();
        }
        let (token, name, good) = ALL.with(|all| all[pick.index(all.len())].clone());
        prop_assume!(!token.is_empty());
        let at = place.index(token.chars().count());
        let new = changed(&token, at, letter);
        let accepted = judge(&new, &tenant(name)).is_ok();
        prop_assert_eq!(accepted, good && new == token);
    }

    #[test]
    fn any_text_is_judged_and_none_is_believed(text in "\\PC{0,200}") {
        prop_assert!(Token::parse(&text).is_err());
    }

    #[test]
    fn any_header_and_claims_are_judged(
        header in prop::collection::vec(any::<u8>(), 0..120),
        claims in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let token = format!("{}.{}.", base64(header), base64(claims));
        prop_assert!(Token::parse(&token).is_err());
    }

    #[test]
    fn the_names_read_are_the_names_signed(
        sub in "[^\"\\\\\\x00-\\x1f]{1,60}",
        x in any::<[u8; 32]>(),
    ) {
        let jwk = format!(r#"{{"jwk":{{"x":"{}","crv":"Ed25519","kty":"OKP"}}}}"#, base64(x));
        let claims = Claims::honest().with("sub", quoted(&sub)).with("cnf", jwk);
        let token = judge(&claims.signed(), &tenant("bound"));
        let token = token.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(token.subject(), sub.as_str());
        prop_assert_eq!(token.cnf().map(|key| key.0), Some(x));
    }
}
