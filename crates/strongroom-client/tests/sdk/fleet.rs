//! A fleet of one member, its roots, and a connected SDK.

use super::hsm::{Asked, Hsm, ISSUER, SUBJECT};
use super::server::{Request, Shared, Step, serve};
use std::sync::{Arc, MutexGuard};
use strongroom_client::issuer::{Account, Issuer};
use strongroom_client::transport::Http;
use strongroom_client::{Journal, Ksf, Roots, Vault};
use strongroom_crypto::statement::SigningKey;
use strongroom_wire::manifest::{FleetKey, Manifest, Member, PlatformClass, Policy};
use strongroom_wire::request::{Finish, RecoverStart, Start};
use strongroom_wire::{Digest, KeyId, MemberId, PublicKey};

pub const CODE: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWX";

pub fn operator() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A genesis of so many members of class at-rest.
pub fn genesis(members: u8) -> Manifest {
    let member = |id: u8| Member {
        id: MemberId(id),
        identity: PublicKey([id; 32]),
        platform: "tpm2".to_owned(),
        class: PlatformClass::AtRest,
        measurement: Digest([0; 32]),
        site: format!("site {id}"),
        host: Digest([id; 32]),
        address: None,
    };
    Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public: [0; 1216],
        }],
        opaque: PublicKey([0; 32]),
        members: (0..members).map(member).collect(),
        rollback_tolerance: 0,
        policy: Policy::default(),
        cells: 1,
        resurrections_max: 0,
        admin: PublicKey([4; 32]),
        operator: PublicKey(operator().public()),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    }
}

pub fn hsm() -> Hsm {
    Hsm::new(genesis(1), operator())
}

/// A fleet at work, and a phone's journal.
pub struct World {
    pub shared: Arc<Shared>,
    url: String,
    authority: String,
}

impl World {
    pub async fn new() -> Self {
        let shared = Arc::new(Shared::new(hsm()));
        let (url, authority) = serve(shared.clone()).await;
        Self {
            shared,
            url,
            authority,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn http(&self) -> Http {
        Http::new(&self.url, Some(self.authority.as_bytes())).unwrap()
    }

    /// The app as it starts: nothing in memory, its journal as it was.
    pub async fn vault(&self) -> Vault<Account> {
        self.vault_with(self.shared.journal.clone()).await
    }

    pub async fn vault_with(&self, journal: Arc<dyn Journal>) -> Vault<Account> {
        let fleet = self.shared.hsm.fleet();
        let account = Account::new(Issuer::new(ISSUER, &[5; 32]), fleet, SUBJECT);
        let roots = Roots::development(fleet);
        let vault = Vault::connect(self.http(), &roots, account, journal).await;
        vault.unwrap().with_ksf(Ksf::DangerIdentity)
    }

    /// What becomes of the next requests.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.script.lock().unwrap().extend(steps);
    }

    pub fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.shared.requests.lock().unwrap()
    }

    pub fn forget_requests(&self) {
        self.requests().clear();
    }

    /// Every guess that was sent, retries included.
    pub fn guesses_sent(&self) -> Vec<RecoverStart> {
        let requests = self.requests();
        let guesses = requests.iter().filter_map(|request| match &request.asked {
            Asked::Start(Start::Recover(start)) => Some(start.clone()),
            _ => None,
        });
        guesses.collect()
    }

    /// Every finish that was sent, retries included.
    pub fn finishes_sent(&self) -> Vec<Finish> {
        let requests = self.requests();
        let finishes = requests.iter().filter_map(|request| match &request.asked {
            Asked::Finish(finish) => Some(finish.clone()),
            Asked::Start(_) => None,
        });
        finishes.collect()
    }

    pub fn holds(&self, name: &str) -> bool {
        self.shared.journal.get(name).unwrap().is_some()
    }
}
