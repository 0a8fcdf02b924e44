//! The promises, asserted over what *left* the vault and over what it committed (DESIGN §1).
//!
//! | checker | asserts |
//! | --- | --- |
//! | P1 | since a generation's last success at most `attempts_max` guesses were answered |
//! | P5 | a retry gets the same result; no more guesses are spent than phones made |
//! | P6 | a live record ends by its owner's key, a ripe reset, or its last chance |
//! | totals | totals, generation, greatest attempt and operation never go down |
//! | nonces | under one nonce never two ciphertexts (REVIEW C10) |
//!
//! What is committed is read through the [`Glass`], so that an answer the host dropped counts too.

use crate::glass::Glass;
use crate::phone::{About, Letter};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use strongroom_vault::record::{LastOp, Live, OpKind, Record};
use strongroom_wire::answer::{Answer, EventKind, Receipt, Totals};
use strongroom_wire::entry::Entry;
use strongroom_wire::{AttemptId, Generation, LogIndex, OpId, RecordId, UnixMs};

/// See the module. Each panics with the name of the promise that was broken.
pub struct Checkers {
    attempts_max: usize,
    glass: Glass,
    /// Letters of each operation, by its id.
    operations: HashMap<OpId, Vec<Rc<Letter>>>,
    guesses: HashSet<(AttemptId, [u8; 96])>,
    answered: HashMap<(RecordId, Generation), BTreeSet<[u8; 96]>>,
    receipts: HashMap<(RecordId, OpId), Receipt>,
    records: HashMap<RecordId, Record>,
    nonces: HashMap<Vec<u8>, Vec<u8>>,
    copied: bool,
    /// What came by so far: a check that never saw anything is no check.
    pub seen: Seen,
}

/// Answers and commits by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// KE2 that left.
    pub guesses: u32,
    /// Of them, guesses answered before.
    pub retries: u32,
    /// Recoveries that were committed.
    pub recovered: u32,
    /// Registrations and replacements that were committed.
    pub registered: u32,
    /// Records destroyed by guessing.
    pub destroyed: u32,
    /// Records deleted.
    pub deleted: u32,
    /// Of deletions and replacements, those by a ripe reset alone.
    pub after_reset: u32,
    /// Receipts given again.
    pub repeated: u32,
    /// Refusals that left.
    pub refused: u32,
}

impl Checkers {
    /// With nothing seen.
    pub fn new(attempts_max: u8, glass: Glass) -> Self {
        Self {
            attempts_max: usize::from(attempts_max),
            glass,
            operations: HashMap::new(),
            guesses: HashSet::new(),
            answered: HashMap::new(),
            receipts: HashMap::new(),
            records: HashMap::new(),
            nonces: HashMap::new(),
            copied: false,
            seen: Seen::default(),
        }
    }

    /// From now on the machine is a copy of an older one: what only an anchor can promise is
    /// counted and not asserted.
    pub fn expect_copies(&mut self) {
        self.copied = true;
    }

    /// How many guesses of that generation were answered since its last success.
    pub fn answered(&self, record: RecordId, generation: Generation) -> usize {
        let answered = self.answered.get(&(record, generation));
        answered.map_or(0, BTreeSet::len)
    }

    /// The record as committed last, opened.
    pub fn record(&self, id: &RecordId) -> Option<&Record> {
        self.records.get(id)
    }

    /// All records ever committed.
    pub fn records(&self) -> &HashMap<RecordId, Record> {
        &self.records
    }

    /// The checkers' eye.
    pub fn glass(&self) -> &Glass {
        &self.glass
    }

    /// A phone made this.
    pub fn made(&mut self, letter: &Rc<Letter>) {
        if let Some(op) = letter.op() {
            self.operations.entry(op).or_default().push(letter.clone());
        }
        if let About::RecoverStart { attempt, ke1 } = letter.about {
            self.guesses.insert((attempt, ke1));
        }
    }

    /// An answer left the vault. `new_from` is the first entry that its release made final.
    pub fn left(&mut self, letter: &Letter, answer: &Answer, new_from: Option<LogIndex>) {
        match answer {
            Answer::RecoverStarted(started) => {
                let About::RecoverStart { ke1, .. } = letter.about else {
                    panic!("KE2 came for what is no guess");
                };
                let place = (started.record, started.generation);
                let answered = self.answered.entry(place).or_default();
                self.seen.guesses += 1;
                self.seen.retries += u32::from(!answered.insert(ke1));
                assert!(
                    self.copied || answered.len() <= self.attempts_max,
                    "P1: {} guesses were answered",
                    answered.len()
                );
            }
            Answer::Receipt(receipt) => {
                let fresh = new_from.is_some_and(|from| receipt.index >= from);
                if fresh && receipt.kind == EventKind::Recovered {
                    self.succeeded(&receipt.record);
                }
                self.repeats(receipt);
            }
            Answer::Refused(_) => self.seen.refused += 1,
            Answer::RegisterStarted(_) | Answer::Status(_) => {}
        }
    }

