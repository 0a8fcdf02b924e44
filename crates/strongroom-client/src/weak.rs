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
    /// # Errors
    /// [`WeakSecret`].
    pub fn choose(typed: &str, about: &[&str]) -> Result<Self, WeakSecret> {
        let secret = Self::typed(typed);
        let digits = secret.0.bytes().all(|byte| byte.is_ascii_digit());
        if secret.0.chars().count() < if digits { 6 } else { 8 } {
            return Err(WeakSecret::TooShort);
        }
        if digits && secret.0.len() <= 12 {
            return if is_common_pin(&secret.0) {
                Err(WeakSecret::CommonPin)
            } else {
                Ok(secret)
            };
        }
        if zxcvbn::zxcvbn(&secret.0, about).score() < zxcvbn::Score::Three {
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
}
