//! One lie at a time: what no member is to believe.

use crate::scenarios::{busy, others};
use std::cell::RefCell;
use std::rc::Rc;
use strongroom_replica::{Append, Certificate, Logged, Message};
use strongroom_sim::cluster::Cluster;
use strongroom_wire::entry::{Notarised, Signed, Tip};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::{Digest, Epoch, LogIndex, MemberId, ProcessId};

type Vote = Signed<Notarised>;

/// What hosts sent: votes, entries, certificates.
#[derive(Default)]
struct Heard {
    votes: Vec<Vote>,
    entries: Vec<Logged>,
    certificates: Vec<Certificate>,
}

/// Listens to everything that is sent.
fn listen(cluster: &mut Cluster) -> Rc<RefCell<Heard>> {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let ear = heard.clone();
    cluster.tamper(move |_, _, message| {
        let mut heard = ear.borrow_mut();
        match message {
            Message::Sealed {
                vote: Some(vote), ..
            } => heard.votes.push(vote.clone()),
            Message::Append(append) => {
                heard.entries.extend(append.entries.clone());
                heard.certificates.push(append.certificate.clone());
            }
            _ => {}
        }
    });
    heard
}

#[test]
fn too_few_votes_release_nothing() {
    let mut cluster = busy(13, 3, 1);
    let leader = cluster.leader_soon();
    let heard = listen(&mut cluster);
    // Its host hears the votes, and keeps them from its replica.
    cluster.lose(|_, _, message| matches!(message, Message::Sealed { .. }));
    cluster.run_for(600);
    let heard = heard.borrow();
    let newest = heard.votes.last().unwrap();
    let mut votes: Vec<Vote> = Vec::new();
    for vote in heard.votes.iter().rev() {
        let tip = vote.statement.tip == newest.statement.tip;
        if tip
            && votes
                .iter()
                .all(|it| it.statement.member != vote.statement.member)
        {
            votes.push(vote.clone());
        }
    }
    assert_eq!(votes.len(), 2, "both followers sealed it");
    let twice = vec![votes[0].clone(), votes[0].clone(), votes[1].clone()];
    for certificate in [votes.clone(), twice, votes[..1].to_vec()] {
        let refused = cluster.ask(leader, &Request::Release { certificate });
        let invalid = Response::Error(HsmError::CertificateInvalid);
        assert_eq!(refused, Some(invalid));
    }
}

#[test]
fn an_old_certificate_moves_nobody_back() {
    let mut cluster = busy(14, 3, 0);
    let leader = cluster.leader_soon();
    let heard = listen(&mut cluster);
    cluster.run_for(3_000);
    let heard = heard.borrow();
    let certificate = heard.certificates[heard.certificates.len() / 2].clone();
    let tip = certificate[0].statement.tip;
    let mut entries = heard.entries.iter();
    let entry = entries.find(|it| it.header().tip() == tip).unwrap();
    let follower = others(&cluster, leader)[0];
    let adopt = Request::Adopt {
        place: cluster.place(follower, entry),
        certificate,
    };
    let refused = cluster.ask(follower, &adopt);
    assert_eq!(refused, Some(Response::Error(HsmError::Stale)));
}

#[test]
fn a_leader_counts_no_forged_vote() {
    let mut cluster = busy(10, 3, 0);
    let leader = cluster.leader_soon();
    let epoch = cluster.newest().epoch;
    let liar = others(&cluster, leader)[0];
    cluster.tamper(move |from, _, message| {
        if let Message::Sealed {
            vote: Some(vote), ..
        } = message
            && from == liar
        {
            vote.signature.0[0] ^= 1;
        }
    });
    let before = cluster.newest().index;
    cluster.run_for(5_000);
    assert!(cluster.leads(leader), "{}", cluster.standing());
    assert_eq!(cluster.newest().epoch, epoch);
    assert!(cluster.newest().index > before);
    cluster.settle();
}

