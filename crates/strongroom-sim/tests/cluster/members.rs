//! Members come and go while users are served (DESIGN §6, reconfigure).

use super::scenarios::busy;
use strongroom_replica::Message;
use strongroom_sim::cluster::{Cluster, Setting};

/// Changes the members to these, and waits until they are.
#[track_caller]
fn changed(cluster: &mut Cluster, members: &[usize]) {
    cluster.change_members(members);
    for _ in 0..200 {
        cluster.run_for(300);
        if cluster.press_on() {
            assert_eq!(cluster.named(), members);
            return;
        }
    }
    panic!("no change comes: {}", cluster.standing());
}

/// How often it happened.
fn seen(cluster: &Cluster, what: &str) -> u64 {
    cluster.seen().get(what).copied().unwrap_or_default()
}

#[test]
fn one_becomes_seven_and_three_again_under_load() {
    let mut cluster = busy(50, 1, 0);
    for size in [3, 5, 7, 5, 3] {
        let before = cluster.newest().index;
        let members: Vec<usize> = (0..size).collect();
        changed(&mut cluster, &members);
        cluster.run_for(1_000);
        assert!(cluster.newest().index > before);
    }
    cluster.settle();
    let retired = seen(&cluster, "retired");
    assert_eq!((seen(&cluster, "joined"), retired), (6, 4));
}

#[test]
fn all_are_replaced_one_by_one_and_whoever_leads_goes_too() {
    let mut cluster = busy(51, 3, 0);
    let mut members = vec![0, 1, 2];
    for new in 3..8 {
        let leader = cluster.leader_soon();
        members.retain(|m| *m != leader);
        members.push(new);
        changed(&mut cluster, &members.clone());
    }
    cluster.settle();
    assert_eq!(seen(&cluster, "retired"), 5);
}

/// The only member seals the change that takes two more in, and loses its power before they hear of
/// it. Without one of them it cannot lead any more, and they have nothing to promise by yet.
#[test]
fn joiners_that_heard_nothing_before_the_leader_fell_are_no_end() {
    for seed in 52..58 {
        let mut cluster = busy(seed, 1, 0);
        cluster.lose(|_, _, message| matches!(message, Message::Append(_)));
        cluster.change_members(&[0, 1, 2]);
        cluster.run_for(5_000);
        assert_eq!(seen(&cluster, "joined"), 0);
        cluster.crash(0);
        cluster.heal();
        cluster.start(0);
        cluster.settle();
        assert_eq!(cluster.named(), [0, 1, 2], "it was sealed by 0");
        assert_eq!(seen(&cluster, "joined"), 2);
    }
}

/// 0 proposes a change and falls; the others know nothing of it, and lead on.
#[test]
fn a_change_that_only_its_leader_sealed_is_overtaken_and_made_again() {
    let mut cluster = busy(60, 3, 0);
    let leader = cluster.leader_soon();
    cluster.lose(move |from, _, message| from == leader && matches!(message, Message::Append(_)));
    let rest: Vec<usize> = (0..4).filter(|m| *m != (leader + 1) % 3).collect();
    cluster.change_members(&rest);
    cluster.run_for(100);
    cluster.crash(leader);
    cluster.heal();
    let other = cluster.leader_soon();
    assert_ne!(other, leader);
    assert_eq!(cluster.named(), [0, 1, 2]);
    cluster.start(leader);
    for _ in 0..100 {
        cluster.run_for(300);
        if cluster.press_on() {
            break;
        }
    }
    assert_eq!(cluster.named(), rest);
    cluster.settle();
}

/// So long that it knows nobody who leads now, and no log goes back so far.
#[test]
fn a_member_that_was_away_over_changes_comes_back() {
    for kept in [4, 512] {
        let mut setting = Setting::calm(61, 3, 0);
        setting.kept = kept;
        let mut cluster = Cluster::new(setting);
        cluster.go_busy();
        cluster.run_for(1_000);
        cluster.crash(2);
        changed(&mut cluster, &[0, 2, 3]);
        changed(&mut cluster, &[2, 3, 4]);
        cluster.run_for(3_000);
        cluster.start(2);
        cluster.settle();
    }
}

/// What it seals and promises on the way counts for nothing, and it leaves once it is told.
#[test]
fn a_member_that_was_removed_while_it_was_away_leaves_when_it_comes_back() {
    for changes in [1, 3] {
        let mut cluster = busy(62, 3, 0);
        cluster.crash(1);
        let sets = [[0, 2, 3], [0, 3, 4], [3, 4, 5]];
        for members in &sets[..changes] {
            changed(&mut cluster, members);
        }
        cluster.start(1);
        cluster.settle();
        assert_eq!(seen(&cluster, "retired"), changes as u64);
    }
}
