//! What a quorum of members says together: promises of an epoch, and certificates (DESIGN §6).
//!
//! Every statement is checked against those who decide the entry that it is about: the members of
//! the manifest in force there, and while a change of members has no certificate, those of the
//! manifest before as well. The host chooses what to show, and how often; it cannot make a member
//! say anything.

use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label};
use strongroom_wire::entry::{Anchor, Notarised, Promised, Signed, State, Tip};
use strongroom_wire::frame::{HsmError, Place};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Digest, Epoch, MemberId, ProcessId, PublicKey, Signature, decode, encode};

/// An epoch, and the one start of a member's process that may lead it.
pub type Ballot = (Epoch, MemberId, ProcessId);

/// Who decides an entry.
#[derive(Clone, Debug)]
pub struct Deciders {
    /// The manifest in force there.
    pub new: Arc<Manifest>,
    /// The one before, while the change has no certificate: a quorum of each is needed.
    pub old: Option<Arc<Manifest>>,
}

impl Deciders {
    /// One manifest's members decide.
    pub fn single(manifest: Arc<Manifest>) -> Self {
        Self {
            new: manifest,
            old: None,
        }
    }

    /// Who decides that entry. What the host shows is held against the header; whether an HSM made
    /// the header is for the caller to see.
    ///
    /// # Errors
    /// [`HsmError::ManifestInvalid`] unless the manifests are the ones that the state names, and
    /// the state is the one that the header names.
    pub fn of(place: &Place) -> Result<Self, HsmError> {
        let State {
            manifest, before, ..
        } = &place.state;
        if place.proposal.header.state != place.state.digest() {
            return Err(HsmError::ManifestInvalid);
        }
        let mut shown = place.manifests.iter();
        let mut next = |digest: &Digest| {
            let manifest: Manifest = shown
                .next()
                .and_then(|bytes| decode(&bytes.0).ok())
                .filter(|shown: &Manifest| shown.digest() == *digest && shown.check().is_ok())
                .ok_or(HsmError::ManifestInvalid)?;
            Ok(Arc::new(manifest))
        };
        let new = next(manifest.as_ref().ok_or(HsmError::ManifestInvalid)?)?;
        let old = before.as_ref().map(next).transpose()?;
        Ok(Self { new, old })
    }

    /// Whether two manifests decide.
    pub fn joint(&self) -> bool {
        self.old.is_some()
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.old.iter().chain([&self.new]).map(Arc::as_ref)
    }

    /// Whether the member of that slot signed it. A slot is the same HSM's in both manifests.
    fn signed(&self, member: MemberId, label: Label, bytes: &[u8], signature: &Signature) -> bool {
        let mut naming = self.manifests().filter(|it| it.member(member).is_some());
        let manifest = naming.next();
        manifest.is_some_and(|it| signed_by(it, member, label, bytes, signature))
    }

    /// Whether these are a quorum of each manifest, all distinct. One name twice is refused, not
    /// counted once: an honest host has no reason to send it.
    fn is_quorum(&self, mut members: Vec<MemberId>) -> bool {
        let sent = members.len();
        members.sort_unstable();
        members.dedup();
        let enough = |manifest: &Manifest| {
            let of_it = members.iter().filter(|m| manifest.member(**m).is_some());
            of_it.count() >= manifest.quorum()
        };
        members.len() == sent && self.manifests().all(enough)
    }
}

/// Checks a quorum's promises of one epoch to one process; gives the newest promised tip, which is
/// where that process begins. Whatever a quorum sealed in earlier epochs is at or below it.
///
/// # Errors
/// [`HsmError::PromisesInvalid`].
pub fn newest_promised(
    anchor: &Anchor,
    deciders: &Deciders,
    ballot: Ballot,
    promises: &[Signed<Promised>],
) -> Result<Tip, HsmError> {
    let (epoch, leader, process) = ballot;
    let mut members = Vec::new();
    for Signed {
        statement: promise,
        signature,
    } in promises
    {
        let ours = promise.fleet == anchor.fleet
            && promise.cell == anchor.cell
            && promise.incarnation == anchor.incarnation
            && promise.epoch == epoch
            && promise.leader == leader
            && promise.process == process;
        let bytes = encode(promise);
        if !ours || !deciders.signed(promise.member, Label::Promised, &bytes, signature) {
            return Err(HsmError::PromisesInvalid);
        }
        members.push(promise.member);
    }
    if !deciders.is_quorum(members) {
        return Err(HsmError::PromisesInvalid);
    }
    let tips = promises.iter().map(|promise| promise.statement.tip);
    tips.max_by_key(age).ok_or(HsmError::PromisesInvalid)
}

/// Checks that a certificate holds for one tip by a quorum of distinct members; gives the tip.
///
/// # Errors
/// [`HsmError::CertificateInvalid`].
pub fn certified(
    anchor: &Anchor,
    deciders: &Deciders,
    certificate: &[Signed<Notarised>],
) -> Result<Tip, HsmError> {
    let tip = certificate
        .first()
        .ok_or(HsmError::CertificateInvalid)?
        .statement
        .tip;
    let mut members = Vec::new();
    for Signed {
        statement,
        signature,
    } in certificate
    {
        let ours = statement.fleet == anchor.fleet
            && statement.cell == anchor.cell
            && statement.incarnation == anchor.incarnation
            && statement.tip == tip;
        let bytes = encode(statement);
        if !ours || !deciders.signed(statement.member, Label::Notarised, &bytes, signature) {
            return Err(HsmError::CertificateInvalid);
        }
        members.push(statement.member);
    }
    if deciders.is_quorum(members) {
        Ok(tip)
    } else {
        Err(HsmError::CertificateInvalid)
    }
}

/// What orders tips: the epoch, then the index. Of two tips in one epoch the lower one is below the
/// other, because an epoch has one chain.
pub fn age(tip: &Tip) -> (Epoch, strongroom_wire::LogIndex) {
    (tip.epoch, tip.index)
}

/// Whether the member of that slot signed it.
pub fn signed_by(
    manifest: &Manifest,
    member: MemberId,
    label: Label,
    bytes: &[u8],
    signature: &Signature,
) -> bool {
    let Some(PublicKey(key)) = manifest.member(member).map(|m| m.identity) else {
        return false;
    };
    statement::verify(&key, label, bytes, &signature.0).is_ok()
}
