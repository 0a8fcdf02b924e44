//! Before the fuzzer lies, the honest way must lead everywhere: else it would fuzz a locked door
//! and report that nothing was found. The same scripts are good seeds.

use crate::choices::Choices;
use crate::host::Host;

const REGISTER: &[u8] = &[0, 0, 0, 0];
const RECOVER: &[u8] = &[0, 2, 1, 1, 0, 0];
const GUESS_WRONG: &[u8] = &[0, 0x42, 1, 1, 0, 0];
const FINISH: &[u8] = &[3, 0, 0];
const EVALUATE: &[u8] = &[4, 0, 0, 0];
const COMMIT: &[u8] = &[6, 0, 8, 0, 10, 0];
const TEN_DAYS: &[u8] = &[12, 240];
const RESTART: &[u8] = &[14, 0, 0];

/// Registers, recovers, restarts, and guesses until nothing is left.
///
/// # Panics
/// If the vault or this host is not what the other takes it for.
pub fn rehearse() {
    let mut host = Host::new();
    let mut play = |parts: &[&[u8]]| {
        let script = parts.concat();
        let mut choices = Choices::new(&script);
        while !choices.are_over() {
            host.step(&mut choices);
        }
        host.reached()
    };
    let reached = play(&[REGISTER, EVALUATE, FINISH, EVALUATE, COMMIT]);
    assert_eq!(reached.registered, 1, "{reached:?}");
    // The first guess has no guess before it that it could repeat: one choice less.
    let first: &[u8] = &[0, 2, 1, 0, 0];
    let reached = play(&[first, EVALUATE, COMMIT, FINISH, EVALUATE, COMMIT]);
    assert_eq!((reached.guesses, reached.recovered), (1, 1), "{reached:?}");
    let reached = play(&[
        RESTART, TEN_DAYS, RECOVER, EVALUATE, COMMIT, FINISH, EVALUATE, COMMIT,
    ]);
    assert_eq!((reached.guesses, reached.recovered), (2, 2), "{reached:?}");
    for _ in 0..4 {
        play(&[TEN_DAYS, GUESS_WRONG, EVALUATE, COMMIT]);
    }
    let reached = play(&[]);
    assert_eq!((reached.guesses, reached.destroyed), (5, 1), "{reached:?}");
}

#[cfg(test)]
mod tests {
    use crate::choices::Choices;
    use crate::host::Host;
    use strongroom_sim::entropy::Seeded;

    #[test]
    fn the_honest_way_leads_everywhere() {
        super::rehearse();
    }

    /// What the checkers take for a broken promise must be one: chance alone finds none.
    #[test]
    fn chance_breaks_no_promise() {
        for seed in 0..60 {
            let bytes: [u8; 600] = Seeded::new(seed).array();
            let mut choices = Choices::new(&bytes);
            let mut host = Host::new();
            while !choices.are_over() {
                host.step(&mut choices);
            }
        }
    }
}
