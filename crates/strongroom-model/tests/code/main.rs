#![allow(clippy::unwrap_used, missing_docs)]
//! The model's rules and the code's are the same: random traces through three real vaults and
//! through the model's transition, verdict by verdict and anchor by anchor.
//!
//! The three share one fleet secret: their drafts are written here, as another vault would have
//! stored them (no frame hands a secret over yet). Tied: promise, lead, propose, notarise, release
//! by certificate, restart, each with lies and repetitions, R = 0, one configuration. Not tied,
//! because not coded: adopting, moving to a leader's start, leading from another member's tip,
//! changes of members. The first three are the mutant `AsCoded` here; the day they are coded it
//! goes, and this test says whether they are coded as modelled.

mod gap;
mod real;

use real::{Real, drafted};
use std::cell::RefCell;
use std::collections::BTreeMap;
use strongroom_model::{Action, Entry, Mutant, Next, Refusal, Scenario, State};
use strongroom_sim::host;
use strongroom_sim::store;
use strongroom_tree::prover::Trie;
use strongroom_vault::{Desk, Platform as _, Vault};
use strongroom_wire::entry::{EntryHeader, Notarised, Promised, Proposal, Signed};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::manifest::{Manifest, Member, Policy};
use strongroom_wire::{Epoch, MemberId, encode};

const MEMBERS: usize = 3;
const EPOCHS: u8 = 5;

struct Pair {
    rules: Scenario,
    model: State,
    reals: Vec<Real>,
    manifest: Vec<u8>,
    empty_proof: Vec<u8>,
    entries: BTreeMap<Entry, Known>,
    promises: BTreeMap<(usize, u8), Signed<Promised>>,
    notarised: BTreeMap<(usize, Entry), Signed<Notarised>>,
    verdicts: BTreeMap<String, u32>,
    random: u64,
}

struct Known {
    header: EntryHeader,
    state: strongroom_wire::entry::State,
    proposal: Option<Proposal>,
}

impl Pair {
    fn new(seed: u64, rollbacks: u8, broken: &[Mutant]) -> Self {
        let made: Vec<_> = (0..MEMBERS).map(|it| drafted(it as u8 + 1)).collect();
        let mut manifest: Manifest = host::manifest(&made[0].2, Policy::default());
        manifest.rollback_tolerance = rollbacks;
        let slot = manifest.members[0].clone();
        manifest.members = made
            .iter()
            .enumerate()
            .map(|(at, it)| Member {
                id: MemberId(at as u8),
                identity: it.2.identity,
                ..slot.clone()
            })
            .collect();
        let manifest = encode(&manifest);
        let mut entries = BTreeMap::new();
        let mut reals = Vec::new();
        for (platform, vault, _) in made {
            let mut real = Real {
                platform,
                vault,
                desk: RefCell::new(Desk::default()),
                base: Entry::ROOT,
                speculation: Vec::new(),
            };
            let genesis = Request::Genesis {
                manifest: manifest.clone(),
            };
            let Ok(Response::Standing { header, state }) = real.ask(genesis) else {
                panic!("a genesis of drafted keys stands");
            };
            let proposal = None;
            entries.insert(
                Entry::ROOT,
                Known {
                    header,
                    state,
                    proposal,
                },
            );
            reals.push(real);
        }
        let mut trie = Trie::open(store::Memory::default(), 64).unwrap();
        let rules = Scenario::fixed(3, 0)
            .bounds(EPOCHS, 3)
            .led_by_members(u8::MAX);
        Self {
            rules: rules.breaking(broken),
            model: State::default(),
            reals,
            manifest,
            empty_proof: trie.prove(&[], &[]).unwrap(),
            entries,
            promises: BTreeMap::new(),
            notarised: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            random: seed,
        }
    }

    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn entry(&mut self) -> Entry {
        let at = self.below(self.entries.len());
        *self.entries.keys().nth(at).unwrap()
    }

    /// Both say the same; true if both do it.
    fn same<T>(
        &mut self,
        what: &str,
        model: Result<T, Refusal>,
        real: Result<(), HsmError>,
    ) -> bool {
        let expected = model.as_ref().map(|_| ()).map_err(|it| match it {
            Refusal::EpochStale => HsmError::EpochStale,
            Refusal::PromisesInvalid => HsmError::PromisesInvalid,
            Refusal::Gap => HsmError::Gap,
            Refusal::Stale => HsmError::Stale,
            Refusal::NotLeading => HsmError::NotLeading,
            Refusal::Busy => HsmError::Busy,
            Refusal::WrongPhase => HsmError::WrongPhase,
        });
        assert_eq!(
            expected,
            real,
            "{what}\n{}",
            strongroom_model::picture(&self.model)
        );
        let verdict = format!("{}: {real:?}", what.split(' ').next().unwrap());
        *self.verdicts.entry(verdict).or_default() += 1;
        model.is_ok()
    }

