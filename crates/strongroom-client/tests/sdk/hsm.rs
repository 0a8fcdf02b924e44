//! An HSM with the rules that the SDK relies on, and nothing around it. Tokens are the business of
//! the real one's tests.

use std::collections::BTreeMap;
use std::sync::Mutex;
use strongroom_client::Os;
use strongroom_crypto::channel::{FleetKem, ResponseKey};
use strongroom_crypto::opaque::{Identities, LoginState, OpaqueServer};
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::answer::*;
use strongroom_wire::envelope::{Envelope, OpClass, SizeClass};
use strongroom_wire::manifest::{Bundle, Manifest};
use strongroom_wire::request::*;
use strongroom_wire::{
    AttemptId, Digest, FleetId, Generation, Incarnation, LogIndex, OpId, PublicKey, RecordId,
    Signature, Slot, UnixMs, binding, codec, decode, encode,
};

pub const ISSUER: &str = "issuer";
pub const SUBJECT: &str = "user";
pub const INCARNATION: Incarnation = Incarnation(3);

/// What a client asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Start(Start),
    Finish(Finish),
}

/// An open request.
pub struct Opened {
    pub asked: Asked,
    pub enc: Digest,
    ticket: Vec<u8>,
    reply: Reply,
}

enum Reply {
    Start(ResponseKey),
    Finish { key: SealingKey, aad: Vec<u8> },
}

impl Opened {
    /// Seals any answer to this request.
    pub fn seal(&self, answer: &Answer) -> Vec<u8> {
        let encoded = encode(answer);
        let size = SizeClass::for_length(encoded.len()).unwrap();
        self.seal_bytes(&codec::pad(&encoded, size.bytes()).unwrap())
    }

    /// Seals any bytes as the answer to this request.
    pub fn seal_bytes(&self, padded: &[u8]) -> Vec<u8> {
        match &self.reply {
            Reply::Start(key) => key.seal(padded, &Os),
            Reply::Finish { key, aad } => seal::seal(key, aad, padded, &Os),
        }
    }
}

#[derive(Clone)]
struct Record {
    seed: [u8; 32],
    finish: RegisterFinish,
    generation: u64,
    pending: Option<(AttemptId, [u8; 96])>,
    reset: Option<OpId>,
    last: (OpId, Receipt),
}

#[derive(Clone)]
struct Ticket {
    slot: Slot,
    seed: [u8; 32],
    generation: u64,
    login: Option<LoginState>,
    to_hsm: [u8; 32],
    to_client: [u8; 32],
}

#[derive(Default)]
struct State {
    records: BTreeMap<Slot, Record>,
    tickets: BTreeMap<Vec<u8>, Ticket>,
    greatest: Option<AttemptId>,
    totals: Totals,
    clock: u64,
    /// The last delete, reset or cancellation of a slot; outlives the record.
    last: BTreeMap<Slot, (OpId, Receipt)>,
}

/// The fleet's secrets and state.
pub struct Hsm {
    pub manifest: Manifest,
    operator: SigningKey,
    kem: FleetKem,
    opaque: OpaqueServer,
    state: Mutex<State>,
}

impl Hsm {
    pub fn new(mut manifest: Manifest, operator: SigningKey) -> Self {
        let kem = FleetKem::from_seed(&[1; 32]);
        let opaque = OpaqueServer::from_seed(&[2; 32]);
        manifest.keys[0].public = kem.public();
        manifest.opaque = PublicKey(opaque.public_key());
        Self {
            manifest,
            operator,
            kem,
            opaque,
            state: Mutex::default(),
        }
    }

    pub fn fleet(&self) -> FleetId {
        self.manifest.fleet_id()
    }

    pub fn bundle(&self) -> Vec<u8> {
        let manifest = encode(&self.manifest);
        let signature = statement::sign(&self.operator, Label::Manifest, &manifest);
        encode(&Bundle {
            manifest,
            operator: Signature(signature),
            history: None,
        })
    }

