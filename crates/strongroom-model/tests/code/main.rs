#![allow(clippy::unwrap_used, missing_docs)]
//! The model's rules and the code's are the same: random traces through three real vaults and
//! through the model's transition, verdict by verdict and anchor by anchor.
//!
//! The three share one fleet secret by the hand-over. Tied: promise, lead from any tip, propose,
//! notarise with the move to a leader's start, adopt, release by certificate, restart, each with
//! lies and repetitions, R = 0, one configuration; changes of members are tied in [`members`].
//! Not in the model: which start of a leader's process a promise names. Where a shown promise names
//! an earlier start, the code must refuse what the model would do.

mod gap;
mod members;
mod real;

use real::Real;
use std::collections::BTreeMap;
use strongroom_model::{Action, Entry, Mutant, Next, Refusal, Scenario, State};
use strongroom_sim::fleet::Fleet;
use strongroom_vault::Platform as _;
use strongroom_wire::entry::{EntryHeader, Notarised, Promised, Signed};
use strongroom_wire::frame::{HsmError, Place, Request};
use strongroom_wire::{Epoch, MemberId};

const MEMBERS: usize = 3;
const EPOCHS: u8 = 5;

struct Pair {
    rules: Scenario,
    model: State,
    fleet: Fleet,
    reals: Vec<Real>,
    entries: BTreeMap<Entry, Place>,
    promises: BTreeMap<(usize, u8), Signed<Promised>>,
    /// Where each epoch's leader began.
    sessions: BTreeMap<u8, EntryHeader>,
    notarised: BTreeMap<(usize, Entry), Signed<Notarised>>,
    verdicts: BTreeMap<String, u32>,
    random: u64,
}

