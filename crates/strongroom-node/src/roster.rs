//! The fleet as this host knows it: the manifest in force, what clients are shown of it, and who
//! the other hosts are.
//!
//! A manifest is believed for its officers' signatures, from the genesis on, whoever brings it.

use crate::store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_replica::{next_manifest, officers_signed};
use strongroom_wire::manifest::{Bundle, Manifest, Member, SignedManifest};
use strongroom_wire::{FleetId, MemberId, decode};
use tokio::sync::watch;

/// One moment of it.
#[derive(Clone)]
pub struct Roster {
    /// The bundle, as served.
    pub bundle: Vec<u8>,
    /// Every manifest from the genesis on.
    pub chain: Vec<Arc<Manifest>>,
    /// The manifest in force: the newest of them.
    pub manifest: Arc<Manifest>,
    /// One that is to come into force, if it does.
    coming: Option<Arc<Manifest>>,
}

impl Roster {
    /// From a bundle that this host stored, or was given by its operator.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn of(bundle: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("the fleet bundle");
        let parsed: Bundle = decode(bundle).map_err(|_| corrupt())?;
        let fleet = parsed.manifest().map_err(|_| corrupt())?.fleet_id();
        Self::of_fleet(bundle, fleet).ok_or_else(corrupt)
    }

    /// From a bundle that anybody gave.
    pub fn of_fleet(bundle: &[u8], fleet: FleetId) -> Option<Self> {
        let parsed: Bundle = decode(bundle).ok()?;
        let chain = parsed.chain(fleet, officers_signed)?;
        let chain: Vec<Arc<Manifest>> = chain.into_iter().map(Arc::new).collect();
        let manifest = chain.last()?.clone();
        Some(Self {
            bundle: bundle.to_vec(),
            chain,
            manifest,
            coming: None,
        })
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.manifest.fleet_id()
    }

    /// With a manifest that is to come into force, if its officers signed it.
    #[must_use]
    pub fn expecting(self, change: &SignedManifest) -> Self {
        let coming = next_manifest(&self.manifest, change).map(Arc::new);
        Self { coming, ..self }
    }

    /// The slot of that number, also in a manifest that is to come into force.
    pub fn slot(&self, member: MemberId) -> Option<Member> {
        self.hosts().into_iter().find(|slot| slot.id == member)
    }

    /// Whether another host's bundle is a later one of the same history.
    fn is_before(&self, later: &Self) -> bool {
        let at = usize::try_from(self.manifest.epoch).ok();
        let same = at.and_then(|at| later.chain.get(at)) == Some(&self.manifest);
        same && later.manifest.epoch > self.manifest.epoch
    }

    /// Every host that may be spoken with: those of the manifest in force, of the one that comes,
    /// and of the one before, whose members may not have heard yet that they left.
    pub fn hosts(&self) -> Vec<Member> {
        let before = self.chain.len().checked_sub(2);
        let before = before.and_then(|at| self.chain.get(at));
        let manifests = before.into_iter().chain([&self.manifest]);
        let manifests = manifests.chain(&self.coming);
        let members = manifests.flat_map(|manifest| &manifest.members);
        let members: BTreeMap<MemberId, &Member> = members.map(|slot| (slot.id, slot)).collect();
        members.into_values().cloned().collect()
    }
}

/// It, as it changes.
#[derive(Clone)]
pub struct Rosters(Arc<watch::Sender<Arc<Roster>>>);

impl Rosters {
    /// Begins with one.
    pub fn new(roster: Roster) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(roster))))
    }

    /// As it is.
    pub fn now(&self) -> Arc<Roster> {
        self.0.borrow().clone()
    }

    /// For who waits for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Roster>> {
        self.0.subscribe()
    }

    /// Another bundle is in force.
    pub fn put_in_force(&self, bundle: &[u8]) -> Result<(), StoreError> {
        let roster = Roster::of(bundle)?;
        self.0.send_if_modified(|known| {
            let news = known.bundle != roster.bundle;
            if news {
                *known = Arc::new(roster);
            }
            news
        });
        Ok(())
    }

    /// What another host says is in force. A member that was away over a change of members knows
    /// none of those who joined, and they may lead: it speaks with them from now on. In force is
    /// what its own store has.
    pub fn learn(&self, bundle: &[u8]) {
        let known = self.now();
        let later = Roster::of_fleet(bundle, known.fleet()).filter(|it| known.is_before(it));
        if let Some(later) = later {
            self.expect(Manifest::clone(&later.manifest));
        }
    }

    /// A manifest is to come into force. Its officers' signatures were looked at.
    pub fn expect(&self, manifest: Manifest) {
        self.0.send_if_modified(|known| {
            let news = *known.manifest != manifest && known.coming.as_deref() != Some(&manifest);
            if news {
                let coming = Some(Arc::new(manifest));
                *known = Arc::new(Roster {
                    coming,
                    ..Roster::clone(known)
                });
            }
            news
        });
    }
}
