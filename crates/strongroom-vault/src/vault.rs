//! The vault: one member's state machine, behind one function (DESIGN §3, the seam).
//!
//! Life: blank → drafted (keys, no fleet) → waiting (a member that needs its tip's header) →
//! standing → retired, once it is no member any more; halted, once the anchor could not be moved.
//! Standing, it promises, leads, proposes,
//! notarises and releases; what depends on new state leaves only with a quorum's certificate for
//! the entry that holds it.
//!
//! The host may send any request at any time; each is answered or refused by name, and a refused
//! one changes nothing.

use crate::clock;
use crate::desk::{Desk, Table};
use crate::handover::{self, Joiner};
use crate::keys::Keys;
use crate::member::{self, Draft, Member};
use crate::members;
use crate::notary::{self, Notary};
use crate::pace::Shown;
use crate::platform::{Blob, Platform};
use crate::policy::Moment;
use crate::prepare::Preparer;
use crate::propose::Batch;
use crate::quorum::{self, Deciders};
use crate::standing::Standing;
use crate::tenants;
use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::entry::{
    Anchor, EntryHeader, Kind, Notarised, Promised, Proposal, Ready, Signed, SignedClockChange,
};
use strongroom_wire::frame::{
    FRAME_VERSION, HsmError, Inspection, LeafBytes, ManifestBytes, Phase, Place, Request, Response,
    SealedSecret, Welcome,
};
use strongroom_wire::manifest::{Manifest, SignedManifest};
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{
    CellId, Digest, Epoch, FleetId, Handle, Incarnation, LogIndex, MemberId, ProcessId, Signature,
    decode, encode,
};

/// A member.
pub struct Vault<P> {
    platform: Arc<P>,
    life: Life<P>,
    /// This start. Promises name it, so that what was promised to an earlier start of this member,
    /// or to a copy that was rolled back, makes no leader of this one (decision 0015).
    process: ProcessId,
    refused: u64,
}

enum Life<P> {
    Blank,
    Drafted(Draft),
    Waiting {
        member: Member,
        anchor: Anchor,
    },
    Standing(Box<Standing<P>>),
    /// A member no more.
    Retired(FleetId),
    /// The anchor failed: it may or may not have moved. Only a new start reads what is true.
    Halted,
}

impl<P: Platform> Vault<P> {
    /// Reads what the platform kept.
    ///
    /// # Errors
    /// [`HsmError::Fault`] if it is damaged: an HSM that lost half of itself never starts as a new
    /// one.
    pub fn start(platform: Arc<P>) -> Result<Self, HsmError> {
        let anchor = platform.anchor().map_err(|_| HsmError::AnchorFailed)?;
        let key = platform.sealing_key();
        let retired = anchor.as_ref().filter(|anchor| anchor.retired);
        if let Some(anchor) = retired {
            // A cut may have left them.
            erase_secrets(&*platform)?;
            return Ok(Self::new(platform.clone(), Life::Retired(anchor.fleet)));
        }
        let life = match (member::load(&*platform, Blob::Member, &key)?, anchor) {
            (Some(member), Some(anchor)) => {
                // The draft is the fleet secret once more; a cut may have left it.
                platform.erase(Blob::Draft).map_err(|_| HsmError::Fault)?;
                Life::Waiting { member, anchor }
            }
            (Some(_), None) => return Err(HsmError::AnchorFailed),
            // An anchor without a member: a genesis that was cut short goes on from its draft.
            (None, _) => match member::load(&*platform, Blob::Draft, &key)? {
                Some(draft) => Life::Drafted(draft),
                None => Life::Blank,
            },
        };
        Ok(Self::new(platform, life))
    }

    fn new(platform: Arc<P>, life: Life<P>) -> Self {
        let mut process = ProcessId([0; 16]);
        platform.fill(&mut process.0);
        Self {
            platform,
            life,
            process,
            refused: 0,
        }
    }

    /// The part that any thread may use, once the member stands.
    pub fn preparer(&self) -> Option<Arc<Preparer<P>>> {
        match &self.life {
            Life::Standing(standing) => Some(standing.preparer.clone()),
            _ => None,
        }
    }

    /// Answers any request. One at a time; take the whole answer before the next.
    pub fn handle<T: Table>(&mut self, table: &T, request: Request) -> Response {
        self.dispatch(table, request).unwrap_or_else(|error| {
            self.refused = self.refused.saturating_add(1);
            if error == HsmError::AnchorFailed {
                self.life = Life::Halted;
            }
            Response::Error(error)
        })
    }