impl Pair {
    fn new(seed: u64, broken: &[Mutant]) -> Self {
        let mut fleet = Fleet::new(MEMBERS, 0);
        let tip = fleet.inspect(0).tip;
        let genesis = fleet.place(&tip.hash);
        let rules = Scenario::fixed(3, 0)
            .bounds(EPOCHS, 3)
            .led_by_members(u8::MAX);
        Self {
            rules: rules.breaking(broken),
            model: State::default(),
            reals: Real::all(&mut fleet),
            fleet,
            entries: BTreeMap::from([(Entry::ROOT, genesis)]),
            promises: BTreeMap::new(),
            sessions: BTreeMap::new(),
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
        let real = self.fleet.promise(m, e.into(), usize::from(l));
        if let Ok(promise) = &real {
            self.promises.insert((m, e), promise.clone());
            let tip = self.model.members[m].tip;
            self.reals[m].stops(tip);
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
        let process = self.reals[l].process;
        let earlier = |it: &(usize, Signed<Promised>)| it.1.statement.process != process;
        let earlier = verdict.is_ok() && shown.iter().any(earlier);
        let verdict = if earlier {
            Err(Refusal::PromisesInvalid)
        } else {
            verdict
        };
        // Now and then another entry than the start.
        let lie = self.below(6) == 0;
        let at = match verdict {
            Ok(start) if !lie => start,
            _ => self.entry(),
        };
        let verdict = verdict.and_then(|it| if it == at { Ok(it) } else { Err(Refusal::Gap) });
        let promises: Vec<_> = shown.into_iter().map(|it| it.1).collect();
        let real = self.fleet.ask(
            l,
            Request::Lead {
                epoch: Epoch(e.into()),
                promises,
                start: self.entries[&at].clone(),
            },
        );
        if self.same(&format!("lead {l} {e} {set:b}"), verdict, real.map(|_| ())) {
            let start = self.entries[&at].proposal.header.clone();
            self.sessions.insert(e, start);
            self.reals[l].base = at;
            self.reals[l].speculation.clear();
            self.take(Action::Lead(l as u8, e, at));
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
        let real = self.fleet.propose(l);
        if let Ok(proposal) = &real {
            let place = self.model.session(e, 0).unwrap().len;
            let entry = Entry::at(e, 0, place);
            self.entries.insert(entry, self.fleet.place_of(proposal));
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
        let run: Vec<_> = run.map(|it| self.entries[&it].proposal.clone()).collect();
        let first = Entry::at(last.epoch(), 0, first);
        let verdict = self.rules.notarise(&self.model, m, first, last);
        let start = self.sessions[&last.epoch()].clone();
        let mut what = "notarise";
        let links = self.model.previous(first) == tip || last == tip;
        if !links && verdict.is_ok() {
            what = "move";
        }
        // Without the leader's start nobody is moved, but who stands there seals all the same.
        let (start, verdict) = match self.below(8) {
            0 if verdict.is_ok() && !links => (None, self.named_from_the_own_tip(tip, first)),
            1 if verdict.is_ok() && !links => {
                let other = self.entry();
                if self.model.previous(first) == other {
                    return;
                }
                let other = self.entries[&other].proposal.header.clone();
                (Some(other), self.named_from_the_own_tip(tip, first))
            }
            _ => (Some(start), verdict),
        };
        let real = self.fleet.notarise(m, &run, start.as_ref());
        if let Ok(statement) = &real {
            assert_eq!(
                statement.statement.tip,
                self.entries[&last].proposal.header.tip()
            );
            self.notarised.insert((m, last), statement.clone());
        }
        let what = format!("{what} {m} {first}..={last}");
        if self.same(&what, verdict, real.map(|_| ())) {
            self.take(Action::Notarise(m, last));
            if last != tip {
                self.moved(m, last);
            }
        }
    }

    /// What is missing or beside is named from the own tip.
    fn named_from_the_own_tip(&self, tip: Entry, first: Entry) -> Result<(), Refusal> {
        match self.model.index(first) > self.model.index(tip) + 1 {
            true => Err(Refusal::Gap),
            false => Err(Refusal::Stale),
        }
    }

    /// The anchor moved there: whoever led another chain leads no more.
    fn moved(&mut self, m: usize, to: Entry) {
        let leads = self.fleet.inspect(m).leading;
        let real = &mut self.reals[m];
        if leads.is_none() {
            real.stops(to);
        }
        let member = &self.model.members[m];
        let led = member.leading != 0 && member.leading == member.promised;
        assert_eq!(leads.is_some(), led, "{m} moved to {to}");
    }

    fn adopt(&mut self, m: usize) {
        let entry = self.entry();
        if entry == Entry::ROOT {
            return;
        }
        let proposal = self.entries[&entry].proposal.clone();
        let said = (0..MEMBERS).filter_map(|it| self.notarised.get(&(it, entry)).cloned());
        let certificate: Vec<_> = said.collect();
        let tip = self.model.members[m].tip;
        let real = self.fleet.adopt(m, &proposal, &certificate);
        if !self.model.is_certified(entry) {
            assert_eq!(real, Err(HsmError::CertificateInvalid), "adopt {m} {entry}");
            return;
        }
        if entry == tip {
            assert_eq!(real, Ok(()), "adopt {m} {entry} again");
            return;
        }
        let verdict = self.rules.adopt(&self.model, m, entry);
        if self.same(&format!("adopt {m} {entry}"), verdict, real) {
            self.take(Action::Adopt(m, entry));
            self.moved(m, entry);
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
        let verdict = self.fleet.release(l, &certificate);
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
        self.fleet.restart(m);
        let real = &mut self.reals[m];
        real.process = self.fleet.members[m].process();
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
            11..=14 => self.notarise(m),
            15 => self.adopt(m),
            16..=18 => self.release(m),
            _ => self.restart(m),
        }
        for (m, real) in self.fleet.members.iter().enumerate() {
            let anchor = real.platform.anchor().unwrap().unwrap();
            let member = &self.model.members[m];
            assert_eq!(anchor.promised, Epoch(member.promised.into()));
            assert_eq!(anchor.tip, self.entries[&member.tip].proposal.header.tip());
            assert_eq!(anchor.tip.index.0, u64::from(self.model.index(member.tip)));
        }
    }
}

#[test]
fn three_vaults_do_what_the_model_does() {
    let mut verdicts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..300 {
        let mut pair = Pair::new(seed, &[]);
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
        "move: Ok(())",
        "move: Err(Stale)",
        "move: Err(Gap)",
        "adopt: Ok(())",
        "adopt: Err(Stale)",
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
                let mut pair = Pair::new(seed, &[mutant]);
                (0..150).for_each(|_| pair.step());
            };
            std::panic::catch_unwind(play).is_err()
        };
        assert!((0..20).any(differs), "{mutant:?} was not noticed");
    }
}
