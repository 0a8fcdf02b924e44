//! Changes of members (DESIGN §6, decision 0015): who decides them, who may come, who has left.

mod away;
mod deciding;
mod joining;
mod leaving;
mod signing;

use super::{goes_on, refused};
use strongroom_sim::fleet::{Change, Fleet, officered};
use strongroom_wire::entry::{EntryHeader, Kind, Notarised, Proposal, Signed};
use strongroom_wire::frame::HsmError;

/// A fleet of so many with the officers 1, 2 and 3, of whom two are needed.
fn founded(n: usize) -> Fleet {
    Fleet::founded(n, officered)
}

/// A change that is proposed, and all that was honest on the way to it.
struct Begun {
    fleet: Fleet,
    change: Change,
    /// The certified entry below the change, and its certificate.
    base: EntryHeader,
    certificate: Vec<Signed<Notarised>>,
    /// The change.
    run: [Proposal; 1],
}

/// Of a fleet of so many to these members: 0 leads epoch 1, and nobody has sealed the change.
fn begun(n: usize, members: &[usize]) -> Begun {
    let mut fleet = founded(n);
    let all: Vec<usize> = (0..n).collect();
    let start = fleet.lead(0, 1, &all);
    let base = [fleet.propose(0).unwrap()];
    let certificate = fleet.certify(&all, &base, Some(&start));
    fleet.release(0, &certificate).unwrap();
    while fleet.members.len() <= *members.iter().max().unwrap() {
        fleet.draft();
    }
    let change = fleet.change_to(0, members);
    let run = [fleet.propose_members(0, &change).unwrap()];
    let [base] = base;
    Begun {
        fleet,
        change,
        base: base.header,
        certificate,
        run,
    }
}

impl Begun {
    /// The joiners join by the entry that names them.
    fn joined(mut self) -> Self {
        for joiner in &self.change.joiners {
            let base = (&self.base, &self.certificate[..]);
            let joined = self.fleet.join(joiner, &self.run[0], base.0, base.1);
            joined.unwrap();
        }
        self
    }

    /// The change certified by these, and released.
    fn certified(&mut self, members: &[usize]) -> Vec<Signed<Notarised>> {
        let joint = self.fleet.certify(members, &self.run, None);
        self.fleet.release(0, &joint).unwrap();
        joint
    }
}

#[test]
fn members_come_and_go_from_one_to_seven_and_back_to_three() {
    let mut fleet = founded(1);
    for _ in 1..7 {
        fleet.draft();
    }
    let sizes = [3, 5, 7, 5, 3];
    for (epoch, size) in (1..).zip(sizes) {
        let before = fleet.manifest().digest();
        let members: Vec<usize> = (0..size).collect();
        let (entry, _) = fleet.change_members(0, &members);
        let state = fleet.state_of(&entry);
        assert_eq!(entry.header.kind, Kind::Batch);
        assert_eq!(state.manifest, Some(fleet.manifest().digest()));
        assert_eq!((state.manifest_epoch, state.before), (epoch, None));
        let greatest = state.greatest_member.map(|id| id.0);
        assert_eq!(greatest, Some([2, 4, 6, 6, 6][epoch as usize - 1]));
        assert_eq!(fleet.manifest().previous, Some(before));
        for leader in [0, size - 1] {
            goes_on(&mut fleet, leader);
        }
    }
}

#[test]
fn one_is_replaced_whoever_leads() {
    for leader in 0..3 {
        let mut fleet = founded(3);
        fleet.draft();
        fleet.change_members(leader, &[0, 1, 3]);
        for leader in [0, 1, 3] {
            goes_on(&mut fleet, leader);
        }
    }
}

#[test]
fn all_are_replaced_one_after_another() {
    let mut fleet = founded(3);
    for _ in 0..3 {
        fleet.draft();
    }
    fleet.change_members(0, &[0, 1, 3]);
    fleet.change_members(0, &[0, 3, 4]);
    fleet.change_members(0, &[3, 4, 5]);
    for leader in [3, 4, 5] {
        goes_on(&mut fleet, leader);
    }
}

/// The change says that it is one, and whom it takes in.
#[test]
fn a_change_names_both_manifests_until_it_is_settled() {
    let it = begun(3, &[0, 1, 3]);
    let state = it.fleet.state_of(&it.run[0]);
    assert_eq!(it.run[0].header.kind, Kind::Reconfigure);
    assert_eq!(state.manifest, Some(it.change.manifest.digest()));
    assert_eq!(state.before, Some(it.fleet.manifest().digest()));
    assert_eq!(state.manifest_epoch, 1);
    assert_eq!(state.greatest_member.map(|id| id.0), Some(3));
}

/// Asks for what must be refused by that name.
#[track_caller]
fn named<T: core::fmt::Debug>(result: Result<T, HsmError>, error: HsmError) {
    assert_eq!(result.map(|_| ()), Err(error));
}
