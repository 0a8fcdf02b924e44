//! The genesis of a development fleet: members of class `none` on one machine (DESIGN §9; the
//! ceremony of real fleets comes with their platforms).
//!
//! One member makes the fleet's secret and hands it over to each of the others, sealed to a key
//! that the other's identity signed and the manifest names.
//!
//! Safe to stop anywhere and to start again: each HSM repeats its draft; the manifest is put down
//! at every member before any HSM is bound to it; and the genesis entry follows from the manifest
//! alone.

use crate::engine::EngineError;
use crate::link::{self, Link, LinkError};
use crate::record::Recorder;
use crate::store::{Standing, Store, StoreError};
use crate::{Config, Limits};
use std::path::PathBuf;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_peers::HostKey;
use strongroom_wire::frame::{
    Drafted, FRAME_VERSION, HsmError, Phase, Request, Response, SealedSecret, Welcome,
};
use strongroom_wire::manifest::{Bundle, FleetKey, Manifest, Member, Policy};
use strongroom_wire::{Digest, FleetId, KeyId, MemberId, PublicKey, Signature, decode, encode};
use tokio::process::Child;

/// Who vouches for a development fleet.
pub struct Founders {
    /// Creates tenants.
    pub admin: PublicKey,
    /// Signs the manifest.
    pub operator: SigningKey,
    /// Sets the fleet's clock, together with others if there are several.
    pub officers: Vec<PublicKey>,
}

/// What a fleet is to be.
pub struct Plan {
    /// The policy.
    pub policy: Policy,
    /// R: members that may have been rolled back.
    pub rollback_tolerance: u8,
}

/// A member to be.
struct Site {
    store_dir: PathBuf,
    hsm_dir: PathBuf,
    store: Store,
    host: Digest,
    link: Link,
    child: Child,
    welcome: Welcome,
}

impl Site {
    async fn open(config: &Config) -> Result<Self, EngineError> {
        let (store_dir, hsm_dir) = (config.store_dir(), config.hsm_dir());
        let store = Store::open(&store_dir)?;
        let key = HostKey::load_or_make(&config.host_key_dir()).map_err(EngineError::Settings)?;
        let (link, child, welcome) = greeted(config).await?;
        Ok(Self {
            store_dir,
            hsm_dir,
            store,
            host: Digest(key.digest()),
            link,
            child,
            welcome,
        })
    }

    fn taken(&self) -> EngineError {
        EngineError::Taken {
            hsm: self.hsm_dir.clone(),
            store: self.store_dir.clone(),
        }
    }

    async fn draft(&self) -> Result<Drafted, EngineError> {
        match self.link.call(&Request::Draft).await? {
            Response::Drafted(drafted) => Ok(drafted),
            _ => Err(LinkError::Unexpected.into()),
        }
    }

