//! Members that were away over changes, and what comes into force with one.

use super::{founded, goes_on, named};
use strongroom_sim::fleet::Fleet;
use strongroom_sim::phone::Phone;
use strongroom_sim::world::{Opening, World, bearer};
use strongroom_wire::Slot;
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::entry::{Notarised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Place, Request, Response};

/// 1 sees nothing of two changes: {0, 1, 2} becomes {0, 1, 2, 3, 4}, then {0, 1, 4}.
fn away() -> (Fleet, Proposal, Vec<Signed<Notarised>>) {
    let mut fleet = founded(3);
    for _ in 0..2 {
        fleet.draft();
    }
    change(&mut fleet, &[0, 1, 2, 3, 4], &[0, 2, 3, 4]);
    let (entry, certificate) = change(&mut fleet, &[0, 1, 4], &[0, 2, 3, 4]);
    assert_eq!(fleet.inspect(1).tip.index.0, 0, "it saw nothing");
    (fleet, entry, certificate)
}

/// A change that only these see.
fn change(
    fleet: &mut Fleet,
    members: &[usize],
    up: &[usize],
) -> (Proposal, Vec<Signed<Notarised>>) {
    let old: Vec<usize> = fleet.in_force();
    let of = |set: &[usize]| -> Vec<usize> {
        let mut of = set.to_vec();
        of.retain(|m| up.contains(m));
        of
    };
    let (old, new) = (of(&old), of(members));
    let epoch = fleet.inspect(0).promised.0 + 1;
    let start = fleet.lead(0, epoch, &old);
    let base = [fleet.propose(0).unwrap()];
    let certificate = fleet.certify(&old, &base, Some(&start));
    fleet.release(0, &certificate).unwrap();
    let change = fleet.change_to(0, members);
    let run = [fleet.propose_members(0, &change).unwrap()];
    for joiner in &change.joiners {
        let base = (&base[0].header, &certificate);
        fleet.join(joiner, &run[0], base.0, base.1).unwrap();
    }
    let mut both = old.clone();
    both.extend(new.iter().filter(|m| !old.contains(m)));
    let joint = fleet.certify(&both, &run, None);
    fleet.release(0, &joint).unwrap();
    fleet.enact(change.manifest);
    let settling = [fleet.propose(0).unwrap()];
    let certificate = fleet.certify(&new, &settling, None);
    fleet.release(0, &certificate).unwrap();
    let [entry] = settling;
    (entry, certificate)
}

/// The entry under manifests of the host's own choice, or none.
fn lies(fleet: &Fleet, entry: &Proposal) -> Vec<Place> {
    let genesis = fleet.place_of(&fleet.genesis());
    let honest = fleet.place_of(entry);
    let with = |change: &dyn Fn(&mut Place)| {
        let mut place = honest.clone();
        change(&mut place);
        place
    };
    vec![
        with(&|place| place.manifests.clear()),
        with(&|place| place.manifests.clone_from(&genesis.manifests)),
        with(&|place| place.state.clone_from(&genesis.state)),
        with(&|place| place.state.before = genesis.state.manifest),
    ]
}

#[test]
fn a_member_that_was_away_over_several_changes_adopts_the_newest_entry() {
    let (mut fleet, entry, certificate) = away();
    for place in lies(&fleet, &entry) {
        let certificate = certificate.clone();
        let lie = Request::Adopt { place, certificate };
        super::refused(&mut fleet, 1, lie, HsmError::ManifestInvalid);
    }
    let few = fleet.adopt(1, &entry, &certificate[..1]);
    named(few, HsmError::CertificateInvalid);
    fleet.adopt(1, &entry, &certificate).unwrap();
    assert_eq!(fleet.inspect(1).tip, entry.header.tip());
    for leader in [1, 4, 0] {
        goes_on(&mut fleet, leader);
    }
}

