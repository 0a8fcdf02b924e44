//! Which fleet to trust: the roots built into the app, and the bundle checked against them.

use strongroom_crypto::statement::{self, Label};
use strongroom_wire::manifest::{Bundle, FleetKey, Manifest, PlatformClass, SignedManifest};
use strongroom_wire::{FleetId, PublicKey, decode};

/// What the app is built with: the fleet, and the least it accepts of one.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The fleet's id: the digest of its genesis manifest.
    pub fleet: FleetId,
    /// More guesses than this are refused.
    pub attempts_max: u8,
    /// Fewer members than this are refused.
    pub members_min: usize,
    /// A lower R is refused: how many members may be rolled back or cloned without a guess gained.
    pub rollback_tolerance_min: u8,
    /// Members of a lower class are refused.
    pub class_min: PlatformClass,
}

impl Roots {
    /// Roots that accept a development fleet of one member, class `none`.
    pub fn development(fleet: FleetId) -> Self {
        Self {
            fleet,
            attempts_max: 10,
            members_min: 1,
            rollback_tolerance_min: 0,
            class_min: PlatformClass::None,
        }
    }
}

/// Why a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a bundle.
    #[error("the server's fleet bundle is malformed")]
    Malformed,
    /// Another fleet's.
    #[error("the server belongs to another fleet than the one this app trusts")]
    WrongFleet,
    /// The operator's signature does not hold.
    #[error("the fleet bundle's signature does not hold")]
    Signature,
    /// Below the floor of the roots.
    #[error("the fleet's policy or platforms are weaker than this app accepts")]
    BelowFloor,
}

/// A fleet whose bundle was checked.
#[derive(Clone, Debug)]
pub struct Fleet {
    manifest: Manifest,
    id: FleetId,
}

/// Whether enough officers of a manifest signed the one after it, and the operator that it names.
fn officers_signed(before: &Manifest, change: &SignedManifest) -> bool {
    let operator = change.manifest().map(|next| next.operator.0);
    let signed = operator.is_ok_and(|key| {
        statement::verify(&key, Label::Manifest, &change.manifest, &change.operator.0).is_ok()
    });
    if !signed {
        return false;
    }
    let named = |key: &[u8; 32]| before.officers.contains(&PublicKey(*key));
    let threshold = usize::from(before.officers_threshold);
    let officers = change.officers.iter();
    let officers = officers.map(|it| (&it.officer.0, &it.signature.0));
    let bytes = &change.manifest;
    statement::signed_by_enough(named, threshold, Label::Officers, bytes, officers)
}

impl Fleet {
    /// Checks a bundle.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_bundle(bytes: &[u8], roots: &Roots) -> Result<Self, BundleError> {
        let bundle: Bundle = decode(bytes).map_err(|_| BundleError::Malformed)?;
        let manifest = bundle.manifest().map_err(|_| BundleError::Malformed)?;
        if manifest.fleet_id() != roots.fleet {
            return Err(BundleError::WrongFleet);
        }
        // A later manifest says itself which fleet it is of. Its officers say it from the genesis
        // on, and the genesis is the fleet's id.
        if bundle.chain(roots.fleet, officers_signed).is_none() {
            return Err(BundleError::WrongFleet);
        }
        let (key, signature) = (&manifest.operator.0, &bundle.operator.0);
        statement::verify(key, Label::Manifest, &bundle.manifest, signature)
            .map_err(|_| BundleError::Signature)?;
        let weak_member = manifest.members.iter().any(|m| m.class < roots.class_min);
        let too_many = manifest.policy.attempts_max > roots.attempts_max;
        let too_few = manifest.members.len() < roots.members_min;
        let trusting = manifest.rollback_tolerance < roots.rollback_tolerance_min;
        if weak_member || too_many || too_few || trusting {
            return Err(BundleError::BelowFloor);
        }
        Ok(Self {
            manifest,
            id: roots.fleet,
        })
    }

    /// The fleet's id.
    pub fn id(&self) -> FleetId {
        self.id
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The newest HPKE key.
    pub fn key(&self) -> &FleetKey {
        self.manifest
            .keys
            .first()
            .expect("a checked manifest has a key")
    }
}
