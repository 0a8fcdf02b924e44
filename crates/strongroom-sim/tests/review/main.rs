//! The attacks of the review, step by step, through whole envelopes and the vault's one function.
//! Each test is named after its finding. Those about a lying host's frames (C3, C5, H4) stand in
//! `hostile`; those about policy alone in the vault's own tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod guesses;
mod owner;
mod randomness;
mod retries;
mod tenants;
mod tokens;

use strongroom_sim::phone::Phone;
use strongroom_sim::world::{Registered, World, bearer};
use strongroom_vault::record::Record;
use strongroom_wire::answer::{Answer, Refusal};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// A world with one registered user.
fn begun(seed: u64) -> (World, Phone, Registered) {
    let mut world = World::new(seed);
    let phone = world.phone(&bearer(), "user");
    let registered = world.register(&phone, "right", None);
    (world, phone, registered)
}

/// The record as the vault committed it last.
fn record<'a>(world: &'a World, registered: &Registered) -> &'a Record {
    let id = registered.receipt.record;
    world.checkers.record(&id).expect("it was committed")
}

#[track_caller]
fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("a refusal was to come: {other:?}"),
    }
}
