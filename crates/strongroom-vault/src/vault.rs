//! The vault: one member's state machine, behind one function (DESIGN §3, the seam).
//!
//! Life: blank → drafted (keys, no fleet) → waiting (a member that needs its tip's header) →
//! standing; halted, once the anchor could not be moved. Standing, it promises, leads, proposes,
//! notarises and releases; what depends on new state leaves only with a quorum's certificate for
//! the entry that holds it.
//!
//! The host may send any request at any time; each is answered or refused by name, and a refused
//! one changes nothing.

use crate::desk::{Desk, Table};
use crate::keys::Keys;
use crate::member::{self, Draft, Member};
use crate::notary::{self, Notary};
use crate::platform::{Blob, Platform};
use crate::policy::Moment;
use crate::prepare::Preparer;
use crate::propose::{Batch, Decided};
use crate::tenants;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use strongroom_crypto::statement::SigningKey;
use strongroom_wire::entry::{
    Anchor, EntryHeader, FEATURE_LEVEL, Kind, Notarised, Promised, Proposal, Signed, State, Tip,
    Write, writes_digest,
};
use strongroom_wire::frame::{
    AnswerBytes, Drafted, FRAME_VERSION, HsmError, Inspection, LeafBytes, LeftOut, Phase,
    ReleasedAnswer, Request, Response, Welcome,
};
use strongroom_wire::limits::{BATCH_MAX, PIPELINE_MAX};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{Digest, Epoch, Handle, MemberId, PublicKey, decode};