    fn repeats(&mut self, receipt: &Receipt) {
        let place = (receipt.record, receipt.op);
        let Some(first) = self.receipts.insert(place, receipt.clone()) else {
            return;
        };
        self.seen.repeated += 1;
        let result = |it: &Receipt| (it.kind, it.index, it.at, it.reset_until);
        assert_eq!(result(&first), result(receipt), "P5: another result");
    }

    fn succeeded(&mut self, record: &RecordId) {
        self.answered.retain(|(id, _), _| id != record);
    }

    /// An entry became final; `released` if its answers left.
    pub fn committed(&mut self, entry: &Entry, released: bool) {
        let header = &entry.proposal.header;
        for write in &entry.writes {
            let Some(new) = self.glass.record(&write.key, &write.leaf) else {
                // A tenant's leaf.
                continue;
            };
            if let Some(old) = self.records.remove(&write.key).filter(|_| !self.copied) {
                grows(&old, &new);
                self.ends_rightly(&old, &new, (header.index, header.time));
            }
            for last in remembered(&new).filter(|it| it.index == header.index) {
                self.happened(&write.key, last, released);
            }
            self.records.insert(write.key, new);
        }
        let starts = self.records.values().map(|it| it.lineage.totals.starts);
        assert!(
            starts.sum::<u32>() as usize <= self.guesses.len(),
            "P5: more guesses were spent than were made"
        );
    }

    fn happened(&mut self, record: &RecordId, last: LastOp, released: bool) {
        match last.kind {
            EventKind::Recovered => {
                let mut letters = self.operations.get(&last.op).into_iter().flatten();
                let right = |about| matches!(about, About::RecoverFinish { right: true, .. });
                let proved = letters.any(|letter| right(letter.about));
                assert!(proved, "P1: guesses were restored without proof");
                self.seen.recovered += 1;
                if !released {
                    // Its receipt never left, so it was not counted there.
                    self.succeeded(record);
                }
            }
            EventKind::Registered | EventKind::Replaced | EventKind::ReplacedAfterReset => {
                self.seen.registered += 1;
            }
            _ => {}
        }
    }

    /// P6, and what a record's end means. One batch may hold several operations on a record.
    fn ends_rightly(&mut self, old: &Record, new: &Record, (index, now): (LogIndex, UnixMs)) {
        let Some(live) = old.live() else { return };
        let replaced = new.generation != old.generation;
        if new.live().is_some() && !replaced {
            return;
        }
        let totals = (&old.lineage.totals, &new.lineage.totals);
        if totals.1.destructions > totals.0.destructions {
            let spent = totals.1.starts - totals.0.starts;
            let all = u32::from(live.attempts_left) <= spent;
            assert!(all, "P6: destroyed with guesses left");
            self.seen.destroyed += 1;
            return;
        }
        let ripe = live.reset.is_some_and(|reset| reset.until <= now);
        let proved = self.is_proved(live, new, index);
        assert!(ripe || proved, "P6: ended without proof or ripe reset");
        self.seen.deleted += u32::from(!replaced);
        self.seen.after_reset += u32::from(!proved);
    }

    /// Whether an operation of that entry was signed by the record's own key.
    fn is_proved(&self, live: &Live, new: &Record, index: LogIndex) -> bool {
        let now = remembered(new).filter(|last| last.index == index);
        let letters = now
            .filter_map(|last| self.operations.get(&last.op))
            .flatten();
        let mut signers = letters.map(|it| it.owner());
        signers.any(|signer| signer == Some(live.owner_key))
    }

    /// Something sealed was seen: nonce, then ciphertext.
    pub fn sealed(&mut self, nonce_bytes: usize, sealed: &[u8]) {
        let (nonce, ciphertext) = sealed.split_at(nonce_bytes);
        let first = self
            .nonces
            .entry(nonce.to_vec())
            .or_insert_with(|| ciphertext.to_vec());
        assert!(first == ciphertext, "C10: one nonce, two ciphertexts");
    }
}

/// The operations that a record remembers.
fn remembered(record: &Record) -> impl Iterator<Item = LastOp> {
    let kinds = [OpKind::Register, OpKind::Recover, OpKind::Change];
    kinds
        .map(|kind| record.lineage.last(kind))
        .into_iter()
        .flatten()
}

/// Totals, generation, greatest attempt and greatest operation never go down.
fn grows(old: &Record, new: &Record) {
    let all = |it: &Totals| {
        [
            it.starts,
            it.unproved,
            it.resets,
            it.replacements,
            it.destructions,
        ]
    };
    let (before, after) = (all(&old.lineage.totals), all(&new.lineage.totals));
    let grown = before
        .iter()
        .zip(after)
        .all(|(before, after)| after >= *before);
    assert!(grown, "totals went down: {before:?} to {after:?}");
    assert!(new.generation >= old.generation, "a generation came back");
    let (before, after) = (&old.lineage.greatest_attempt, &new.lineage.greatest_attempt);
    assert!(after >= before, "the greatest attempt went back");
    let (before, after) = (&old.lineage.greatest_op, &new.lineage.greatest_op);
    assert!(after >= before, "the greatest operation went back");
}
