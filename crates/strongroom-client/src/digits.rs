//! The 64-digit key: a backup key that no fleet ever sees (DESIGN §12).
//!
//! 62 random digits (205 bits) and two check digits (ISO/IEC 7064, MOD 97-10), in sixteen groups of
//! four. Every single wrong digit and every swap of neighbours is noticed; nothing is corrected.
//! The root is derived from the digits: whoever has them has the backup, and who loses them lost
//! it.

use crate::vault::BackupKeys;
use strongroom_crypto::random::Entropy;
use strongroom_crypto::wrap::Root;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Digits of a key.
pub const DIGITS: usize = 64;
/// Of them random.
const RANDOM: usize = DIGITS - 2;

/// A key of 64 digits.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DigitKey([u8; DIGITS]);

/// What was typed is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigitError {
    /// Not 64 digits.
    #[error("a key has 64 digits; this has {0}")]
    Length(usize),
    /// Something that is no digit.
    #[error("a key has only digits and spaces")]
    NotDigit,
    /// The check digits do not fit.
    #[error("a digit is wrong: compare each group with what you wrote down")]
    Check,
}

/// The digits' remainder by 97, two check digits included if they are there.
fn remainder(digits: &[u8]) -> u8 {
    digits
        .iter()
        .fold(0, |sum: u16, digit| (sum * 10 + u16::from(*digit)) % 97) as u8
}

impl DigitKey {
    /// Draws a key.
    pub fn generate<E: Entropy + ?Sized>(entropy: &E) -> Self {
        let mut key = Self([0; DIGITS]);
        let mut byte = [0];
        for digit in &mut key.0[..RANDOM] {
            // 250 is the greatest multiple of ten in a byte: above it digits would not be even.
            loop {
                entropy.fill(&mut byte);
                if byte[0] < 250 {
                    break;
                }
            }
            *digit = byte[0] % 10;
        }
        // The two last digits are zero so far.
        let check = 98 - remainder(&key.0);
        key.0[RANDOM] = check / 10;
        key.0[RANDOM + 1] = check % 10;
        key
    }

    /// Reads what a person typed; spaces and dashes do not count.
    ///
    /// # Errors
    /// [`DigitError`].
    pub fn parse(typed: &str) -> Result<Self, DigitError> {
        let mut digits = Zeroizing::new(Vec::with_capacity(DIGITS));
        for letter in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let digit = letter.to_digit(10).ok_or(DigitError::NotDigit)?;
            digits.push(u8::try_from(digit).map_err(|_| DigitError::NotDigit)?);
        }
        let digits: [u8; DIGITS] = digits
            .as_slice()
            .try_into()
            .map_err(|_| DigitError::Length(digits.len()))?;
        if remainder(&digits) == 1 {
            Ok(Self(digits))
        } else {
            Err(DigitError::Check)
        }
    }

    /// For people: sixteen groups of four.
    pub fn grouped(&self) -> Zeroizing<String> {
        let mut out = String::with_capacity(DIGITS + 15);
        for (i, digit) in self.0.iter().enumerate() {
            if i > 0 && i % 4 == 0 {
                out.push(' ');
            }
            out.push(char::from(b'0' + digit));
        }
        Zeroizing::new(out)
    }

    /// The backup keys under it.
    pub fn keys(&self) -> BackupKeys {
        BackupKeys::of(Root::from_digits(&self.0), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, DigitError, DigitKey};
    use crate::Os;

    #[test]
    fn what_is_shown_can_be_typed_and_gives_the_same_keys() {
        let key = DigitKey::generate(&Os);
        let typed = DigitKey::parse(&key.grouped()).unwrap();
        assert_eq!(*key.keys().age_secret(), *typed.keys().age_secret());
        let other = DigitKey::generate(&Os);
        assert_ne!(*key.keys().age_secret(), *other.keys().age_secret());
    }

    #[test]
    fn every_wrong_digit_and_every_swap_of_neighbours_is_noticed() {
        let key = DigitKey::generate(&Os);
        let text: Vec<u8> = key.0.to_vec();
        let read = |digits: &[u8]| {
            let text: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
            DigitKey::parse(&text).err()
        };
        assert_eq!(read(&text), None);
        for place in 0..DIGITS {
            for wrong in (0..10).filter(|digit| *digit != text[place]) {
                let mut typed = text.clone();
                typed[place] = wrong;
                assert_eq!(read(&typed), Some(DigitError::Check));
            }
        }
        for place in (0..DIGITS - 1).filter(|at| text[*at] != text[*at + 1]) {
            let mut typed = text.clone();
            typed.swap(place, place + 1);
            assert_eq!(read(&typed), Some(DigitError::Check));
        }
        assert_eq!(read(&text[1..]), Some(DigitError::Length(63)));
        assert_eq!(DigitKey::parse("12a").err(), Some(DigitError::NotDigit));
    }

    #[test]
    fn a_key_is_sixteen_groups_and_reads_back_however_it_is_spaced() {
        for _ in 0..200 {
            let key = DigitKey::generate(&Os);
            let shown = key.grouped();
            assert_eq!(shown.split(' ').map(str::len).collect::<Vec<_>>(), [4; 16]);
            for typed in [
                shown.to_string(),
                shown.replace(' ', ""),
                shown.replace(' ', "-"),
                shown.replace(' ', " \n"),
            ] {
                assert_eq!(DigitKey::parse(&typed).ok().unwrap().0, key.0);
            }
        }
    }

    #[test]
    fn the_check_digits_are_those_of_iso_7064() {
        // 98 − (0 mod 97), and 98 − (10² mod 97): the numbers 0 and 1 before the check.
        let with =
            |random: &str, check: &str| DigitKey::parse(&format!("{random:0>62}{check}")).err();
        assert_eq!(with("0", "98"), None);
        assert_eq!(with("1", "95"), None);
        assert_eq!(with("1", "98"), Some(DigitError::Check));
        // Zeros alone are no key: 0 mod 97 is not 1.
        assert_eq!(with("0", "00"), Some(DigitError::Check));
    }

    #[test]
    fn other_alphabets_and_other_lengths_are_no_key() {
        let key = DigitKey::generate(&Os).grouped();
        for (typed, error) in [
            (String::new(), DigitError::Length(0)),
            (format!("{}0", *key), DigitError::Length(65)),
            (key.replacen(' ', ".", 1), DigitError::NotDigit),
            (key.replacen(' ', "\u{ff11}", 1), DigitError::NotDigit),
            (key.replacen(' ', "\u{661}", 1), DigitError::NotDigit),
        ] {
            assert_eq!(DigitKey::parse(&typed).err(), Some(error), "{typed}");
        }
    }

    #[test]
    fn all_digits_come_up_alike() {
        let mut counts = [0u32; 10];
        for _ in 0..500 {
            let key = DigitKey::generate(&Os);
            key.0[..super::RANDOM]
                .iter()
                .for_each(|digit| counts[usize::from(*digit)] += 1);
        }
        // 31,000 draws: 3,100 each, with a deviation of 53.
        assert!(
            counts.iter().all(|n| (2_700..3_500).contains(n)),
            "{counts:?}"
        );
    }
}