/// A leader's host tells one follower that a certificate is this, made of one true vote, while four
/// of five are needed and three can be had.
fn false_certificates(seed: u64, make: impl Fn(&Vote) -> Certificate + 'static) {
    let mut cluster = busy(seed, 5, 1);
    let leader = cluster.leader_soon();
    let [one, other, away, too] = others(&cluster, leader)[..] else {
        panic!("five members");
    };
    cluster.isolate(away);
    cluster.isolate(too);
    let vote: RefCell<Option<Vote>> = RefCell::default();
    cluster.tamper(move |from, to, message| match message {
        Message::Sealed { vote: said, .. } if from == one => *vote.borrow_mut() = said.clone(),
        Message::Append(append) if from == leader && to == other => {
            if let Some(vote) = &*vote.borrow() {
                append.certificate = make(vote);
            }
        }
        _ => {}
    });
    cluster.run_for(1_200);
    cluster.settle();
}

#[test]
fn a_follower_applies_nothing_by_too_few_votes() {
    false_certificates(11, |vote| vec![vote.clone()]);
}

#[test]
fn a_follower_applies_nothing_by_votes_that_nobody_signed() {
    false_certificates(12, |vote| {
        let forged = (0..4).map(|m| {
            let mut vote = vote.clone();
            vote.statement.member = MemberId(m);
            vote
        });
        forged.collect()
    });
}

/// A leader's host changes the entries that it sends to one follower for a while.
fn changed_entries(seed: u64, change: impl Fn(&mut Vec<Logged>) + 'static) {
    let mut cluster = busy(seed, 3, 0);
    let leader = cluster.leader_soon();
    let victim = others(&cluster, leader)[0];
    cluster.isolate(victim);
    cluster.run_for(300);
    cluster.heal();
    cluster.tamper(move |from, to, message| {
        if let Message::Append(append) = message
            && from == leader
            && to == victim
        {
            change(&mut append.entries);
        }
    });
    cluster.run_for(400);
    cluster.settle();
}

#[test]
fn a_follower_takes_no_entry_that_does_not_follow() {
    for seed in 0..4 {
        changed_entries(seed, |entries| {
            if entries.len() > 1 {
                entries.remove(0);
            }
        });
    }
}

#[test]
fn a_follower_takes_no_writes_that_are_not_the_headers() {
    for seed in 0..4 {
        changed_entries(seed, |entries| {
            for write in entries.iter_mut().flat_map(|it| &mut it.entry.writes) {
                write.leaf.push(0);
            }
        });
    }
}

/// One follower answers everything with a lie, for as long as this runs; the others go on.
fn one_follower_says(seed: u64, lie: impl Fn(Epoch) -> Message + 'static) {
    let mut cluster = busy(seed, 5, 0);
    let leader = cluster.leader_soon();
    let epoch = cluster.newest().epoch;
    let liar = others(&cluster, leader)[0];
    cluster.tamper(move |from, _, message| {
        if from == liar {
            *message = lie(epoch);
        }
    });
    for _ in 0..5 {
        let before = cluster.newest().index;
        cluster.run_for(4_000);
        assert!(cluster.newest().index > before, "{}", cluster.standing());
    }
    cluster.settle();
}

#[test]
fn an_append_without_promises_makes_no_leader() {
    one_follower_says(41, |_| {
        let nowhere = Tip {
            epoch: Epoch(0),
            index: LogIndex(0),
            hash: Digest([7; 32]),
        };
        Message::Append(Append {
            epoch: Epoch(u64::MAX),
            start: nowhere,
            promises: Vec::new(),
            previous: nowhere,
            entries: Vec::new(),
            certificate: Vec::new(),
        })
    });
}

#[test]
fn a_promise_that_is_only_said_stops_no_leader() {
    one_follower_says(42, |epoch| Message::Stale {
        epoch,
        promised: Epoch(u64::MAX),
    });
}

#[test]
fn whoever_asks_for_promises_all_the_time_keeps_no_leader_away() {
    one_follower_says(43, |epoch| Message::AskPromise {
        epoch: Epoch(epoch.0 + 1),
        process: ProcessId([7; 16]),
    });
}

#[test]
fn behind_is_heeded_from_nobody_who_was_not_asked() {
    one_follower_says(44, |_| Message::Behind);
}