#[test]
fn a_member_that_was_away_over_several_changes_resumes_from_a_copy() {
    let (mut fleet, entry, certificate) = away();
    fleet.members[1].power_cut();
    for place in lies(&fleet, &entry) {
        let certificate = certificate.clone();
        let lie = Request::Resume { place, certificate };
        named(fleet.ask(1, lie), HsmError::AnchorMismatch);
    }
    let place = fleet.place_of(&entry);
    let mut unmarked = place.clone();
    unmarked.proposal.mark.0[0] ^= 1;
    let lie = Request::Resume {
        place: unmarked,
        certificate: certificate.clone(),
    };
    named(fleet.ask(1, lie), HsmError::EntryForged);
    let honest = Request::Resume { place, certificate };
    fleet.ask(1, honest).unwrap();
    assert_eq!(fleet.inspect(1).tip, entry.header.tip());
    for leader in [1, 4, 0] {
        goes_on(&mut fleet, leader);
    }
}

/// It need not adopt either: whatever leads above a change, it seals from where it stands.
#[test]
fn a_member_that_was_away_seals_the_run_of_a_leader_it_never_heard_of() {
    let (mut fleet, entry, _) = away();
    let start = fleet.lead(4, 9, &[0, 4]);
    assert_eq!(start, entry.header);
    let run = [fleet.propose(4).unwrap()];
    let said = fleet.notarise(1, &run, Some(&start)).unwrap();
    let other = fleet.notarise(4, &run, None).unwrap();
    fleet.release(4, &[said, other]).unwrap();
    goes_on(&mut fleet, 1);
}

/// A member restarts above a change without its certificate, and at the change itself.
#[test]
fn a_member_goes_on_from_its_anchor_whatever_it_names() {
    let mut it = super::begun(3, &[0, 1, 3]).joined();
    it.fleet.certify(&[0, 1, 3], &it.run, None);
    for m in [0, 1, 3] {
        let mut lie = it.fleet.resumption(m);
        if let Request::Resume { place, .. } = &mut lie {
            place.manifests.truncate(1);
        }
        it.fleet.members[m].power_cut();
        named(it.fleet.ask(m, lie), HsmError::AnchorMismatch);
        let honest = it.fleet.resumption(m);
        it.fleet.ask(m, honest).unwrap();
        assert_eq!(it.fleet.inspect(m).tip, it.run[0].header.tip());
    }
    // Whoever leads next needs both sets, and its first entry is both's.
    it.fleet.lead(3, 2, &[0, 1, 3]);
    let first = [it.fleet.propose(3).unwrap()];
    assert!(it.fleet.state_of(&first[0]).before.is_some());
    named(it.fleet.propose(3), HsmError::Unsettled);
    let joint = it.fleet.certify(&[0, 1, 3], &first, None);
    it.fleet.release(3, &joint).unwrap();
    it.fleet.enact(it.change.manifest);
    goes_on(&mut it.fleet, 3);
}

/// Officers tighten the policy; whoever registers from then on has it, and who did before keeps
/// what was said to it then.
#[test]
fn a_tighter_policy_is_in_force_once_its_change_is_certified() {
    let mut world = World::officered(90);
    let phone = world.phone(&bearer(), "before");
    let before = world.register(&phone, "right", None);
    assert_eq!(before.receipt.attempts_left, 10);
    let mut high = world.phone(&bearer(), "slots");
    high.slot = Slot(2);
    let tighter = world.host.change(|manifest| {
        manifest.policy.attempts_max = 3;
        manifest.policy.slots_max = 1;
    });
    let proposed = world.ask(tighter);
    assert!(
        matches!(proposed, Response::Proposed { .. }),
        "{proposed:?}"
    );
    let opens = |world: &mut World, phone: &Phone| {
        let registering = phone.register_start("right", world.now());
        world.open(&registering.letter)
    };
    assert!(
        matches!(opens(&mut world, &high), Opening::Waits(_)),
        "not yet"
    );
    world.seal().unwrap();
    let refused = opens(&mut world, &high);
    let Opening::Answered(Answer::Refused(Refusal::SlotOutOfRange)) = refused else {
        panic!("slot 2 is none any more");
    };
    world.propose(&[]).unwrap();
    world.seal().unwrap();
    let after = world.phone(&bearer(), "after");
    let receipt = world.register(&after, "right", None).receipt;
    assert_eq!(receipt.attempts_left, 3);
    world.recover(&phone, "right");
    // And after a restart, from the entry's own word.
    world.restart().unwrap();
    world.recover(&after, "right");
    let third = world.phone(&bearer(), "third");
    let receipt = world.register(&third, "right", None).receipt;
    assert_eq!(receipt.attempts_left, 3);
}
