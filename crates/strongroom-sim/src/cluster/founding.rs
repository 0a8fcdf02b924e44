//! How a cluster begins: founded, led, with tenants.

use super::client::Client;
use super::dice::Dice;
use super::disk::{Standing, Store};
use super::liar::Liar;
use super::member::{Member, Stop};
use super::promises::Promises;
use super::watch::Watch;
use super::{Cluster, Event, Setting};
use crate::fleet::{self, Fleet, id};
use crate::glass::Glass;
use crate::host::Issuer;
use crate::phone::Phone;
use crate::world::{bearer, bound};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use strongroom_replica::Hands as _;
use strongroom_vault::Platform as _;
use strongroom_wire::entry::Entry;
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::manifest::{Manifest, Policy};

/// So short that a run sees a record's whole life.
const WAIT_MS: u64 = 300;

/// What a machine draws from.
pub(super) fn machine_seed(seed: u64, m: usize) -> u64 {
    seed.wrapping_mul(64).wrapping_add(m as u64 + 1)
}

fn clients(setting: Setting, manifest: &Manifest) -> Vec<Client> {
    let client = |c: usize| {
        let issuer: Issuer = if c.is_multiple_of(2) {
            bearer()
        } else {
            bound()
        };
        let entropy = !machine_seed(setting.seed, c);
        let phone = Phone::new(manifest, &issuer, &format!("user {c}"), entropy);
        // One in three is a thief's account.
        Client::new(phone, format!("code {c}"), if c % 3 == 2 { 10 } else { 3 })
    };
    (0..setting.clients).map(client).collect()
}

