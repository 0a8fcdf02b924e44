//! Work that needs no decision: open an envelope, verify a token, evaluate an OPRF (DESIGN §3).
//!
//! Everything here is `&self` and runs on as many threads as the HSM has. Leaves come from the host
//! unproved: authentic (they open under the fleet's keys and the record's name) but perhaps old. So
//! nothing computed here leaves before `propose` has compared it with the *proved* leaf, with one
//! exception: `RegisterStart`, whose answer changes nothing and whose finish is checked again.

use crate::desk::{Stage, Table};
use crate::keys::Keys;
use crate::pace::Shown;
use crate::platform::Platform;
use crate::record::Record;
use crate::ticket::{Purpose, Ticket};
use crate::token::Token;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use strongroom_crypto::channel::ResponseKey;
use strongroom_crypto::opaque::LoginState;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::{self, Label};
use strongroom_wire::answer::{Answer, Refusal, RegisterStarted, TicketGrant, leaf_digest};
use strongroom_wire::entry::EntryHeader;
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass};
use strongroom_wire::frame::{AnswerBytes, HsmError, LeafBytes, Response};
use strongroom_wire::limits::{KE2_BYTES, TICKET_BYTES_MAX};
use strongroom_wire::request::{Authorization, Finish, Possession, RegisterStart, Start};
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{
    Digest, Handle, LogIndex, RecordId, Slot, TenantKey, UnixMs, binding, codec, decode, encode,
};
use zeroize::Zeroizing;

/// How an operation's answer is sealed.
pub enum Reply {
    /// Under a response key of the HPKE context.
    Start(ResponseKey),
    /// Under the ticket's key, bound to the request.
    Finish {
        /// HSM → client.
        key: SealingKey,
        /// See [`binding::finish_answer_aad`].
        aad: Vec<u8>,
    },
}

impl Reply {
    /// Seals an answer, padded, under a fresh nonce.
    pub fn seal(&self, answer: &Answer, size: SizeClass, platform: &impl Platform) -> AnswerBytes {
        let padded = codec::encode_padded(answer, size.bytes());
        let padded = Zeroizing::new(padded.expect("answers fit their class by limits"));
        AnswerBytes(match self {
            Self::Start(key) => key.seal(&padded, platform),
            Self::Finish { key, aad } => seal::seal(key, aad, &padded, platform),
        })
    }
}

/// An open request.
pub enum Opened {
    /// Under HPKE.
    Start(Box<OpenedStart>),
    /// Under a ticket.
    Finish(Box<OpenedFinish>),
}

/// A start whose envelope is open and whose token is well-formed.
pub struct OpenedStart {
    /// The request.
    pub request: Start,
    /// Its token, parsed, not verified.
    pub token: Token,
    /// What the `cnf` key must have signed.
    pub possession: Possession,
    /// Digest of `enc`, for owner proofs.
    pub enc: Digest,
    /// The record it is about.
    pub record: RecordId,
    /// The tenant it claims.
    pub tenant: TenantKey,
    /// For the answer.
    pub reply: Reply,
}

/// A finish whose ticket is open.
pub struct OpenedFinish {
    /// The request.
    pub request: Finish,
    /// Its ticket.
    pub ticket: Ticket,
    /// Digest of the sealed ticket.
    pub ticket_digest: Digest,
    /// For the answer.
    pub reply: Reply,
}

/// A start, ready to be decided.
pub struct PreparedStart {
    /// As opened.
    pub opened: OpenedStart,
    /// Whether token and possession were good under the tenant in `tenant_leaf`.
    pub authorized: bool,
    /// Digest of the tenant's leaf used.
    pub tenant_leaf: Option<Digest>,
    /// OPAQUE's answer, with the digest of the material it was computed from; none if the leaf seen
    /// held no live record.
    pub login: Option<Result<Login, InvalidKe1>>,
}

/// KE1 holds no valid element.
pub struct InvalidKe1;

/// A computed KE2. It stays inside until the guess is spent and committed.
pub struct Login {
    /// Digest of the [`crate::record::Material`] used.
    pub material: Digest,
    /// KE2.
    pub ke2: [u8; KE2_BYTES],
    /// For the ticket.
    pub state: LoginState,
}

