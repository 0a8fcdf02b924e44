//! C7, first half: a host that has a user's token is not the user.

use super::{begun, record, refusal};
use strongroom_sim::phone::{About, Outgoing, Phone};
use strongroom_sim::world::{World, bearer, bound};
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::request::{RecoverStart, Start};

/// A user whose tokens are bound, and a thief who has a fresh one of them.
fn with_thief(seed: u64) -> (World, Phone, Phone) {
    let mut world = World::new(seed);
    let user = world.phone(&bound(), "user");
    world.register(&user, "right", None);
    let mut thief = world.phone(&bound(), "user");
    thief.token = Some(user.fresh_token(world.now()));
    (world, user, thief)
}

#[test]
fn c7_a_bound_token_is_worth_nothing_without_its_key() {
    let (mut world, user, mut thief) = with_thief(50);
    let own = thief.holder;
    for holder in [None, own, Some([9; 32])] {
        thief.holder = holder;
        let now = world.now();
        let letters = [
            thief.recover_start("wrong", thief.attempt(now), now).letter,
            thief.reset(thief.op(now), now),
            thief.status(None, now),
            thief.register_start("mine", now).letter,
        ];
        for letter in letters {
            let answer = world.send(&letter);
            assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
        }
    }
    let (_, receipt) = world.recover(&user, "right");
    assert_eq!((receipt.totals.starts, receipt.totals.resets), (1, 0));
}

#[test]
fn c7_a_possession_proof_is_good_in_its_own_envelope_only() {
    let (mut world, user, thief) = with_thief(51);
    let now = world.now();
    // The user's very proof, from another envelope.
    let elsewhere = Outgoing::new(world.host.manifest(), &user.entropy);
    let authorization = user.authorization(&elsewhere, now);
    let guess = thief.recover_start("wrong", thief.attempt(now), now);
    let About::RecoverStart { attempt, ke1 } = guess.letter.about else {
        panic!("a guess")
    };
    let letter = thief.start(guess.letter.about, |_| {
        Start::Recover(RecoverStart {
            authorization,
            slot: thief.slot,
            attempt,
            ke1,
        })
    });
    let answer = world.send(&letter);
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
}

#[test]
fn c7_a_tenant_that_binds_takes_no_token_without_cnf() {
    let (mut world, _, mut thief) = with_thief(52);
    thief.holder = None;
    // Signed by the issuer itself.
    thief.token = Some(thief.fresh_token(world.now()));
    let (_, answer) = world.guess(&thief, "right");
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
}

/// What a bearer tenant gives up, and is told: its hosts can spend its users' guesses. They still
/// read nothing and replace nothing.
#[test]
fn c7_a_bearers_token_spends_guesses_and_no_more() {
    let (mut world, user, registered) = begun(53);
    let mut host = world.phone(&bearer(), "user");
    host.token = Some(user.fresh_token(world.now()));
    let (guess, started) = world.guessed(&host, "a guess of the host");
    assert!(host.open_guess(&guess, &started).is_none());
    let now = world.now();
    let delete = host.delete(host.op(now), None, now);
    assert_eq!(refusal(world.send(&delete)), Refusal::OwnerProofNeeded);
    assert_eq!(record(&world, &registered).lineage.totals.starts, 1);
}

#[test]
fn c7_a_token_names_one_user_one_tenant_and_one_fleet() {
    let (mut world, user, registered) = begun(54);
    let now = world.now();
    let elsewhere = World::new(55);
    let mut abroad = world.phone(&bearer(), "user");
    abroad.manifest = elsewhere.host.manifest().clone();
    let mut foreign = bound();
    foreign.name = bearer().name;
    let mut posing = world.phone(&foreign, "user");
    posing.holder = None;
    let mut wrong = world.phone(&bearer(), "user");
    for token in [abroad.fresh_token(now), posing.fresh_token(now)] {
        wrong.token = Some(token);
        let (_, answer) = world.guess(&wrong, "right");
        assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
    }
    // Another user's good token reaches another user's record.
    wrong.token = Some(world.phone(&bearer(), "another").fresh_token(now));
    let (_, answer) = world.guess(&wrong, "right");
    assert_eq!(refusal(answer), Refusal::NeverRegistered);
    assert_eq!(record(&world, &registered).lineage.totals.starts, 0);
    world.recover(&user, "right");
}

#[test]
fn c7_a_token_is_over_when_its_time_is() {
    let (mut world, user, _) = begun(56);
    let mut late = world.phone(&bearer(), "user");
    late.token = Some(user.fresh_token(world.now()));
    assert!(matches!(
        world.guess(&late, "x").1,
        Answer::RecoverStarted(_)
    ));
    world.pass(600_000);
    let (_, answer) = world.guess(&late, "x");
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
}
