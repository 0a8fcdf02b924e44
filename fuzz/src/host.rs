//! A host around one vault. It keeps what a host keeps and sends what a host sends; the fuzzer
//! decides the order, what is left out, what is sent twice, and which bytes are changed on the way.

use crate::choices::Choices;
use crate::phone::{ISSUER, ISSUER_SEED, Phone, Reached, Waiting};
use crate::platform::Memory;
use crate::store;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Platform as _, Vault};
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{EntryHeader, Notarised, Promised, Proposal, Signed, State, Tip};
use strongroom_wire::frame::{Drafted, LeafBytes, Request, Response};
use strongroom_wire::manifest::{FleetKey, Manifest, Member, PlatformClass, Policy};
use strongroom_wire::tenant::{
    IssuerKey, SignedTenantChange, Tenant, TenantChange, TokenAlgorithm,
};
use strongroom_wire::{
    Digest, Epoch, Handle, KeyId, MemberId, PublicKey, RecordId, Signature, TenantKey, encode,
};

const ADMIN_SEED: [u8; 32] = [8; 32];
const DAY_MS: u64 = 24 * 3_600_000;

/// An operation under way.
struct Operation {
    record: RecordId,
    tenant: Option<TenantKey>,
    waiting: Option<Waiting>,
}

/// See the module.
pub struct Host {
    platform: Arc<Memory>,
    vault: Vault<Memory>,
    desk: RefCell<Desk>,
    manifest: Manifest,
    phone: Phone,
    pages: store::Memory,
    trie: Trie<store::Memory>,
    leaves: HashMap<[u8; 32], Vec<u8>>,
    /// Every entry ever seen, by hash: what a restart goes on from.
    entries: HashMap<Digest, (EntryHeader, State)>,
    /// Proposed and not released, oldest first.
    chain: VecDeque<Proposal>,
    promise: Option<Signed<Promised>>,
    certificate: Option<Signed<Notarised>>,
    operations: BTreeMap<Handle, Operation>,
    epoch: u64,
}

impl Host {
    /// A fleet of one, leading, with one tenant.
    pub fn new() -> Self {
        let platform = Arc::new(Memory::default());
        let mut vault = Vault::start(platform.clone()).expect("an empty platform is blank");
        let desk = RefCell::new(Desk::default());
        let Response::Drafted(drafted) = vault.handle(&desk, Request::Draft) else {
            panic!("a blank vault drafts");
        };
        let manifest = manifest(&drafted);
        let bytes = encode(&manifest);
        let genesis = vault.handle(&desk, Request::Genesis { manifest: bytes });
        let Response::Standing { header, state } = genesis else {
            panic!("a genesis of the drafted keys stands: {genesis:?}");
        };
        let pages = store::Memory::default();
        let mut host = Self {
            platform,
            vault,
            desk,
            phone: Phone::new(manifest.clone()),
            manifest,
            trie: Trie::open(pages.clone(), 64).expect("memory does not fail"),
            pages,
            leaves: HashMap::new(),
            entries: HashMap::from([(header.hash(), (header, state))]),
            chain: VecDeque::new(),
            promise: None,
            certificate: None,
            operations: BTreeMap::new(),
            epoch: 0,
        };
        let honest = &mut Choices::new(&[]);
        host.take_the_lead(honest);
        host.create_tenant(honest);
        host.notarise(honest);
        host.release(honest);
        assert!(host.chain.is_empty(), "an honest round ends released");
        host
    }

    /// How far the phone has come.
    pub fn reached(&self) -> Reached {
        self.phone.reached
    }