/// A finish, ready to be decided.
pub struct PreparedFinish {
    /// As opened.
    pub opened: OpenedFinish,
    /// Register: the upload is valid. Recover: KE3 is right.
    pub valid: bool,
}

/// Anything ready to be decided, with the record leaf it saw.
pub struct Prepared {
    /// The record.
    pub record: RecordId,
    /// The leaf it saw, opened.
    pub leaf: Option<(Digest, Record)>,
    /// What is asked.
    pub asked: Asked,
}

/// What is asked.
pub enum Asked {
    /// Under HPKE.
    Start(Box<PreparedStart>),
    /// Under a ticket.
    Finish(Box<PreparedFinish>),
}

/// The part of the vault that needs no decision.
pub struct Preparer<P> {
    pub(crate) platform: Arc<P>,
    pub(crate) keys: Arc<Keys>,
    /// Index of the newest entry that this member knows certified, for tickets; where another
    /// leads, of the newest that this one sealed or adopted.
    pub(crate) tip: AtomicU64,
    /// Its time, ms.
    pub(crate) tip_time: AtomicU64,
    /// The notary's pace.
    pub(crate) pace: Shown,
}

impl<P: Platform> Preparer<P> {
    /// The history has come to this entry. Officers may have set its time back.
    pub(crate) fn moved_to(&self, header: &EntryHeader) {
        self.tip.store(header.index.0, Ordering::Relaxed);
        self.tip_time.store(header.time.0, Ordering::Relaxed);
    }

    /// Opens an envelope. The dearest step after OPAQUE; once per start.
    pub fn open<T: Table>(&self, table: &T, envelope: &[u8]) -> Response {
        match self.open_envelope(envelope) {
            Ok(Step::Opened(opened)) => self.keep(table, opened),
            Ok(Step::Answered(answer)) => Response::Evaluated {
                answer: Some(answer),
            },
            Err(error) => Response::Error(error),
        }
    }

    /// A finish needs no leaf to be ready: it is put on the desk prepared. A start waits for its
    /// leaves.
    fn keep<T: Table>(&self, table: &T, opened: Opened) -> Response {
        let (record, tenant, stage) = match opened {
            Opened::Start(start) => {
                let (record, tenant) = (start.record, Some(start.tenant));
                (record, tenant, Stage::Opened(Opened::Start(start)))
            }
            Opened::Finish(finish) => {
                let record = finish.ticket.record;
                let tenant = match &finish.ticket.purpose {
                    Purpose::Register { tenant, .. } => Some(*tenant),
                    Purpose::Recover { .. } => None,
                };
                let asked = Asked::Finish(self.evaluate_finish(finish));
                let prepared = Prepared {
                    record,
                    leaf: None,
                    asked,
                };
                (record, tenant, Stage::Prepared(Box::new(prepared)))
            }
        };
        match table.with(|desk| desk.put(stage)) {
            Ok(handle) => Response::Opened {
                handle,
                record,
                tenant,
            },
            Err(error) => Response::Error(error),
        }
    }

    fn open_envelope(&self, bytes: &[u8]) -> Result<Step, HsmError> {
        let envelope = Envelope::parse(bytes).map_err(|_| HsmError::EnvelopeUnopened)?;
        match envelope.header.class {
            OpClass::Start => self.open_start(&envelope),
            OpClass::Finish => self.open_finish(&envelope),
        }
    }

    fn open_start(&self, envelope: &Envelope) -> Result<Step, HsmError> {
        let header = &envelope.header;
        let kem = self.keys.kem(header).ok_or(HsmError::EnvelopeUnopened)?;
        let info = binding::hpke_info(self.keys.fleet, header.key);
        let aad = binding::start_aad(header);
        let (plaintext, response) = kem
            .open(&info, &aad, &envelope.key_material, &envelope.sealed)
            .map_err(|_| HsmError::EnvelopeUnopened)?;
        let reply = Reply::Start(response);
        let request = codec::unpad(&plaintext).and_then(decode::<Start>);
        let Ok(request) = request.and_then(|r| r.check().map(|()| r)) else {
            return Ok(self.answered(&reply, Refusal::InvalidRequest));
        };
        if request.slot().0 >= self.keys.manifest.policy.slots_max {
            return Ok(self.answered(&reply, Refusal::SlotOutOfRange));
        }
        let Ok(token) = Token::parse(&request.authorization().token) else {
            return Ok(self.answered(&reply, Refusal::WrongTokenOrTenant));
        };
        let enc = envelope.material_digest();
        Ok(Step::Opened(Opened::Start(Box::new(OpenedStart {
            record: self
                .keys
                .record_id(token.issuer(), token.subject(), request.slot()),
            tenant: self.keys.tenant_key(token.issuer()),
            possession: self.possession(header, enc),
            request,
            token,
            enc,
            reply,
        }))))
    }

