//! Real members: three vaults that share a fleet's secret by the hand-over.

use strongroom_model::Entry;
use strongroom_sim::fleet::Fleet;
use strongroom_wire::ProcessId;

/// What the vault holds in RAM, as the comparison needs it.
pub struct Real {
    /// The start of its process that others promise to.
    pub process: ProcessId,
    /// Where its speculation begins, so that a certificate for it is known.
    pub base: Entry,
    pub speculation: Vec<Entry>,
}

impl Real {
    /// Of each member of a fleet at its genesis.
    pub fn all(fleet: &mut Fleet) -> Vec<Real> {
        let fresh = |it: &mut strongroom_sim::fleet::Member| Real {
            process: it.process(),
            base: Entry::ROOT,
            speculation: Vec::new(),
        };
        fleet.members.iter_mut().map(fresh).collect()
    }

    /// It leads no more: what it sealed stays, what is above goes.
    pub fn stops(&mut self, tip: Entry) {
        if self.speculation.contains(&tip) {
            self.base = tip;
        }
        self.speculation.clear();
    }
}
