//! Every rule refuses what it is there for, and lets its neighbour pass.

use super::{GatedFiles, Gates, Source, declared_modules, too_long};
use crate::tidy::Level;
use crate::tidy::items::{Function, Gate};

const OUTSIDE: &str = "crates/strongroom-node/src/serve.rs";
const INSIDE: &str = "crates/strongroom-vault/src/policy.rs";

fn errors(path: &str, text: &str) -> Vec<String> {
    let findings = Source::new(path, text, &Gates::default()).check();
    let errors = findings
        .into_iter()
        .filter(|finding| finding.level == Level::Error);
    errors.map(|finding| finding.message).collect()
}

fn refused(path: &str, text: &str) -> bool {
    !errors(path, text).is_empty()
}

#[test]
fn long_lines_are_refused_unless_they_hold_an_address() {
    assert!(refused(OUTSIDE, &format!("// {}\n", "x".repeat(98))));
    assert!(!refused(OUTSIDE, &format!("// {}\n", "x".repeat(97))));
    assert!(!refused(
        OUTSIDE,
        &format!("// https://{}\n", "x".repeat(98))
    ));
}

#[test]
fn long_files_are_noted_and_very_long_ones_refused() {
    let long = "fn a() {}\n".repeat(401);
    let findings = Source::new(OUTSIDE, &long, &Gates::default()).check();
    assert!(findings.iter().any(|finding| finding.level == Level::Note));
    assert!(!refused(OUTSIDE, &long));
    assert!(refused(OUTSIDE, &"fn a() {}\n".repeat(801)));
}

#[test]
fn long_functions_are_refused() {
    let body = "    a();\n";
    assert!(!refused(
        OUTSIDE,
        &format!("fn f() {{\n{}}}\n", body.repeat(68))
    ));
    assert!(refused(
        OUTSIDE,
        &format!("fn f() {{\n{}}}\n", body.repeat(69))
    ));
}

#[test]
fn the_ratchet_only_turns_one_way() {
    let ratchet = [("a.rs", "f", 90)];
    let of_length = |last| Function {
        name: "f".to_owned(),
        first: 1,
        last,
    };
    assert!(too_long("a.rs", &of_length(90), &ratchet).is_none());
    assert!(too_long("a.rs", &of_length(91), &ratchet).is_some());
    assert!(too_long("a.rs", &of_length(80), &ratchet).is_some());
    assert!(too_long("b.rs", &of_length(90), &ratchet).is_some());
}

#[test]
fn unfinished_work_is_refused_and_words_in_strings_are_not() {
    assert!(refused(OUTSIDE, concat!("// TO", "DO: later\n")));
    assert!(refused(OUTSIDE, concat!("/// FIX", "ME\n")));
    assert!(refused(OUTSIDE, concat!("fn f() { to", "do!() }\n")));
    assert!(!refused(
        OUTSIDE,
        concat!("const A: &str = \"TO", "DO\";\n")
    ));
}

#[test]
fn forbidden_names_are_refused() {
    assert!(refused(OUTSIDE, "fn get_record() {}\n"));
    assert!(refused(OUTSIDE, "struct A { max_attempts: u8 }\n"));
    assert!(refused(
        "crates/strongroom-node/src/utils.rs",
        "fn a() {}\n"
    ));
    assert!(!refused(
        OUTSIDE,
        "fn target_record() {}\nstruct A { attempts_max: u8 }\n"
    ));
}

#[test]
fn ignored_tests_need_a_reason_and_the_command_that_runs_them() {
    assert!(refused(OUTSIDE, "#[ignore]\nfn a() {}\n"));
    assert!(refused(OUTSIDE, "#[ignore = \"ten minutes\"]\nfn a() {}\n"));
    assert!(!refused(
        OUTSIDE,
        "#[ignore = \"ten minutes; cargo xtask nightly\"]\nfn a() {}\n"
    ));
}

#[test]
fn fixed_temporary_paths_are_for_tests() {
    let line = concat!("const A: &str = \"/t", "mp/a\";\n");
    assert!(refused(OUTSIDE, line));
    assert!(!refused(
        OUTSIDE,
        &format!("#[cfg(test)]\nmod tests {{\n{line}}}\n")
    ));
    assert!(!refused("crates/strongroom-node/tests/serve.rs", line));
}

#[test]
fn inside_crates_have_neither_std_nor_unsafe() {
    assert!(refused(INSIDE, "use std::io;\n"));
    assert!(refused(INSIDE, "fn f() { unsafe { g() } }\n"));
    assert!(!refused(
        INSIDE,
        "#[cfg(test)]\nmod tests {\n    use std::io;\n}\n"
    ));
    assert!(!refused(OUTSIDE, "use std::io;\n"));
}

#[test]
fn inside_crates_declare_themselves() {
    let path = "crates/strongroom-vault/src/lib.rs";
    assert_eq!(errors(path, "//! Docs.\n").len(), 2);
    assert!(!refused(path, "#![no_std]\n#![forbid(unsafe_code)]\n"));
    assert!(refused(path, "// #![no_std]\n#![forbid(unsafe_code)]\n"));
}

#[test]
fn the_hosts_half_behind_a_feature_may_use_std() {
    let path = "crates/strongroom-tree/src/lib.rs";
    let root = "#![cfg_attr(not(feature = \"prover\"), no_std)]\n#![forbid(unsafe_code)]\n\
                #[cfg(feature = \"prover\")]\npub mod prover;\n";
    assert!(!refused(path, root));
    let gates = Gates::new(&[(path, root)]);
    let errors = |path, text| Source::new(path, text, &gates).check().len();
    assert_eq!(
        errors(
            "crates/strongroom-tree/src/prover/page.rs",
            "use std::io;\n"
        ),
        0
    );
    assert_eq!(
        errors("crates/strongroom-tree/src/proof.rs", "use std::io;\n"),
        1
    );
}

#[test]
fn shipped_lines_leave_out_blanks_comments_and_tests() {
    let text = "//! Docs.\n\nfn a() {\n    // why\n    b();\n}\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(
        Source::new(OUTSIDE, text, &Gates::default()).shipped_lines(),
        3
    );
}

#[test]
fn what_a_feature_turns_on_is_not_counted() {
    let text = "fn a() {}\n#[cfg(feature = \"prover\")]\nfn b() {}\n";
    let source = Source::new(OUTSIDE, text, &Gates::default());
    assert_eq!(source.shipped_lines(), 1);
}

#[test]
fn declared_modules_are_found() {
    let text = "mod a;\npub mod b { }\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(declared_modules(text), ["a", "b", "tests"]);
}

#[test]
fn files_behind_a_gate_are_found_with_all_below_them() {
    let text = "#[cfg(feature = \"prover\")]\npub mod prover;\n#[cfg(test)]\nmod tests;\n";
    let sources = [("crates/c/src/lib.rs", text), ("crates/c/src/d.rs", text)];
    let optional = GatedFiles::new(&sources, Gate::Feature);
    assert!(optional.contain("crates/c/src/prover.rs"));
    assert!(optional.contain("crates/c/src/prover/page.rs"));
    assert!(optional.contain("crates/c/src/d/prover.rs"));
    assert!(!optional.contain("crates/c/src/proverb.rs"));
    assert!(!optional.contain("crates/c/src/tests.rs"));
    assert!(GatedFiles::new(&sources, Gate::Test).contain("crates/c/src/tests.rs"));
}
