//! Propose: decide a batch on proved leaves, in order (DESIGN §6, §7).
//!
//! The batch's proof is checked against the speculative root before anything is decided. Each
//! operation is decided on the newest state of its record: what an earlier operation of the batch
//! left, else the proved leaf. What the host gave in `Evaluate` is used only where its digest is
//! the proved one, and a KE2 only where it was computed from the very material that is proved.
//!
//! An operation that cannot be decided (leaf missing, key not covered) is left out *before*
//! anything is spent and stays on the desk.

use crate::desk::{Stage, Table};
use crate::keys::Keys;
use crate::platform::Platform;
use crate::policy::{Moment, NewSecret, Op, Seen};
use crate::prepare::{
    Asked, InvalidKe1, Login, Prepared, PreparedFinish, PreparedStart, Preparer, Reply,
};
use crate::record::{LastOp, Material, Record};
use crate::ticket::Purpose;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label};
use strongroom_tree::PartialTrie;
use strongroom_wire::answer::{Answer, RecoverStarted, Refusal, leaf_digest};
use strongroom_wire::codec;
use strongroom_wire::entry::{State, Write};
use strongroom_wire::envelope::SizeClass;
use strongroom_wire::frame::{AnswerBytes, HsmError, LeafBytes, LeftOut, LeftOutReason};
use strongroom_wire::request::{Finish, Operation, OwnerProof, RecoverStart, Start};
use strongroom_wire::{AttemptId, Digest, Handle, RecordId, Signature};

/// What a batch came to.
pub struct Decided {
    /// The next root.
    pub root: Digest,
    /// Counters moved on.
    pub state: State,
    /// Sealed leaves to write.
    pub writes: Vec<Write>,
    /// Answers to hold.
    pub answers: Vec<(Handle, AnswerBytes)>,
    /// Left out.
    pub left_out: Vec<LeftOut>,
}

/// One batch under decision.
pub struct Batch<'a, P> {
    preparer: &'a Preparer<P>,
    keys: &'a Keys,
    moment: Moment<'a>,
    trie: PartialTrie,
    state: State,
    given: BTreeMap<Digest, Vec<u8>>,
    touched: BTreeMap<RecordId, Record>,
    /// Records that an operation of this batch was about, whatever came of it.
    named: BTreeSet<RecordId>,
    answers: Vec<(Handle, AnswerBytes)>,
    left_out: Vec<LeftOut>,
}

/// What one operation came to.
struct Outcome {
    answer: Answer,
    size: SizeClass,
}

