//! The vault behind its one function, under a host that mostly works and lies where the fuzzer
//! says.
//!
//! Watched: no panic; one history, never back (in the platform); host and HSM agree on every root;
//! no answer to more guesses than the policy allows; after a restart the vault goes on from its
//! anchor.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_fuzz::choices::Choices;
use strongroom_fuzz::host::Host;
use strongroom_fuzz::rehearsal::rehearse;

/// Longer runs find nothing that shorter ones do not, and take time.
const STEPS_MAX: usize = 48;

fuzz_target!(init: rehearse(), |data: &[u8]| {
    let mut choices = Choices::new(data);
    let mut host = Host::new();
    for _ in 0..STEPS_MAX {
        if choices.are_over() {
            break;
        }
        host.step(&mut choices);
    }
});