    fn take(&mut self, action: Action) {
        self.model = self.rules.take(&self.model, action);
    }

    fn promise(&mut self, m: usize) {
        let newest = self
            .model
            .members
            .iter()
            .map(|it| it.promised)
            .max()
            .unwrap();
        // Mostly what an honest host would ask: the newest epoch, for whoever has it promised.
        let e = match self.below(12) {
            0 => newest.saturating_sub(1),
            1 => newest + 1,
            _ => newest,
        };
        let e = e.clamp(1, EPOCHS);
        let meant = (0..MEMBERS).find_map(|it| self.promises.get(&(it, e)));
        let meant = meant.map(|it| it.statement.leader.0);
        let other = self.below(MEMBERS) as u8;
        let l = match self.below(6) {
            0 => other,
            _ => meant.unwrap_or(m as u8),
        };
        let verdict = self.rules.promise(&self.model, m, e, l);
        let (epoch, leader) = (Epoch(e.into()), MemberId(l));
        let real = self.reals[m].ask(Request::Promise { epoch, leader });
        if let Ok(Response::Promised(promise)) = &real {
            self.promises.insert((m, e), promise.clone());
            let tip = self.model.members[m].tip;
            let real = &mut self.reals[m];
            if real.speculation.contains(&tip) {
                real.base = tip;
            }
            real.speculation.clear();
        }
        if self.same(&format!("promise {m} {e} {l}"), verdict, real.map(|_| ())) {
            self.take(Action::Promise(m, e, l));
        }
    }

    fn lead(&mut self, l: usize) {
        let e = match self.below(8) {
            0 => 1 + self.below(EPOCHS.into()) as u8,
            _ => self.model.members[l].promised.max(1),
        };
        let mut shown = Vec::new();
        for m in 0..MEMBERS {
            let known = self.promises.get(&(m, e)).cloned();
            let ours = known
                .as_ref()
                .is_some_and(|it| it.statement.leader == MemberId(l as u8));
            if ours && self.below(6) > 0 || !ours && self.below(6) == 0 {
                shown.extend(known.map(|it| (m, it)));
            }
        }
        let set = shown.iter().fold(0, |set, it| set | 1 << it.0);
        let verdict = self.rules.lead_with(&self.model, l as u8, e, set);
        // Not in the model: the vault must also have the entry itself to build on.
        let behind = verdict.is_ok_and(|it| it != self.reals[l].base);
        let verdict = if behind { Err(Refusal::Gap) } else { verdict };
        let promises = shown.into_iter().map(|it| it.1).collect();
        let epoch = Epoch(e.into());
        let real = self.reals[l].ask(Request::Lead { epoch, promises });
        if self.same(&format!("lead {l} {e} {set:b}"), verdict, real.map(|_| ())) {
            self.take(Action::Lead(l as u8, e, verdict.unwrap()));
        }
    }

    fn propose(&mut self, l: usize) {
        let e = self.model.members[l].leading;
        let verdict = match e {
            0 => Err(Refusal::NotLeading),
            e => self.rules.propose(&self.model, e, 0, Next::Batch),
        };
        if verdict == Err(Refusal::Busy) {
            return;
        }
        let real = self.reals[l].ask(Request::Propose {
            handles: Vec::new(),
            proof: self.empty_proof.clone(),
            leaves: Vec::new(),
        });
        if let Ok(Response::Proposed {
            proposal, state, ..
        }) = &real
        {
            let place = self.model.session(e, 0).unwrap().len;
            let entry = Entry::at(e, 0, place);
            let known = Known {
                header: proposal.header.clone(),
                state: state.clone(),
                proposal: Some(proposal.clone()),
            };
            self.entries.insert(entry, known);
            self.reals[l].speculation.push(entry);
        }
        if self.same(&format!("propose {l}"), verdict, real.map(|_| ())) {
            self.take(Action::Propose(e, 0, Next::Batch));
        }
    }

    fn notarise(&mut self, m: usize) {
        let last = match self.below(3) {
            0 => self.entry(),
            _ => *self.entries.keys().next_back().unwrap(),
        };
        if last == Entry::ROOT {
            return;
        }
        let tip = self.model.members[m].tip;
        let next = if tip.epoch() == last.epoch() {
            tip.place() + 1
        } else {
            0
        };
        let first = match self.below(4) {
            0 => self.below(usize::from(last.place()) + 1) as u8,
            _ => next.min(last.place()),
        };
        let places = first..=last.place();
        let run = places.map(|it| Entry::at(last.epoch(), 0, it));
        let run = run
            .map(|it| self.entries[&it].proposal.clone().unwrap())
            .collect();
        let first = Entry::at(last.epoch(), 0, first);
        let verdict = self.rules.notarise(&self.model, m, first, last);
        let real = self.reals[m].ask(Request::Notarise { run });
        if let Ok(Response::Notarised(statement)) = &real {
            assert_eq!(statement.statement.tip, self.entries[&last].header.tip());
            self.notarised.insert((m, last), statement.clone());
        }
        if self.same(
            &format!("notarise {m} {first}..={last}"),
            verdict,
            real.map(|_| ()),
        ) {
            self.take(Action::Notarise(m, last));
        }
    }