    fn possession(&self, header: &Header, enc: Digest) -> Possession {
        Possession {
            fleet: self.keys.fleet,
            enc,
            header: binding::header_digest(header),
        }
    }

    fn open_finish(&self, envelope: &Envelope) -> Result<Step, HsmError> {
        let header = &envelope.header;
        let ticket = self
            .keys
            .open_ticket(header, &envelope.key_material)
            .ok_or(HsmError::EnvelopeUnopened)?;
        let ticket_digest = envelope.material_digest();
        let aad = binding::finish_aad(header, &ticket_digest);
        let plaintext = seal::open(
            &SealingKey::from_bytes(ticket.to_hsm),
            &aad,
            &envelope.sealed,
        )
        .map_err(|_| HsmError::EnvelopeUnopened)?;
        let reply = Reply::Finish {
            key: SealingKey::from_bytes(ticket.to_client),
            aad: binding::finish_answer_aad(header, &ticket_digest, &envelope.sealed),
        };
        let request = codec::unpad(&plaintext).and_then(decode::<Finish>);
        let fits = |request: &Finish| match (request, &ticket.purpose) {
            (Finish::Register(r), Purpose::Register { .. }) => r.check().is_ok(),
            (Finish::Recover(_), Purpose::Recover { .. }) => true,
            _ => false,
        };
        let Some(request) = request.ok().filter(fits) else {
            return Ok(self.answered(&reply, Refusal::InvalidRequest));
        };
        Ok(Step::Opened(Opened::Finish(Box::new(OpenedFinish {
            request,
            ticket,
            ticket_digest,
            reply,
        }))))
    }

    fn answered(&self, reply: &Reply, refusal: Refusal) -> Step {
        Step::Answered(reply.seal(
            &Answer::Refused(refusal),
            SizeClass::Medium,
            &*self.platform,
        ))
    }

    /// Verifies the token and computes OPAQUE's part on the leaves given. Answers `RegisterStart`.
    pub fn evaluate<T: Table>(
        &self,
        table: &T,
        handle: Handle,
        record: Option<LeafBytes>,
        tenant: Option<LeafBytes>,
    ) -> Response {
        let opened = match table.with(|desk| desk.take(handle)) {
            Some(Stage::Opened(opened)) => opened,
            // Evaluated again, because the leaf moved on.
            Some(Stage::Prepared(prepared)) => prepared.into_opened(),
            None => return Response::Error(HsmError::HandleUnknown),
        };
        let id = opened.record();
        let leaf = match self.open_leaf(&id, record) {
            Ok(leaf) => leaf,
            Err(error) => {
                table.with(|desk| desk.put_back(handle, Stage::Opened(opened)));
                return Response::Error(error);
            }
        };
        let asked = match opened {
            Opened::Finish(finish) => Asked::Finish(self.evaluate_finish(finish)),
            Opened::Start(start) => {
                let tenant = match self.tenant(table, &start.tenant, tenant) {
                    Ok(tenant) => tenant,
                    Err(error) => {
                        table.with(|d| d.put_back(handle, Stage::Opened(Opened::Start(start))));
                        return Response::Error(error);
                    }
                };
                let seen = leaf.as_ref().map(|(_, record)| record);
                let prepared = self.evaluate_start(*start, tenant, seen);
                if let Start::Register(request) = &prepared.opened.request {
                    let answer = self.register_start(&prepared, request, seen);
                    return Response::Evaluated {
                        answer: Some(answer),
                    };
                }
                Asked::Start(Box::new(prepared))
            }
        };
        let prepared = Prepared {
            record: id,
            leaf,
            asked,
        };
        table.with(|desk| desk.put_back(handle, Stage::Prepared(Box::new(prepared))));
        Response::Evaluated { answer: None }
    }

