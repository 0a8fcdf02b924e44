//! C10: a machine resumed from a snapshot repeats its randomness. The world's checkers see every
//! sealed object and refuse two ciphertexts under one nonce; the tests say what else must differ.

use super::begun;
use strongroom_sim::phone::About;
use strongroom_sim::world::{World, bearer};
use strongroom_wire::answer::{Answer, RegisterStarted};
use strongroom_wire::request::{RegisterStart, Start};

#[test]
fn c10_repeated_randomness_repeats_no_nonce_with_other_words() {
    let (mut world, phone, registered) = begun(40);
    let other = world.phone(&bearer(), "other");
    world.register(&other, "other", None);
    let snapshot = world.host.platform.snapshot();
    for round in 0..6 {
        world.host.platform.repeat_randomness(&snapshot);
        let phone = if round % 2 == 0 { &phone } else { &other };
        world.guessed(phone, "wrong");
        world.host.platform.repeat_randomness(&snapshot);
        let owner = (round % 2 == 0).then_some(&registered.owner);
        let status = phone.status(owner, world.now());
        world.send(&status);
        world.pass(20 * 24 * 3_600_000);
        world.propose(&[]).unwrap();
        world.seal().unwrap();
    }
}

#[test]
fn c10_one_envelope_answered_twice_has_two_nonces() {
    let (mut world, phone, _) = begun(41);
    let status = phone.status(None, world.now());
    let snapshot = world.host.platform.snapshot();
    let mut answers = Vec::new();
    for _ in 0..2 {
        world.host.platform.repeat_randomness(&snapshot);
        answers.push(world.host.serve(&status.envelope).unwrap());
        // In between the record changes, so that the words do.
        world.guessed(&phone, "wrong");
    }
    assert_ne!(answers[0][..32], answers[1][..32]);
    assert_ne!(status.read(&answers[0]), status.read(&answers[1]));
}

/// The answer to a registration of a blinded element that the test chooses.
fn registered(world: &mut World, subject: &str, request: [u8; 32]) -> RegisterStarted {
    let phone = world.phone(&bearer(), subject);
    let now = world.now();
    let letter = phone.start(About::RegisterStart, |out| {
        Start::Register(RegisterStart {
            authorization: phone.authorization(out, now),
            slot: phone.slot,
            request,
        })
    });
    match world.send(&letter) {
        Answer::RegisterStarted(started) => started,
        other => panic!("a registration begins: {other:?}"),
    }
}

#[test]
fn c10_repeated_randomness_repeats_no_oprf_seed_and_no_finish_key() {
    let mut world = World::new(42);
    let phone = world.phone(&bearer(), "somebody");
    let (_, request) =
        strongroom_crypto::opaque::ClientRegistration::start(b"code", &phone.entropy)
            .map(|(state, request)| (drop(state), request))
            .unwrap();
    let snapshot = world.host.platform.snapshot();
    // Another user, and the same user in another envelope.
    let mut seen = Vec::new();
    for subject in ["one", "two", "one"] {
        world.host.platform.repeat_randomness(&snapshot);
        seen.push(registered(&mut world, subject, request));
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let (a, b) = (&seen[a], &seen[b]);
        assert_ne!(a.response[..32], b.response[..32], "the OPRF key differs");
        assert_ne!(a.grant.to_hsm, b.grant.to_hsm);
        assert_ne!(a.grant.to_client, b.grant.to_client);
        assert_ne!(a.grant.ticket[..25], b.grant.ticket[..25]);
    }
}

#[test]
fn c10_two_branches_seal_one_record_under_two_nonces() {
    let (mut world, phone, registered) = begun(43);
    let snapshot = world.host.platform.snapshot();
    let now = world.now();
    for _ in 0..2 {
        world.host.platform.repeat_randomness(&snapshot);
        let guess = phone.recover_start("wrong", phone.attempt(now), now);
        let handle = world.prepare(&guess.letter);
        world.propose(&[handle]).unwrap();
        world.restart().unwrap();
    }
    let versions = world.host.versions(&registered.receipt.record);
    let nonces: Vec<Vec<u8>> = versions
        .iter()
        .map(|leaf| strongroom_sim::glass::Glass::sealed_part(leaf).unwrap()[..24].to_vec())
        .collect();
    assert_eq!(nonces.len(), 3);
    assert!(nonces[0] != nonces[1] && nonces[1] != nonces[2] && nonces[0] != nonces[2]);
}
