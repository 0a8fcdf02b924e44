//! Secrets that people choose: refused if they are weak (DESIGN §12; FIELD: ten guesses open 6–13 %
//! of chosen PINs).

use unicode_normalization::UnicodeNormalization as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A password or PIN that passed. Normalised (NFKC), so that another keyboard gives the same bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct UserSecret(String);

/// Why a chosen secret was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// Too short.
    #[error("use at least 6 digits, or a password of at least 8 characters")]
    TooShort,
    /// One of those tried first.
    #[error("this PIN is one of the first that a thief tries; avoid dates, runs and repetitions")]
    CommonPin,
    /// Guessable.
    #[error("this password is easy to guess; use several unrelated words or a generated code")]
    Guessable,
}

/// PINs of six and more digits that top published lists, beside those that rules catch.
const COMMON: &[&str] = &[
    "123321",
    "112233",
    "121212",
    "123123",
    "159753",
    "147258",
    "159357",
    "789456",
    "456789",
    "789456123",
    "102030",
    "131313",
    "520520",
    "147852",
    "654321",
    "121314",
    "007007",
    "696969",
    "142536",
    "101010",
    "246810",
    "147258369",
    "369258147",
    "741852",
    "852456",
    "951753",
];

impl UserSecret {
    /// Checks a new password or PIN. `about` are things a thief knows: the account's name.
    ///
    /// Digits only, 6 to 12 of them: a PIN. Refused are those tried first (a list; dates; steps of
    /// one or two; blocks that repeat; two different digits or fewer) and those that stand in
    /// `about`, as in a phone number. Everything else is a password: 8 characters at least, and
    /// zxcvbn's third score (10⁸ guesses). A PIN of 4 digits is never accepted.
    ///
    /// # Errors
    /// [`WeakSecret`].
    pub fn choose(typed: &str, about: &[&str]) -> Result<Self, WeakSecret> {
        let secret = Self::typed(typed);
        let digits = secret.0.bytes().all(|byte| byte.is_ascii_digit());
        if secret.0.chars().count() < if digits { 6 } else { 8 } {
            return Err(WeakSecret::TooShort);
        }
        if digits && secret.0.len() <= 12 {
            return if is_common_pin(&secret.0) || stands_in(&secret.0, about) {
                Err(WeakSecret::CommonPin)
            } else {
                Ok(secret)
            };
        }
        let known = spellings(about);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        if zxcvbn::zxcvbn(&secret.0, &known).score() < zxcvbn::Score::Three {
            return Err(WeakSecret::Guessable);
        }
        Ok(secret)
    }

    /// What is typed to recover: normalised, not judged.
    pub fn typed(typed: &str) -> Self {
        Self(typed.nfkc().collect())
    }

