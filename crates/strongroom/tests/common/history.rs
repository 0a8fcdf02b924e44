//! What clients asked and were told, and whether one record can have said it: linearizability.
//!
//! The search is that of Wing and Gong with a memory of what was tried (Lowe): it takes one
//! operation after the other whose answer did not come before another one's question, applies it to
//! a small sequential model of a record ([`Model`]), and goes back where the answer does not fit.
//!
//! Why not Stateright's tester, which the model of the ballots uses: it remembers nothing of what
//! it tried, has one unanswered operation for each client at most, and takes each operation once.
//! Here *an operation may be carried out more often than it is answered*: clients and nodes send
//! the same bytes again, and one of them may arrive after the answer. So each operation that can
//! still do something has a ghost, which may happen at any time after the question, any number of
//! times, and answers nobody. The vault's idempotence makes all but one of them do nothing; if it
//! did not, the counts would not fit. An operation without an answer is its ghost alone.
//!
//! Not modelled: time. Where a wait or the end of a last chance depends on it, both is accepted.

use super::model::Model;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_client::wire::answer::{EventKind, Refusal, Totals};
use strongroom_client::wire::{AttemptId, OpId};

/// What a client asked of a record.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To store a secret under the code of that number, over what the ticket saw, with the owner's
    /// proof where that lived.
    Register {
        op: OpId,
        code: u32,
        generation: u64,
        live: bool,
    },
    /// A guess: that code.
    Start { attempt: AttemptId, code: u32 },
    /// The end of a guess that saw that generation, with a right proof of the code or a wrong one.
    Finish {
        op: OpId,
        attempt: AttemptId,
        generation: u64,
        right: bool,
    },
    /// To erase the record, with the owner's proof for that generation.
    Delete { op: OpId, generation: u64 },
    /// How it stands.
    Status,
}

/// What it was told.
#[derive(Clone, Debug)]
pub enum Told {
    /// The guess is paid; `opened`: its code opened what came.
    Started {
        left: u8,
        totals: Totals,
        generation: u64,
        opened: bool,
    },
    /// It is done, in the entry of that index.
    Receipt {
        kind: EventKind,
        index: u64,
        left: u8,
        totals: Totals,
        generation: u64,
    },
    /// It stands so.
    Status {
        left: u8,
        totals: Totals,
        generation: u64,
        pending: bool,
    },
    /// No.
    Refused(Refusal),
}

/// An operation: its question, its answer if it had one, and when.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub asked: Asked,
    pub called: u64,
    pub answer: Option<(u64, Told)>,
}

impl Operation {
    fn returned(&self) -> u64 {
        self.answer.as_ref().map_or(u64::MAX, |(at, _)| *at)
    }

    fn told(&self) -> Option<&Told> {
        self.answer.as_ref().map(|(_, told)| told)
    }

    /// Whether it may do something that its answer does not tell. A guess that was answered was
    /// carried out before, and is answered alike until something else happens: the answer tells.
    fn has_ghost(&self) -> bool {
        let told = matches!(
            self.told(),
            Some(Told::Started { .. } | Told::Status { .. })
        );
        !told && !matches!(self.asked, Asked::Status)
    }
}

/// The operations on one record, as they are recorded by all of its clients.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Operation>>);

/// One order for the questions and answers of all records.
static ORDER: AtomicU64 = AtomicU64::new(1);

fn moment() -> u64 {
    ORDER.fetch_add(1, Ordering::SeqCst)
}

impl Recorder {
    /// Before the first byte is sent; gives the place for [`Self::told`].
    pub fn ask(&self, client: usize, asked: Asked) -> usize {
        let mut operations = self.0.lock().unwrap();
        operations.push(Operation {
            client,
            asked,
            called: moment(),
            answer: None,
        });
        operations.len() - 1
    }

    /// After the answer was understood.
    pub fn told(&self, place: usize, told: Told) {
        self.0.lock().unwrap()[place].answer = Some((moment(), told));
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().unwrap().clone()
    }
}

/// Whether there is an order of the operations in which a record that starts with nothing says what
/// was said, and none stands before one that was answered before it was asked.
///
/// # Errors
/// How far the longest try came, in words.
pub fn linearizable(operations: &[Operation]) -> Result<(), String> {
    let answered: Vec<&Operation> = operations.iter().filter(|o| o.answer.is_some()).collect();
    let ghosts: Vec<&Operation> = operations.iter().filter(|o| o.has_ghost()).collect();
    let first = (vec![false; answered.len()], Model::default());
    let (mut stack, mut seen) = (vec![first.clone()], HashSet::new());
    let mut longest = (0, first);
    while let Some((done, model)) = stack.pop() {
        let left = answered.iter().zip(&done).filter(|(_, done)| !**done);
        let Some(horizon) = left.map(|(o, _)| o.returned()).min() else {
            return Ok(());
        };
        if !seen.insert((done.clone(), model.clone())) {
            continue;
        }
        let length = done.iter().filter(|done| **done).count();
        if length > longest.0 {
            longest = (length, (done.clone(), model.clone()));
        }
        let ready = |o: &Operation| o.called < horizon;
        for ghost in ghosts.iter().filter(|o| ready(o)) {
            let after = model.after(&ghost.asked, None);
            let after = after.into_iter().filter(|after| *after != model);
            stack.extend(after.map(|after| (done.clone(), after)));
        }
        // The one that was answered first is tried first.
        let mut next: Vec<usize> = (0..answered.len())
            .filter(|at| !done[*at] && ready(answered[*at]))
            .collect();
        next.sort_by_key(|at| std::cmp::Reverse(answered[*at].returned()));
        for at in next {
            for after in model.after(&answered[at].asked, answered[at].told()) {
                let mut done = done.clone();
                done[at] = true;
                stack.push((done, after));
            }
        }
    }
    Err(described(&answered, longest.0, &longest.1))
}

fn described(answered: &[&Operation], length: usize, tried: &(Vec<bool>, Model)) -> String {
    let (done, model) = tried;
    let left = answered.iter().zip(done).filter(|(_, done)| !**done);
    let mut left: Vec<_> = left.map(|(operation, _)| operation).collect();
    left.sort_by_key(|operation| operation.called);
    let horizon = left.iter().map(|o| o.returned()).min();
    let stuck = left.iter().filter(|o| Some(o.called) < horizon);
    let stuck: String = stuck.map(|o| format!("\n  {o:?}")).collect();
    format!(
        "after {length} of {} answers the record would be\n  {model:?}\nand can give none of \
         these:{stuck}",
        answered.len()
    )
}

/// Entries grow with time, over all records: what was answered before another question was asked is
/// in no later entry.
///
/// # Errors
/// The two that contradict each other.
pub fn entries_grow(operations: &[Operation]) -> Result<(), String> {
    let mut receipts: Vec<_> = operations
        .iter()
        .filter_map(|o| match o.told() {
            Some(Told::Receipt { index, .. }) => Some((o, *index)),
            _ => None,
        })
        .collect();
    receipts.sort_by_key(|(o, _)| o.called);
    for (place, (later, index)) in receipts.iter().enumerate() {
        let before = receipts[..place]
            .iter()
            .filter(|(o, _)| o.returned() < later.called);
        if let Some((sooner, greater)) = before.max_by_key(|(_, index)| *index)
            && greater > index
        {
            return Err(format!(
                "{later:?}\nis in an entry before that of\n{sooner:?}"
            ));
        }
    }
    Ok(())
}
