//! Changes of members, step by step: draft, sign, hand over, ready, propose, join, retire.

use super::{Fleet, Member, id};
use crate::host;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::entry::{
    EntryHeader, Notarised, OfficerSignature, Proposal, Ready, Signed, State,
};
use strongroom_wire::frame::{Drafted, HsmError, Request, Response, SealedSecret};
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::{PublicKey, Signature, encode};

/// What a change of members takes, honestly.
#[derive(Clone, Debug)]
pub struct Change {
    /// The next manifest.
    pub manifest: Manifest,
    /// The same with its officers.
    pub signed: SignedManifest,
    /// The joiners, and the secret sealed to each of them.
    pub joiners: Vec<(usize, SealedSecret)>,
    /// What they said.
    pub ready: Vec<Signed<Ready>>,
}

/// An officer's key.
pub fn officer(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Gives a manifest the officers 1, 2 and 3, of whom two are needed.
pub fn officered(manifest: &mut Manifest) {
    manifest.officers = [1, 2, 3].map(|it| PublicKey(officer(it).public())).into();
    manifest.officers_threshold = 2;
}

impl Change {
    /// The change as a request to its leader.
    pub fn request(&self) -> Request {
        Request::ProposeMembers {
            change: self.signed.clone(),
            ready: self.ready.clone(),
        }
    }
}

impl Fleet {
    /// A blank machine more, which drafts its keys; gives its place.
    pub fn draft(&mut self) -> usize {
        let m = self.members.len();
        let seed = u64::try_from(m).expect("a handful") + 1;
        self.members.push(Member::drafted(seed));
        m
    }

    /// The manifest that follows the one in force and names these places.
    ///
    /// # Panics
    /// If the manifest in force names nobody.
    pub fn naming(&self, members: &[usize]) -> Manifest {
        let before = self.manifest();
        let slot = before.members[0].clone();
        let mut manifest = before.clone();
        manifest.fleet = Some(before.fleet_id());
        manifest.previous = Some(before.digest());
        manifest.epoch = before.epoch + 1;
        let named = |m: &usize| {
            let old = before.member(id(*m)).cloned();
            old.unwrap_or_else(|| strongroom_wire::manifest::Member {
                id: id(*m),
                identity: self.members[*m].drafted.identity,
                ..slot.clone()
            })
        };
        manifest.members = members.iter().map(named).collect();
        manifest
    }

    /// The next manifest, signed by these officers.
    pub fn signed(manifest: &Manifest, officers: &[u8]) -> SignedManifest {
        let bytes = encode(manifest);
        let sign = |seed: &u8| OfficerSignature {
            officer: PublicKey(officer(*seed).public()),
            signature: Signature(statement::sign(&officer(*seed), Label::Officers, &bytes)),
        };
        SignedManifest {
            officers: officers.iter().map(sign).collect(),
            operator: Signature(statement::sign(&host::operator(), Label::Manifest, &bytes)),
            manifest: bytes,
        }
    }

    /// Has one member seal the secret to a joiner that the next manifest names.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn hand_over_next(
        &mut self,
        from: usize,
        to: usize,
        next: Option<&SignedManifest>,
    ) -> Result<SealedSecret, HsmError> {
        let Drafted {
            handover,
            signature,
            ..
        } = self.members[to].drafted.clone();
        let request = Request::HandOver {
            member: id(to),
            key: handover,
            signature,
            next: next.cloned(),
        };
        self.handed_over(from, request)
    }

    pub(super) fn handed_over(
        &mut self,
        from: usize,
        request: Request,
    ) -> Result<SealedSecret, HsmError> {
        match self.ask(from, request)? {
            Response::HandedOver { secret } => Ok(secret),
            other => panic!("a secret was to come: {other:?}"),
        }
    }

    /// Has a joiner say that it is ready.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn ready(
        &mut self,
        m: usize,
        manifest: &Manifest,
        secret: &SealedSecret,
    ) -> Result<Signed<Ready>, HsmError> {
        let request = Request::Ready {
            manifest: encode(manifest),
            secret: secret.clone(),
        };
        match self.ask(m, request)? {
            Response::Ready(ready) => Ok(ready),
            other => panic!("it was to be ready: {other:?}"),
        }
    }

    /// All that a change to these members takes: signatures, hand-overs by `from`, and what the
    /// joiners say.
    ///
    /// # Panics
    /// If a vault refuses.
    pub fn change_to(&mut self, from: usize, members: &[usize]) -> Change {
        let manifest = self.naming(members);
        self.change_under(from, manifest)
    }

    /// The same under a manifest that a test changed.
    ///
    /// # Panics
    /// If a vault refuses.
    pub fn change_under(&mut self, from: usize, manifest: Manifest) -> Change {
        let signed = Self::signed(&manifest, &[1, 2]);
        let mut change = Change {
            manifest,
            signed,
            joiners: Vec::new(),
            ready: Vec::new(),
        };
        let joins = |m: &usize| self.manifest().member(id(*m)).is_none();
        let named = change.manifest.members.iter();
        let named = named.map(|slot| usize::from(slot.id.0)).filter(joins);
        for m in named.collect::<Vec<_>>() {
            let secret = self.hand_over_next(from, m, Some(&change.signed));
            let secret = secret.expect("the officers want it");
            let ready = self.ready(m, &change.manifest, &secret);
            change.ready.push(ready.expect("it has the secret"));
            change.joiners.push((m, secret));
        }
        change
    }

    /// Has a leader propose a change.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn propose_members(
        &mut self,
        leader: usize,
        change: &Change,
    ) -> Result<Proposal, HsmError> {
        self.proposed(leader, change.request())
    }

    /// Has a joiner become a member: an entry that names it, and where it is to stand.
    ///
    /// # Errors
    /// What the vault refuses.
    ///
    /// # Panics
    /// If it answers with something else.
    pub fn join(
        &mut self,
        joiner: &(usize, SealedSecret),
        named: &Proposal,
        base: &EntryHeader,
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let request = Request::Join {
            secret: joiner.1.clone(),
            named: self.place_of(named),
            base: self.place(&base.hash()),
            certificate: certificate.to_vec(),
        };
        match self.ask(joiner.0, request)? {
            Response::Standing { .. } => Ok(()),
            other => panic!("it was to stand: {other:?}"),
        }
    }

    /// Has a member leave.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn retire(
        &mut self,
        m: usize,
        entry: &Proposal,
        certificate: &[Signed<Notarised>],
    ) -> Result<(), HsmError> {
        let request = Request::Retire {
            place: self.place_of(entry),
            certificate: certificate.to_vec(),
        };
        self.ask(m, request).map(|_| ())
    }

    /// The state of an entry.
    ///
    /// # Panics
    /// If no vault showed it.
    pub fn state_of(&self, entry: &Proposal) -> State {
        self.place_of(entry).state
    }

    /// The places that the manifest in force names.
    pub fn in_force(&self) -> Vec<usize> {
        let slots = self.manifest().members.iter();
        slots.map(|slot| usize::from(slot.id.0)).collect()
    }

    /// From now on the next manifest of a change is the one in force, for these helpers.
    pub fn enact(&mut self, manifest: Manifest) {
        self.manifest = manifest;
    }

    /// One whole change of members under a new leader, honestly: certified jointly, settled, joined
    /// and retired. Gives the entry that settles it, and its certificate.
    ///
    /// # Panics
    /// If a vault refuses any of it.
    pub fn change_members(
        &mut self,
        leader: usize,
        members: &[usize],
    ) -> (Proposal, Vec<Signed<Notarised>>) {
        let old = self.in_force();
        let epochs = old.iter().map(|m| self.inspect(*m).promised.0);
        let epoch = epochs.max().expect("members") + 1;
        let start = self.lead(leader, epoch, &old);
        // What joiners begin from must be certified; an entry of the own epoch is.
        let base = [self.propose(leader).expect("it leads")];
        let certificate = self.certify(&old, &base, Some(&start));
        self.release(leader, &certificate).expect("a quorum");
        let change = self.change_to(leader, members);
        let run = [self
            .propose_members(leader, &change)
            .expect("an honest change")];
        for joiner in &change.joiners {
            let joined = self.join(joiner, &run[0], &base[0].header, &certificate);
            joined.expect("the entry names it");
        }
        let mut all = old.clone();
        all.extend(change.joiners.iter().map(|(m, _)| *m));
        let joint = self.certify(&all, &run, None);
        self.release(leader, &joint).expect("quorums of both");
        self.enact(change.manifest);
        let settling = [self.propose(leader).expect("the change is certified")];
        let certificate = self.certify(members, &settling, None);
        let [entry] = settling;
        if members.contains(&leader) {
            self.release(leader, &certificate).expect("a quorum");
        }
        for m in old.iter().filter(|m| !members.contains(m)) {
            self.retire(*m, &entry, &certificate).expect("it left");
        }
        (entry, certificate)
    }
}
