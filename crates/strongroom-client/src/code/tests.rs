#![allow(clippy::unwrap_used)]

use super::*;
use crate::Os;

fn code() -> RecoveryCode {
    RecoveryCode::from_data(&std::array::from_fn(|n| (n as u8 * 7 + 3) & 31))
}

fn syndromes_of(errors: &[(usize, u8)]) -> [u8; CHECK] {
    let mut word = [0; LETTERS];
    for (position, magnitude) in errors {
        word[*position] = *magnitude;
    }
    syndromes(&word)
}

#[test]
fn a_generated_code_reads_back_grouped_or_not_and_in_any_case() {
    for _ in 0..200 {
        let code = RecoveryCode::generate(&Os);
        let grouped = code.grouped();
        assert_eq!((grouped.len(), grouped.matches('-').count()), (35, 5));
        for typed in [
            grouped.to_lowercase(),
            code.expose().to_string(),
            grouped.replace('-', " "),
        ] {
            let Ok(Parsed::Exact(read)) = RecoveryCode::parse(&typed) else {
                panic!("exact")
            };
            assert_eq!(*read.expose(), *code.expose());
        }
    }
}

#[test]
fn every_single_and_double_error_is_corrected() {
    // The code is linear: correcting depends on the error alone, so the zero word stands for all.
    for a in 0..LETTERS {
        for x in 1..32 {
            assert_eq!(locate(&syndromes_of(&[(a, x)]), 1), Some(vec![(a, x)]));
        }
        for b in a + 1..LETTERS {
            for (x, y) in (1..32).flat_map(|x| (1..32).map(move |y| (x, y))) {
                let errors = [(a, x), (b, y)];
                let seen = syndromes_of(&errors);
                // One power of the field times a magnitude decides; sparse check of `locate`
                // itself.
                if (usize::from(x) + usize::from(y) + a + b) % 97 == 0 {
                    assert_eq!(locate(&seen, 1), None);
                    assert_eq!(locate(&seen, 2), Some(errors.to_vec()));
                } else {
                    assert_eq!(magnitudes(&seen, &[a, b]), Some(vec![x, y]));
                }
            }
        }
    }
}

#[test]
fn any_six_columns_of_the_check_matrix_are_independent_so_the_distance_is_seven() {
    // Distance 7 ⇔ no error of weight ≤ 6 has zero syndromes ⇔ each 6×6 minor is non-singular. The
    // minor of positions p is Vandermonde in the distinct α^(29−p): its determinant is the product
    // of their differences. So it suffices that all 30 are distinct and not zero.
    let points: std::collections::BTreeSet<u8> = (0..LETTERS).map(power).collect();
    assert_eq!(points.len(), LETTERS);
    assert!(!points.contains(&0));
}

#[test]
fn three_errors_are_a_suggestion_and_four_are_always_noticed() {
    let mut random = [0u8; 12];
    for round in 0..600 {
        strongroom_crypto::random::Entropy::fill(&Os, &mut random);
        let wrong = if round % 2 == 0 { 3 } else { 4 };
        let mut word = code().0;
        let mut at: Vec<usize> = Vec::new();
        for byte in &random {
            let position = usize::from(*byte) % LETTERS;
            if at.len() < wrong && !at.contains(&position) {
                at.push(position);
                word[position] ^= 1 + (byte % 31);
            }
        }
        if at.len() < wrong {
            continue;
        }
        let typed: String = word.iter().map(|l| letter_of(*l)).collect();
        match RecoveryCode::parse(&typed) {
            Ok(Parsed::Suggestion(found, _)) if wrong == 3 => {
                assert_eq!(*found.expose(), *code().expose());
            }
            // Four errors may look like three of another code: a suggestion to confirm, never more.
            Ok(Parsed::Suggestion(..)) | Err(CodeError::TooManyErrors) if wrong == 4 => {}
            _ => panic!("{wrong} errors were taken for fewer"),
        }
    }
}

#[test]
fn look_alikes_are_mapped_and_other_letters_named() {
    let code = code();
    let typed = code
        .grouped()
        .replace('1', "l")
        .replace('0', "o")
        .replace('V', "u");
    assert!(matches!(RecoveryCode::parse(&typed), Ok(Parsed::Exact(_))));
    let bad = code.expose().replacen(|_| true, "!", 1);
    assert!(matches!(
        RecoveryCode::parse(&bad),
        Err(CodeError::Letter(1))
    ));
    assert!(matches!(
        RecoveryCode::parse("ABC"),
        Err(CodeError::Length(3))
    ));
}

#[test]
fn a_corrected_code_is_the_code() {
    let code = code();
    let mut typed: Vec<char> = code.expose().chars().collect();
    typed[4] = if typed[4] == 'Z' { 'Y' } else { 'Z' };
    let typed: String = typed.into_iter().collect();
    let Ok(Parsed::Corrected(found, positions)) = RecoveryCode::parse(&typed) else {
        panic!("one error is corrected")
    };
    assert_eq!((positions, found.expose()), (vec![5], code.expose()));
}
