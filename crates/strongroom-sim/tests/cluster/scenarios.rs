//! Named scenes: what the fleet comes back from, and what it must not notice.

use strongroom_replica::Message;
use strongroom_sim::cluster::{Cluster, Cut, Faults, Setting};

/// A fleet that leads and serves users.
pub(crate) fn busy(seed: u64, members: usize, rollbacks: u8) -> Cluster {
    let mut cluster = Cluster::new(Setting::calm(seed, members, rollbacks));
    cluster.go_busy();
    cluster.run_for(3_000);
    cluster
}

/// Any members but one.
pub(crate) fn others(cluster: &Cluster, m: usize) -> Vec<usize> {
    let members = 0..cluster.size();
    members.filter(|other| *other != m).collect()
}

/// Entries reach only these pairs; all else comes.
fn entries_reach_only(cluster: &mut Cluster, pairs: &'static [(usize, usize)]) {
    cluster.lose(move |from, to, message| {
        matches!(message, Message::Append(_)) && !pairs.contains(&(from, to))
    });
}

/// Has a member lead while these alone are up, its entries reaching only whom `pairs` say.
fn seal_alone(
    cluster: &mut Cluster,
    leader: usize,
    voters: &[usize],
    pairs: &'static [(usize, usize)],
) {
    cluster.heal();
    for m in 0..cluster.size() {
        if m == leader || voters.contains(&m) {
            cluster.start(m);
        } else {
            cluster.crash(m);
        }
    }
    cluster.lose(move |from, to, message| match message {
        // Nobody else stands for election.
        Message::Canvass { .. } => from != leader,
        Message::Append(_) => !pairs.contains(&(from, to)),
        _ => false,
    });
    let led = cluster.run_until(30_000, |it| it.leads(leader));
    assert!(led, "{}", cluster.standing());
    cluster.run_for(100);
    cluster.crash(leader);
}

#[test]
fn a_split_vote_of_three_is_no_end() {
    for seed in 0..6 {
        let mut cluster = Cluster::new(Setting::calm(seed, 3, 0));
        cluster.run_for(500);
        let before = cluster.newest();
        seal_alone(&mut cluster, 0, &[1], &[]);
        seal_alone(&mut cluster, 1, &[2], &[]);
        seal_alone(&mut cluster, 2, &[0], &[]);
        assert_eq!(cluster.newest(), before, "nobody has a quorum");
        assert!(cluster.tips_differ() > 1, "{}", cluster.standing());
        cluster.settle();
        assert!(cluster.newest().index > before.index);
    }
}

#[test]
fn a_split_vote_of_five_is_no_end() {
    for seed in 0..4 {
        let mut cluster = Cluster::new(Setting::calm(seed, 5, 0));
        cluster.run_for(500);
        let before = cluster.newest();
        seal_alone(&mut cluster, 0, &[1, 4], &[(0, 1)]);
        seal_alone(&mut cluster, 2, &[3, 4], &[(2, 3)]);
        assert_eq!(cluster.newest(), before, "nobody has a quorum");
        assert!(cluster.tips_differ() > 1, "{}", cluster.standing());
        cluster.settle();
        assert!(cluster.newest().index > before.index);
    }
}

#[test]
fn a_power_cut_everywhere_between_any_two_steps_loses_nothing() {
    for (members, rollbacks) in [(3, 0), (3, 1)] {
        for cut in [Cut::Before, Cut::After] {
            let mut calls = 0;
            loop {
                let mut cluster = Cluster::new(Setting::calm(7, members, rollbacks));
                cluster.go_busy();
                cluster.cut_all(calls, cut);
                // One registration and more: a few dozen calls of HSMs and disks.
                cluster.run_for(700);
                let ahead = cluster.is_cut_ahead();
                cluster.settle();
                if ahead || calls > 120 {
                    break;
                }
                calls += 1;
            }
            assert!(calls > 40, "a registration takes more calls than {calls}");
        }
    }
}

#[test]
fn a_cut_between_log_and_vote_loses_no_vote() {
    for cut in [Cut::Before, Cut::After] {
        for calls in 0..12 {
            // All three are needed: a vote that is not said again ends it.
            let mut cluster = busy(40 + calls, 3, 1);
            let leader = cluster.leader_soon();
            let follower = others(&cluster, leader)[0];
            cluster.cut(follower, calls, cut);
            cluster.run_for(4_000);
            cluster.settle();
        }
    }
}

#[test]
fn a_member_whose_branch_was_left_does_not_hang() {
    for seed in 0..8 {
        let mut cluster = busy(seed, 3, 0);
        let leader = cluster.leader_soon();
        // Its next entries are on its own disk alone.
        entries_reach_only(&mut cluster, &[]);
        cluster.run_for(400);
        cluster.crash(leader);
        cluster.heal();
        cluster.run_for(5_000);
        cluster.start(leader);
        cluster.run_for(3_000);
        cluster.settle();
    }
}

#[test]
fn an_entry_of_a_deposed_leader_is_kept_where_one_other_disk_has_it() {
    for seed in 0..6 {
        let mut cluster = busy(seed, 3, 1);
        let leader = cluster.leader_soon();
        let [first, second] = others(&cluster, leader)[..] else {
            panic!("three members");
        };
        // Two of three have it, which is no quorum here.
        cluster.block(leader, second);
        cluster.run_for(1_000);
        cluster.crash(leader);
        cluster.crash(second);
        cluster.heal();
        cluster.run_for(500);
        cluster.start(second);
        cluster.start(leader);
        let _ = first;
        cluster.settle();
    }
}

