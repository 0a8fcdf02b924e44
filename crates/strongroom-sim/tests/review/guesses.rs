//! C8, C12, H2, H5, H6, H7: what a guess costs, and who sees it.

use super::{DAY, MINUTE, begun, record, refusal};
use std::rc::Rc;
use strongroom_sim::phone::{About, Letter};
use strongroom_sim::world::{Opening, World, bearer};
use strongroom_wire::Slot;
use strongroom_wire::answer::{Answer, Destruction, EventKind, Refusal};
use strongroom_wire::frame::Response;

#[test]
fn c8_two_old_envelopes_replayed_for_ever_spend_nothing() {
    let (mut world, phone, registered) = begun(1);
    let mut old = Vec::new();
    for _ in 0..2 {
        world.recover(&phone, "right");
        let is_guess = |it: &&Rc<Letter>| matches!(it.about, About::RecoverStart { .. });
        old.push(phone.sent().iter().rfind(is_guess).unwrap().clone());
    }
    // The operator's clock stands still, so the tokens inside stay good for ever.
    for round in 0..30 {
        let answer = world.send(&old[round % 2]);
        assert!(
            matches!(refusal(answer), Refusal::StaleAttempt { .. }),
            "round {round}"
        );
        if round % 7 == 0 {
            world.restart().unwrap();
        }
    }
    let record = record(&world, &registered);
    assert_eq!(record.live().unwrap().attempts_left, 10);
    assert_eq!(record.lineage.totals.starts, 2);
}

#[test]
fn c8_an_old_envelope_is_stale_in_a_new_generation_too() {
    let (mut world, phone, registered) = begun(2);
    let (guess, _) = world.guessed(&phone, "wrong");
    let replaced = world.register(&phone, "new", Some(&registered.owner));
    let answer = world.send(&guess.letter);
    assert!(matches!(refusal(answer), Refusal::StaleAttempt { .. }));
    let now = world.now();
    let delete = phone.delete(phone.op(now), Some(&replaced.owner), now);
    world.receipt(&delete);
    world.register(&phone, "newest", None);
    let answer = world.send(&guess.letter);
    assert!(matches!(refusal(answer), Refusal::StaleAttempt { .. }));
    assert_eq!(record(&world, &registered).lineage.totals.starts, 1);
}

#[test]
fn c8_one_attempt_id_buys_one_guess() {
    let (mut world, phone, registered) = begun(17);
    let (first, _) = world.guessed(&phone, "wrong");
    // The same name for another code, while it is pending and after a success.
    for _ in 0..2 {
        let other = phone.recover_start("right", first.attempt, world.now());
        let answer = world.send(&other.letter);
        assert!(matches!(refusal(answer), Refusal::StaleAttempt { .. }));
        world.recover(&phone, "right");
    }
    assert_eq!(record(&world, &registered).lineage.totals.starts, 3);
}

#[test]
fn c12_a_finish_of_an_overtaken_guess_is_superseded() {
    let (mut world, phone, registered) = begun(18);
    let (guess, started) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    let other = world.phone(&bearer(), "user");
    world.guessed(&other, "wrong");
    let finish = phone.recover_finish(&started, ke3, phone.op(world.now()));
    assert_eq!(refusal(world.send(&finish)), Refusal::Superseded);
    let live = record(&world, &registered).live().unwrap();
    assert_eq!(live.attempts_left, 8);
    world.recover(&phone, "right");
    assert_eq!(refusal(world.send(&finish)), Refusal::Superseded);
}

#[test]
fn c12_a_wrong_ke3_restores_nothing() {
    let (mut world, phone, registered) = begun(19);
    let (_, first) = world.guessed(&phone, "wrong");
    let (guess, second) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &second).unwrap();
    let mut flipped = ke3;
    flipped[63] ^= 1;
    for wrong in [[7; 64], flipped] {
        let finish = phone.recover_finish(&second, wrong, phone.op(world.now()));
        assert_eq!(refusal(world.send(&finish)), Refusal::WrongCode);
    }
    // The right proof, under another guess's ticket.
    let finish = phone.recover_finish(&first, ke3, phone.op(world.now()));
    assert_eq!(refusal(world.send(&finish)), Refusal::Superseded);
    let live = record(&world, &registered).live().unwrap();
    assert_eq!(live.attempts_left, 8);
    world.recover(&phone, "right");
}

#[test]
fn c12a_a_success_restores_the_guesses_and_none_is_forgotten() {
    let (mut world, phone, registered) = begun(3);
    let thief = world.phone(&bearer(), "user");
    for round in 1..=3 {
        for left in [9, 8] {
            let (_, started) = world.guessed(&thief, "wrong");
            assert_eq!(started.attempts_left, left);
        }
        let (_, receipt) = world.recover(&phone, "right");
        assert_eq!(receipt.attempts_left, 10);
        assert_eq!(receipt.totals.unproved, 2 * round);
    }
    assert_eq!(record(&world, &registered).lineage.totals.starts, 9);
}