    /// Guesses paid for so far.
    pub fn guesses(&self) -> u32 {
        self.state.lock().unwrap().totals.starts
    }

    /// As if guessing had destroyed so many generations.
    pub fn destroy(&self, generations: u32) {
        self.state.lock().unwrap().totals.destructions = generations;
    }

    /// A guess is open: its finish did not come.
    pub fn pending(&self, slot: Slot) -> bool {
        self.state.lock().unwrap().records[&slot].pending.is_some()
    }

    pub fn owner_key(&self, slot: Slot) -> Option<PublicKey> {
        let state = self.state.lock().unwrap();
        Some(state.records.get(&slot)?.finish.owner_key)
    }

    pub fn open(&self, bytes: &[u8]) -> Opened {
        let envelope = Envelope::parse(bytes).unwrap();
        let (header, enc) = (&envelope.header, envelope.material_digest());
        if header.class == OpClass::Start {
            let info = binding::hpke_info(self.fleet(), header.key);
            let aad = binding::start_aad(header);
            let opened = self
                .kem
                .open(&info, &aad, &envelope.key_material, &envelope.sealed);
            let (padded, key) = opened.unwrap();
            return Opened {
                asked: Asked::Start(decode(codec::unpad(&padded).unwrap()).unwrap()),
                enc,
                ticket: Vec::new(),
                reply: Reply::Start(key),
            };
        }
        let ticket = self.state.lock().unwrap().tickets[&envelope.key_material].clone();
        let (key, aad) = (
            SealingKey::from_bytes(ticket.to_hsm),
            binding::finish_aad(header, &enc),
        );
        let padded = seal::open(&key, &aad, &envelope.sealed).unwrap();
        Opened {
            asked: Asked::Finish(decode(codec::unpad(&padded).unwrap()).unwrap()),
            enc,
            ticket: envelope.key_material.clone(),
            reply: Reply::Finish {
                key: SealingKey::from_bytes(ticket.to_client),
                aad: binding::finish_answer_aad(header, &enc, &envelope.sealed),
            },
        }
    }

    /// Changes the state as the request asks, and answers.
    pub fn decide(&self, opened: &Opened) -> Answer {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        let decided = match &opened.asked {
            Asked::Start(Start::Register(start)) => Ok(self.register(&mut state, start)),
            Asked::Start(Start::Recover(start)) => self.recover(&mut state, start),
            Asked::Start(Start::Status(start)) => self.status(&state, start, opened.enc),
            Asked::Start(start) => self.change(&mut state, start, opened.enc),
            Asked::Finish(finish) => self.finish(&mut state, finish, opened),
        };
        decided.unwrap_or_else(Answer::Refused)
    }

    fn register(&self, state: &mut State, start: &RegisterStart) -> Answer {
        let mut seed = [0; 32];
        strongroom_crypto::random::Entropy::fill(&Os, &mut seed);
        let record = state.records.get(&start.slot);
        let (live, generation) = (record.is_some(), record.map_or(0, |r| r.generation));
        let response = self.opaque.register_start(&seed, &start.request).unwrap();
        Answer::RegisterStarted(RegisterStarted {
            response,
            grant: grant(state, start.slot, seed, generation, None),
            record: record_id(start.slot),
            generation: Generation(generation),
            incarnation: INCARNATION,
            live,
            destroyed: state.totals.destructions,
            attempts_max: 10,
        })
    }

