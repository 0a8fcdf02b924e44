//! The vault: one member's state machine, behind one function (DESIGN §3, the seam).
//!
//! Life: blank → drafted (keys, no fleet) → waiting (a member that needs its tip's header) →
//! standing; halted, once the anchor could not be moved. Standing, it promises, leads, proposes,
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
use crate::notary::{self, Notary};
use crate::platform::{Blob, Platform};
use crate::policy::Moment;
use crate::prepare::Preparer;
use crate::propose::Batch;
use crate::standing::Standing;
use crate::tenants;
use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use strongroom_crypto::statement::SigningKey;
use strongroom_wire::entry::{
    Anchor, EntryHeader, Kind, Notarised, Promised, Proposal, Signed, SignedClockChange, State,
};
use strongroom_wire::frame::{
    FRAME_VERSION, HsmError, Inspection, LeafBytes, Phase, Request, Response, SealedSecret, Welcome,
};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{Digest, Epoch, Handle, MemberId, ProcessId, decode};

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
        let mut process = ProcessId([0; 16]);
        platform.fill(&mut process.0);
        Ok(Self {
            platform,
            life,
            process,
            refused: 0,
        })
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
            Request::Resume {
                header,
                state,
                manifest,
                certificate,
            } => self.resume((header, state), &manifest, &certificate),
            Request::Promise {
                epoch,
                leader,
                process,
            } => self.promise(epoch, leader, process),
            Request::Lead {
                epoch,
                promises,
                header,
                state,
            } => self.lead(epoch, &promises, (header, state)),
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
            Request::Notarise { run, promises } => self.notarise(&run, &promises),
            Request::Adopt {
                header,
                certificate,
            } => self.adopt(&header, &certificate),
            Request::HandOver {
                member,
                key,
                signature,
            } => self.hand_over(Joiner {
                member,
                key,
                signature,
            }),
            Request::Release { certificate } => self.release(&certificate),
            Request::Forget { handles } => {
                table.with(|desk| handles.iter().for_each(|handle| drop(desk.take(*handle))));
                Ok(Response::Done)
            }
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
        match &self.life {
            Life::Drafted(draft) => {
                let member = draft
                    .clone()
                    .into_member(&manifest, secret, &*self.platform)?;
                let anchor = notary::genesis_anchor(&header, member.id);
                match self.platform.anchor().map_err(|_| HsmError::AnchorFailed)? {
                    None => self
                        .platform
                        .swap_anchor(None, &anchor)
                        .map_err(|_| HsmError::AnchorFailed)?,
                    Some(held) if held == anchor => {}
                    Some(_) => return Err(HsmError::AnchorMismatch),
                }
                member::store(&*self.platform, Blob::Member, &member)?;
                self.platform
                    .erase(Blob::Draft)
                    .map_err(|_| HsmError::Fault)?;
                self.life = Life::Waiting { member, anchor };
            }
            // The answer was lost: say it again, but only at the genesis itself.
            Life::Waiting { anchor, .. } if anchor.tip == header.tip() => {}
            Life::Standing(standing) if standing.notary.anchor().tip == header.tip() => {
                return Ok(Response::Standing { header, state });
            }
            _ => return Err(HsmError::WrongPhase),
        }
        self.stand((header, state), manifest, &[])
    }

    fn resume(
        &mut self,
        place: (EntryHeader, State),
        manifest: &[u8],
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let manifest: Manifest = decode(manifest).map_err(|_| HsmError::ManifestInvalid)?;
        self.stand(place, manifest, certificate)
    }

    /// Stands at the anchor's tip, whose header vouches for state and manifest; or, with a
    /// certificate, at a newer entry, which the anchor does not name.
    ///
    /// A certificate is worth what the manifest is by which it is counted. So that one must be the
    /// genesis, whose digest is the fleet's id: a host could else write a manifest of keys of its
    /// own, and certify with them. (A later manifest's authority comes with changes of members.)
    fn stand(
        &mut self,
        (header, state): (EntryHeader, State),
        manifest: Manifest,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let Life::Waiting { member, anchor } = &self.life else {
            return Err(HsmError::WrongPhase);
        };
        let named = header.state == state.digest() && state.manifest == Some(manifest.digest());
        if !named {
            return Err(HsmError::AnchorMismatch);
        }
        manifest.check().map_err(|_| HsmError::ManifestInvalid)?;
        let at_anchor = header.tip() == anchor.tip || certificate.is_empty();
        let genesis = manifest.epoch == 0 && manifest.fleet_id() == member.fleet;
        if !at_anchor && !genesis {
            return Err(HsmError::ManifestInvalid);
        }
        let identity = SigningKey::from_seed(&member.identity);
        let (anchor, process) = (anchor.clone(), self.process);
        let resumed = if at_anchor {
            Some(Notary::resume(
                identity.clone(),
                anchor.clone(),
                process,
                &header,
            )?)
        } else {
            None
        };
        let keys = Keys::new(member.secret(), manifest, anchor.incarnation);
        if !keys.match_manifest() || keys.fleet != member.fleet {
            return Err(HsmError::ManifestInvalid);
        }
        // Last, because it moves the anchor.
        let notary = match resumed {
            Some(notary) => notary,
            None => Notary::resume_by(
                (identity, anchor, process),
                &*self.platform,
                &keys.manifest,
                &header,
                certificate,
            )?,
        };
        let preparer = Preparer {
            platform: self.platform.clone(),
            keys: Arc::new(keys),
            tip: AtomicU64::new(header.index.0),
            tip_time: AtomicU64::new(header.time.0),
        };
        let answer = Response::Standing {
            header: header.clone(),
            state: state.clone(),
        };
        let standing = Standing::new(preparer, notary, member.clone(), (header, state));
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
        (header, state): (EntryHeader, State),
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let manifest = &standing.preparer.keys.manifest;
        let start =
            standing
                .notary
                .lead(&*platform, manifest, epoch, promises, (&header, &state))?;
        standing.lead_from(epoch, header, state);
        Ok(Response::Leading { start })
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

    fn notarise(
        &mut self,
        run: &[Proposal],
        promises: &[Signed<Promised>],
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let keys = &standing.preparer.keys;
        let is_ours = |hash: &Digest, mark: &Digest| keys.is_marked(hash, mark);
        let notary = &mut standing.notary;
        let before = notary.anchor().tip;
        let notarised = notary.notarise(&*platform, &keys.manifest, run, promises, is_ours)?;
        let newest = run.last().filter(|_| notary.anchor().tip != before);
        if let Some(newest) = newest {
            standing.moved_to(&newest.header);
        }
        Ok(Response::Notarised(notarised))
    }

    fn adopt(
        &mut self,
        header: &EntryHeader,
        certificate: &[Signed<Notarised>],
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let manifest = &standing.preparer.keys.manifest;
        let notary = &mut standing.notary;
        let before = notary.anchor().tip;
        notary.adopt(&*platform, manifest, header, certificate)?;
        if notary.anchor().tip != before {
            standing.moved_to(header);
        }
        Ok(Response::Done)
    }

    fn hand_over(&mut self, joiner: Joiner) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let manifest = &standing.preparer.keys.manifest;
        let secret = handover::seal(&standing.member, manifest, joiner, &*platform)?;
        Ok(Response::HandedOver { secret })
    }

    fn release(&mut self, certificate: &[Signed<Notarised>]) -> Result<Response, HsmError> {
        let standing = self.standing()?;
        let manifest = &standing.preparer.keys.manifest;
        let tip = standing.notary.check_certificate(manifest, certificate)?;
        let answers = standing.release(&tip)?;
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