/// Guesses wrongly until none is left; gives the last one.
fn exhausted(
    world: &mut World,
) -> (
    strongroom_sim::phone::Phone,
    strongroom_sim::phone::Recovering,
) {
    let thief = world.phone(&bearer(), "user");
    for _ in 0..9 {
        world.guessed(&thief, "wrong");
        world.pass(5 * DAY);
        world.propose(&[]).unwrap();
        world.seal().unwrap();
    }
    let (last, started) = world.guessed(&thief, "right");
    assert_eq!(started.attempts_left, 0);
    (thief, last)
}

#[test]
fn c12b_the_tenth_guess_is_worth_as_much_as_the_first() {
    let (mut world, _, registered) = begun(4);
    let (phone, last) = exhausted(&mut world);
    let again = phone.recover_again(last, world.now());
    let Answer::RecoverStarted(started) = world.send(&again.letter) else {
        panic!("the retry of the last chance is answered")
    };
    let (ke3, _) = phone.open_guess(&again, &started).unwrap();
    let finish = phone.recover_finish(&started, ke3, phone.op(world.now()));
    assert_eq!(world.receipt(&finish).attempts_left, 10);
    assert!(record(&world, &registered).live().is_some());
}

#[test]
fn c12b_the_eleventh_guess_destroys_and_gets_nothing() {
    let (mut world, _, registered) = begun(5);
    let (phone, last) = exhausted(&mut world);
    let (_, answer) = world.guess(&phone, "right");
    let Refusal::Destroyed { why, totals, .. } = refusal(answer) else {
        panic!("no eleventh guess is answered")
    };
    assert_eq!(why, Destruction::Guessed);
    assert_eq!(
        (totals.starts, totals.unproved, totals.destructions),
        (10, 10, 1)
    );
    // Not even the tenth's retry is any more.
    let answer = world.send(&last.letter);
    assert!(matches!(
        refusal(answer),
        Refusal::WrongTokenOrTenant | Refusal::Destroyed { .. }
    ));
    assert!(record(&world, &registered).live().is_none());
    assert_eq!(world.checkers.seen.destroyed, 1);
}

#[test]
fn c12b_the_last_chance_is_over_after_a_day_whatever_comes() {
    let (mut world, _, registered) = begun(6);
    let (phone, _) = exhausted(&mut world);
    world.pass(DAY + 1);
    let status = phone.status(None, world.now());
    let answer = world.send(&status);
    assert!(matches!(refusal(answer), Refusal::Destroyed { .. }));
    assert!(record(&world, &registered).live().is_none());
}

#[test]
fn c12c_ten_right_guesses_whose_finish_was_lost_are_made_good_by_one() {
    let (mut world, phone, registered) = begun(7);
    let mut finish = None;
    for _ in 0..10 {
        let (guess, started) = world.guessed(&phone, "right");
        let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
        finish = Some(phone.recover_finish(&started, ke3, phone.op(world.now())));
        world.pass(5 * DAY);
        world.propose(&[]).unwrap();
        world.seal().unwrap();
        if started.attempts_left == 0 {
            break;
        }
    }
    // Five days later the last chance is over; within a day it is not (c12b).
    let answer = world.send(&finish.unwrap());
    assert!(matches!(refusal(answer), Refusal::Destroyed { .. }));
    assert!(record(&world, &registered).live().is_none());

    let (mut world, phone, _) = begun(8);
    let (guess, started) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    let finish = phone.recover_finish(&started, ke3, phone.op(world.now()));
    world.pass(29 * DAY);
    let receipt = world.receipt(&finish);
    assert_eq!((receipt.attempts_left, receipt.totals.unproved), (10, 0));
}

#[test]
fn h2_a_retry_has_the_same_element_and_a_fresh_key_exchange() {
    // Whichever of the two answers the client goes on with, it ends well.
    for taken in 0..2 {
        let (mut world, phone, registered) = begun(9);
        let (guess, first) = world.guessed(&phone, "right");
        let again = phone.recover_again(guess, world.now());
        let Answer::RecoverStarted(second) = world.send(&again.letter) else {
            panic!("a retry is answered")
        };
        assert_eq!(first.ke2[..32], second.ke2[..32], "one evaluated element");
        assert_ne!(first.ke2[32..], second.ke2[32..], "fresh key exchange");
        assert_eq!(first.attempts_left, second.attempts_left);
        assert_eq!(record(&world, &registered).lineage.totals.starts, 1);
        let started = if taken == 0 { first } else { second };
        let (ke3, root) = phone.open_guess(&again, &started).unwrap();
        assert_eq!(root.expose(), registered.owner.root.expose());
        let finish = phone.recover_finish(&started, ke3, phone.op(world.now()));
        assert_eq!(world.receipt(&finish).kind, EventKind::Recovered);
    }
}

#[test]
fn h2_the_same_envelope_again_is_a_retry_too() {
    let (mut world, phone, registered) = begun(10);
    let (guess, first) = world.guessed(&phone, "right");
    let Answer::RecoverStarted(second) = world.send(&guess.letter) else {
        panic!("a retry is answered")
    };
    assert_ne!(first.ke2, second.ke2);
    assert_eq!(record(&world, &registered).lineage.totals.starts, 1);
}