    fn recover(&self, state: &mut State, start: &RecoverStart) -> Result<Answer, Refusal> {
        let (slot, attempt) = (start.slot, start.attempt);
        let record = state.records.get(&slot).ok_or(Refusal::NeverRegistered)?;
        // Another KE1 under the same id is another guess.
        if record.pending != Some((attempt, start.ke1)) {
            if let Some(greatest) = state.greatest.filter(|greatest| *greatest >= attempt) {
                let now = strongroom_client::vault::now();
                return Err(Refusal::StaleAttempt { greatest, now });
            }
            state.greatest = Some(attempt);
            state.totals.starts += 1;
        }
        let record = state.records.get_mut(&slot).unwrap();
        record.pending = Some((attempt, start.ke1));
        let record = record.clone();
        let client = binding::client_identity(ISSUER, SUBJECT, slot);
        let identities = Identities {
            client: &client.0,
            server: &self.fleet().0,
            context: &binding::opaque_context(self.fleet()),
        };
        let upload = &record.finish.upload;
        let login = self
            .opaque
            .login_start(&record.seed, upload, &start.ke1, &identities, &Os);
        let (ke2, login) = login.map_err(|_| Refusal::InvalidRequest)?;
        Ok(Answer::RecoverStarted(RecoverStarted {
            ke2,
            wrapped: record.finish.wrapped.clone(),
            ksf: record.finish.ksf,
            grant: grant(state, slot, record.seed, record.generation, Some(login)),
            record: record_id(slot),
            generation: Generation(record.generation),
            incarnation: INCARNATION,
            attempts_left: 9,
            totals: state.totals,
        }))
    }

    fn status(&self, state: &State, start: &Status, enc: Digest) -> Result<Answer, Refusal> {
        let record = state.records.get(&start.slot);
        let record = record.ok_or(Refusal::NeverRegistered)?;
        let proof = (Operation::Status, Status::OP, start.body(), enc);
        let proved = self.proved(record, start.slot, proof, start.owner_proof);
        if start.owner_proof.is_some() && !proved {
            return Err(Refusal::OwnerProofNeeded);
        }
        Ok(Answer::Status(StatusReport {
            record: record_id(start.slot),
            generation: Generation(record.generation),
            incarnation: INCARNATION,
            attempts_left: 10,
            attempts_max: 10,
            wait_until: None,
            pending: record.pending.is_some(),
            reset: record.reset.map(|op| ResetReport {
                op,
                until: UnixMs(9),
            }),
            totals: state.totals,
            now: UnixMs(8),
            history: proved.then(History::default),
        }))
    }

    fn change(&self, state: &mut State, start: &Start, enc: Digest) -> Result<Answer, Refusal> {
        let slot = start.slot();
        let op = match start {
            Start::Delete(it) => it.op,
            Start::CancelReset(it) => it.op,
            Start::Reset(it) => it.op,
            _ => unreachable!("the others are decided elsewhere"),
        };
        if let Some((last, receipt)) = state.last.get(&slot)
            && *last >= op
        {
            let (greatest, now) = (*last, strongroom_client::vault::now());
            let same = Ok(Answer::Receipt(receipt.clone()));
            let stale = Err(Refusal::StaleOp { greatest, now });
            return if *last == op { same } else { stale };
        }
        let record = state.records.get(&slot).ok_or(Refusal::NeverRegistered)?;
        let (kind, op, proof) = match start {
            Start::Delete(it) => {
                let proof = (Operation::Delete, it.op, it.body(), enc);
                (EventKind::Deleted, it.op, Some((proof, it.owner_proof)))
            }
            Start::CancelReset(it) => {
                let proof = (Operation::CancelReset, it.op, it.body(), enc);
                let given = Some((proof, Some(it.owner_proof)));
                (EventKind::ResetCancelled, it.op, given)
            }
            Start::Reset(it) => (EventKind::ResetStarted, it.op, None),
            _ => unreachable!("the others are decided elsewhere"),
        };
        if let Some((proof, signature)) = proof
            && !self.proved(record, slot, proof, signature)
        {
            return Err(Refusal::OwnerProofNeeded);
        }
        if let Start::CancelReset(it) = start
            && record.reset != Some(it.reset)
        {
            return Err(Refusal::NoSuchReset);
        }
        let receipt = receipt(state, slot, kind, op, record.generation);
        state.last.insert(slot, (op, receipt.clone()));
        match kind {
            EventKind::Deleted => drop(state.records.remove(&slot)),
            EventKind::ResetStarted => state.records.get_mut(&slot).unwrap().reset = Some(op),
            _ => state.records.get_mut(&slot).unwrap().reset = None,
        }
        Ok(Answer::Receipt(receipt))
    }