    fn open_leaf(
        &self,
        id: &RecordId,
        leaf: Option<LeafBytes>,
    ) -> Result<Option<(Digest, Record)>, HsmError> {
        let Some(LeafBytes(bytes)) = leaf else {
            return Ok(None);
        };
        let record = self
            .keys
            .open_record(id, &bytes)
            .ok_or(HsmError::LeafForged)?;
        Ok(Some((leaf_digest(&bytes), record)))
    }

    fn tenant<T: Table>(
        &self,
        table: &T,
        key: &TenantKey,
        leaf: Option<LeafBytes>,
    ) -> Result<Option<(Digest, Arc<Tenant>)>, HsmError> {
        let Some(LeafBytes(bytes)) = leaf else {
            return Ok(None);
        };
        let digest = leaf_digest(&bytes);
        if let Some(tenant) = table.with(|desk| desk.tenant(&digest)) {
            // The leaf is bound to its key: one tenant's leaf must not stand in for another's.
            let same = self.keys.tenant_key(&tenant.issuer) == *key;
            return if same {
                Ok(Some((digest, tenant)))
            } else {
                Err(HsmError::LeafForged)
            };
        }
        let tenant = Arc::new(
            self.keys
                .open_tenant(key, &bytes)
                .ok_or(HsmError::LeafForged)?,
        );
        table.with(|desk| desk.remember_tenant(digest, tenant.clone()));
        Ok(Some((digest, tenant)))
    }

    fn evaluate_finish(&self, opened: Box<OpenedFinish>) -> Box<PreparedFinish> {
        let valid = match (&opened.request, &opened.ticket.purpose) {
            (Finish::Register(finish), _) => {
                let known = strongroom_crypto::ksf::Ksf::from_code(finish.ksf).is_some();
                known && self.keys.opaque.check_upload(&finish.upload).is_ok()
            }
            (Finish::Recover(finish), Purpose::Recover { login, .. }) => {
                LoginState::from_slice(login)
                    .is_some_and(|state| self.keys.login_finish(&state, &finish.ke3))
            }
            (Finish::Recover(_), Purpose::Register { .. }) => false,
        };
        Box::new(PreparedFinish {
            opened: *opened,
            valid,
        })
    }

    fn evaluate_start(
        &self,
        opened: OpenedStart,
        tenant: Option<(Digest, Arc<Tenant>)>,
        seen: Option<&Record>,
    ) -> PreparedStart {
        let authorized = tenant.as_ref().is_some_and(|(_, tenant)| {
            is_authorized(&opened, tenant, &binding::vault_audience(self.keys.fleet))
        });
        let login = match (&opened.request, seen.and_then(Record::live)) {
            (Start::Recover(start), Some(live)) if authorized => {
                let identity = opened.client_identity(start.slot);
                let material = &live.material;
                let made = self
                    .keys
                    .login_start(material, &start.ke1, &identity, &*self.platform);
                let digest = material.digest();
                Some(match made {
                    Some((ke2, state)) => Ok(Login {
                        material: digest,
                        ke2,
                        state,
                    }),
                    None => Err(InvalidKe1),
                })
            }
            _ => None,
        };
        let tenant_leaf = tenant.map(|(digest, _)| digest);
        PreparedStart {
            opened,
            authorized,
            tenant_leaf,
            login,
        }
    }

    /// Answers a `RegisterStart`. From an unproved leaf: if it is old, the finish is refused.
    fn register_start(
        &self,
        prepared: &PreparedStart,
        request: &RegisterStart,
        seen: Option<&Record>,
    ) -> AnswerBytes {
        // No entry is made for it: its time is what an entry would have, and never before the
        // fleet's. By its own clock alone a leader that is ahead would take every token for expired
        // while all else that it does is in time.
        let sealed = UnixMs(self.tip_time.load(Ordering::Relaxed));
        let now = self.pace.time(&*self.platform, sealed);
        let lifetime = self.keys.manifest.policy.token_ms_max;
        let in_time = prepared.opened.token.check_times(now, lifetime).is_ok();
        let answer = if !prepared.authorized || !in_time {
            Answer::Refused(Refusal::WrongTokenOrTenant)
        } else {
            self.registration(prepared, request, seen, now).map_or(
                Answer::Refused(Refusal::InvalidRequest),
                Answer::RegisterStarted,
            )
        };
        prepared
            .opened
            .reply
            .seal(&answer, SizeClass::Medium, &*self.platform)
    }