    fn dispatch<T: Table>(&mut self, table: &T, request: Request) -> Result<Response, HsmError> {
        match request {
            Request::Hello { version } => self.hello(version),
            Request::Draft => self.draft(),
            Request::Genesis { manifest, secret } => self.genesis(&manifest, secret.as_ref()),
            Request::Resume { place, certificate } => self.stand(place, &certificate),
            Request::Ready { manifest, secret } => self.ready(&manifest, &secret),
            Request::Join {
                secret,
                named,
                base,
                certificate,
            } => self.join(&secret, &named, base, &certificate),
            Request::Promise {
                epoch,
                leader,
                process,
            } => self.promise(epoch, leader, process),
            Request::Lead {
                epoch,
                promises,
                start,
            } => self.lead(epoch, &promises, start),
            Request::Open { envelope } => Ok(self.standing()?.preparer.open(table, &envelope)),
            Request::Evaluate {
                handle,
                record,
                tenant,
            } => Ok(self
                .standing()?
                .preparer
                .evaluate(table, handle, record, tenant)),
            Request::Propose {
                handles,
                proof,
                leaves,
            } => self.propose(table, &handles, &proof, leaves),
            Request::ProposeTenant {
                change,
                proof,
                leaf,
            } => self.propose_tenant(&change, &proof, leaf),
            Request::ProposeClock { change } => self.propose_clock(&change),
            Request::ProposeMembers { change, ready } => self.propose_members(&change, &ready),
            Request::Notarise { run, start } => self.notarise(&run, start.as_ref()),
            Request::Adopt { place, certificate } => self.adopt(&place, &certificate),
            Request::Retire { place, certificate } => self.retire(&place, &certificate),
            Request::HandOver {
                member,
                key,
                signature,
                next,
            } => {
                let joiner = Joiner {
                    member,
                    key,
                    signature,
                };
                self.hand_over(joiner, next.as_ref())
            }
            Request::Release { certificate } => self.release(&certificate),
            Request::Forget { handles } => Ok(forget(table, &handles)),
            Request::Inspect => self.inspect(table),
            Request::TenantKeyOf { issuer } => Ok(Response::TenantKey(
                self.standing()?.preparer.keys.tenant_key(&issuer),
            )),
            Request::Shutdown => Ok(Response::Done),
        }
    }

    fn standing(&mut self) -> Result<&mut Standing<P>, HsmError> {
        match &mut self.life {
            Life::Standing(standing) => Ok(standing),
            _ => Err(HsmError::WrongPhase),
        }
    }

    fn hello(&self, version: u16) -> Result<Response, HsmError> {
        if version != FRAME_VERSION {
            return Err(HsmError::WrongVersion);
        }
        let phase = match &self.life {
            Life::Halted => return Err(HsmError::AnchorFailed),
            Life::Blank => Phase::Blank,
            Life::Retired(fleet) => Phase::Retired { fleet: *fleet },
            Life::Drafted(_) => Phase::Drafted,
            Life::Waiting { anchor, .. } => Phase::Waiting {
                fleet: anchor.fleet,
                tip: anchor.tip,
                promised: anchor.promised,
            },
            Life::Standing(standing) => {
                let anchor = standing.notary.anchor();
                Phase::Standing {
                    fleet: anchor.fleet,
                    tip: anchor.tip,
                    promised: anchor.promised,
                }
            }
        };
        Ok(Response::Welcome(Welcome {
            version: FRAME_VERSION,
            platform: self.platform.name().to_string(),
            class: self.platform.class(),
            image: env!("CARGO_PKG_VERSION").to_string(),
            phase,
            process: self.process,
        }))
    }

    fn draft(&mut self) -> Result<Response, HsmError> {
        if let Life::Blank = self.life {
            let draft = Draft::generate(&*self.platform);
            member::store(&*self.platform, Blob::Draft, &draft)?;
            self.life = Life::Drafted(draft);
        }
        match &self.life {
            Life::Drafted(draft) => Ok(Response::Drafted(draft.public())),
            _ => Err(HsmError::WrongPhase),
        }
    }

