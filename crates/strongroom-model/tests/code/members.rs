//! Changes of members: the model's rules as coded, and four vaults of which one joins and one
//! leaves, over random traces.

use std::collections::{BTreeMap, BTreeSet};
use strongroom_model::{Action, Deciders, Entry, Mutant, Next, Refusal, Scenario, State};
use strongroom_sim::fleet::{Change, Fleet, officered};
use strongroom_vault::Platform as _;
use strongroom_wire::entry::{EntryHeader, Notarised, Promised, Signed};
use strongroom_wire::frame::{HsmError, Place, Request};
use strongroom_wire::{Epoch, MemberId};

/// 2 is to leave, and 3 to come.
const OLD: [u8; 3] = [0, 1, 2];
const NEW: [u8; 3] = [0, 1, 3];
const MEMBERS: usize = 4;
const EPOCHS: u8 = 4;

struct Four {
    rules: Scenario,
    model: State,
    fleet: Fleet,
    change: Option<Change>,
    joined: bool,
    entries: BTreeMap<Entry, Place>,
    promises: BTreeMap<(usize, u8), Signed<Promised>>,
    starts: BTreeMap<u8, EntryHeader>,
    votes: BTreeMap<(usize, Entry), Signed<Notarised>>,
    /// Where each leader's speculation begins, and the certificates that it was shown.
    bases: [Entry; MEMBERS],
    shown: [BTreeSet<Entry>; MEMBERS],
    verdicts: BTreeMap<String, u32>,
    random: u64,
}

