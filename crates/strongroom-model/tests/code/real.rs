//! A real member, and the way in which three of them come to share a fleet's secret.

use std::cell::RefCell;
use std::sync::Arc;
use strongroom_crypto::seal;
use strongroom_model::Entry;
use strongroom_sim::platform::Memory;
use strongroom_vault::{Blob, Desk, Platform as _, Vault};
use strongroom_wire::encode;
use strongroom_wire::frame::{HsmError, Request, Response};

#[derive(minicbor::Encode)]
struct Draft {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
}

pub struct Real {
    pub platform: Arc<Memory>,
    pub vault: Vault<Memory>,
    pub desk: RefCell<Desk>,
    /// What the vault builds on: its newest entry certified, or resumed from. It does not move when
    /// another leader's entries are notarised, so the vault leads from there only after a restart.
    pub base: Entry,
    pub speculation: Vec<Entry>,
}

impl Real {
    pub fn ask(&mut self, request: Request) -> Result<Response, HsmError> {
        match self.vault.handle(&self.desk, request) {
            Response::Error(error) => Err(error),
            response => Ok(response),
        }
    }
}

pub fn drafted(seed: u8) -> (Arc<Memory>, Vault<Memory>, strongroom_wire::frame::Drafted) {
    let platform = Arc::new(Memory::new(u64::from(seed)));
    let draft = Draft {
        secret: [77; 32],
        identity: [seed; 32],
    };
    let aad = encode(&("strongroom/v1 blob", "draft"));
    let sealed = seal::seal(&platform.sealing_key(), &aad, &encode(&draft), &*platform);
    platform.store(Blob::Draft, &sealed).unwrap();
    let mut vault = Vault::start(platform.clone()).unwrap();
    let desk = RefCell::new(Desk::default());
    let Response::Drafted(drafted) = vault.handle(&desk, Request::Draft) else {
        panic!("a draft is there");
    };
    (platform, vault, drafted)
}