    /// Begins the fleet, or joins its beginning with the secret that another member handed over.
    /// Order: anchor, then member. A cut between leaves a draft with an anchor, and the same
    /// request goes on from there.
    fn genesis(
        &mut self,
        manifest: &[u8],
        secret: Option<&SealedSecret>,
    ) -> Result<Response, HsmError> {
        let manifest: Manifest = decode(manifest).map_err(|_| HsmError::ManifestInvalid)?;
        let (header, state) = notary::genesis(&manifest);
        let place = Place {
            proposal: Proposal {
                header: header.clone(),
                mark: Digest([0; 32]),
            },
            state: state.clone(),
            manifests: Vec::from([ManifestBytes(encode(&manifest))]),
        };
        match &self.life {
            Life::Drafted(draft) => {
                let member = draft
                    .clone()
                    .into_member(&manifest, secret, &*self.platform)?;
                self.begin(member, &header)?;
            }
            // The answer was lost: say it again, but only at the genesis itself.
            Life::Waiting { anchor, .. } if anchor.tip == header.tip() => {}
            Life::Standing(standing) if standing.notary.anchor().tip == header.tip() => {
                let proposal = standing.preparer.keys.marked(header);
                return Ok(Response::Standing { proposal, state });
            }
            _ => return Err(HsmError::WrongPhase),
        }
        self.stand(place, &[])
    }

    /// Anchors a first place, and keeps what was drafted as a member. Order: anchor, then member. A
    /// cut between leaves a draft with an anchor, and the same request goes on from there.
    fn begin(&mut self, member: Member, header: &EntryHeader) -> Result<(), HsmError> {
        let held = self.platform.anchor().map_err(|_| HsmError::AnchorFailed)?;
        let anchor = notary::first_anchor(header, member.id, held.as_ref())?;
        if held.as_ref() != Some(&anchor) {
            self.platform
                .swap_anchor(held.as_ref(), &anchor)
                .map_err(|_| HsmError::AnchorFailed)?;
        }
        member::store(&*self.platform, Blob::Member, &member)?;
        self.platform
            .erase(Blob::Draft)
            .map_err(|_| HsmError::Fault)?;
        self.life = Life::Waiting { member, anchor };
        Ok(())
    }

    /// Says that the secret opens. Changes nothing: until an entry names it, a joiner has no place
    /// in the history, and so nothing to promise or seal.
    fn ready(&mut self, manifest: &[u8], secret: &SealedSecret) -> Result<Response, HsmError> {
        let Life::Drafted(draft) = &self.life else {
            return Err(HsmError::WrongPhase);
        };
        let manifest: Manifest = decode(manifest).map_err(|_| HsmError::ManifestInvalid)?;
        let member = draft
            .clone()
            .into_joiner(&manifest, secret, &*self.platform)?;
        let statement = Ready {
            fleet: member.fleet,
            cell: CellId(0),
            incarnation: Incarnation(0),
            member: member.id,
            manifest: manifest.digest(),
        };
        let identity = SigningKey::from_seed(&member.identity);
        let signature = statement::sign(&identity, Label::Ready, &encode(&statement));
        Ok(Response::Ready(Signed {
            statement,
            signature: Signature(signature),
        }))
    }

    /// Takes the place that an entry's manifest gives the drafted keys, and stands at a certified
    /// entry. Both by their marks: an HSM of the fleet made them, and said who decides them.
    fn join(
        &mut self,
        secret: &SealedSecret,
        named: &Place,
        base: Place,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        match &self.life {
            Life::Drafted(draft) => {
                let naming = Deciders::of(named)?.new;
                let deciders = Deciders::of(&base)?;
                let member = draft
                    .clone()
                    .into_joiner(&naming, secret, &*self.platform)?;
                let header = &base.proposal.header;
                let keys = Keys::new(member.secret(), naming, header.incarnation);
                let anchor = notary::first_anchor(header, member.id, None)?;
                let ours = |place: &Place| {
                    let Proposal { header, mark } = &place.proposal;
                    header.fleet == member.fleet && keys.is_marked(&header.hash(), mark)
                };
                if !ours(named) || !ours(&base) {
                    return Err(HsmError::EntryForged);
                }
                // The genesis follows from its manifest, and has none.
                let genesis = header.index == LogIndex(0);
                if !genesis && quorum::certified(&anchor, &deciders, certificate)? != header.tip() {
                    return Err(HsmError::CertificateInvalid);
                }
                self.begin(member, &base.proposal.header)?;
            }
            // The answer was lost.
            Life::Waiting { anchor, .. } if anchor.tip == base.proposal.header.tip() => {}
            _ => return Err(HsmError::WrongPhase),
        }
        self.stand(base, &[])
    }

