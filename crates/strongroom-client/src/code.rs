//! Recovery codes: 30 letters in six groups, 24 random ones and 6 that check them (DESIGN §12).
//!
//! Alphabet: the 32 letters `0-9 A-Z` without I, L, O and U. Typed look-alikes are mapped: `I` and
//! `L` to `1`, `O` to `0`, `U` to `V`; case, spaces and dashes do not count.
//!
//! 24 random letters are 120 bits. The 6 check letters are a Reed–Solomon code over GF(32)
//! (x⁵ + x² + 1), shortened from (31, 25), of distance 7: one or two wrong letters are corrected,
//! three are offered as a suggestion to confirm, four are always noticed. (30, 24) is as long as
//! this field allows with 6 check letters and one to spare.
//!
//! What OPAQUE gets is the 30 canonical letters, without dashes.

mod field;

use field::{add, divide, multiply, power};
use strongroom_crypto::random::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Letters of a code.
pub const LETTERS: usize = 30;
/// Of them random.
pub const DATA: usize = 24;
const CHECK: usize = LETTERS - DATA;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A recovery code.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; LETTERS]);

/// What was typed, understood.
pub enum Parsed {
    /// A code, letter for letter.
    Exact(RecoveryCode),
    /// One or two letters were wrong; their positions (1 to 30).
    Corrected(RecoveryCode, Vec<usize>),
    /// Three letters seem wrong: ask before using it.
    Suggestion(RecoveryCode, Vec<usize>),
}

/// What was typed is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Not 30 letters.
    #[error("a recovery code has 30 letters; this has {0}: is a group missing or typed twice?")]
    Length(usize),
    /// A letter that no code has.
    #[error("letter {0} cannot be in a recovery code")]
    Letter(usize),
    /// More than three wrong letters.
    #[error("this is not a recovery code: four or more letters are wrong")]
    TooManyErrors,
}

impl RecoveryCode {
    /// Draws a code.
    pub fn generate<E: Entropy + ?Sized>(entropy: &E) -> Self {
        let mut random = Zeroizing::new([0; DATA]);
        entropy.fill(&mut *random);
        // 256 is a multiple of 32: the low five bits are uniform.
        Self::from_data(&random.map(|byte| byte & 31))
    }

    fn from_data(data: &[u8; DATA]) -> Self {
        let mut code = [0; LETTERS];
        code[..DATA].copy_from_slice(data);
        // Divide data(x)·x⁶ by the generator; the remainder is the check.
        let generator = generator();
        let mut rest = code;
        for at in 0..DATA {
            let factor = rest[at];
            for (offset, coefficient) in generator.iter().enumerate() {
                rest[at + offset] = add(rest[at + offset], multiply(factor, *coefficient));
            }
        }
        code[DATA..].copy_from_slice(&rest[DATA..]);
        rest.zeroize();
        Self(code)
    }

    /// The 30 canonical letters: what OPAQUE gets.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().map(|letter| letter_of(*letter)).collect())
    }

    /// For people: six groups of five.
    pub fn grouped(&self) -> Zeroizing<String> {
        let groups: Vec<String> = self
            .0
            .chunks(5)
            .map(|g| g.iter().map(|l| letter_of(*l)).collect())
            .collect();
        Zeroizing::new(groups.join("-"))
    }

    /// Reads what a person typed.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn parse(typed: &str) -> Result<Parsed, CodeError> {
        let letters: Zeroizing<Vec<char>> = Zeroizing::new(
            typed
                .chars()
                .filter(|c| !c.is_whitespace() && *c != '-')
                .collect(),
        );
        if letters.len() != LETTERS {
            return Err(CodeError::Length(letters.len()));
        }
        let mut code = [0; LETTERS];
        for (position, (slot, letter)) in code.iter_mut().zip(letters.iter()).enumerate() {
            *slot = value_of(*letter).ok_or(CodeError::Letter(position + 1))?;
        }
        let syndromes = syndromes(&code);
        if syndromes == [0; CHECK] {
            return Ok(Parsed::Exact(Self(code)));
        }
        for wrong in 1..=3 {
            if let Some(errors) = locate(&syndromes, wrong) {
                for (position, magnitude) in &errors {
                    code[*position] = add(code[*position], *magnitude);
                }
                let positions = errors.iter().map(|(position, _)| position + 1).collect();
                let code = Self(code);
                return Ok(if wrong <= 2 {
                    Parsed::Corrected(code, positions)
                } else {
                    Parsed::Suggestion(code, positions)
                });
            }
        }
        Err(CodeError::TooManyErrors)
    }
}

