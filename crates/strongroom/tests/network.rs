//! Five sites, each in a network namespace of its own, on bad lines: cut off, cut off in one
//! direction, flapping, far apart, losing packets. Clients are answered as long as a majority can
//! talk; a site that is cut off answers nothing old; and everything heals by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::contend::Contenders;
use common::fleet::Fleet;
use common::load::Door;
use common::net::Net;
use std::time::Duration;

/// A fleet on such a network, and this thread at its clients.
fn sites() -> Option<(Net, Fleet)> {
    let net = Net::of(5)?;
    let mut fleet = Fleet::founded(5, common::PROGRAM);
    net.house(&mut fleet);
    (0..5).for_each(|at| fleet.start(at));
    net.enter();
    fleet.all_well(5);
    Some((net, fleet))
}

/// The site of the member that leads.
fn leader(fleet: &Fleet) -> u8 {
    u8::try_from(fleet.leader()).unwrap() + 1
}

/// The sites besides that one, the next one first.
fn others(site: u8) -> [u8; 4] {
    [1, 2, 3, 4].map(|step| (site - 1 + step) % 5 + 1)
}

#[test]
fn sites_that_are_cut_off_say_nothing_old_and_come_back_by_themselves() {
    let Some((net, fleet)) = sites() else { return };
    let profile = fleet.profile();
    let mut load = Contenders::on(|| Door::of(&profile), 3, 3);
    load.go_on("with all lines", 20);

    let site = leader(&fleet);
    net.part(&[site]);
    // Clients that know the lone site only: what they are told is part of the same histories.
    let lone = load.more(|| Door::to(&profile, usize::from(site) - 1));
    load.go_on("the leader's site is cut off", 40);
    assert_eq!(lone.answered(), 0, "a site alone answered");
    net.heal();
    load.answers(&lone, "the site is back", 3);

    let site = leader(&fleet);
    let [next, ..] = others(site);
    net.part(&[site, next]);
    load.go_on("two sites with the leader are apart from three", 40);
    net.heal();
    load.go_on("they are together again", 20);

    let site = leader(&fleet);
    net.cut(site, others(site));
    load.go_on("nobody hears the leader, which hears them all", 40);
    net.heal();

    let site = leader(&fleet);
    others(site)
        .iter()
        .for_each(|other| net.cut(*other, [site]));
    load.go_on("the leader hears nobody, and they all hear it", 40);
    net.heal();

    let site = leader(&fleet);
    let [next, ..] = others(site);
    net.cut(site, [next]);
    net.cut(next, [site]);
    load.go_on("the leader and one other do not hear each other", 40);
    net.heal();

    for _ in 0..6 {
        net.part(&[leader(&fleet)]);
        load.go_on("the leader's line flaps: down", 4);
        net.heal();
        load.go_on("up", 4);
    }
    fleet.all_well(5);
    load.judge();
}

#[test]
fn sites_far_apart_that_lose_packets_answer_all_the_same() {
    let Some((net, mut fleet)) = sites() else {
        return;
    };
    let profile = fleet.profile();
    let load = Contenders::on(|| Door::of(&profile), 3, 2);
    load.go_on("near each other", 20);
    let far = Duration::from_millis(40);
    net.set(far, 0);
    load.go_on("40 ms apart, each way", 60);
    let leader = fleet.leader();
    fleet.kill(leader);
    load.go_on("and the leader was killed", 20);
    fleet.start(leader);
    net.set(Duration::ZERO, 30);
    net.packets();
    load.go_on("3 of 100 packets are lost", 60);
    let (seen, lost) = net.packets();
    println!("{lost} of {seen} packets were lost");
    assert!(lost > 0, "there was no weather");
    net.set(far, 30);
    load.go_on("both", 40);
    net.set(Duration::ZERO, 0);
    fleet.all_well(5);
    load.judge();
}