/// A member.
pub struct Vault<P> {
    platform: Arc<P>,
    life: Life<P>,
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

/// A member at work.
struct Standing<P> {
    preparer: Arc<Preparer<P>>,
    notary: Notary,
    /// The newest entry certified or resumed from: what speculation builds on.
    base: EntryHeader,
    base_state: State,
    leading: Option<Epoch>,
    speculation: VecDeque<Speculated>,
}

/// A proposed entry that no certificate covers yet, and the answers it pays for.
struct Speculated {
    header: EntryHeader,
    state: State,
    answers: Vec<(Handle, AnswerBytes)>,
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
        Ok(Self {
            platform,
            life,
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
            Request::Genesis { manifest } => self.genesis(&manifest),
            Request::Resume {
                header,
                state,
                manifest,
            } => self.resume(header, state, &manifest),
            Request::Promise { epoch, leader } => self.promise(epoch, leader),
            Request::Lead { epoch, promises } => self.lead(epoch, &promises),
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
            Request::Notarise { run } => self.notarise(&run),
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

    /// Begins the fleet. Order: anchor, then member. A cut between leaves a draft with an anchor,
    /// and the same request goes on from there.
    fn genesis(&mut self, manifest: &[u8]) -> Result<Response, HsmError> {
        let manifest: Manifest = decode(manifest).map_err(|_| HsmError::ManifestInvalid)?;
        let (header, state) = notary::genesis(&manifest);
        match &self.life {
            Life::Drafted(draft) => {
                let member = draft.clone().into_member(&manifest, &*self.platform)?;
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
        self.stand(header, state, manifest)
    }

    fn resume(
        &mut self,
        header: EntryHeader,
        state: State,
        manifest: &[u8],
    ) -> Result<Response, HsmError> {
        let manifest: Manifest = decode(manifest).map_err(|_| HsmError::ManifestInvalid)?;
        self.stand(header, state, manifest)
    }

    fn stand(
        &mut self,
        header: EntryHeader,
        state: State,
        manifest: Manifest,
    ) -> Result<Response, HsmError> {
        let Life::Waiting { member, anchor } = &self.life else {
            return Err(HsmError::WrongPhase);
        };
        let named = header.state == state.digest() && state.manifest == Some(manifest.digest());
        if !named {
            return Err(HsmError::AnchorMismatch);
        }
        manifest.check().map_err(|_| HsmError::ManifestInvalid)?;
        let identity = SigningKey::from_seed(&member.identity);
        let notary = Notary::resume(identity, anchor.clone(), &header)?;
        let keys = Keys::new(member.secret(), manifest, anchor.incarnation);
        if !keys.match_manifest() || keys.fleet != member.fleet {
            return Err(HsmError::ManifestInvalid);
        }
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
        self.life = Life::Standing(Box::new(Standing {
            preparer: Arc::new(preparer),
            notary,
            base: header,
            base_state: state,
            leading: None,
            speculation: VecDeque::new(),
        }));
        Ok(answer)
    }

    fn promise(&mut self, epoch: Epoch, leader: MemberId) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let promised = standing.notary.promise(&*platform, epoch, leader)?;
        // A promise of a later epoch ends whatever this member led.
        standing.stop_leading();
        Ok(Response::Promised(promised))
    }

    fn lead(&mut self, epoch: Epoch, promises: &[Signed<Promised>]) -> Result<Response, HsmError> {
        let standing = self.standing()?;
        // One chain per epoch: leading again after speculation was dropped takes a new one.
        if standing.leading == Some(epoch) {
            return Err(HsmError::EpochStale);
        }
        let manifest = &standing.preparer.keys.manifest;
        let start = standing.notary.lead(manifest, epoch, promises)?;
        if start != standing.base.tip() && !standing.rebase(&start) {
            return Err(HsmError::Gap);
        }
        standing.speculation.clear();
        standing.leading = Some(epoch);
        Ok(Response::Leading { start })
    }

    fn propose<T: Table>(
        &mut self,
        table: &T,
        handles: &[Handle],
        proof: &[u8],
        leaves: Vec<LeafBytes>,
    ) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        standing.can_propose(handles.len())?;
        let preparer = standing.preparer.clone();
        let (header, state) = standing.newest();
        let moment = Moment {
            index: header.index.next(),
            now: standing.notary.time_bound(&*platform, 0).max(header.time),
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
        let now = standing.notary.time_bound(&*platform, 0).max(header.time);
        let keys = standing.preparer.keys.clone();
        let (root, state) = (header.root, state.clone());
        match tenants::decide(&keys, &*platform, change, &root, state, proof, leaf)? {
            Err(refusal) => Ok(Response::TenantRefused(refusal)),
            Ok(decided) => Ok(standing.speculate(Kind::Tenant, now, decided)),
        }
    }

    fn notarise(&mut self, run: &[Proposal]) -> Result<Response, HsmError> {
        let platform = self.platform.clone();
        let standing = self.standing()?;
        let keys = &standing.preparer.keys;
        let is_ours = |hash: &Digest, mark: &Digest| keys.is_marked(hash, mark);
        let notarised = standing.notary.notarise(&*platform, run, is_ours)?;
        Ok(Response::Notarised(notarised))
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
        let held: usize = standing.speculation.iter().map(|s| s.answers.len()).sum();
        let anchor = standing.notary.anchor();
        Ok(Response::Inspection(Inspection {
            tip: anchor.tip,
            promised: anchor.promised,
            leading: standing.leading,
            speculative: standing.newest().0.index,
            handles: count(table.with(|desk: &mut Desk| desk.len())),
            held: count(held),
            clock,
            refused,
            anchor_writes: standing.notary.anchor_writes(),
        }))
    }
}

impl<P: Platform> Standing<P> {
    /// The newest entry, speculated or certified.
    fn newest(&self) -> (&EntryHeader, &State) {
        self.speculation
            .back()
            .map_or((&self.base, &self.base_state), |newest| {
                (&newest.header, &newest.state)
            })
    }

    fn can_propose(&self, operations: usize) -> Result<(), HsmError> {
        if self.leading.is_none() || self.leading != Some(self.notary.anchor().promised) {
            return Err(HsmError::NotLeading);
        }
        if operations > BATCH_MAX {
            return Err(HsmError::BatchTooLarge);
        }
        // Before anything is spent: a quorum that is away must not cost guesses.
        if self.speculation.len() >= PIPELINE_MAX {
            return Err(HsmError::Busy);
        }
        Ok(())
    }

    fn speculate(
        &mut self,
        kind: Kind,
        now: strongroom_wire::UnixMs,
        decided: Decided,
    ) -> Response {
        let (previous, _) = self.newest();
        let header = EntryHeader {
            fleet: previous.fleet,
            cell: previous.cell,
            incarnation: previous.incarnation,
            epoch: self
                .leading
                .expect("can_propose checked that this member leads"),
            index: previous.index.next(),
            previous: previous.hash(),
            kind,
            root: decided.root,
            writes: writes_digest(&decided.writes),
            state: decided.state.digest(),
            time: now,
            feature_level: FEATURE_LEVEL,
        };
        let Decided {
            state,
            writes,
            answers,
            left_out,
            ..
        } = decided;
        self.speculation.push_back(Speculated {
            header: header.clone(),
            state: state.clone(),
            answers,
        });
        proposed(self.preparer.keys.marked(header), state, writes, left_out)
    }

    /// Lets go of the answers up to `tip`, cumulative along the own chain.
    fn release(&mut self, tip: &Tip) -> Result<Vec<ReleasedAnswer>, HsmError> {
        let position = self.speculation.iter().position(|s| s.header.tip() == *tip);
        let Some(position) = position else {
            // Released before: nothing is behind it, and nothing is wrong.
            let known = self.base.tip() == *tip;
            return if known {
                Ok(Vec::new())
            } else {
                Err(HsmError::NotOnChain)
            };
        };
        let mut answers = Vec::new();
        for released in self.speculation.drain(..=position) {
            let each = released.answers.into_iter();
            answers.extend(each.map(|(handle, answer)| ReleasedAnswer { handle, answer }));
            self.base = released.header;
            self.base_state = released.state;
        }
        self.preparer
            .tip
            .store(self.base.index.0, Ordering::Relaxed);
        self.preparer
            .tip_time
            .store(self.base.time.0, Ordering::Relaxed);
        Ok(answers)
    }

    /// Moves the base up to a notarised tip that no certificate released (its answers are lost with
    /// the leadership; their clients retry).
    fn rebase(&mut self, tip: &Tip) -> bool {
        self.release(tip).is_ok()
    }

    fn stop_leading(&mut self) {
        self.leading = None;
        // What was notarised stays; its answers are dropped with everything above it.
        let tip = self.notary.anchor().tip;
        let _ = self.rebase(&tip);
        self.speculation.clear();
    }
}

fn proposed(
    proposal: Proposal,
    state: State,
    writes: Vec<Write>,
    left_out: Vec<LeftOut>,
) -> Response {
    Response::Proposed {
        proposal,
        state,
        writes,
        left_out,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What a draft shows.
pub(crate) fn drafted(identity: PublicKey, hpke: Vec<u8>, opaque: PublicKey) -> Drafted {
    Drafted {
        identity,
        hpke,
        opaque,
    }
}