    /// Binds the HSM to the fleet.
    async fn begin(
        &self,
        bundle: &Bundle,
        secret: Option<SealedSecret>,
    ) -> Result<Standing, EngineError> {
        let manifest = bundle.manifest.clone();
        match self.link.call(&Request::Genesis { manifest, secret }).await {
            Ok(Response::Standing { proposal, state }) => Ok(Standing {
                header: proposal.header,
                state,
                certificate: Vec::new(),
                mark: Some(proposal.mark),
            }),
            Ok(_) => Err(LinkError::Unexpected.into()),
            // Another fleet's HSM, or one that went on without this store.
            Err(LinkError::Hsm(HsmError::WrongPhase | HsmError::ManifestInvalid)) => {
                Err(self.taken())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn end(mut self) {
        drop(self.link);
        let _ = self.child.kill().await;
    }
}

/// Begins a fleet of members in empty stores, or finds the one that is there.
///
/// # Errors
/// [`EngineError`].
pub async fn found(
    members: &[Config],
    founders: &Founders,
    plan: Plan,
) -> Result<Bundle, EngineError> {
    if let Some(bundle) = found_before(members)? {
        return Ok(bundle);
    }
    let mut sites = Vec::with_capacity(members.len());
    for config in members {
        sites.push(Site::open(config).await?);
    }
    let bundle = agreed(&sites, founders, plan).await?;
    let (founder, joiners) = sites.split_first().ok_or(LinkError::Unexpected)?;
    let standing = founder.begin(&bundle, None).await?;
    for (joiner, id) in joiners.iter().zip(2..) {
        let secret = handed_over(founder, joiner, MemberId(id)).await?;
        let standing = joiner.begin(&bundle, secret).await?;
        joiner.store.found(&encode(&bundle), &standing)?;
    }
    // Last: until then it can be asked to hand over.
    founder.store.found(&encode(&bundle), &standing)?;
    for site in sites {
        site.end().await;
    }
    Ok(bundle)
}

/// The fleet that a stopped node's HSM is a member of.
pub(crate) async fn fleet_of(config: &Config) -> Result<Option<FleetId>, EngineError> {
    let (link, mut child, welcome) = greeted(config).await?;
    drop(link);
    let _ = child.kill().await;
    Ok(match welcome.phase {
        Phase::Waiting { fleet, .. } | Phase::Standing { fleet, .. } => Some(fleet),
        Phase::Blank | Phase::Drafted | Phase::Retired { .. } => None,
    })
}

/// Starts an HSM, to speak with it alone.
pub(crate) async fn greeted(config: &Config) -> Result<(Link, Child, Welcome), EngineError> {
    let hsm = config
        .hsm_command()
        .map_err(|error| EngineError::Settings(error.to_string()))?;
    let silence = Limits::default().hsm_silence;
    let (link, child) = link::start(&hsm, &config.hsm_dir(), silence, Recorder::default())
        .map_err(|error| EngineError::Start(hsm.program.clone(), error))?;
    let version = FRAME_VERSION;
    match link.call(&Request::Hello { version }).await? {
        Response::Welcome(welcome) => Ok((link, child, welcome)),
        _ => Err(LinkError::Unexpected.into()),
    }
}

/// The fleet of the first member's store: it is written last.
fn found_before(members: &[Config]) -> Result<Option<Bundle>, EngineError> {
    let Some(first) = members.first() else {
        return Ok(None);
    };
    let bundle = Store::open(&first.store_dir())?.bundle()?;
    let bundle = bundle.map(|bytes| decode(&bytes));
    let bundle = bundle.transpose();
    Ok(bundle.map_err(|_| StoreError::Corrupt("the fleet bundle"))?)
}

/// The bundle that every store has, before any HSM is bound.
async fn agreed(sites: &[Site], founders: &Founders, plan: Plan) -> Result<Bundle, EngineError> {
    let mut begun = None;
    for site in sites {
        let known = site.store.founding()?.or(site.store.bundle()?);
        let blank = matches!(site.welcome.phase, Phase::Blank);
        // Cut short before: the HSM may or may not have begun with this one. One that knows nothing
        // has not.
        match known {
            Some(bytes) if !blank => begun = Some(bytes),
            None if !blank && !matches!(site.welcome.phase, Phase::Drafted) => {
                return Err(site.taken());
            }
            _ => {}
        }
    }
    let bundle = match begun {
        Some(bytes) => {
            decode::<Bundle>(&bytes).map_err(|_| StoreError::Corrupt("the bundle of a founding"))?
        }
        None => signed(genesis_manifest(sites, founders, plan).await?, founders),
    };
    for site in sites {
        site.store.begin_founding(&encode(&bundle))?;
    }
    Ok(bundle)
}

/// The secret for a joiner; none if it has it.
async fn handed_over(
    founder: &Site,
    joiner: &Site,
    member: MemberId,
) -> Result<Option<SealedSecret>, EngineError> {
    if !matches!(joiner.welcome.phase, Phase::Blank | Phase::Drafted) {
        return Ok(None);
    }
    let drafted = joiner.draft().await?;
    let ask = Request::HandOver {
        member,
        key: drafted.handover,
        signature: drafted.signature,
        next: None,
    };
    match founder.link.call(&ask).await? {
        Response::HandedOver { secret } => Ok(Some(secret)),
        _ => Err(LinkError::Unexpected.into()),
    }
}

fn signed(manifest: Manifest, founders: &Founders) -> Bundle {
    let manifest = encode(&manifest);
    let operator = statement::sign(&founders.operator, Label::Manifest, &manifest);
    Bundle {
        manifest,
        operator: Signature(operator),
        history: None,
    }
}

async fn genesis_manifest(
    sites: &[Site],
    founders: &Founders,
    plan: Plan,
) -> Result<Manifest, EngineError> {
    let mut drafts = Vec::with_capacity(sites.len());
    for site in sites {
        drafts.push(site.draft().await?);
    }
    let first = drafts.first().ok_or(LinkError::Unexpected)?;
    let public = first.hpke.clone();
    let public = public.try_into().map_err(|_| LinkError::Unexpected)?;
    let members = sites.iter().zip(&drafts).zip(1..);
    let members = members.map(|((site, drafted), id)| Member {
        id: MemberId(id),
        identity: drafted.identity,
        platform: site.welcome.platform.clone(),
        class: site.welcome.class,
        measurement: Digest([0; 32]),
        site: format!("local-{id}"),
        host: site.host,
        address: None,
    });
    let officers_threshold =
        founders.officers.len() / 2 + usize::from(!founders.officers.is_empty());
    Ok(Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public,
        }],
        opaque: first.opaque,
        members: members.collect(),
        rollback_tolerance: plan.rollback_tolerance,
        policy: plan.policy,
        cells: 1,
        resurrections_max: 0,
        admin: founders.admin,
        operator: PublicKey(founders.operator.public()),
        officers: founders.officers.clone(),
        officers_threshold: u8::try_from(officers_threshold).unwrap_or(u8::MAX),
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    })
}
