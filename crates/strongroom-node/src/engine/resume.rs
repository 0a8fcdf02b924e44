//! The beginning of a cycle: store and HSM are brought to the same entry.
//!
//! The HSM's anchor says where it stands. The store has applied as much or less, and then the log
//! has the entries between; or more, and then the HSM moves up by the certificate. Anything else is
//! a store or an HSM that was exchanged, or restored without the other.

use super::driver::Driver;
use super::host::Host;
use super::{EngineError, Settings};
use crate::join;
use crate::link::{Link, LinkError};
use crate::metrics;
use crate::roster::Roster;
use crate::store::{Standing, Store, StoreError};
use std::collections::HashMap;
use strongroom_replica::{Beginning, Certificate, Logged};
use strongroom_tree::prover::Trie;
use strongroom_wire::entry::{State, Tip};
use strongroom_wire::frame::{FRAME_VERSION, ManifestBytes, Phase, Place, Request, Response};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::{Epoch, encode};

/// Pages of the trie kept in memory, each about 2 KiB; twice as many at most.
const CACHE_PAGES: usize = 16 * 1024;

/// Has the HSM stand, and gives who drives it.
pub(super) fn resume(settings: &Settings, store: Store, link: Link) -> Result<Driver, EngineError> {
    let stranger = || EngineError::NotMember {
        hsm: settings.hsm_dir.clone(),
        store: settings.store.clone(),
    };
    let host = hands(settings, store, link)?;
    let version = FRAME_VERSION;
    let Response::Welcome(welcome) = host.call(&Request::Hello { version })? else {
        return Err(LinkError::Unexpected.into());
    };
    let mut standing = host.store.standing()?.ok_or_else(stranger)?;
    let bundle = host.store.bundle()?.ok_or_else(stranger)?;
    let roster = Roster::of(&bundle)?;
    let (joining, stands) = match welcome.phase {
        Phase::Waiting {
            tip,
            promised,
            fleet,
        } if standing.header.fleet == fleet => {
            join::joined(&settings.data);
            (None, stand(&host, &roster, &mut standing, &tip, promised)?)
        }
        Phase::Drafted => {
            let invited = join::invited(&settings.data).ok_or_else(stranger)?;
            let stands = Stands {
                anchor: standing.header.tip(),
                promised: Epoch(0),
                tail: Vec::new(),
            };
            (Some(invited.secret), stands)
        }
        Phase::Retired { .. } => return Err(EngineError::Retired),
        _ => return Err(stranger()),
    };
    metrics::standing(&standing.header, &standing.state);
    let beginning = Beginning {
        me: settings.member,
        manifests: roster.chain,
        joining,
        process: welcome.process,
        anchor: stands.anchor,
        promised: stands.promised,
        seed: seed(&welcome.process.0),
        proposal: standing.proposal(),
        state: standing.state,
        certificate: standing.certificate,
        tail: stands.tail,
    };
    Driver::new(host, beginning)
}

/// Where an HSM stands, and what its host has above what it applied.
struct Stands {
    anchor: Tip,
    promised: Epoch,
    tail: Vec<Logged>,
}

/// Has a member go on.
fn stand(
    host: &Host,
    roster: &Roster,
    standing: &mut Standing,
    tip: &Tip,
    promised: Epoch,
) -> Result<Stands, EngineError> {
    let (tail, certificate) = between(&host.store, standing, tip)?;
    let (proposal, state) = match tail.last() {
        Some(newest) => (newest.entry.proposal.clone(), newest.entry.state.clone()),
        None => (standing.proposal(), standing.state.clone()),
    };
    let anchor = proposal.header.tip();
    for change in tail.iter().filter_map(|logged| logged.manifest.as_ref()) {
        if let Ok(manifest) = change.manifest() {
            host.rosters.expect(manifest);
        }
    }
    let manifests = manifests_of(&state, roster, &tail)?;
    let place = Place {
        proposal,
        state,
        manifests,
    };
    let resume = Request::Resume { place, certificate };
    let Response::Standing { proposal, .. } = host.call(&resume)? else {
        return Err(LinkError::Unexpected.into());
    };
    if proposal.header == standing.header {
        // A store of an earlier version has none.
        standing.mark = Some(proposal.mark);
    }
    Ok(Stands {
        anchor,
        promised: promised.max(anchor.epoch),
        tail,
    })
}

/// The manifests that a state names.
fn manifests_of(
    state: &State,
    roster: &Roster,
    tail: &[Logged],
) -> Result<Vec<ManifestBytes>, StoreError> {
    let logged = tail.iter().filter_map(|logged| logged.manifest.as_ref());
    let logged = logged.filter_map(|change| change.manifest().ok());
    let known: Vec<Manifest> = roster.chain.iter().map(|it| Manifest::clone(it)).collect();
    let known: Vec<Manifest> = known.into_iter().chain(logged).collect();
    let named = state.manifest.iter().chain(&state.before);
    let manifests = named.map(|digest| {
        let found = known.iter().find(|manifest| manifest.digest() == *digest);
        found.map(|manifest| ManifestBytes(encode(manifest)))
    });
    let manifests: Option<Vec<ManifestBytes>> = manifests.collect();
    manifests.ok_or(StoreError::Corrupt("the fleet bundle"))
}

fn hands(settings: &Settings, store: Store, link: Link) -> Result<Host, EngineError> {
    // Alone there is nobody to send old entries to.
    let alone = settings.peers.is_none();
    let store = store.keeping(if alone { 0 } else { settings.log_kept });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::Thread)?;
    Ok(Host {
        runtime,
        link,
        trie: Trie::open(store.clone(), CACHE_PAGES)?,
        store,
        admission: settings.admission.clone(),
        peers: settings.peers.clone(),
        rosters: settings.rosters.clone(),
        data: settings.data.clone(),
        retired: false,
        under_way: HashMap::new(),
        left: Vec::new(),
        behind: None,
    })
}

/// What lies between the entry applied last and the HSM's tip: the logged entries up to it, or the
/// certificate by which the HSM moves up to what is applied.
fn between(
    store: &Store,
    standing: &Standing,
    tip: &Tip,
) -> Result<(Vec<Logged>, Certificate), EngineError> {
    let applied = standing.header.tip();
    if let Some(tail) = store.chain(&applied, tip)? {
        return Ok((tail, Certificate::new()));
    }
    let newer = (applied.epoch, applied.index) > (tip.epoch, tip.index);
    if newer && !standing.certificate.is_empty() {
        return Ok((Vec::new(), standing.certificate.clone()));
    }
    Err(StoreError::Behind {
        anchor: tip.index,
        store: applied.index,
    }
    .into())
}

fn seed(process: &[u8; 16]) -> u64 {
    process
        .iter()
        .fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte))
}