    fn finish(
        &self,
        state: &mut State,
        finish: &Finish,
        opened: &Opened,
    ) -> Result<Answer, Refusal> {
        let ticket = state.tickets[&opened.ticket].clone();
        let slot = ticket.slot;
        let standing = state.records.get(&slot).cloned();
        let op = match finish {
            Finish::Register(it) => it.op,
            Finish::Recover(it) => it.op,
        };
        if let Some(record) = standing.as_ref().filter(|record| record.last.0 == op) {
            return Ok(Answer::Receipt(record.last.1.clone()));
        }
        if standing.as_ref().map_or(0, |r| r.generation) != ticket.generation {
            return Err(Refusal::StaleTicket);
        }
        let (kind, mut record) = match finish {
            Finish::Register(it) => {
                let proof = (Operation::Replace, op, it.body(&opened.enc), opened.enc);
                let proved = |r: &Record| self.proved(r, slot, proof, it.owner_proof);
                if standing.as_ref().is_some_and(|record| !proved(record)) {
                    return Err(Refusal::OwnerProofNeeded);
                }
                let (kind, generation) = (EventKind::Registered, state.clock);
                let receipt = receipt(state, slot, kind, op, generation);
                let record = Record {
                    seed: ticket.seed,
                    finish: it.clone(),
                    generation,
                    pending: None,
                    reset: None,
                    last: (op, receipt),
                };
                (kind, record)
            }
            Finish::Recover(it) => {
                let login = ticket.login.as_ref().unwrap();
                let right = self.opaque.login_finish(login, &it.ke3);
                right.map_err(|_| Refusal::WrongCode)?;
                (EventKind::Recovered, standing.unwrap())
            }
        };
        let receipt = receipt(state, slot, kind, op, record.generation);
        record.pending = None;
        record.last = (op, receipt.clone());
        state.records.insert(slot, record);
        Ok(Answer::Receipt(receipt))
    }

    fn proved(
        &self,
        record: &Record,
        slot: Slot,
        (operation, op, body, enc): (Operation, OpId, Digest, Digest),
        signature: Option<Signature>,
    ) -> bool {
        let proof = encode(&OwnerProof {
            fleet: self.fleet(),
            incarnation: INCARNATION,
            operation,
            record: record_id(slot),
            generation: Generation(record.generation),
            op,
            body,
            enc,
        });
        let key = &record.finish.owner_key.0;
        signature.is_some_and(|s| statement::verify(key, Label::OwnerProof, &proof, &s.0).is_ok())
    }
}

pub fn record_id(slot: Slot) -> RecordId {
    RecordId([0x20 + slot.0; 32])
}

fn grant(
    state: &mut State,
    slot: Slot,
    seed: [u8; 32],
    generation: u64,
    login: Option<LoginState>,
) -> TicketGrant {
    let number = u8::try_from(state.tickets.len()).unwrap();
    let grant = TicketGrant {
        ticket: vec![number; 200],
        to_hsm: [number ^ 0x55; 32],
        to_client: [number ^ 0xaa; 32],
    };
    let ticket = Ticket {
        slot,
        seed,
        generation,
        login,
        to_hsm: grant.to_hsm,
        to_client: grant.to_client,
    };
    state.tickets.insert(grant.ticket.clone(), ticket);
    grant
}

fn receipt(state: &State, slot: Slot, kind: EventKind, op: OpId, generation: u64) -> Receipt {
    Receipt {
        kind,
        op,
        record: record_id(slot),
        generation: Generation(generation),
        index: LogIndex(state.clock),
        at: UnixMs(7),
        attempts_left: 10,
        totals: state.totals,
        history: None,
        reset_until: None,
    }
}
