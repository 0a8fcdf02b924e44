//! The host's look at statements of HSMs. The HSM looks again; this one keeps a lying host from
//! having others apply what no quorum sealed, or from spoiling a leader's count.

use strongroom_crypto::statement::{Label, verify};
use strongroom_wire::entry::{Notarised, Promised, Signed, Tip};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{
    CellId, Epoch, FleetId, Incarnation, MemberId, PublicKey, Signature, encode,
};

/// Who may state what.
pub(crate) struct Electorate {
    fleet: FleetId,
    members: Vec<(MemberId, PublicKey)>,
    pub(crate) quorum: usize,
}

impl Electorate {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let members = manifest.members.iter();
        Self {
            fleet: manifest.fleet_id(),
            members: members.map(|m| (m.id, m.identity)).collect(),
            quorum: manifest.quorum(),
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.members.iter().map(|(id, _)| *id)
    }

    fn signed(&self, member: MemberId, label: Label, bytes: &[u8], signature: &Signature) -> bool {
        let key = self.members.iter().find(|(id, _)| *id == member);
        key.is_some_and(|(_, key)| verify(&key.0, label, bytes, &signature.0).is_ok())
    }

    fn is_here(&self, fleet: FleetId, cell: CellId, incarnation: Incarnation) -> bool {
        fleet == self.fleet && cell == CellId(0) && incarnation == Incarnation(0)
    }

    pub(crate) fn notarised(&self, vote: &Signed<Notarised>) -> bool {
        let s = &vote.statement;
        self.is_here(s.fleet, s.cell, s.incarnation)
            && self.signed(s.member, Label::Notarised, &encode(s), &vote.signature)
    }

    pub(crate) fn promised(&self, promise: &Signed<Promised>) -> bool {
        let s = &promise.statement;
        self.is_here(s.fleet, s.cell, s.incarnation)
            && self.signed(s.member, Label::Promised, &encode(s), &promise.signature)
    }

    /// Whether a quorum of distinct members promised this epoch to this leader, in one process.
    pub(crate) fn leads(
        &self,
        leader: MemberId,
        epoch: Epoch,
        promises: &[Signed<Promised>],
    ) -> bool {
        let process = promises.first().map(|promise| promise.statement.process);
        let mut members: Vec<MemberId> = Vec::with_capacity(promises.len());
        for promise in promises {
            let s = &promise.statement;
            let fits = s.epoch == epoch && s.leader == leader && Some(s.process) == process;
            if !fits || members.contains(&s.member) || !self.promised(promise) {
                return false;
            }
            members.push(s.member);
        }
        members.len() >= self.quorum
    }

    /// The tip that a quorum of distinct members sealed.
    pub(crate) fn certified(&self, certificate: &[Signed<Notarised>]) -> Option<Tip> {
        let tip = certificate.first()?.statement.tip;
        let mut members: Vec<MemberId> = Vec::with_capacity(certificate.len());
        for vote in certificate {
            let member = vote.statement.member;
            if vote.statement.tip != tip || members.contains(&member) || !self.notarised(vote) {
                return None;
            }
            members.push(member);
        }
        (members.len() >= self.quorum).then_some(tip)
    }
}

/// The tip that a certificate is for, if a quorum of the manifest's members signed it.
pub fn certified(manifest: &Manifest, certificate: &[Signed<Notarised>]) -> Option<Tip> {
    Electorate::new(manifest).certified(certificate)
}

/// Whether one place is newer than another.
pub(crate) fn is_newer(a: &Tip, b: &Tip) -> bool {
    (a.epoch, a.index) > (b.epoch, b.index)
}