impl Four {
    fn new(seed: u64, broken: &[Mutant]) -> Self {
        let mut fleet = Fleet::founded(3, officered);
        fleet.draft();
        let genesis = fleet.place(&fleet.genesis().header.hash());
        let mut rules = Scenario::changing(&[&OLD, &NEW]).as_coded();
        rules = rules.bounds(EPOCHS, 3).led_by_members(u8::MAX);
        rules.retire = true;
        Self {
            rules: rules.breaking(broken),
            model: State::default(),
            fleet,
            change: None,
            joined: false,
            entries: BTreeMap::from([(Entry::ROOT, genesis)]),
            promises: BTreeMap::new(),
            starts: BTreeMap::new(),
            votes: BTreeMap::new(),
            bases: [Entry::ROOT; MEMBERS],
            shown: std::array::from_fn(|_| BTreeSet::new()),
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

    fn same(
        &mut self,
        what: &str,
        expected: Result<(), HsmError>,
        real: Result<(), HsmError>,
    ) -> bool {
        let picture = || strongroom_model::picture(&self.model);
        assert_eq!(expected, real, "{what}\n{}", picture());
        let verdict = format!("{}: {real:?}", what.split(' ').next().unwrap());
        *self.verdicts.entry(verdict).or_default() += 1;
        real.is_ok()
    }

    fn take(&mut self, action: Action) {
        self.model.restarts = 0;
        self.model = self.rules.take(&self.model, action);
    }

    fn stands(&self, m: usize) -> bool {
        !self.model.members[m].retired && (m < 3 || self.joined)
    }

    fn promise(&mut self, m: usize) {
        let newest = self.model.members.iter().map(|it| it.promised).max();
        let newest = newest.unwrap();
        let e = match self.below(8) {
            0 => newest + 1,
            _ => newest,
        };
        let e = e.clamp(1, EPOCHS);
        let meant = (0..MEMBERS).find_map(|it| self.promises.get(&(it, e)));
        let meant = meant.map(|it| it.statement.leader.0);
        let l = meant.unwrap_or(m as u8);
        let expected = self.rules.promise(&self.model, m, e, l).map_err(named);
        let real = self.fleet.promise(m, e.into(), l.into());
        if let Ok(promise) = &real {
            self.promises.insert((m, e), promise.clone());
        }
        if self.same(&format!("promise {m} {e} {l}"), expected, real.map(drop)) {
            self.take(Action::Promise(m, e, l));
        }
    }

    fn lead(&mut self, l: usize) {
        let e = self.model.members[l].promised.max(1);
        if !self.stands(l) {
            return;
        }
        let mut shown = Vec::new();
        for m in 0..MEMBERS {
            let known = self.promises.get(&(m, e)).cloned();
            let ours = known.filter(|it| it.statement.leader == MemberId(l as u8));
            shown.extend(ours.filter(|_| self.below(4) > 0));
        }
        let newest = shown.iter().map(|it| self.entry_of(&it.statement.tip.hash));
        let newest = newest.max_by_key(|it| self.model.order(*it));
        let at = match newest {
            Some(newest) if self.below(8) > 0 => newest,
            _ => self.entry(),
        };
        let expected = self.may_lead(l, e, &shown, newest, at);
        let request = Request::Lead {
            epoch: Epoch(e.into()),
            promises: shown,
            start: self.entries[&at].clone(),
        };
        let real = self.fleet.ask(l, request).map(drop);
        if self.same(&format!("lead {l} {e} from {at}"), expected, real) {
            let start = self.entries[&at].proposal.header.clone();
            self.starts.insert(e, start);
            self.bases[l] = at;
            self.shown[l].clear();
            self.take(Action::Lead(l as u8, e, at));
        }
    }

    /// The model's rule; named in the code's order, and by the promises of strangers, whom the
    /// model only does not count.
    fn may_lead(
        &mut self,
        l: usize,
        e: u8,
        shown: &[Signed<Promised>],
        newest: Option<Entry>,
        at: Entry,
    ) -> Result<(), HsmError> {
        let rules = &self.rules;
        rules.may_lead(&self.model, l as u8, e).map_err(named)?;
        let Deciders { old, new } = self.model.deciders(at);
        let sets = [old, new].map(|it| rules.config(it));
        let members = shown.iter().map(|it| it.statement.member.0);
        let set = members.fold(0, |set, m| set | 1 << m);
        let strangers = set & !(sets[0].members | sets[1].members) != 0;
        let enough = sets
            .iter()
            .all(|it| (set & it.members).count_ones() >= it.quorum.into());
        let process = self.fleet.members[l].process();
        let earlier = shown.iter().any(|it| it.statement.process != process);
        let verdict = rules.lead_with(&self.model, l as u8, e, set);
        if strangers || !enough || earlier {
            let few = !enough && newest == Some(at);
            assert!(!few || verdict == Err(Refusal::PromisesInvalid));
            return Err(HsmError::PromisesInvalid);
        }
        if newest != Some(at) {
            return Err(HsmError::Gap);
        }
        assert_eq!(verdict, Ok(at));
        Ok(())
    }

    fn entry_of(&self, hash: &strongroom_wire::Digest) -> Entry {
        let mut entries = self.entries.iter();
        let found = entries.find(|(_, place)| place.proposal.header.hash() == *hash);
        *found.unwrap().0
    }

    fn propose(&mut self, l: usize) {
        let e = self.model.members[l].leading;
        if e == 0 || !self.stands(l) {
            return;
        }
        let session = *self.model.session(e, 0).unwrap();
        if session.len >= 3 {
            return;
        }
        let first = session.len == 0;
        let head = match first {
            true => session.start,
            false => Entry::at(e, 0, session.len - 1),
        };
        let under = self.model.deciders(head);
        let settled = !under.joint() || self.shown[l].contains(&head);
        let change = self.below(3) == 0;
        let next = match (change, settled) {
            (true, _) => Next::Reconfigure(1),
            (false, false) if self.model.is_certified(head) => Next::Unshown,
            (false, _) => Next::Batch,
        };
        let verdict = self.rules.propose(&self.model, e, 0, next);
        let expected = match (change, settled) {
            (true, false) => Err(HsmError::Unsettled),
            (true, true) if under.new == 1 => Err(HsmError::ManifestInvalid),
            (false, false) if !first => Err(HsmError::Unsettled),
            _ => verdict.map(drop).map_err(named),
        };
        let proposed = if change {
            let known = self.change.clone();
            if known.is_none() && expected.is_err() {
                return;
            }
            let made = known.unwrap_or_else(|| self.fleet.change_to(l, &NEW.map(usize::from)));
            self.change = Some(made.clone());
            self.fleet.propose_members(l, &made)
        } else {
            self.fleet.propose(l)
        };
        let what = if change { "change" } else { "propose" };
        let real = proposed.clone().map(drop);
        if !self.same(&format!("{what} {l} {head}"), expected, real) {
            return;
        }
        let proposal = proposed.unwrap();
        let place = self.fleet.place_of(&proposal);
        let entry = Entry::at(e, 0, session.len);
        self.take(Action::Propose(e, 0, next));
        let joint = self.model.deciders(entry).joint();
        assert_eq!(place.state.before.is_some(), joint, "{entry}");
        assert_eq!(
            place.state.manifest_epoch,
            u64::from(self.model.deciders(entry).new)
        );
        self.entries.insert(entry, place);
        if change && !self.joined {
            let joiner = &self.change.clone().unwrap().joiners[0];
            let genesis = self.fleet.genesis().header;
            self.fleet.join(joiner, &proposal, &genesis, &[]).unwrap();
            self.joined = true;
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
        let next = match tip.epoch() == last.epoch() {
            true => tip.place() + 1,
            false => 0,
        };
        let first = Entry::at(last.epoch(), 0, next.min(last.place()));
        let run = (first.place()..=last.place()).map(|it| Entry::at(last.epoch(), 0, it));
        let run: Vec<_> = run.map(|it| self.entries[&it].proposal.clone()).collect();
        let expected = self
            .rules
            .notarise(&self.model, m, first, last)
            .map_err(named);
        let start = self.starts[&last.epoch()].clone();
        let real = self.fleet.notarise(m, &run, Some(&start));
        if let Ok(statement) = &real {
            self.votes.insert((m, last), statement.clone());
        }
        if self.same(&format!("notarise {m} {last}"), expected, real.map(drop)) {
            self.take(Action::Notarise(m, last));
        }
    }

    /// All that those said of an entry who decide it.
    fn certificate(&self, entry: Entry) -> Vec<Signed<Notarised>> {
        let Deciders { old, new } = self.model.deciders(entry);
        let set = self.rules.config(old).members | self.rules.config(new).members;
        let members = (0..MEMBERS).filter(|m| set >> m & 1 == 1);
        members
            .filter_map(|m| self.votes.get(&(m, entry)).cloned())
            .collect()
    }

    fn certified(&self, entry: Entry) -> Result<(), HsmError> {
        match self.model.is_certified(entry) && entry != Entry::ROOT {
            true => Ok(()),
            false => Err(HsmError::CertificateInvalid),
        }
    }

    fn adopt(&mut self, m: usize) {
        let entry = self.entry();
        let tip = self.model.members[m].tip;
        let proposal = self.entries[&entry].proposal.clone();
        let real = self.fleet.adopt(m, &proposal, &self.certificate(entry));
        let expected = match self.stands(m) {
            false => Err(HsmError::WrongPhase),
            true => self.certified(entry).and_then(|()| match entry == tip {
                true => Ok(()),
                false => self.rules.adopt(&self.model, m, entry).map_err(named),
            }),
        };
        if self.same(&format!("adopt {m} {entry}"), expected, real) && entry != tip {
            self.take(Action::Adopt(m, entry));
        }
    }

    /// A leader is shown a certificate of its own chain, the start included.
    fn release(&mut self, l: usize) {
        let e = self.model.members[l].leading;
        if e == 0 || !self.stands(l) {
            return;
        }
        let len = self.model.session(e, 0).unwrap().len;
        let own = (0..len).map(|it| Entry::at(e, 0, it));
        let base = self.bases[l];
        let above = own.filter(|it| base.epoch() < e || it.place() > base.place());
        let chain: Vec<Entry> = [base].into_iter().chain(above).collect();
        let entry = chain[self.below(chain.len())];
        let expected = self.certified(entry);
        let real = self.fleet.release(l, &self.certificate(entry));
        if self.same(&format!("release {l} {entry}"), expected, real) {
            self.bases[l] = entry;
            self.shown[l].insert(entry);
        }
    }

    fn retire(&mut self, m: usize) {
        let entry = self.entry();
        let proposal = self.entries[&entry].proposal.clone();
        let deciders = self.model.deciders(entry);
        let stays = self.rules.config(deciders.new).members >> m & 1 == 1;
        let expected = match self.stands(m) {
            false => Err(HsmError::WrongPhase),
            true => self.certified(entry).and_then(|()| {
                let leaves = deciders == Deciders::single(1) && !stays;
                leaves.then_some(()).ok_or(HsmError::ManifestInvalid)
            }),
        };
        let real = self.fleet.retire(m, &proposal, &self.certificate(entry));
        if self.same(&format!("retire {m} {entry}"), expected, real) {
            let mut possible = Vec::new();
            self.rules.steps(&self.model, &mut possible);
            assert!(possible.contains(&Action::Retire(m)), "retire {m} {entry}");
            self.take(Action::Retire(m));
        }
    }

    fn restart(&mut self, m: usize) {
        if self.stands(m) {
            self.fleet.restart(m);
            self.shown[m].clear();
            self.take(Action::Restart(m));
        }
    }

    fn step(&mut self) {
        let m = self.below(MEMBERS);
        match self.below(24) {
            0..=4 => self.promise(m),
            5..=8 => self.lead(m),
            9..=12 => self.propose(m),
            13..=18 => self.notarise(m),
            19 => self.adopt(m),
            20 | 21 => self.release(m),
            22 => self.retire(m),
            _ if self.below(3) == 0 => self.restart(m),
            _ => {}
        }
        for (m, real) in self.fleet.members.iter().enumerate() {
            let Some(anchor) = real.platform.anchor().unwrap() else {
                assert!(!self.joined && m == 3);
                continue;
            };
            let member = &self.model.members[m];
            assert_eq!(anchor.promised, Epoch(member.promised.into()));
            assert_eq!(anchor.tip, self.entries[&member.tip].proposal.header.tip());
            assert_eq!(anchor.retired, member.retired);
        }
    }
}

fn named(refusal: Refusal) -> HsmError {
    match refusal {
        Refusal::EpochStale => HsmError::EpochStale,
        Refusal::PromisesInvalid => HsmError::PromisesInvalid,
        Refusal::Gap => HsmError::Gap,
        Refusal::Stale => HsmError::Stale,
        Refusal::NotLeading => HsmError::NotLeading,
        Refusal::Busy => HsmError::Unsettled,
        Refusal::WrongPhase => HsmError::WrongPhase,
    }
}

#[test]
fn four_vaults_change_their_members_as_the_model_does() {
    let mut verdicts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..300 {
        let mut four = Four::new(seed, &[]);
        (0..200).for_each(|_| four.step());
        for (verdict, times) in four.verdicts {
            *verdicts.entry(verdict).or_default() += times;
        }
    }
    println!("{verdicts:#?}");
    for verdict in [
        "promise: Ok(())",
        "promise: Err(WrongPhase)",
        "lead: Ok(())",
        "lead: Err(PromisesInvalid)",
        "lead: Err(Gap)",
        "propose: Ok(())",
        "propose: Err(Unsettled)",
        "change: Ok(())",
        "change: Err(Unsettled)",
        "change: Err(ManifestInvalid)",
        "notarise: Ok(())",
        "notarise: Err(WrongPhase)",
        "adopt: Ok(())",
        "release: Ok(())",
        "release: Err(CertificateInvalid)",
        "retire: Ok(())",
        "retire: Err(ManifestInvalid)",
        "retire: Err(CertificateInvalid)",
    ] {
        assert!(verdicts.contains_key(verdict), "{verdict} never happened");
    }
}

#[test]
fn a_model_that_changes_members_otherwise_does_not_do_what_the_vaults_do() {
    for mutant in [
        Mutant::OldQuorumOnly,
        Mutant::NewQuorumOnly,
        Mutant::UnionQuorum,
        Mutant::PromisesLessOne,
        Mutant::PromisesOfOld,
        Mutant::PromisesOfNew,
        Mutant::OldSetStays,
    ] {
        let differs = |seed| {
            let play = move || {
                let mut four = Four::new(seed, &[mutant]);
                (0..200).for_each(|_| four.step());
            };
            std::panic::catch_unwind(play).is_err()
        };
        assert!((0..60).any(differs), "{mutant:?} was not noticed");
    }
}
