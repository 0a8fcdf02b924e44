//! Known gap, the mutant `PromiseToMember` in flesh and blood: n = 3, R = 1, one member rolled
//! back, as the design allows. `Promised` names a member and not its process, so the promises of
//! the others serve twice. Once they name the process, the second `Lead` is refused, and this test
//! shall say so.

use super::Pair;
use strongroom_model::Mutant;
use strongroom_wire::entry::EntryHeader;
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::{Epoch, MemberId};

impl Pair {
    fn propose_for_real(&mut self, l: usize, proposed: &mut Vec<EntryHeader>) {
        let real = self.reals[l].ask(Request::Propose {
            handles: Vec::new(),
            proof: self.empty_proof.clone(),
            leaves: Vec::new(),
        });
        match real {
            Ok(Response::Proposed { proposal, .. }) => proposed.push(proposal.header),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn known_gap_a_rolled_back_leader_leads_one_epoch_twice() {
    let mut pair = Pair::new(0, 1, &[Mutant::AsCoded]);
    let copy = pair.reals[2].platform.snapshot();
    let (epoch, leader) = (Epoch(1), MemberId(2));
    let mut proposed = Vec::new();
    for life in 0..2 {
        let asked = if life == 0 { 0..3 } else { 2..3 };
        for m in asked {
            match pair.reals[m].ask(Request::Promise { epoch, leader }) {
                Ok(Response::Promised(promise)) => pair.promises.insert((m, 1), promise),
                other => panic!("{other:?}"),
            };
        }
        let promises = pair.promises.values().cloned().collect();
        let led = pair.reals[2].ask(Request::Lead { epoch, promises });
        assert!(matches!(led, Ok(Response::Leading { .. })), "{led:?}");
        pair.propose_for_real(2, &mut proposed);
        pair.reals[2].platform.restore(&copy);
        pair.reals[2].platform.pass(1000);
        pair.restart(2);
    }
    let [first, second] = &proposed[..] else {
        panic!("it proposed twice");
    };
    assert_eq!((first.epoch, first.index), (second.epoch, second.index));
    assert_ne!(first.hash(), second.hash(), "two chains in one epoch");
}