fn letter_of(value: u8) -> char {
    char::from(ALPHABET[usize::from(value & 31)])
}

fn value_of(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        'U' => 'V',
        other => other,
    };
    let position = ALPHABET
        .iter()
        .position(|known| char::from(*known) == letter)?;
    u8::try_from(position).ok()
}

/// (x − α)(x − α²)…(x − α⁶), highest power first.
fn generator() -> [u8; CHECK + 1] {
    let mut polynomial = [0; CHECK + 1];
    polynomial[0] = 1;
    for (degree, root) in (1..=CHECK).enumerate() {
        for at in (1..=degree + 1).rev() {
            polynomial[at] = add(polynomial[at], multiply(polynomial[at - 1], power(root)));
        }
    }
    polynomial
}

/// The code word's values at α … α⁶; all zero for a code.
fn syndromes(code: &[u8; LETTERS]) -> [u8; CHECK] {
    std::array::from_fn(|root| {
        code.iter().fold(0, |sum, letter| {
            add(multiply(sum, power(root + 1)), *letter)
        })
    })
}

/// Positions and magnitudes of exactly `wrong` errors, if that explains the syndromes. Tries every
/// set of positions (4,060 for three): small, plain, and the same answer as a cleverer decoder.
fn locate(syndromes: &[u8; CHECK], wrong: usize) -> Option<Vec<(usize, u8)>> {
    let mut positions: Vec<usize> = (0..wrong).collect();
    loop {
        if let Some(magnitudes) = magnitudes(syndromes, &positions) {
            return Some(positions.into_iter().zip(magnitudes).collect());
        }
        let next = (0..wrong)
            .rev()
            .find(|i| positions[*i] < LETTERS - wrong + i)?;
        positions[next] += 1;
        for i in next + 1..wrong {
            positions[i] = positions[i - 1] + 1;
        }
    }
}

/// Solves for the magnitudes at these positions from the first syndromes, and checks the rest.
fn magnitudes(syndromes: &[u8; CHECK], positions: &[usize]) -> Option<Vec<u8>> {
    let n = positions.len();
    let at = |position: usize, root: usize| power((LETTERS - 1 - position) * (root + 1));
    let mut rows: Vec<Vec<u8>> = (0..n)
        .map(|root| {
            let mut row: Vec<u8> = positions.iter().map(|p| at(*p, root)).collect();
            row.push(syndromes[root]);
            row
        })
        .collect();
    for column in 0..n {
        let pivot = (column..n).find(|row| rows[*row][column] != 0)?;
        rows.swap(column, pivot);
        let scale = rows[column][column];
        rows[column]
            .iter_mut()
            .for_each(|value| *value = divide(*value, scale));
        let pivot = rows[column].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if index != column && factor != 0 {
                row.iter_mut()
                    .zip(&pivot)
                    .for_each(|(v, p)| *v = add(*v, multiply(factor, *p)));
            }
        }
    }
    let found: Vec<u8> = rows.iter().map(|row| row[n]).collect();
    let explains = |root: usize| {
        let sum = positions.iter().zip(&found);
        sum.fold(0, |s, (p, m)| add(s, multiply(*m, at(*p, root)))) == syndromes[root]
    };
    (found.iter().all(|m| *m != 0) && (n..CHECK).all(explains)).then_some(found)
}

#[cfg(test)]
mod tests;
