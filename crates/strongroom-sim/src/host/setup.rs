//! How a fleet of one begins, and who its tenants are.

use super::Host;
use crate::fleet::Fleet;
use crate::platform::Memory;
use crate::store;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Vault};
use strongroom_wire::frame::{Drafted, Request, Response};
use strongroom_wire::manifest::{FleetKey, Manifest, Member, PlatformClass, Policy};
use strongroom_wire::tenant::{
    IssuerKey, SignedTenantChange, Tenant, TenantChange, TokenAlgorithm,
};
use strongroom_wire::{Digest, FleetId, KeyId, MemberId, PublicKey, Signature, encode};

/// The key that creates tenants.
pub fn admin() -> SigningKey {
    SigningKey::from_seed(&[8; 32])
}

/// The operator's key.
pub fn operator() -> SigningKey {
    SigningKey::from_seed(&[10; 32])
}

/// A tenant's private side.
#[derive(Clone)]
pub struct Issuer {
    /// `iss`.
    pub name: String,
    /// Signs tokens.
    pub token_seed: [u8; 32],
    /// Changes the keys that sign tokens.
    pub root_seed: [u8; 32],
    /// Its tokens carry no `cnf`.
    pub bearer: bool,
}

impl Issuer {
    /// An issuer with keys of its own.
    pub fn new(name: &str, seed: u8, bearer: bool) -> Self {
        Self {
            name: name.to_owned(),
            token_seed: [seed; 32],
            root_seed: [seed.wrapping_add(100); 32],
            bearer,
        }
    }

    /// Its tenant, version 1.
    pub fn tenant(&self) -> Tenant {
        Tenant {
            issuer: self.name.clone(),
            root: PublicKey(SigningKey::from_seed(&self.root_seed).public()),
            version: 1,
            keys: self.keys(),
            bearer: self.bearer,
            account_rate: 60,
            tenant_rate: 60,
        }
    }

    /// The keys that sign its tokens.
    pub fn keys(&self) -> Vec<IssuerKey> {
        vec![IssuerKey {
            kid: "k".to_owned(),
            algorithm: TokenAlgorithm::EdDsa,
            public: SigningKey::from_seed(&self.token_seed).public().to_vec(),
        }]
    }

    /// Its creation, signed as it must be.
    pub fn creation(&self, fleet: FleetId) -> SignedTenantChange {
        let tenant = self.tenant();
        let change = TenantChange::Create { fleet, tenant };
        issuer_change(&change, &admin(), Label::TenantCreate)
    }
}

/// A change of a tenant, signed by whom the test likes.
pub fn issuer_change(
    change: &TenantChange,
    signer: &SigningKey,
    label: Label,
) -> SignedTenantChange {
    let change = encode(change);
    let signature = Signature(statement::sign(signer, label, &change));
    SignedTenantChange { change, signature }
}

/// The genesis manifest of a fleet of one, from what the member drafted.
///
/// # Panics
/// If the drafted key is no X-Wing key.
pub fn manifest(drafted: &Drafted, policy: Policy) -> Manifest {
    let public = drafted.hpke.as_slice().try_into();
    Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public: public.expect("an X-Wing key has its length"),
        }],
        opaque: drafted.opaque,
        members: vec![Member {
            id: MemberId(1),
            identity: drafted.identity,
            platform: "sim".to_owned(),
            class: PlatformClass::None,
            measurement: Digest([0; 32]),
            site: "here".to_owned(),
            host: Digest([0; 32]),
            address: None,
        }],
        rollback_tolerance: 0,
        policy,
        cells: 1,
        resurrections_max: 0,
        admin: PublicKey(admin().public()),
        operator: PublicKey(operator().public()),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    }
}

impl Host {
    /// A fleet of one, leading, without tenants.
    pub fn new(platform: Arc<Memory>, policy: Policy) -> Self {
        Self::founded(platform, policy, |_| {})
    }

    /// The same under a manifest that is changed before it is founded.
    ///
    /// # Panics
    /// If a blank machine does not make a fleet.
    pub fn founded(
        platform: Arc<Memory>,
        policy: Policy,
        change: impl FnOnce(&mut Manifest),
    ) -> Self {
        let mut vault = Vault::start(platform.clone()).expect("an empty platform is blank");
        let desk = RefCell::new(Desk::default());
        let Response::Drafted(drafted) = vault.handle(&desk, Request::Draft) else {
            panic!("a blank vault drafts");
        };
        let mut manifest = manifest(&drafted, policy);
        change(&mut manifest);
        let bytes = encode(&manifest);
        let genesis = Request::Genesis {
            manifest: bytes,
            secret: None,
        };
        let genesis = vault.handle(&desk, genesis);
        let Response::Standing { proposal, state } = genesis else {
            panic!("a genesis of the drafted keys stands: {genesis:?}");
        };
        let pages = store::Memory::default();
        let process = super::process(&mut vault, &desk);
        let mut host = Self {
            platform,
            vault,
            process,
            desk,
            places: HashMap::new(),
            manifests: vec![manifest],
            trie: Trie::open(pages.clone(), 64).expect("memory does not fail"),
            pages,
            leaves: HashMap::new(),
            versions: BTreeMap::new(),
            chain: VecDeque::new(),
            committed: Vec::new(),
            promise: None,
            certificate: None,
            operations: BTreeMap::new(),
            decided: BTreeSet::new(),
            epoch: 0,
        };
        host.learn(&proposal, &state);
        let led = host.take_the_lead();
        assert!(matches!(led, Response::Leading { .. }), "{led:?}");
        host
    }

    /// Honest: put the manifest with this change in force, as its officers 1 and 2 want it.
    pub fn change(&mut self, change: impl FnOnce(&mut Manifest)) -> Request {
        let before = self.manifest();
        let mut manifest = Manifest {
            fleet: Some(before.fleet_id()),
            previous: Some(before.digest()),
            epoch: before.epoch + 1,
            ..before.clone()
        };
        change(&mut manifest);
        let signed = Fleet::signed(&manifest, &[1, 2]);
        self.manifests.push(manifest);
        Request::ProposeMembers {
            change: signed,
            ready: Vec::new(),
        }
    }

    /// Creates a tenant, honestly, and makes it final.
    ///
    /// # Panics
    /// If the vault refuses.
    pub fn create_tenant(&mut self, issuer: &Issuer) {
        let creation = issuer.creation(self.manifest().fleet_id());
        let request = self.tenancy(&issuer.name, creation);
        let response = self.ask(request);
        assert!(
            matches!(response, Response::Proposed { .. }),
            "{response:?}"
        );
        self.seal().expect("a tenant is sealed");
    }
}
