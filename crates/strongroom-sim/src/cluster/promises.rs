//! What users were promised, over the one history and over what left any HSM.
//!
//! A guess is counted to the stretch between two proofs of the code in which its entry stands, and
//! not to the moment when its answer leaves: a deposed leader may let go of an old answer late.

use crate::checkers::Checkers;
use crate::glass::Glass;
use crate::phone::{About, Letter};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use strongroom_vault::record::Record;
use strongroom_wire::answer::{Answer, Receipt};
use strongroom_wire::entry::Entry;
use strongroom_wire::{AttemptId, Generation, OpId, RecordId};

/// A leaf's nonce.
const NONCE: usize = 24;

/// Between two proofs of one generation's code.
type Stretch = (RecordId, Generation, u32);

/// See the module.
pub(super) struct Promises {
    attempts_max: usize,
    checkers: Checkers,
    records: BTreeMap<RecordId, Record>,
    proofs: HashMap<RecordId, u32>,
    guesses: HashMap<(RecordId, AttemptId), Stretch>,
    answered: HashMap<Stretch, BTreeSet<AttemptId>>,
    /// Operations that are final.
    done: HashSet<(RecordId, OpId)>,
    receipts: HashMap<(RecordId, OpId), Receipt>,
    /// Guesses of one stretch that were answered, at most.
    pub(super) most: usize,
    pub(super) answers: u64,
}

impl Promises {
    pub(super) fn new(attempts_max: u8, glass: Glass) -> Self {
        Self {
            attempts_max: usize::from(attempts_max),
            checkers: Checkers::new(attempts_max, glass),
            records: BTreeMap::new(),
            proofs: HashMap::new(),
            guesses: HashMap::new(),
            answered: HashMap::new(),
            done: HashSet::new(),
            receipts: HashMap::new(),
            most: 0,
            answers: 0,
        }
    }

    pub(super) fn record(&self, id: &RecordId) -> Option<&Record> {
        self.records.get(id)
    }

    /// Records whose guesses were used up.
    pub(super) fn destroyed(&self) -> u32 {
        self.checkers.seen.destroyed
    }

    pub(super) fn made(&mut self, letter: &Rc<Letter>) {
        self.checkers.made(letter);
    }

    pub(super) fn proposed(&mut self, entry: &Entry) {
        for write in &entry.writes {
            let sealed = Glass::sealed_part(&write.leaf).expect("a leaf's format");
            self.checkers.sealed(NONCE, &sealed);
        }
    }

    /// It became final.
    pub(super) fn committed(&mut self, entry: &Entry) {
        self.checkers.committed(entry, false);
        let index = entry.proposal.header.index;
        for write in &entry.writes {
            let Some(new) = self.checkers.record(&write.key).cloned() else {
                // A tenant's leaf.
                continue;
            };
            let proved = new.lineage.recovered.filter(|it| it.index == index);
            let proofs = self.proofs.entry(write.key).or_default();
            *proofs += u32::from(proved.is_some());
            let stretch = (write.key, new.generation, *proofs);
            let old = self.records.get(&write.key);
            let before = old.map_or(0, |it| it.lineage.totals.starts);
            let greatest = new.lineage.greatest_attempt;
            if let Some(attempt) = greatest.filter(|_| new.lineage.totals.starts > before) {
                let first = self.guesses.insert((write.key, attempt), stretch);
                assert!(first.is_none(), "P5: a retry spent a guess: {attempt:?}");
            }
            let last = [&new.lineage.registered, &new.lineage.recovered];
            let last = last.into_iter().flatten();
            self.done.extend(last.map(|it| (write.key, it.op)));
            self.records.insert(write.key, new);
        }
    }

    /// An answer left an HSM.
    pub(super) fn left(&mut self, letter: &Letter, answer: &Answer) {
        self.answers += 1;
        match answer {
            Answer::RecoverStarted(started) => {
                let About::RecoverStart { attempt, .. } = letter.about else {
                    panic!("KE2 came for what is no guess");
                };
                let stretch = self.guesses.get(&(started.record, attempt));
                let stretch = *stretch.expect("an answer left before its guess was final");
                let answered = self.answered.entry(stretch).or_default();
                answered.insert(attempt);
                self.most = self.most.max(answered.len());
                let bounded = answered.len() <= self.attempts_max;
                assert!(bounded, "P1: {} guesses were answered", answered.len());
            }
            Answer::Receipt(receipt) => {
                let place = (receipt.record, receipt.op);
                let done = self.done.contains(&place);
                assert!(done, "a receipt left before its entry was final");
                let before = self.receipts.insert(place, receipt.clone());
                if let Some(before) = before {
                    let result = |it: &Receipt| (it.kind, it.index, it.at);
                    assert_eq!(result(&before), result(receipt), "P5: another result");
                }
            }
            Answer::RegisterStarted(_) | Answer::Status(_) | Answer::Refused(_) => {}
        }
    }
}
