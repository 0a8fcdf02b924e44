//! The mutant `PromiseToMember` in flesh and blood: n = 3, R = 1, one member rolled back, as the
//! design allows. The others' promises name the leader's process, so they serve once.

use strongroom_sim::fleet::Fleet;
use strongroom_wire::Epoch;
use strongroom_wire::frame::HsmError;

#[test]
fn a_rolled_back_leader_does_not_lead_one_epoch_twice() {
    let mut fleet = Fleet::new(3, 1);
    let copy = fleet.members[2].platform.snapshot();
    let mut promises = fleet.promise_all(&[0, 1, 2], 1, 2);
    let leading = fleet.leading(1, &promises);
    fleet.ask(2, leading).unwrap();
    let first = fleet.propose(2).unwrap();
    let process = fleet.members[2].process();
    fleet.members[2].platform.restore(&copy);
    fleet.members[2].platform.pass(1000);
    fleet.restart(2);
    assert_ne!(fleet.members[2].process(), process, "another start");
    // Its own promise it gives again; the others' are to the start before.
    promises[2] = fleet.promise(2, 1, 2).unwrap();
    let leading = fleet.leading(1, &promises);
    assert_eq!(fleet.ask(2, leading), Err(HsmError::PromisesInvalid));
    assert_eq!(fleet.propose(2), Err(HsmError::NotLeading));
    // The others promise nothing of this epoch again, to whomever.
    for m in [0, 1] {
        assert_eq!(fleet.promise(m, 1, 2), Err(HsmError::EpochStale));
    }
    // In the next one it leads, and there is no second chain in the first.
    fleet.lead(2, 2, &[0, 1, 2]);
    let second = fleet.propose(2).unwrap();
    assert_eq!(
        (first.header.epoch, second.header.epoch),
        (Epoch(1), Epoch(2))
    );
}