#[test]
fn a_member_behind_the_logs_copies_a_store() {
    let setting = Setting {
        kept: 4,
        ..Setting::calm(3, 3, 0)
    };
    let mut cluster = Cluster::new(setting);
    let leader = cluster.leader_soon();
    let away = others(&cluster, leader)[0];
    cluster.crash(away);
    cluster.go_busy();
    cluster.run_for(20_000);
    cluster.settle();
    assert!(cluster.seen()["copied"] > 0);
}

#[test]
fn with_one_member_in_three_rolled_back_there_is_one_history() {
    rolled_back(3, 1);
}

#[test]
fn with_two_members_in_five_rolled_back_there_is_one_history() {
    rolled_back(5, 2);
}

fn rolled_back(members: usize, rollbacks: u8) {
    for seed in 0..6 {
        let mut cluster = busy(seed, members, rollbacks);
        let leader = cluster.leader_soon();
        let mut chosen = others(&cluster, leader);
        if seed % 2 == 0 {
            chosen.insert(0, leader);
        }
        chosen.truncate(usize::from(rollbacks));
        let copies: Vec<_> = chosen.iter().map(|m| cluster.copy(*m)).collect();
        cluster.run_for(4_000);
        for (m, copy) in chosen.iter().zip(&copies) {
            cluster.roll_back(*m, copy);
            cluster.start(*m);
        }
        cluster.run_for(4_000);
        cluster.settle();
    }
}

#[test]
fn an_old_disk_under_a_newer_anchor_is_brought_up() {
    for seed in 0..4 {
        let mut cluster = busy(seed, 3, 0);
        let leader = cluster.leader_soon();
        let follower = others(&cluster, leader)[0];
        let copy = cluster.copy(follower);
        cluster.run_for(4_000);
        cluster.roll_back_disk(follower, &copy);
        cluster.start(follower);
        cluster.run_for(4_000);
        cluster.settle();
        assert!(cluster.seen()["disk behind"] > 0);
    }
}

#[test]
fn a_leader_that_hears_nobody_steps_down() {
    let mut cluster = busy(5, 3, 0);
    let leader = cluster.leader_soon();
    for other in others(&cluster, leader) {
        cluster.block(other, leader);
    }
    let given_up = cluster.run_until(5_000, |it| !it.leads(leader));
    assert!(given_up, "it leads for nobody: {}", cluster.standing());
    let replaced = cluster.run_until(10_000, |it| it.leader().is_some_and(|it| it != leader));
    assert!(replaced, "{}", cluster.standing());
    cluster.settle();
}

#[test]
fn a_leader_whom_nobody_hears_is_replaced() {
    let mut cluster = busy(6, 3, 0);
    let leader = cluster.leader_soon();
    for other in others(&cluster, leader) {
        cluster.block(leader, other);
    }
    let replaced = cluster.run_until(10_000, |it| it.leader().is_some_and(|it| it != leader));
    assert!(replaced, "{}", cluster.standing());
    cluster.settle();
}

#[test]
fn a_leader_whose_hsm_hangs_is_replaced() {
    let mut cluster = busy(8, 3, 0);
    let leader = cluster.leader_soon();
    cluster.hang(leader, 8_000);
    let replaced = cluster.run_until(7_000, |it| it.leader().is_some_and(|it| it != leader));
    assert!(replaced, "{}", cluster.standing());
    cluster.settle();
}

#[test]
fn a_member_that_was_cut_off_disturbs_nobody_when_it_is_back() {
    let mut cluster = busy(9, 3, 0);
    let leader = cluster.leader_soon();
    let epoch = cluster.newest().epoch;
    let away = others(&cluster, leader)[0];
    cluster.isolate(away);
    cluster.run_for(10_000);
    cluster.heal();
    cluster.run_for(10_000);
    assert!(cluster.leads(leader), "{}", cluster.standing());
    assert_eq!(cluster.newest().epoch, epoch);
    cluster.settle();
}

#[test]
fn a_host_that_lies_stops_nobody_who_does_not() {
    for seed in 0..12 {
        let members = if seed % 2 == 0 { 3 } else { 5 };
        let liars = (members - 1) / 2;
        let faults = Faults {
            liars,
            ..Faults::none()
        };
        let mut cluster = Cluster::new(Setting {
            faults,
            ..Setting::calm(seed, members, 0)
        });
        cluster.go_wild();
        cluster.run_for(20_000);
        cluster.settle();
        assert!(cluster.seen()["lie"] > 0);
    }
}

#[test]
fn a_start_is_the_newest_by_its_epoch() {
    for seed in 0..4 {
        let mut cluster = Cluster::new(Setting::calm(seed, 3, 0));
        cluster.run_for(500);
        let before = cluster.newest();
        // Two entries on one disk, which no quorum has.
        seal_alone(&mut cluster, 0, &[1], &[]);
        seal_alone(&mut cluster, 0, &[1], &[]);
        assert_eq!(cluster.newest(), before);
        // One that a quorum has, of a later epoch and a lower index.
        cluster.heal();
        cluster.crash(0);
        cluster.start(1);
        cluster.start(2);
        cluster.leader_soon();
        assert_eq!(cluster.newest().index, before.index.next());
        cluster.crash(1);
        cluster.crash(2);
        cluster.start(0);
        cluster.start(1);
        cluster.leader_soon();
        cluster.settle();
    }
}
