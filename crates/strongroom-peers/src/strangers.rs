//! Who failed a handshake: logged once per address. Anyone can dial, as often as they like.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses remembered. Beyond them nothing is logged any more; what is refused is counted still.
const ADDRESSES_MAX: usize = 1024;

#[derive(Default)]
pub(crate) struct Strangers(Mutex<HashSet<IpAddr>>);

impl Strangers {
    pub(crate) fn tell(&self, address: IpAddr, error: &std::io::Error) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < ADDRESSES_MAX && known.insert(address) {
            tracing::warn!(%address, %error, "refused a handshake; not logged again from there");
        }
    }
}