    /// Stands at the anchor's tip, whose header vouches for state and manifest; or, with a
    /// certificate, at a newer entry, which the anchor does not name.
    ///
    /// A certificate is worth what the manifests are by which it is counted. They are the ones that
    /// the header names, and the header's mark says that an HSM of this fleet made it: a host could
    /// else write a manifest of keys of its own, and certify with them.
    fn stand(
        &mut self,
        place: Place,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let Life::Waiting { member, anchor } = &self.life else {
            return Err(HsmError::WrongPhase);
        };
        let deciders = Deciders::of(&place).map_err(|_| HsmError::AnchorMismatch)?;
        let Place {
            proposal, state, ..
        } = place;
        let Proposal { header, mark } = proposal;
        let identity = SigningKey::from_seed(&member.identity);
        let (anchor, process) = (anchor.clone(), self.process);
        let keys = Keys::new(member.secret(), deciders.new.clone(), anchor.incarnation);
        let at_anchor = header.tip() == anchor.tip || certificate.is_empty();
        let resumed = if at_anchor {
            let (identity, anchor) = (identity.clone(), anchor.clone());
            Some(Notary::resume(identity, anchor, process, &header)?)
        } else if keys.is_marked(&header.hash(), &mark) {
            None
        } else {
            return Err(HsmError::EntryForged);
        };
        if !keys.match_manifest() || keys.fleet != member.fleet {
            return Err(HsmError::ManifestInvalid);
        }
        // Last, because it moves the anchor.
        let notary = match resumed {
            Some(notary) => notary,
            None => Notary::resume_by(
                (identity, anchor, process),
                &*self.platform,
                &deciders,
                &header,
                certificate,
            )?,
        };
        let answer = Response::Standing {
            proposal: keys.marked(header.clone()),
            state: state.clone(),
        };
        let preparer = Preparer {
            platform: self.platform.clone(),
            keys: Arc::new(keys),
            tip: AtomicU64::new(header.index.0),
            tip_time: AtomicU64::new(header.time.0),
            pace: Shown::default(),
        };
        preparer.pace.set(notary.pace());
        let standing = Standing::new(preparer, notary, member.clone(), (header, state), deciders);
        self.life = Life::Standing(Box::new(standing));
        Ok(answer)
    }

    fn promise(
        &mut self,
        epoch: Epoch,
        leader: MemberId,
        process: ProcessId,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let promised = standing
            .notary
            .promise(&*platform, epoch, leader, process)?;
        // A promise of a later epoch ends whatever this member led.
        standing.stop_leading();
        Ok(Response::Promised(promised))
    }

    fn lead(
        &mut self,
        epoch: Epoch,
        promises: &[Signed<Promised>],
        start: Place,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let deciders = standing.deciders_at(&start)?;
        let header = &start.proposal.header;
        let tip = standing
            .notary
            .lead(&*platform, &deciders, epoch, promises, header)?;
        standing.lead_from(epoch, (start.proposal.header, start.state), deciders);
        Ok(Response::Leading { start: tip })
    }

    fn propose<T: Table>(
        &mut self,
        table: &T,
        handles: &[Handle],
        proof: &[u8],
        leaves: Vec<LeafBytes>,
    ) -> Result<Response, HsmError> {
        let standing = self.standing()?;
        standing.can_propose(handles.len())?;
        let preparer = standing.preparer.clone();
        let (header, state) = standing.newest();
        let moment = Moment {
            index: header.index.next(),
            now: standing.now(),
            policy: &preparer.keys.manifest.policy,
        };
        let root = header.root;
        let mut batch = Batch::new(&preparer, moment, &root, state.clone(), proof, leaves)?;
        batch.decide(table, handles);
        let decided = batch.seal();
        Ok(standing.speculate(Kind::Batch, moment.now, decided))
    }

    fn propose_tenant(
        &mut self,
        change: &SignedTenantChange,
        proof: &[u8],
        leaf: Option<LeafBytes>,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        standing.can_propose(1)?;
        let (header, state) = standing.newest();
        let now = standing.now();
        let keys = standing.preparer.keys.clone();
        let (root, state) = (header.root, state.clone());
        match tenants::decide(&keys, &*platform, change, &root, state, proof, leaf)? {
            Err(refusal) => Ok(Response::TenantRefused(refusal)),
            Ok(decided) => Ok(standing.speculate(Kind::Tenant, now, decided)),
        }
    }