    fn release(&mut self, l: usize) {
        let newest = self.notarised.keys().next_back().map(|it| it.1);
        let entry = match (self.below(2), newest) {
            (0, Some(entry)) => entry,
            _ => self.entry(),
        };
        let said = (0..MEMBERS).filter_map(|it| self.notarised.get(&(it, entry)).cloned());
        let mut certificate: Vec<_> = said.collect();
        if entry != Entry::ROOT {
            assert_eq!(
                certificate.len() >= 2,
                self.model.is_certified(entry),
                "{entry}"
            );
        }
        let twice = self.below(4) == 0 && !certificate.is_empty();
        if twice {
            certificate.push(certificate[0].clone());
        }
        let holds = !twice && certificate.len() >= 2;
        let real = &mut self.reals[l];
        let place = real.speculation.iter().position(|it| *it == entry);
        let expected = match (holds, place) {
            (false, _) => Err(HsmError::CertificateInvalid),
            (true, None) if real.base != entry => Err(HsmError::NotOnChain),
            _ => Ok(()),
        };
        let verdict = real.ask(Request::Release { certificate }).map(|_| ());
        assert_eq!(verdict, expected, "release {l} {entry}");
        if let (Ok(()), Some(place)) = (verdict, place) {
            real.base = entry;
            real.speculation.drain(..=place);
        }
        *self
            .verdicts
            .entry(format!("release: {verdict:?}"))
            .or_default() += 1;
    }

    fn restart(&mut self, m: usize) {
        let tip = self.model.members[m].tip;
        let known = &self.entries[&tip];
        let resume = Request::Resume {
            header: known.header.clone(),
            state: known.state.clone(),
            manifest: self.manifest.clone(),
        };
        let real = &mut self.reals[m];
        real.vault = Vault::start(real.platform.clone()).unwrap();
        real.ask(resume).unwrap();
        real.base = tip;
        real.speculation.clear();
        self.model.restarts = 0;
        self.take(Action::Restart(m));
    }

    fn step(&mut self) {
        let m = self.below(MEMBERS);
        match self.below(20) {
            0..=2 => self.promise(m),
            3..=5 => self.lead(m),
            6..=10 => self.propose(m),
            11..=15 => self.notarise(m),
            16..=18 => self.release(m),
            _ => self.restart(m),
        }
        for (m, real) in self.reals.iter().enumerate() {
            let anchor = real.platform.anchor().unwrap().unwrap();
            let member = &self.model.members[m];
            assert_eq!(anchor.promised, Epoch(member.promised.into()));
            assert_eq!(anchor.tip, self.entries[&member.tip].header.tip());
            assert_eq!(anchor.tip.index.0, u64::from(self.model.index(member.tip)));
        }
    }
}

#[test]
fn three_vaults_do_what_the_model_does() {
    let mut verdicts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..300 {
        let mut pair = Pair::new(seed, 0, &[Mutant::AsCoded]);
        (0..150).for_each(|_| pair.step());
        for (verdict, times) in pair.verdicts {
            *verdicts.entry(verdict).or_default() += times;
        }
    }
    println!("{verdicts:#?}");
    // A comparison that never meets a verdict says nothing about it.
    for verdict in [
        "promise: Ok(())",
        "promise: Err(EpochStale)",
        "lead: Ok(())",
        "lead: Err(EpochStale)",
        "lead: Err(PromisesInvalid)",
        "lead: Err(Gap)",
        "propose: Ok(())",
        "propose: Err(NotLeading)",
        "notarise: Ok(())",
        "notarise: Err(EpochStale)",
        "notarise: Err(Stale)",
        "notarise: Err(Gap)",
        "release: Ok(())",
        "release: Err(CertificateInvalid)",
        "release: Err(NotOnChain)",
    ] {
        assert!(verdicts.contains_key(verdict), "{verdict} never happened");
    }
}

#[test]
fn a_model_with_a_broken_rule_does_not_do_what_the_vaults_do() {
    for mutant in [
        Mutant::PromiseTwice,
        Mutant::BelowPromise,
        Mutant::RunBackwards,
    ] {
        let differs = |seed| {
            let play = move || {
                let mut pair = Pair::new(seed, 0, &[Mutant::AsCoded, mutant]);
                (0..150).for_each(|_| pair.step());
            };
            std::panic::catch_unwind(play).is_err()
        };
        assert!((0..20).any(differs), "{mutant:?} was not noticed");
    }
}
