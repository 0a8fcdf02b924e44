//! The genesis of a development fleet: one member, class `none` (DESIGN §9; the ceremony of real
//! fleets comes with their platforms).
//!
//! Safe to stop anywhere and to start again: the HSM repeats its draft; the manifest is put down
//! before the HSM is bound to it; and the genesis entry follows from the manifest alone.

use crate::Limits;
use crate::engine::EngineError;
use crate::link::{self, HsmCommand, LinkError};
use crate::record::Recorder;
use crate::store::{Store, StoreError};
use std::path::Path;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::frame::{Drafted, FRAME_VERSION, HsmError, Phase, Request, Response, Welcome};
use strongroom_wire::manifest::{Bundle, FleetKey, Manifest, Member, Policy};
use strongroom_wire::{Digest, KeyId, MemberId, PublicKey, Signature, encode};

/// The only member's slot.
pub const ONLY_MEMBER: MemberId = MemberId(1);

/// Who vouches for a development fleet.
pub struct Founders {
    /// Creates tenants.
    pub admin: PublicKey,
    /// Signs the manifest.
    pub operator: SigningKey,
}

/// Begins a fleet of one in an empty store, or finds the one that is there.
///
/// # Errors
/// [`EngineError`].
pub async fn found(
    store_dir: &Path,
    hsm: &HsmCommand,
    hsm_dir: &Path,
    founders: &Founders,
    policy: Policy,
) -> Result<Bundle, EngineError> {
    let store = Store::open(store_dir)?;
    if let Some(bytes) = store.bundle()? {
        return strongroom_wire::decode(&bytes)
            .map_err(|_| StoreError::Corrupt("the fleet bundle").into());
    }
    let silence = Limits::default().hsm_silence;
    let (link, mut child) = link::start(hsm, hsm_dir, silence, Recorder::default())
        .map_err(|error| EngineError::Start(hsm.program.clone(), error))?;
    let Response::Welcome(welcome) = link
        .call(&Request::Hello {
            version: FRAME_VERSION,
        })
        .await?
    else {
        return Err(LinkError::Unexpected.into());
    };
    let taken = || EngineError::Taken {
        hsm: hsm_dir.to_owned(),
        store: store_dir.to_owned(),
    };
    let bundle = match (store.founding()?, &welcome.phase) {
        // Cut short before: the HSM may or may not have begun with this one. One that knows nothing
        // has not.
        (Some(bytes), Phase::Drafted | Phase::Waiting { .. } | Phase::Standing { .. }) => {
            strongroom_wire::decode::<Bundle>(&bytes)
                .map_err(|_| StoreError::Corrupt("the bundle of a founding"))?
        }
        (_, Phase::Blank) | (None, Phase::Drafted) => {
            let Response::Drafted(drafted) = link.call(&Request::Draft).await? else {
                return Err(LinkError::Unexpected.into());
            };
            let bundle = signed(
                genesis_manifest(&welcome, drafted, founders, policy)?,
                founders,
            );
            store.begin_founding(&encode(&bundle))?;
            bundle
        }
        (None, _) => return Err(taken()),
    };
    let begin = Request::Genesis {
        manifest: bundle.manifest.clone(),
    };
    let (header, state) = match link.call(&begin).await {
        Ok(Response::Standing { header, state }) => (header, state),
        Ok(_) => return Err(LinkError::Unexpected.into()),
        // Another fleet's HSM, or one that went on without this store.
        Err(LinkError::Hsm(HsmError::WrongPhase | HsmError::ManifestInvalid)) => {
            return Err(taken());
        }
        Err(error) => return Err(error.into()),
    };
    store.found(&encode(&bundle), &header, &state)?;
    drop(link);
    let _ = child.kill().await;
    Ok(bundle)
}

fn signed(manifest: Manifest, founders: &Founders) -> Bundle {
    let manifest = encode(&manifest);
    let operator = statement::sign(&founders.operator, Label::Manifest, &manifest);
    Bundle {
        manifest,
        operator: Signature(operator),
    }
}

fn genesis_manifest(
    welcome: &Welcome,
    drafted: Drafted,
    founders: &Founders,
    policy: Policy,
) -> Result<Manifest, LinkError> {
    let public = drafted.hpke.try_into().map_err(|_| LinkError::Unexpected)?;
    Ok(Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public,
        }],
        opaque: drafted.opaque,
        members: vec![Member {
            id: ONLY_MEMBER,
            identity: drafted.identity,
            platform: welcome.platform.clone(),
            class: welcome.class,
            measurement: Digest([0; 32]),
            site: "local".to_owned(),
        }],
        rollback_tolerance: 0,
        policy,
        cells: 1,
        resurrections_max: 0,
        admin: founders.admin,
        operator: PublicKey(founders.operator.public()),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    })
}