    fn registration(
        &self,
        prepared: &PreparedStart,
        request: &RegisterStart,
        seen: Option<&Record>,
        now: UnixMs,
    ) -> Option<RegisterStarted> {
        let (record, enc) = (prepared.opened.record, prepared.opened.enc);
        let label = "strongroom/v1 oprf seed";
        let seed = self.keys.draw(&*self.platform, label, &record, &enc);
        let response = self
            .keys
            .opaque
            .register_start(&seed, &request.request)
            .ok()?;
        let policy = &self.keys.manifest.policy;
        let seen_now = crate::policy::Seen::of(seen);
        let purpose = Purpose::Register {
            seed: *seed,
            live: seen_now.live,
            tenant: prepared.opened.tenant,
            tenant_leaf: prepared.tenant_leaf?,
        };
        let expires = now.plus(policy.register_ticket_ms);
        let issued = LogIndex(self.tip.load(Ordering::Relaxed));
        let stamp = (seen_now.generation, expires, issued);
        let grant = self.grant(record, enc, stamp, purpose);
        Some(RegisterStarted {
            response,
            grant,
            record,
            generation: seen_now.generation,
            incarnation: self.keys.incarnation,
            live: seen_now.live,
            destroyed: seen.map_or(0, |record| record.lineage.totals.destructions),
            attempts_max: policy.attempts_max,
        })
    }

    /// Makes a ticket with fresh finish keys, for the operation that came under `enc`. `stamp`:
    /// generation, expiry, and the index of the newest entry.
    pub(crate) fn grant(
        &self,
        record: RecordId,
        enc: Digest,
        (generation, expires, issued): (strongroom_wire::Generation, UnixMs, LogIndex),
        purpose: Purpose,
    ) -> TicketGrant {
        let draw = |label| self.keys.draw(&*self.platform, label, &record, &enc);
        let (to_hsm, to_client) = (
            draw("strongroom/v1 to hsm"),
            draw("strongroom/v1 to client"),
        );
        let ticket = Ticket {
            to_hsm: *to_hsm,
            to_client: *to_client,
            record,
            incarnation: self.keys.incarnation,
            generation,
            expires,
            issued,
            purpose,
        };
        let sealed = self.keys.seal_ticket(&ticket, &*self.platform);
        assert!(
            sealed.len() <= TICKET_BYTES_MAX,
            "tickets have one size, within the limit"
        );
        TicketGrant {
            ticket: sealed,
            to_hsm: *to_hsm,
            to_client: *to_client,
        }
    }
}

enum Step {
    Opened(Opened),
    Answered(AnswerBytes),
}

impl Opened {
    fn record(&self) -> RecordId {
        match self {
            Self::Start(start) => start.record,
            Self::Finish(finish) => finish.ticket.record,
        }
    }
}

impl OpenedStart {
    fn client_identity(&self, slot: Slot) -> Digest {
        binding::client_identity(self.token.issuer(), self.token.subject(), slot)
    }
}

impl Prepared {
    fn into_opened(self) -> Opened {
        match self.asked {
            Asked::Start(start) => Opened::Start(Box::new(start.opened)),
            Asked::Finish(finish) => Opened::Finish(Box::new(finish.opened)),
        }
    }
}

/// Signature of the issuer, audience, and possession. Times are judged where the entry's time is
/// known.
pub(crate) fn is_authorized(opened: &OpenedStart, tenant: &Tenant, audience: &str) -> bool {
    if opened.token.check_signature(tenant, audience).is_err() {
        return false;
    }
    let Authorization { possession, .. } = opened.request.authorization();
    match (opened.token.cnf(), possession) {
        (Some(key), Some(signature)) => {
            let bytes = encode(&opened.possession);
            statement::verify(&key.0, Label::TokenPossession, &bytes, &signature.0).is_ok()
        }
        // A token without `cnf` is good for a bearer tenant only, which `check_signature` saw to.
        (None, None) => tenant.bearer,
        _ => false,
    }
}
