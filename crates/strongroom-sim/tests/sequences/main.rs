//! Long random sequences through the real vault: users who register, guess, forget and delete; a
//! host that loses answers, cuts the power between any two steps, lets branches die, and sends
//! every envelope it ever saw again. The world's checkers run after every step.
//!
//! `STRONGROOM_SIM_CASES` raises the number of sequences (nightly); `STRONGROOM_SIM_SEED` replays
//! the long run of one seed.
#![allow(clippy::unwrap_used, missing_docs)]

mod play;
mod user;

use play::{Play, Step};
use proptest::prelude::*;
use strongroom_sim::entropy::Seeded;

/// Sequences of the property, unless told.
const CASES: u32 = 300;
/// Steps of a long run.
const STEPS: usize = 1_200;

fn cases() -> u32 {
    let told = std::env::var("STRONGROOM_SIM_CASES").ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(CASES)
}

/// Prints its seed if the run ends in a panic.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with STRONGROOM_SIM_SEED={}", self.0);
        }
    }
}

fn long_run(seed: u64) -> Play {
    let _told = Told(seed);
    let choices = Seeded::new(seed);
    let mut play = Play::new(seed);
    for _ in 0..STEPS {
        let [kind, a, b] = choices.array();
        play.step(Step { kind, a, b });
    }
    play.end();
    play
}

#[test]
fn long_runs_keep_every_promise_and_reach_every_outcome() {
    let told = std::env::var("STRONGROOM_SIM_SEED").ok();
    if let Some(seed) = told.and_then(|it| it.parse().ok()) {
        long_run(seed);
        return;
    }
    let runs = u64::from(cases()).div_ceil(10);
    let mut reached = [0; 8];
    for seed in 0..runs {
        let seen = long_run(seed).seen();
        let counts = [
            seen.guesses - seen.retries,
            seen.retries,
            seen.recovered,
            seen.registered,
            seen.destroyed,
            seen.deleted,
            seen.after_reset,
            seen.repeated,
        ];
        for (sum, count) in reached.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    println!(
        "guesses, retries, recovered, registered, destroyed, deleted, after a reset, repeated:"
    );
    println!("{reached:?}");
    assert!(
        reached.iter().all(|count| *count > 0),
        "some outcome was never reached: {reached:?}"
    );
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = any::<(u8, u8, u8)>().prop_map(|(kind, a, b)| Step { kind, a, b });
    proptest::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_keeps_every_promise(seed in 0u64..1 << 40, steps in steps()) {
        let mut play = Play::new(seed);
        for step in steps {
            play.step(step);
        }
        play.end();
    }
}