#[test]
fn h3_a_finish_carries_no_token_and_outlives_it() {
    let (mut world, phone, _) = begun(11);
    let (guess, started) = world.guessed(&phone, "right");
    let (ke3, _) = phone.open_guess(&guess, &started).unwrap();
    let finish = phone.recover_finish(&started, ke3, phone.op(world.now()));
    let other = world.phone(&bearer(), "other");
    let (registering, begun) = world.register_start(&other, "code");
    let root = strongroom_crypto::wrap::Root::generate(&other.entropy);
    let stored = (&root, other.op(world.now()));
    let register = other.register_finish(registering, &begun, stored, None);
    // Tokens live ten minutes.
    world.pass(50 * MINUTE);
    assert_eq!(
        world.receipt(&register.unwrap()).kind,
        EventKind::Registered
    );
    world.pass(28 * DAY);
    assert_eq!(world.receipt(&finish).kind, EventKind::Recovered);
    // A start does need one.
    let answer = world.send(&guess.letter);
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
}

#[test]
fn h5_reads_and_refusals_are_held_until_a_quorum_sealed_them() {
    let (mut world, phone, _) = begun(12);
    let nobody = world.phone(&bearer(), "nobody");
    let mut expired = world.phone(&bearer(), "user");
    expired.token = Some(expired.fresh_token(strongroom_wire::UnixMs(world.now().0 - DAY)));
    let now = world.now();
    let letters = [
        phone.status(None, now),
        nobody.status(None, now),
        nobody
            .recover_start("code", nobody.attempt(now), now)
            .letter,
        expired.status(None, now),
        phone.delete(phone.op(now), None, now),
        phone
            .recover_start("code", phone.attempt(strongroom_wire::UnixMs(0)), now)
            .letter,
    ];
    for letter in letters {
        let handle = world.prepare(&letter);
        assert_eq!(world.propose(&[handle]), Ok(vec![]));
        assert!(world.take_answers().is_empty(), "proposed: held");
        let notarisation = world.host.notarisation();
        assert!(matches!(world.ask(notarisation), Response::Notarised(_)));
        assert!(world.take_answers().is_empty(), "sealed: held");
        world.seal().unwrap();
        assert_eq!(world.take_answers().len(), 1, "released");
    }
}

#[test]
fn h5_an_answer_of_a_branch_that_died_never_leaves() {
    let (mut world, phone, _) = begun(13);
    let status = phone.status(None, world.now());
    let handle = world.prepare(&status);
    world.propose(&[handle]).unwrap();
    world.restart().unwrap();
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    assert!(world.take_answers().is_empty());
}

#[test]
fn h6_the_history_is_the_owners_and_cannot_be_flushed() {
    let (mut world, phone, registered) = begun(14);
    let thief = world.phone(&bearer(), "user");
    world.guessed(&thief, "wrong");
    for _ in 0..12 {
        world.recover(&phone, "right");
    }
    let now = world.now();
    let Answer::Status(seen) = world.send(&phone.status(None, now)) else {
        panic!("a status")
    };
    assert!(seen.history.is_none(), "totals only, without proof");
    let owner = Some(&registered.owner);
    let Answer::Status(seen) = world.send(&phone.status(owner, now)) else {
        panic!("a status")
    };
    let history = seen.history.unwrap();
    let guessed = |it: &strongroom_wire::answer::Event| it.kind == EventKind::Guessed;
    assert!(history.unproved.iter().any(guessed), "the thief's guess");
    assert_eq!(history.proved.len(), 8);
    assert_eq!(seen.totals.unproved, 1);
}

#[test]
fn h6_nine_guesses_before_a_replacement_are_counted() {
    let (mut world, phone, registered) = begun(15);
    for _ in 0..9 {
        world.guessed(&phone, "wrong");
        world.pass(5 * DAY);
        world.propose(&[]).unwrap();
        world.seal().unwrap();
    }
    let replaced = world.register(&phone, "new", Some(&registered.owner));
    let totals = replaced.receipt.totals;
    assert_eq!(
        (totals.starts, totals.unproved, totals.replacements),
        (9, 9, 1)
    );
}

#[test]
fn h7_slots_are_few_and_each_has_its_own_guesses() {
    let (mut world, mut phone, _) = begun(16);
    let mut records = Vec::new();
    for slot in 1..4 {
        phone.slot = Slot(slot);
        let registered = world.register(&phone, &format!("code {slot}"), None);
        records.push(registered.receipt.record);
        let (_, started) = world.guessed(&phone, "wrong");
        assert_eq!(started.attempts_left, 9);
    }
    records.dedup();
    assert_eq!(records.len(), 3);
    for slot in [4, 5, 255] {
        phone.slot = Slot(slot);
        let now = world.now();
        let guess = phone.recover_start("code", phone.attempt(now), now);
        let letters = [
            guess.letter,
            phone.register_start("code", now).letter,
            phone.status(None, now),
        ];
        for letter in letters {
            let Opening::Answered(answer) = world.open(&letter) else {
                panic!("answered at once")
            };
            assert_eq!(refusal(answer), Refusal::SlotOutOfRange);
        }
    }
}