    fn propose_clock(&mut self, change: &SignedClockChange) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        standing.can_propose(0)?;
        let keys = standing.preparer.keys.clone();
        let (header, state) = standing.newest();
        let decided = clock::decide(&keys, &*platform, change, (header, state.clone()))?;
        Ok(standing.speculate(Kind::Clock, change.change.time, decided))
    }

    fn propose_members(
        &mut self,
        change: &SignedManifest,
        ready: &[Signed<Ready>],
    ) -> Result<Response, HsmError> {
        let standing = self.standing()?;
        standing.can_propose(0)?;
        let in_force = standing.in_force()?;
        let now = standing.now();
        let (header, state) = standing.newest();
        let (manifest, decided) =
            members::decide(&in_force, change, ready, (header, state.clone()))?;
        Ok(standing.speculate_members(manifest, now, decided))
    }

    fn notarise(
        &mut self,
        run: &[Proposal],
        start: Option<&EntryHeader>,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let keys = &standing.preparer.keys;
        let is_ours = |hash: &Digest, mark: &Digest| keys.is_marked(hash, mark);
        let notary = &mut standing.notary;
        let before = notary.anchor().tip;
        let notarised = notary.notarise(&*platform, run, start, is_ours)?;
        let newest = run.last().filter(|_| notary.anchor().tip != before);
        standing.preparer.pace.set(notary.pace());
        if let Some(newest) = newest {
            standing.moved_to(&newest.header);
        }
        Ok(Response::Notarised(notarised))
    }

    fn adopt(
        &mut self,
        place: &Place,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let deciders = standing.deciders_at(place)?;
        let header = &place.proposal.header;
        let notary = &mut standing.notary;
        let before = notary.anchor().tip;
        notary.adopt(&*platform, &deciders, header, certificate)?;
        standing.preparer.pace.set(notary.pace());
        if notary.anchor().tip != before {
            standing.moved_to(header);
        }
        Ok(Response::Done)
    }

    /// Order: anchor, then the secrets. A start in between ends what was begun.
    fn retire(
        &mut self,
        place: &Place,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let deciders = standing.deciders_at(place)?;
        let header = &place.proposal.header;
        let since = standing.member.since.unwrap_or(0);
        let notary = &mut standing.notary;
        notary.retire(&*platform, &deciders, (header, since), certificate)?;
        self.life = Life::Retired(header.fleet);
        erase_secrets(&*platform)?;
        Ok(Response::Done)
    }

    fn hand_over(
        &mut self,
        joiner: Joiner,
        next: Option<&SignedManifest>,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let manifest = match next {
            None => standing.preparer.keys.manifest.clone(),
            Some(next) => {
                // One that was kept away from the history would obey officers of long ago. To lead
                // narrows that, and does not end it: threat model, §8.
                standing.can_propose(0)?;
                let in_force = standing.in_force()?;
                let greatest = members::greatest_member(&in_force, standing.newest().1);
                Arc::new(members::next(&in_force, next, greatest)?)
            }
        };
        let secret = handover::seal(&standing.member, &manifest, joiner, &*platform)?;
        Ok(Response::HandedOver { secret })
    }

    fn release(&mut self, certificate: &[Signed<Notarised>]) -> Result<Response, HsmError> {
        let standing = self.standing()?;
        let first = certificate.first().ok_or(HsmError::CertificateInvalid)?;
        let known = standing.deciders_of(&first.statement.tip);
        let in_force = || Deciders::single(standing.preparer.keys.manifest.clone());
        let deciders = known.unwrap_or_else(|_| in_force());
        let tip = standing.notary.check_certificate(&deciders, certificate)?;
        let answers = standing.release_certified(&tip)?;
        Ok(Response::Released { answers })
    }

    fn inspect<T: Table>(&mut self, table: &T) -> Result<Response, HsmError> {
        let (clock, refused) = (self.platform.wall_clock(), self.refused);
        let standing = self.standing()?;
        let anchor = standing.notary.anchor();
        Ok(Response::Inspection(Inspection {
            tip: anchor.tip,
            promised: anchor.promised,
            leading: standing.leading(),
            speculative: standing.speculative(),
            handles: count(table.with(|desk: &mut Desk| desk.len())),
            held: count(standing.held()),
            clock,
            refused,
            anchor_writes: standing.notary.anchor_writes(),
        }))
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn forget<T: Table>(table: &T, handles: &[Handle]) -> Response {
    table.with(|desk| handles.iter().for_each(|handle| drop(desk.take(*handle))));
    Response::Done
}

fn erase_secrets(platform: &impl Platform) -> Result<(), HsmError> {
    for blob in [Blob::Member, Blob::Draft] {
        platform.erase(blob).map_err(|_| HsmError::Fault)?;
    }
    Ok(())
}