    /// One thing that a host may do.
    pub fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 16 {
            0..3 => self.open_start(choices),
            3 => self.open_finish(choices),
            4 | 5 => self.evaluate(choices),
            6 | 7 => self.propose(choices),
            8 | 9 => self.notarise(choices),
            10 | 11 => self.release(choices),
            12 => self.platform.pass(DAY_MS / 24 * u64::from(choices.byte())),
            13 => self.take_the_lead(choices),
            14 => match choices.byte() % 4 {
                0 => self.restart(choices),
                1 => self.create_tenant(choices),
                2 => drop(self.send(choices, Request::Inspect)),
                _ => self.forget(choices),
            },
            _ => {
                if let Ok(request) = minicbor::decode(choices.bytes()) {
                    self.hand_over(request);
                }
            }
        }
    }

    /// Sends a request, perhaps changed on the way; none if it is no request any more.
    fn send(&mut self, choices: &mut Choices<'_>, request: Request) -> Option<Response> {
        let mut bytes = encode(&request);
        choices.corrupt(&mut bytes);
        Some(self.hand_over(minicbor::decode(&bytes).ok()?))
    }

    /// Gives a request to the vault and keeps what every host must keep, whatever was asked.
    fn hand_over(&mut self, request: Request) -> Response {
        let tip = match &request {
            Request::Release { certificate } => certificate.first().map(|it| it.statement.tip),
            _ => None,
        };
        let response = self.vault.handle(&self.desk, request);
        match &response {
            Response::Proposed {
                proposal,
                state,
                writes,
                ..
            } => {
                let mut changes = Vec::new();
                for write in writes {
                    let digest = leaf_digest(&write.leaf).0;
                    self.leaves.insert(digest, write.leaf.clone());
                    changes.push((write.key.0, Some(digest)));
                }
                let root = self.trie.apply(&changes).expect("memory does not fail");
                assert_eq!(
                    root, proposal.header.root.0,
                    "host and HSM have other tries"
                );
                let header = proposal.header.clone();
                self.entries.insert(header.hash(), (header, state.clone()));
                self.chain.push_back(proposal.clone());
            }
            Response::Notarised(signed) => self.certificate = Some(signed.clone()),
            Response::Promised(signed) => {
                self.epoch = self.epoch.max(signed.statement.epoch.0);
                self.promise = Some(signed.clone());
                self.keep_only(&signed.statement.tip.clone());
            }
            Response::Leading { start } => self.keep_only(&start.clone()),
            Response::Released { answers } => {
                for released in answers.clone() {
                    self.answer(released.handle, &released.answer.0);
                }
                self.commit(&tip.expect("a release has a certificate"));
            }
            _ => {}
        }
        response
    }

    fn answer(&mut self, handle: Handle, sealed: &[u8]) {
        if let Some(waiting) = self.operations.remove(&handle).and_then(|it| it.waiting) {
            self.phone.answered(waiting, sealed, &*self.platform);
        }
    }

    /// Makes entries up to this one final.
    fn commit(&mut self, tip: &Tip) {
        let Some(at) = self.chain.iter().position(|it| it.header.tip() == *tip) else {
            return;
        };
        for _ in self.chain.drain(..=at) {
            self.pages.write(self.trie.commit_oldest());
        }
    }

    /// The vault dropped what it had proposed above this one.
    fn keep_only(&mut self, tip: &Tip) {
        self.commit(tip);
        self.trie.drop_speculation();
        self.chain.clear();
    }

    fn take_the_lead(&mut self, choices: &mut Choices<'_>) {
        let (epoch, leader) = (Epoch(self.epoch + 1), MemberId(1));
        self.send(choices, Request::Promise { epoch, leader });
        if let Some(promise) = self.promise.clone() {
            let epoch = promise.statement.epoch;
            self.send(
                choices,
                Request::Lead {
                    epoch,
                    promises: vec![promise],
                },
            );
        }
    }

    fn open_start(&mut self, choices: &mut Choices<'_>) {
        let now = self.platform.wall_clock();
        let (envelope, waiting) = self.phone.start(choices, now, &*self.platform);
        self.open(choices, envelope, waiting);
    }

    fn open_finish(&mut self, choices: &mut Choices<'_>) {
        if let Some((envelope, waiting)) = self.phone.finish(choices, &*self.platform) {
            self.open(choices, envelope, waiting);
        }
    }

    fn open(&mut self, choices: &mut Choices<'_>, envelope: Vec<u8>, waiting: Waiting) {
        match self.send(choices, Request::Open { envelope }) {
            Some(Response::Opened {
                handle,
                record,
                tenant,
            }) => {
                let waiting = Some(waiting);
                self.operations.insert(
                    handle,
                    Operation {
                        record,
                        tenant,
                        waiting,
                    },
                );
            }
            Some(Response::Evaluated {
                answer: Some(answer),
            }) => {
                self.phone.answered(waiting, &answer.0, &*self.platform);
            }
            _ => {}
        }
    }

    fn leaf(&mut self, key: &[u8; 32]) -> Option<LeafBytes> {
        let digest = self.trie.get(key).expect("memory does not fail")?;
        self.leaves.get(&digest).cloned().map(LeafBytes)
    }

    fn evaluate(&mut self, choices: &mut Choices<'_>) {
        let count = self.operations.len().max(1);
        let Some(handle) = self.operations.keys().nth(choices.below(count)).copied() else {
            return;
        };
        let operation = &self.operations[&handle];
        let (record, tenant) = (operation.record, operation.tenant);
        let record = self.leaf(&record.0);
        let tenant = tenant.and_then(|tenant| self.leaf(&tenant.0));
        let response = self.send(
            choices,
            Request::Evaluate {
                handle,
                record,
                tenant,
            },
        );
        if let Some(Response::Evaluated {
            answer: Some(answer),
        }) = response
        {
            self.answer(handle, &answer.0);
        }
    }

    fn propose(&mut self, choices: &mut Choices<'_>) {
        let handles: Vec<Handle> = self.operations.keys().copied().collect();
        let keys: Vec<[u8; 32]> = self
            .operations
            .values()
            .flat_map(|it| [Some(it.record.0), it.tenant.map(|tenant| tenant.0)])
            .flatten()
            .collect();
        let proof = self.trie.prove(&keys, &[]).expect("memory does not fail");
        let leaves = keys.iter().filter_map(|key| self.leaf(key)).collect();
        self.send(
            choices,
            Request::Propose {
                handles,
                proof,
                leaves,
            },
        );
    }

    fn create_tenant(&mut self, choices: &mut Choices<'_>) {
        let tenant = Tenant {
            issuer: ISSUER.to_owned(),
            root: PublicKey([2; 32]),
            version: 1,
            keys: vec![IssuerKey {
                kid: "k".to_owned(),
                algorithm: TokenAlgorithm::EdDsa,
                public: SigningKey::from_seed(&ISSUER_SEED).public().to_vec(),
            }],
            bearer: true,
            account_rate: 60,
            tenant_rate: 60,
        };
        let fleet = self.manifest.fleet_id();
        let change = encode(&TenantChange::Create { fleet, tenant });
        let admin = SigningKey::from_seed(&ADMIN_SEED);
        let signature = Signature(statement::sign(&admin, Label::TenantCreate, &change));
        let issuer = ISSUER.to_owned();
        let key = match self.send(choices, Request::TenantKeyOf { issuer }) {
            Some(Response::TenantKey(key)) => key,
            _ => return,
        };
        let proof = self
            .trie
            .prove(&[key.0], &[])
            .expect("memory does not fail");
        let leaf = self.leaf(&key.0);
        let change = SignedTenantChange { change, signature };
        self.send(
            choices,
            Request::ProposeTenant {
                change,
                proof,
                leaf,
            },
        );
    }

    fn notarise(&mut self, choices: &mut Choices<'_>) {
        let run = self.chain.iter().cloned().collect();
        self.send(choices, Request::Notarise { run });
    }

    fn release(&mut self, choices: &mut Choices<'_>) {
        let certificate = self.certificate.clone().into_iter().collect();
        self.send(choices, Request::Release { certificate });
    }

    fn forget(&mut self, choices: &mut Choices<'_>) {
        let handles = self.operations.keys().copied().take(1).collect();
        self.send(choices, Request::Forget { handles });
    }

    /// Power cut: what was on the desk and above the anchor is gone, the rest goes on.
    fn restart(&mut self, choices: &mut Choices<'_>) {
        self.vault = Vault::start(self.platform.clone()).expect("what it stored is whole");
        self.desk = RefCell::new(Desk::default());
        self.operations.clear();
        let anchor = self.platform.anchor().expect("memory does not fail");
        let anchor = anchor.expect("a fleet has an anchor");
        self.keep_only(&anchor.tip);
        let (header, state) = self.entries[&anchor.tip.hash].clone();
        let manifest = encode(&self.manifest);
        let resume = Request::Resume {
            header,
            state,
            manifest,
        };
        self.send(choices, resume.clone());
        let again = self.hand_over(resume);
        let inspected = self.hand_over(Request::Inspect);
        let stands = matches!(inspected, Response::Inspection(_));
        assert!(
            stands,
            "the vault does not go on from its anchor: {again:?}"
        );
        self.promise = None;
        self.take_the_lead(&mut Choices::new(&[]));
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

fn manifest(drafted: &Drafted) -> Manifest {
    let public = drafted
        .hpke
        .as_slice()
        .try_into()
        .expect("an X-Wing key has its length");
    let key = |seed| PublicKey(SigningKey::from_seed(&seed).public());
    Manifest {
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
            id: MemberId(1),
            identity: drafted.identity,
            platform: "fuzz".to_owned(),
            class: PlatformClass::None,
            measurement: Digest([0; 32]),
            site: "here".to_owned(),
        }],
        rollback_tolerance: 0,
        policy: Policy {
            attempts_max: 3,
            ..Policy::default()
        },
        cells: 1,
        resurrections_max: 0,
        admin: key(ADMIN_SEED),
        operator: key([10; 32]),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    }
}