impl Cluster {
    /// Founded and led, with two tenants; nothing goes wrong yet.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn new(setting: Setting) -> Self {
        Self::begun(setting, false)
    }

    /// The same, printing each event.
    pub fn traced(setting: Setting) -> Self {
        Self::begun(setting, true)
    }

    fn begun(setting: Setting, tracing: bool) -> Self {
        let mut cluster = Self::founded(setting);
        cluster.tracing = tracing;
        cluster.watch.borrow_mut().tracing = tracing;
        for m in 0..setting.members {
            cluster.start(m);
        }
        for issuer in [bearer(), bound()] {
            let led = cluster.run_until(30_000, |it| it.leader().is_some());
            assert!(led, "a new fleet finds a leader");
            let leader = cluster.leader().expect("it is there");
            cluster.create_tenant(leader, &issuer);
        }
        cluster.run_for(1_000);
        cluster
    }

    fn founded(setting: Setting) -> Self {
        let seed = |m: usize| machine_seed(setting.seed, m);
        let n = setting.members;
        let drafted = (0..n).map(|m| fleet::Member::drafted(seed(m))).collect();
        let fleet = Fleet::of(drafted);
        let mut manifest = fleet.manifest().clone();
        manifest.rollback_tolerance = setting.rollbacks;
        fleet::officered(&mut manifest);
        manifest.policy = Policy {
            delays_ms: vec![WAIT_MS],
            ..Policy::default()
        };
        let mut fleet = fleet.under(manifest.clone());
        fleet.begin(0, None).expect("a genesis of drafted keys");
        for m in 1..n {
            let secret = fleet.hand_over(0, m).expect("the manifest names it");
            fleet.begin(m, Some(secret)).expect("its fleet's secret");
        }
        let platforms: Vec<_> = fleet.members.iter().map(|it| it.platform.clone()).collect();
        let anchor = platforms[0].anchor().expect("memory does not fail");
        let place = fleet.place(&anchor.expect("a member").tip.hash);
        let header = place.proposal.header.clone();
        let promises = Promises::new(manifest.policy.attempts_max, Glass::of(&*platforms[0]));
        let watch = Watch::new(manifest.clone(), header, promises);
        let standing = Standing {
            proposal: place.proposal,
            state: place.state,
            certificate: Vec::new(),
            manifests: vec![Arc::new(manifest.clone())],
        };
        let store = || Store::new(standing.clone(), setting.kept);
        let members = platforms.into_iter().enumerate();
        let members = members.map(|(m, platform)| Member::new(id(m), platform, store()));
        let mut members: Vec<Member> = members.collect();
        let mut liars = BTreeMap::new();
        for m in (0..n).rev().take(setting.faults.liars) {
            members[m].lies = true;
            members[m].lied = true;
            liars.insert(m, Liar::default());
        }
        let dice = Dice::new(setting.seed);
        Self {
            clients: clients(setting, &manifest),
            setting,
            manifest: manifest.clone(),
            dice,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            events: 0,
            members,
            liars,
            watch: Rc::new(RefCell::new(watch)),
            blocked: BTreeSet::new(),
            filter: None,
            tamper: None,
            wild: false,
            busy: false,
            copies: Vec::new(),
            genesis: standing,
            pending: None,
            damage: 0,
            tracing: false,
            seen: BTreeMap::new(),
        }
    }

    fn create_tenant(&mut self, m: usize, issuer: &Issuer) {
        let creation = issuer.creation(self.manifest.fleet_id());
        let replica = self.members[m].replica.as_mut().expect("it leads");
        let site = replica.hands();
        let name = issuer.name.clone();
        let Response::TenantKey(key) = site.ask(&Request::TenantKeyOf { issuer: name }) else {
            panic!("a standing vault names tenants");
        };
        let proof = site.trie.prove(&[key.0], &[]);
        let propose = Request::ProposeTenant {
            change: creation,
            proof: proof.expect("memory does not fail"),
            leaf: None,
        };
        let Ok(Response::Proposed {
            proposal,
            state,
            writes,
            ..
        }) = site.hsm(&propose)
        else {
            panic!("a tenant is proposed");
        };
        let entry = Entry {
            proposal,
            state,
            writes,
        };
        let result = replica.replicate(entry.into());
        self.after(m, result);
    }

    /// A process begins where its disk and its HSM are.
    ///
    /// # Panics
    /// If a disk that nobody touched has not what its HSM stands at.
    pub fn start(&mut self, m: usize) {
        if self.members[m].replica.is_some() {
            return;
        }
        self.remember(m);
        let rate = self.dice.between(980, 1_020);
        let begun = self.members[m].begin(self.now, rate, &self.watch);
        match begun {
            Err(Stop::Anchor) => return self.restart_soon(m),
            Err(Stop::Retired) => return,
            _ => {}
        }
        if begun == Err(Stop::Behind) {
            let damaged = self.members[m].damaged || self.members[m].lied;
            assert!(damaged, "member {m}: its HSM stands at what its disk lost");
            self.say(m, "its disk is behind its HSM");
            self.count("disk behind");
            self.members[m].stop();
            let n = self.members.len();
            let from = (m + 1 + self.dice.place(n - 1)) % n;
            self.take_copy(m, from);
            return;
        }
        self.say(m, "starts");
        self.wake_member(m);
    }

    /// It starts again before long.
    pub(super) fn restart_soon(&mut self, m: usize) {
        let most = if self.wild { 3_000 } else { 300 };
        self.after_ms(self.dice.between(20, most), Event::Start(m));
    }

    /// Puts a copy of another's store in place of the own one, if there is one to be had.
    pub(super) fn take_copy(&mut self, m: usize, from: usize) {
        self.members[m].stop();
        self.restart_soon(m);
        let reached = !self.blocked.contains(&(from, m)) && !self.blocked.contains(&(m, from));
        if !reached || self.members[from].replica.is_none() || self.hangs(from).is_some() {
            return;
        }
        let given = match self.liars.get_mut(&from).filter(|_| self.wild) {
            Some(liar) => liar.gives(self.members[from].store.snapshot(), &self.dice),
            None => self.members[from].store.snapshot(),
        };
        match given.copied(&self.members[m].store.snapshot()) {
            Some(copy) => {
                self.say(m, &format!("copies the store of {from}"));
                self.count("copied");
                self.members[m].store.restore(&copy);
            }
            None => self.count("copy refused"),
        }
    }
}
