//! The beginning of a cycle: store and HSM are brought to the same entry.
//!
//! The HSM's anchor says where it stands. The store has applied as much or less, and then the log
//! has the entries between; or more, and then the HSM moves up by the certificate. Anything else is
//! a store or an HSM that was exchanged, or restored without the other.

use super::driver::Driver;
use super::host::Host;
use super::{EngineError, Settings};
use crate::link::{Link, LinkError};
use crate::metrics;
use crate::store::{Standing, Store, StoreError};
use std::collections::HashMap;
use strongroom_replica::{Beginning, Certificate, Logged};
use strongroom_tree::prover::Trie;
use strongroom_wire::decode;
use strongroom_wire::entry::Tip;
use strongroom_wire::frame::{FRAME_VERSION, Phase, Request, Response};
use strongroom_wire::manifest::Bundle;

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
    let Phase::Waiting {
        tip,
        promised,
        fleet,
    } = welcome.phase
    else {
        return Err(stranger());
    };
    let standing = host.store.standing()?.ok_or_else(stranger)?;
    if standing.header.fleet != fleet {
        return Err(stranger());
    }
    let (tail, certificate) = between(&host.store, &standing, &tip)?;
    let bundle = host.store.bundle()?.ok_or_else(stranger)?;
    let bundle: Bundle = decode(&bundle).map_err(|_| StoreError::Corrupt("the fleet bundle"))?;
    let (header, state) = match tail.last() {
        Some(newest) => (newest.header().clone(), newest.entry.state.clone()),
        None => (standing.header.clone(), standing.state.clone()),
    };
    let anchor = header.tip();
    let resume = Request::Resume {
        header,
        state,
        manifest: bundle.manifest,
        certificate,
    };
    let Response::Standing { .. } = host.call(&resume)? else {
        return Err(LinkError::Unexpected.into());
    };
    metrics::standing(&standing.header, &standing.state);
    let beginning = Beginning {
        me: settings.member,
        manifest: settings.manifest.clone(),
        process: welcome.process,
        anchor,
        promised: promised.max(anchor.epoch),
        seed: seed(&welcome.process.0),
        header: standing.header,
        state: standing.state,
        certificate: standing.certificate,
        tail,
    };
    Ok(Driver::new(host, beginning))
}

fn hands(settings: &Settings, store: Store, link: Link) -> Result<Host, EngineError> {
    // Alone there is nobody to send old entries to.
    let alone = settings.manifest.members.len() == 1;
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