    /// What OPAQUE gets.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What is known, its words alone, and its words run together: `jana.novak` makes `JanaNovak1`
/// weak.
fn spellings(about: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for known in about {
        let words = || known.split(|c: char| !c.is_alphanumeric());
        all.push((*known).to_owned());
        all.push(words().collect());
        all.extend(words().map(str::to_owned));
    }
    // Of a letter or two zxcvbn would see one in every password.
    all.retain(|word| word.chars().count() > 2);
    all
}

/// Whether a PIN is part of a number that a thief knows, however that is spaced.
fn stands_in(pin: &str, about: &[&str]) -> bool {
    about.iter().any(|known| {
        let digits: String = known.chars().filter(char::is_ascii_digit).collect();
        digits.contains(pin)
    })
}

fn is_common_pin(pin: &str) -> bool {
    let digits: Vec<i16> = pin.bytes().map(|byte| i16::from(byte - b'0')).collect();
    let step = |d: i16| {
        digits
            .windows(2)
            .all(|w| (w[1] - w[0]).rem_euclid(10) == d.rem_euclid(10))
    };
    let repeats =
        |n: usize| digits.len().is_multiple_of(n) && digits.chunks(n).all(|c| c == &digits[..n]);
    let few = digits
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len()
        <= 2;
    step(1)
        || step(-1)
        || step(2)
        || repeats(1)
        || repeats(2)
        || repeats(3)
        || few
        || COMMON.contains(&pin)
        || is_date(pin)
}

/// DDMMYY, MMDDYY, YYMMDD, YYYYMM, and the eight-digit forms.
fn is_date(pin: &str) -> bool {
    let number = |from: usize, to: usize| pin.get(from..to).and_then(|t| t.parse::<u32>().ok());
    let day = |n: Option<u32>| n.is_some_and(|n| (1..=31).contains(&n));
    let month = |n: Option<u32>| n.is_some_and(|n| (1..=12).contains(&n));
    let year = |n: Option<u32>| n.is_some_and(|n| (1920..=2035).contains(&n));
    let day_and_month = |from: usize| {
        let (a, b) = (number(from, from + 2), number(from + 2, from + 4));
        (day(a) && month(b)) || (month(a) && day(b))
    };
    match pin.len() {
        6 => day_and_month(0) || day_and_month(2) || (year(number(0, 4)) && month(number(4, 6))),
        8 => (day_and_month(0) && year(number(4, 8))) || (year(number(0, 4)) && day_and_month(4)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_pins_dates_and_runs_are_refused() {
        for pin in [
            "123456", "111111", "121212", "250790", "199012", "159753", "31121999", "135791",
        ] {
            assert_eq!(
                UserSecret::choose(pin, &[]).err(),
                Some(WeakSecret::CommonPin),
                "{pin}"
            );
        }
        assert_eq!(
            UserSecret::choose("12345", &[]).err(),
            Some(WeakSecret::TooShort)
        );
        assert!(UserSecret::choose("830274", &[]).is_ok());
    }

    #[test]
    fn guessable_passwords_are_refused_and_the_accounts_name_counts() {
        for password in ["password1", "iloveyou", "qwertyuiop", "marianne.k"] {
            let refused = UserSecret::choose(password, &["marianne.k"]).err();
            assert_eq!(refused, Some(WeakSecret::Guessable), "{password}");
        }
        assert!(UserSecret::choose("otter viola brick tundra", &[]).is_ok());
    }

    #[test]
    fn the_same_password_from_another_keyboard_is_the_same() {
        let (composed, decomposed) = ("caf\u{e9} viola tundra", "cafe\u{301} viola tundra");
        assert_eq!(
            UserSecret::typed(composed).expose(),
            UserSecret::typed(decomposed).expose()
        );
    }

    fn refusal(typed: &str, about: &[&str]) -> Option<WeakSecret> {
        UserSecret::choose(typed, about).err()
    }

    #[test]
    fn a_pin_has_six_digits_at_least_and_a_password_eight_characters() {
        for short in ["", "1", "8302", "83027", "aB3$xyz", "ěščřžýá"] {
            assert_eq!(refusal(short, &[]), Some(WeakSecret::TooShort), "{short}");
        }
        assert_eq!(refusal("830274", &[]), None);
    }

    #[test]
    fn every_listed_pin_run_repetition_and_step_is_refused() {
        let runs = [
            "234567",
            "890123",
            "876543",
            "210987",
            "135791",
            "0123456789",
            "9876543210",
        ];
        let repeated = [
            "000000",
            "99999999",
            "454545",
            "123123",
            "748748748",
            "787878787878",
        ];
        let two_digits = ["112112", "100001", "737773", "5555555"];
        let all = COMMON.iter().copied().chain(runs).chain(repeated);
        for pin in all.chain(two_digits) {
            assert_eq!(refusal(pin, &[]), Some(WeakSecret::CommonPin), "{pin}");
        }
    }

    #[test]
    fn dates_in_every_usual_order_are_refused() {
        for date in [
            "311299", "123199", "991231", "010203", "290200", "198507", "31121999", "12311999",
            "19991231", "19993112", "01012035",
        ] {
            assert_eq!(refusal(date, &[]), Some(WeakSecret::CommonPin), "{date}");
        }
        for none in ["839274", "19994577", "83927461", "994583"] {
            assert_eq!(refusal(none, &[]), None, "{none}");
        }
    }

    #[test]
    fn digits_of_the_accounts_phone_number_are_no_pin() {
        let about = ["+43 660 830-27-46", "someone"];
        for part in ["830274", "660830274", "436608302746", "302746"] {
            assert_eq!(refusal(part, &about), Some(WeakSecret::CommonPin), "{part}");
        }
        assert_eq!(refusal("830279", &about), None);
        assert_eq!(refusal("830274", &[]), None);
        assert_eq!(refusal("830274", &[""]), None);
    }

    #[test]
    fn digits_of_another_alphabet_are_judged_as_the_digits_they_are() {
        assert_eq!(refusal("１２３４５６", &[]), Some(WeakSecret::CommonPin));
        let wide = UserSecret::choose("８３０２７４", &[]).ok().unwrap();
        assert_eq!(wide.expose(), b"830274");
    }

    #[test]
    fn common_passwords_keyboard_walks_and_names_are_refused_however_they_are_dressed() {
        for weak in [
            "password",
            "P@ssw0rd",
            "letmein123",
            "qwertyuiop",
            "asdfghjkl",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "football1",
            "jana.novak",
            "JanaNovak1",
            "kavon-anaj",
            "1234567890123",
            "2024-12-31",
        ] {
            let refused = refusal(weak, &["jana.novak", "novak"]);
            assert_eq!(refused, Some(WeakSecret::Guessable), "{weak}");
        }
        for good in [
            "otter viola brick tundra",
            "8uR!xq0Zt-p",
            "8302746191837264",
        ] {
            assert_eq!(refusal(good, &["jana.novak"]), None, "{good}");
        }
    }

    #[test]
    fn what_is_typed_to_recover_is_never_judged() {
        assert_eq!(UserSecret::typed("1234").expose(), b"1234");
        assert_eq!(UserSecret::typed(" 1 ").expose(), b" 1 ");
    }
}
