//! The host's look at statements of HSMs. The HSM looks again; this one keeps a lying host from
//! having others apply what no quorum sealed, or from spoiling a leader's count.

use std::sync::Arc;
use strongroom_crypto::statement::{Label, signed_by_enough, verify};
use strongroom_wire::entry::{Notarised, Promised, Signed, State, Tip};
use strongroom_wire::frame::ManifestBytes;
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::{
    CellId, Digest, FleetId, Incarnation, MemberId, PublicKey, Signature, decode, encode,
};

/// Who decides an entry: a quorum of the manifest in force there, and while a change of members has
/// no certificate, one of the manifest before as well.
#[derive(Clone, Debug)]
pub(crate) struct Electorate {
    /// Digest of the manifest in force.
    pub(crate) digest: Digest,
    pub(crate) new: Arc<Manifest>,
    pub(crate) old: Option<Arc<Manifest>>,
}

impl Electorate {
    /// Of an entry with that state; none if a manifest that it names is not among these.
    pub(crate) fn of(state: &State, manifests: &[Arc<Manifest>]) -> Option<Self> {
        let find = |digest: &Digest| manifests.iter().find(|m| m.digest() == *digest).cloned();
        let digest = state.manifest?;
        Some(Self {
            digest,
            new: find(&digest)?,
            old: match &state.before {
                Some(before) => Some(find(before)?),
                None => None,
            },
        })
    }

    /// One manifest's members.
    pub(crate) fn single(manifest: Arc<Manifest>) -> Self {
        Self {
            digest: manifest.digest(),
            new: manifest,
            old: None,
        }
    }

    pub(crate) fn is_joint(&self) -> bool {
        self.old.is_some()
    }

    /// For the HSM, which has them from nobody else.
    pub(crate) fn to_bytes(&self) -> Vec<ManifestBytes> {
        let manifests = [&self.new].into_iter().chain(&self.old);
        manifests.map(|m| ManifestBytes(encode(&**m))).collect()
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.old.iter().chain([&self.new]).map(Arc::as_ref)
    }

    pub(crate) fn names(&self, member: MemberId) -> bool {
        self.manifests().any(|m| m.member(member).is_some())
    }

    /// Whether these members, each of them once, are a quorum of each manifest.
    pub(crate) fn is_quorum(&self, members: &[MemberId]) -> bool {
        self.manifests().all(|manifest| {
            let of_it = members.iter().filter(|m| manifest.member(**m).is_some());
            of_it.count() >= manifest.quorum()
        })
    }

    fn signed(&self, member: MemberId, label: Label, bytes: &[u8], signature: &Signature) -> bool {
        let slot = self.manifests().find_map(|m| m.member(member));
        slot.is_some_and(|slot| verify(&slot.identity.0, label, bytes, &signature.0).is_ok())
    }

    fn is_here(&self, fleet: FleetId, cell: CellId, incarnation: Incarnation) -> bool {
        fleet == self.new.fleet_id() && cell == CellId(0) && incarnation == Incarnation(0)
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

    /// Whether a quorum of distinct members promised one epoch to one process of that leader.
    pub(crate) fn leads(&self, leader: MemberId, promises: &[Signed<Promised>]) -> bool {
        let ballot = promises
            .first()
            .map(|p| (p.statement.epoch, p.statement.process));
        let mut members: Vec<MemberId> = Vec::with_capacity(promises.len());
        for promise in promises {
            let s = &promise.statement;
            let fits = s.leader == leader && Some((s.epoch, s.process)) == ballot;
            if !fits || members.contains(&s.member) || !self.promised(promise) {
                return false;
            }
            members.push(s.member);
        }
        self.is_quorum(&members)
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
        self.is_quorum(&members).then_some(tip)
    }

    /// As many of these votes for one tip as make a quorum, if there are enough; no more of either
    /// manifest's than it takes, because each is verified again by everybody.
    pub(crate) fn quorum_of<'a>(
        &self,
        votes: impl Iterator<Item = &'a Signed<Notarised>>,
    ) -> Option<Vec<Signed<Notarised>>> {
        let (mut taken, mut members) = (Vec::new(), Vec::new());
        for vote in votes {
            let member = vote.statement.member;
            let helps = self.manifests().any(|manifest| {
                let of_it = |m: &MemberId| manifest.member(*m).is_some();
                of_it(&member) && members.iter().filter(|m| of_it(m)).count() < manifest.quorum()
            });
            if helps {
                taken.push(vote.clone());
                members.push(member);
            }
        }
        self.is_quorum(&members).then_some(taken)
    }
}

/// The tip that a quorum sealed, of an entry with that state.
pub fn certified(
    state: &State,
    manifests: &[Arc<Manifest>],
    certificate: &[Signed<Notarised>],
) -> Option<Tip> {
    Electorate::of(state, manifests)?.certified(certificate)
}

/// The manifest of a change, if it may follow `before` and enough of that one's officers want it.
pub fn next_manifest(before: &Manifest, change: &SignedManifest) -> Option<Manifest> {
    let manifest: Manifest = decode(&change.manifest).ok()?;
    // A number may have been given away before that: the HSM knows, and looks.
    let greatest = before.greatest_member();
    manifest.check_follows(before, greatest).ok()?;
    officers_signed(before, change).then_some(manifest)
}

/// Whether enough officers of a manifest signed the next one, and the operator that it names.
pub fn officers_signed(before: &Manifest, change: &SignedManifest) -> bool {
    let Ok(manifest) = decode::<Manifest>(&change.manifest) else {
        return false;
    };
    let (key, signature) = (&manifest.operator.0, &change.operator.0);
    if verify(key, Label::Manifest, &change.manifest, signature).is_err() {
        return false;
    }
    let named = |key: &[u8; 32]| before.officers.contains(&PublicKey(*key));
    let threshold = usize::from(before.officers_threshold);
    let officers = change.officers.iter();
    let officers = officers.map(|it| (&it.officer.0, &it.signature.0));
    let bytes = &change.manifest;
    signed_by_enough(named, threshold, Label::Officers, bytes, officers)
}

/// Whether one place is newer than another.
pub(crate) fn is_newer(a: &Tip, b: &Tip) -> bool {
    (a.epoch, a.index) > (b.epoch, b.index)
}
