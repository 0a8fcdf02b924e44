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

/// Syndromes in one number: five bits each. They add like the errors that made them.
fn packed(errors: &[(usize, u8)]) -> u32 {
    syndromes_of(errors)
        .iter()
        .fold(0, |sum, part| sum << 5 | u32::from(*part))
}

/// What no error, every single error and every pair of errors look like: 1 + 930 + 418,035.
fn seen_of_up_to_two() -> Vec<u32> {
    let single: Vec<Vec<u32>> = (0..LETTERS)
        .map(|at| (1..32).map(|wrong| packed(&[(at, wrong)])).collect())
        .collect();
    let mut all = vec![0];
    for (at, first) in single.iter().enumerate() {
        all.extend(first);
        for second in &single[at + 1..] {
            all.extend(first.iter().flat_map(|a| second.iter().map(move |b| a ^ b)));
        }
    }
    all
}

#[test]
fn no_two_errors_of_weight_two_or_less_look_alike_so_each_is_corrected() {
    // The code is linear: what is seen depends on the errors alone, whatever the code.
    let mut seen = seen_of_up_to_two();
    assert_eq!(seen.len(), 1 + 30 * 31 + 435 * 31 * 31);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 1 + 30 * 31 + 435 * 31 * 31);
}

#[test]
fn four_errors_never_look_like_two_or_fewer() {
    let mut seen = seen_of_up_to_two();
    seen.sort_unstable();
    let mut random = [0u8; 8 * 1024];
    let mut tried = 0;
    while tried < 500_000 {
        strongroom_crypto::random::Entropy::fill(&Os, &mut random);
        for draw in random.chunks_exact(8) {
            let errors: [(usize, u8); 4] =
                std::array::from_fn(|n| (usize::from(draw[n]) % LETTERS, 1 + draw[4 + n] % 31));
            let places: std::collections::BTreeSet<usize> = errors.map(|(at, _)| at).into();
            if places.len() == errors.len() {
                let found = seen.binary_search(&packed(&errors));
                assert!(found.is_err(), "{errors:?}");
                tried += 1;
            }
        }
    }
}

/// A code with these errors in it, as typed.
fn typed_with(code: &RecoveryCode, errors: &[(usize, u8)]) -> String {
    let mut word = code.0;
    for (position, wrong) in errors {
        word[*position] ^= wrong;
    }
    word.iter().map(|letter| letter_of(*letter)).collect()
}

fn positions_of(errors: &[(usize, u8)]) -> Vec<usize> {
    errors.iter().map(|(position, _)| position + 1).collect()
}

fn is_corrected(code: &RecoveryCode, errors: &[(usize, u8)]) {
    match RecoveryCode::parse(&typed_with(code, errors)) {
        Ok(Parsed::Corrected(found, positions)) => {
            assert_eq!(*found.expose(), *code.expose(), "{errors:?}");
            assert_eq!(positions, positions_of(errors));
        }
        _ => panic!("{errors:?} were not corrected"),
    }
}

#[test]
fn every_single_error_in_a_drawn_code_is_corrected_as_typed() {
    let code = RecoveryCode::generate(&Os);
    for at in 0..LETTERS {
        (1..32).for_each(|wrong| is_corrected(&code, &[(at, wrong)]));
    }
}

#[test]
fn every_pair_of_errors_in_a_drawn_code_is_corrected_as_typed() {
    // Every pair of places and every ratio of the errors: a common factor only scales what is seen.
    let code = RecoveryCode::generate(&Os);
    for a in 0..LETTERS {
        for b in a + 1..LETTERS {
            (1..32).for_each(|wrong| is_corrected(&code, &[(a, 1), (b, wrong)]));
        }
    }
    for factor in 1..32 {
        let scaled = [(3, factor), (17, multiply(factor, 9))];
        let seen = syndromes_of(&[(3, 1), (17, 9)]).map(|part| multiply(part, factor));
        assert_eq!(syndromes_of(&scaled), seen);
    }
}

#[test]
fn three_errors_at_these_places_are_always_offered_and_never_taken() {
    let code = RecoveryCode::generate(&Os);
    for places in [[0, 1, 2], [0, 1, 29]] {
        for (x, y) in (1..32).flat_map(|x| (1..32).map(move |y| (x, y))) {
            let errors = [(places[0], 1), (places[1], x), (places[2], y)];
            match RecoveryCode::parse(&typed_with(&code, &errors)) {
                Ok(Parsed::Suggestion(found, positions)) => {
                    assert_eq!(*found.expose(), *code.expose());
                    assert_eq!(positions, positions_of(&errors));
                }
                _ => panic!("{errors:?} were not offered"),
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

#[test]
fn each_look_alike_is_the_letter_it_looks_like_and_no_other_letter_is_mapped() {
    let alphabet: String = ALPHABET.iter().map(|byte| char::from(*byte)).collect();
    assert_eq!(alphabet.len(), 32);
    for letter in ('0'..='9').chain('A'..='Z') {
        let value = value_of(letter).map(letter_of);
        let like = match letter {
            'I' | 'L' => '1',
            'O' => '0',
            'U' => 'V',
            other => other,
        };
        assert_eq!(value, Some(like));
        assert_eq!(
            value_of(letter.to_ascii_lowercase()).map(letter_of),
            Some(like)
        );
    }
    // Look-alikes of other alphabets are named, not guessed.
    for letter in ['А', 'ß', '０', '|', '!', '_', '.', '–', 'ı'] {
        assert_eq!(value_of(letter), None, "{letter}");
    }
}

#[test]
fn spaces_and_dashes_anywhere_do_not_count() {
    let code = code();
    let letters: Vec<String> = code.expose().chars().map(String::from).collect();
    for between in ["", " ", "-", "  ", " - ", "\t", "\n", "\u{a0}", "\u{2003}"] {
        let typed = format!("{between}{}{between}", letters.join(between));
        let Ok(Parsed::Exact(read)) = RecoveryCode::parse(&typed) else {
            panic!("{between:?}")
        };
        assert_eq!(*read.expose(), *code.expose());
    }
    for length in (0..60).filter(|length| *length != LETTERS) {
        let typed = "0".repeat(length);
        assert_eq!(
            RecoveryCode::parse(&typed).err(),
            Some(CodeError::Length(length))
        );
    }
}

#[test]
fn a_missing_or_doubled_letter_is_a_length_and_a_swap_of_neighbours_is_corrected() {
    let code = RecoveryCode::generate(&Os);
    let letters: Vec<char> = code.expose().chars().collect();
    for at in 0..LETTERS {
        let mut short = letters.clone();
        short.remove(at);
        let typed: String = short.into_iter().collect();
        assert_eq!(
            RecoveryCode::parse(&typed).err(),
            Some(CodeError::Length(29))
        );
        let mut swapped = letters.clone();
        let next = (at + 1) % LETTERS;
        swapped.swap(at, next);
        let typed: String = swapped.into_iter().collect();
        match RecoveryCode::parse(&typed) {
            Ok(Parsed::Exact(_)) => assert_eq!(letters[at], letters[next]),
            Ok(Parsed::Corrected(found, _)) => assert_eq!(*found.expose(), *code.expose()),
            _ => panic!("two wrong letters"),
        }
    }
}