impl<'a, P: Platform> Batch<'a, P> {
    /// Checks the proof and makes ready.
    ///
    /// # Errors
    /// [`HsmError::ProofInvalid`].
    pub fn new(
        preparer: &'a Preparer<P>,
        moment: Moment<'a>,
        root: &Digest,
        state: State,
        proof: &[u8],
        leaves: Vec<LeafBytes>,
    ) -> Result<Self, HsmError> {
        let trie = PartialTrie::verify(&root.0, proof).map_err(|_| HsmError::ProofInvalid)?;
        let given = leaves
            .into_iter()
            .map(|leaf| (leaf_digest(&leaf.0), leaf.0))
            .collect();
        Ok(Self {
            preparer,
            keys: &preparer.keys,
            moment,
            trie,
            state,
            given,
            touched: BTreeMap::new(),
            named: BTreeSet::new(),
            answers: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// Decides the operations in order.
    pub fn decide<T: Table>(&mut self, table: &T, handles: &[Handle]) {
        for handle in handles {
            let prepared = match table.with(|desk| desk.take(*handle)) {
                Some(Stage::Prepared(prepared)) => prepared,
                Some(stage) => {
                    table.with(|desk| desk.put_back(*handle, stage));
                    self.leave_out(*handle, LeftOutReason::NotEvaluated);
                    continue;
                }
                None => {
                    self.leave_out(*handle, LeftOutReason::NotEvaluated);
                    continue;
                }
            };
            match self.one(&prepared) {
                Ok(outcome) => {
                    let reply = prepared.reply();
                    let platform = &*self.preparer.platform;
                    let bytes = reply.seal(&outcome.answer, outcome.size, platform);
                    self.answers.push((*handle, bytes));
                }
                Err(why) => {
                    table.with(|desk| desk.put_back(*handle, Stage::Prepared(prepared)));
                    self.leave_out(*handle, why);
                }
            }
        }
    }

    fn leave_out(&mut self, handle: Handle, why: LeftOutReason) {
        self.left_out.push(LeftOut { handle, why });
    }

    /// Seals what was touched and takes the next root.
    pub fn seal(mut self) -> Decided {
        let mut writes = Vec::with_capacity(self.touched.len());
        for (id, record) in &self.touched {
            let leaf = self.keys.seal_record(id, record, &*self.preparer.platform);
            self.trie
                .set(&id.0, leaf_digest(&leaf).0)
                .expect("the key was proved before its record was touched");
            writes.push(Write { key: *id, leaf });
        }
        Decided {
            root: Digest(self.trie.root()),
            state: self.state,
            writes,
            answers: self.answers,
            left_out: self.left_out,
        }
    }

    fn one(&mut self, prepared: &Prepared) -> Result<Outcome, LeftOutReason> {
        self.check_seen(prepared)?;
        let record = self.current(prepared)?;
        self.named.insert(prepared.record);
        match &prepared.asked {
            Asked::Finish(finish) => self.finish(prepared.record, record, finish),
            Asked::Start(start) => self.start(prepared.record, record, start),
        }
    }

    /// A guess is decided only where `Evaluate` saw the proved leaf, and nothing before it in the
    /// batch was about its record. Otherwise whether it is left
    /// out (its KE2 was not computed) or answered (it is refused) would tell the host what the
    /// record says to it, for nothing and as often as it likes.
    fn check_seen(&self, prepared: &Prepared) -> Result<(), LeftOutReason> {
        let Asked::Start(start) = &prepared.asked else {
            return Ok(());
        };
        let guesses = matches!(start.opened.request, Start::Recover(_));
        if !guesses {
            return Ok(());
        }
        let seen = prepared.leaf.as_ref().map(|(digest, _)| *digest);
        let is_first = !self.named.contains(&prepared.record);
        if is_first && self.proved(&prepared.record.0)? == seen {
            Ok(())
        } else {
            Err(LeftOutReason::LeafMissing)
        }
    }

    /// The record as this batch leaves it so far.
    fn current(&self, prepared: &Prepared) -> Result<Option<Record>, LeftOutReason> {
        let id = prepared.record;
        if let Some(record) = self.touched.get(&id) {
            return Ok(Some(record.clone()));
        }
        let Some(proved) = self.proved(&id.0)? else {
            return Ok(None);
        };
        if let Some((digest, record)) = &prepared.leaf
            && *digest == proved
        {
            return Ok(Some(record.clone()));
        }
        let leaf = self.given.get(&proved).ok_or(LeftOutReason::LeafMissing)?;
        // Proved, so made by this fleet; but the bytes are under another name if this fails.
        self.keys
            .open_record(&id, leaf)
            .map(Some)
            .ok_or(LeftOutReason::LeafMissing)
    }

    fn proved(&self, key: &[u8; 32]) -> Result<Option<Digest>, LeftOutReason> {
        let value = self.trie.get(key).map_err(|_| LeftOutReason::NotCovered)?;
        Ok(value.map(Digest))
    }

    fn start(
        &mut self,
        id: RecordId,
        record: Option<Record>,
        start: &PreparedStart,
    ) -> Result<Outcome, LeftOutReason> {
        let opened = &start.opened;
        if self.proved(&opened.tenant.0)? != start.tenant_leaf {
            // The tenant's keys changed since the token was verified: verify it again.
            return Err(LeftOutReason::LeafMissing);
        }
        let lifetime = self.moment.policy.token_ms_max;
        let in_time = opened.token.check_times(self.moment.now, lifetime).is_ok();
        if !start.authorized || !in_time {
            return Ok(Outcome::refused(Refusal::WrongTokenOrTenant));
        }
        let Some(mut record) = record else {
            return Ok(Outcome::refused(Refusal::NeverRegistered));
        };
        let proved = |operation, op, body, proof: Option<&Signature>| {
            self.owner_proved(id, &record, operation, op, body, opened.enc, proof)
        };
        let answer = match &opened.request {
            Start::Register(_) => unreachable!("evaluate answers RegisterStart"),
            Start::Recover(request) => {
                return self.recover_start(id, record, (request, opened.enc), start.login.as_ref());
            }
            Start::Status(request) => {
                let op = strongroom_wire::request::Status::OP;
                let proof = request.owner_proof.as_ref();
                let proved = proved(Operation::Status, op, request.body(), proof);
                record
                    .report(id, self.keys.incarnation, proved, &self.moment)
                    .map_or_else(Answer::Refused, Answer::Status)
            }
            Start::Delete(request) => {
                let op = Op {
                    id: request.op,
                    body: request.body(),
                };
                let proof = request.owner_proof.as_ref();
                let proved = proved(Operation::Delete, op.id, op.body, proof);
                receipt(id, &record.delete(op, proved, &self.moment), &record)
            }
            Start::Reset(request) => {
                let op = Op {
                    id: request.op,
                    body: request.body(),
                };
                receipt(id, &record.reset(op, &self.moment), &record)
            }
            Start::CancelReset(request) => {
                let op = Op {
                    id: request.op,
                    body: request.body(),
                };
                let proof = Some(&request.owner_proof);
                let proved = proved(Operation::CancelReset, op.id, op.body, proof);
                let done = record.cancel_reset(op, request.reset, proved, &self.moment);
                receipt(id, &done, &record)
            }
        };
        self.touch(id, record);
        Ok(Outcome {
            answer,
            size: SizeClass::Medium,
        })
    }

    fn recover_start(
        &mut self,
        id: RecordId,
        mut record: Record,
        (request, enc): (&RecoverStart, Digest),
        login: Option<&Result<Login, InvalidKe1>>,
    ) -> Result<Outcome, LeftOutReason> {
        let ke1 = codec::digest_bytes("strongroom/v1 ke1", &request.ke1);
        let size = if record.large {
            SizeClass::Large
        } else {
            SizeClass::Medium
        };
        let unspent = matches!(login, Some(Err(_))).then(|| record.clone());
        let answer = match record.spend(request.attempt, ke1, &self.moment) {
            Err(refusal) => Answer::Refused(refusal),
            Ok(attempts_left) => {
                let live = record
                    .live()
                    .expect("a guess is taken from the living only");
                let login = match login {
                    // Nothing is spent: KE1 is no valid element (the record's own file was checked
                    // when it came). The leaf is written all the same, or a host would read from
                    // that whether the guess would have been taken.
                    Some(Err(InvalidKe1)) => {
                        if let Some(unspent) = unspent {
                            self.touch(id, unspent);
                        }
                        return Ok(Outcome::refused(Refusal::InvalidRequest));
                    }
                    Some(Ok(login)) if login.material == live.material.digest() => login,
                    // Computed from other material, or not at all: evaluate again.
                    _ => return Err(LeftOutReason::LeafMissing),
                };
                Answer::RecoverStarted(self.recover_started(
                    id,
                    &record,
                    attempts_left,
                    login,
                    (request.attempt, enc),
                ))
            }
        };
        self.touch(id, record);
        Ok(Outcome { answer, size })
    }

    fn recover_started(
        &self,
        id: RecordId,
        record: &Record,
        attempts_left: u8,
        login: &Login,
        (attempt, enc): (AttemptId, Digest),
    ) -> RecoverStarted {
        let live = record
            .live()
            .expect("a guess is taken from the living only");
        let purpose = Purpose::Recover {
            attempt,
            login: login.state.as_slice().to_vec(),
        };
        let expires = self.moment.now.plus(self.moment.policy.recover_ticket_ms);
        let stamp = (record.generation, expires, self.moment.index);
        let grant = self.preparer.grant(id, enc, stamp, purpose);
        RecoverStarted {
            ke2: login.ke2,
            wrapped: live.material.wrapped.clone(),
            ksf: live.material.ksf,
            grant,
            record: id,
            generation: record.generation,
            incarnation: self.keys.incarnation,
            attempts_left,
            totals: record.lineage.totals,
        }
    }

    fn finish(
        &mut self,
        id: RecordId,
        record: Option<Record>,
        finish: &PreparedFinish,
    ) -> Result<Outcome, LeftOutReason> {
        let ticket = &finish.opened.ticket;
        let current = ticket.incarnation == self.keys.incarnation;
        let in_time = self.moment.now <= ticket.expires;
        match (&finish.opened.request, &ticket.purpose) {
            (Finish::Recover(request), Purpose::Recover { attempt, .. }) => {
                let Some(mut record) = record else {
                    return Ok(Outcome::refused(Refusal::StaleTicket));
                };
                let op = Op {
                    id: request.op,
                    body: request.body(&finish.opened.ticket_digest),
                };
                let repeats = record
                    .lineage
                    .recovered
                    .is_some_and(|last| last.op == op.id);
                let done = if repeats || (current && in_time) {
                    record.prove(op, ticket.generation, *attempt, finish.valid, &self.moment)
                } else {
                    Err(Refusal::StaleTicket)
                };
                let answer = receipt(id, &done, &record);
                self.touch(id, record);
                Ok(Outcome {
                    answer,
                    size: SizeClass::Medium,
                })
            }
            (
                Finish::Register(_),
                Purpose::Register {
                    seed,
                    live,
                    tenant,
                    tenant_leaf,
                },
            ) => {
                let seen = Seen {
                    generation: ticket.generation,
                    live: *live,
                };
                let same_tenant = self.proved(&tenant.0)? == Some(*tenant_leaf);
                let fresh = current && in_time && same_tenant;
                Ok(self.register(id, record, finish, seed, seen, fresh))
            }
            _ => unreachable!("open pairs request and ticket"),
        }
    }

    fn register(
        &mut self,
        id: RecordId,
        record: Option<Record>,
        finish: &PreparedFinish,
        seed: &[u8; 32],
        seen: Seen,
        fresh: bool,
    ) -> Outcome {
        let Finish::Register(request) = &finish.opened.request else {
            unreachable!("the caller matched a registration")
        };
        let op = Op {
            id: request.op,
            body: request.body(&finish.opened.ticket_digest),
        };
        let repeats = record
            .as_ref()
            .and_then(|r| r.lineage.registered)
            .is_some_and(|last| last.op == op.id);
        if !fresh && !repeats {
            return self.refuse_kept(id, record, Refusal::StaleTicket);
        }
        if !finish.valid {
            return self.refuse_kept(id, record, Refusal::InvalidRequest);
        }
        let new = NewSecret {
            material: Material {
                seed: *seed,
                upload: request.upload,
                wrapped: request.wrapped.clone(),
                ksf: request.ksf,
            },
            owner_key: request.owner_key,
        };
        let (record, done) = match record {
            None => match Record::create(op, seen, new, &self.moment) {
                Err(refusal) => return Outcome::refused(refusal),
                Ok((record, last)) => (record, Ok(last)),
            },
            Some(mut record) => {
                let enc = finish.opened.ticket_digest;
                let proof = request.owner_proof.as_ref();
                let proved =
                    self.owner_proved(id, &record, Operation::Replace, op.id, op.body, enc, proof);
                let done = record.replace(op, seen, new, proved, &self.moment);
                (record, done)
            }
        };
        let answer = receipt(id, &done, &record);
        self.touch(id, record);
        Outcome {
            answer,
            size: SizeClass::Medium,
        }
    }

    fn refuse_kept(&mut self, id: RecordId, record: Option<Record>, refusal: Refusal) -> Outcome {
        if let Some(record) = record {
            self.touch(id, record);
        }
        Outcome::refused(refusal)
    }

    /// Keeps the record for the seal at the end. Every request that reached a record rewrites its
    /// leaf, refusals too: the host cannot tell an outcome by it.
    fn touch(&mut self, id: RecordId, record: Record) {
        self.touched.insert(id, record);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a field of what is signed"
    )]
    fn owner_proved(
        &self,
        id: RecordId,
        record: &Record,
        operation: Operation,
        op: strongroom_wire::OpId,
        body: Digest,
        enc: Digest,
        proof: Option<&Signature>,
    ) -> bool {
        let (Some(live), Some(proof)) = (record.live(), proof) else {
            return false;
        };
        let statement = OwnerProof {
            fleet: self.keys.fleet,
            incarnation: self.keys.incarnation,
            operation,
            record: id,
            generation: record.generation,
            op,
            body,
            enc,
        };
        let bytes = strongroom_wire::encode(&statement);
        statement::verify(&live.owner_key.0, Label::OwnerProof, &bytes, &proof.0).is_ok()
    }
}

impl Outcome {
    fn refused(refusal: Refusal) -> Self {
        Self {
            answer: Answer::Refused(refusal),
            size: SizeClass::Medium,
        }
    }
}

impl Prepared {
    fn reply(&self) -> &Reply {
        match &self.asked {
            Asked::Start(start) => &start.opened.reply,
            Asked::Finish(finish) => &finish.opened.reply,
        }
    }
}

fn receipt(id: RecordId, done: &Result<LastOp, Refusal>, record: &Record) -> Answer {
    match done {
        Ok(last) => Answer::Receipt(record.receipt(last, id)),
        Err(refusal) => Answer::Refused(*refusal),
    }
}
