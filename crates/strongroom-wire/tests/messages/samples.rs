//! How each message is made from bytes. The compiler sees to it that no field and no variant is
//! forgotten.

use super::sample::{Sample, Source};
use strongroom_wire::answer::*;
use strongroom_wire::entry::*;
use strongroom_wire::envelope::*;
use strongroom_wire::frame::{self, *};
use strongroom_wire::manifest::*;
use strongroom_wire::request::{self, *};
use strongroom_wire::tenant::*;

macro_rules! sample_structs {
    ($($name:path { $($field:ident),* $(,)? })*) => {$(
        impl Sample for $name {
            fn sample(source: &mut Source<'_>) -> Self {
                Self { $($field: Sample::sample(source)),* }
            }
        }
    )*};
}

/// All variants of an enum, each made from the source in turn.
pub trait Variants: Sized {
    fn variants(source: &mut Source<'_>) -> Vec<(&'static str, Self)>;
}

macro_rules! sample_enums {
    ($($name:path { $(
        $variant:ident $({ $($field:ident),* $(,)? })? $(($inner:tt))?
    ),* $(,)? })*) => {$(
        impl Variants for $name {
            fn variants(source: &mut Source<'_>) -> Vec<(&'static str, Self)> {
                let _ = &source;
                let all = vec![$((
                    stringify!($variant),
                    Self::$variant
                        $({ $($field: Sample::sample(source)),* })?
                        $(({ let $inner = (); Sample::sample(source) }))?
                )),*];
                // Not one is forgotten: this match would not compile.
                for (_, value) in &all {
                    match value { $(Self::$variant { .. } => {}),* }
                }
                all
            }
        }

        impl Sample for $name {
            fn sample(source: &mut Source<'_>) -> Self {
                let makers: &[fn(&mut Source<'_>) -> Self] = &[$(|_source| {
                    Self::$variant
                        $({ $($field: Sample::sample(_source)),* })?
                        $(({ let $inner = (); Sample::sample(_source) }))?
                }),*];
                makers[source.below(makers.len())](source)
            }
        }
    )*};
}

sample_structs! {
    Header { version, key, cell, class, size }
    Envelope { header, key_material, sealed }
    Authorization { token, possession }
    Possession { fleet, enc, header }
    RegisterStart { authorization, slot, request }
    RecoverStart { authorization, slot, attempt, ke1 }
    request::Status { authorization, slot, owner_proof }
    Delete { authorization, slot, op, owner_proof }
    Reset { authorization, slot, op }
    CancelReset { authorization, slot, op, reset, owner_proof }
    RegisterFinish { op, upload, wrapped, owner_key, ksf, owner_proof }
    RecoverFinish { op, ke3 }
    OwnerProof { fleet, incarnation, operation, record, generation, op, body, enc }
    TicketGrant { ticket, to_hsm, to_client }
    RegisterStarted {
        response, grant, record, generation, incarnation, live, destroyed, attempts_max,
    }
    RecoverStarted {
        ke2, wrapped, ksf, grant, record, generation, incarnation, attempts_left, totals,
    }
    Totals { starts, unproved, resets, replacements, destructions }
    Event { kind, at }
    History { proved, unproved }
    Receipt {
        kind, op, record, generation, index, at, attempts_left, totals, history, reset_until,
    }
    StatusReport {
        record, generation, incarnation, attempts_left, attempts_max, wait_until, pending, reset,
        totals, now, history,
    }
    ResetReport { op, until }
    EntryHeader {
        fleet, cell, incarnation, epoch, index, previous, kind, root, writes, state, time,
        feature_level,
    }
    Proposal { header, mark }
    Tip { epoch, index, hash }
    Anchor { fleet, cell, incarnation, member, promised, tip, retired }
    Write { key, leaf }
    Entry { proposal, state, writes }
    Promised { fleet, cell, incarnation, member, epoch, leader, process, tip }
    Notarised { fleet, cell, incarnation, member, tip }
    ClockChange { fleet, cell, incarnation, number, time }
    SignedClockChange { change, officers }
    OfficerSignature { officer, signature }
    Ready { fleet, cell, incarnation, member, manifest }
    FleetKey { id, public }
    Member { id, identity, platform, class, measurement, site, host, address }
    Policy {
        attempts_max, delays_ms, last_chance_ms, reset_wait_ms, slots_max, register_ticket_ms,
        recover_ticket_ms, token_ms_max,
    }
    Manifest {
        version, fleet, epoch, previous, keys, opaque, members, rollback_tolerance, policy, cells,
        resurrections_max, admin, operator, officers, officers_threshold, auditors,
        auditors_threshold, not_after,
    }
    SignedManifest { manifest, officers, operator }
    Bundle { manifest, operator, history }
    IssuerKey { kid, algorithm, public }
    Tenant { issuer, root, version, keys, bearer, account_rate, tenant_rate }
    SignedTenantChange { change, signature }
    ReleasedAnswer { handle, answer }
    LeftOut { handle, why }
    Welcome { version, platform, class, image, phase, process }
    Drafted { identity, hpke, opaque, handover, signature }
    HandoverKey { key }
    Place { proposal, state, manifests }
    Inspection {
        tip, promised, leading, speculative, handles, held, clock, refused, anchor_writes,
    }
}

impl Sample for State {
    fn sample(source: &mut Source<'_>) -> Self {
        Self {
            manifest: Sample::sample(source),
            manifest_epoch: Sample::sample(source),
            tenants: Sample::sample(source),
            clock_changes: Sample::sample(source),
            before: source.later(),
            greatest_member: source.later(),
        }
    }
}

impl Sample for Kind {
    fn sample(source: &mut Source<'_>) -> Self {
        let all = [
            Self::Genesis,
            Self::Batch,
            Self::Tenant,
            Self::Clock,
            Self::Reconfigure,
        ];
        let known = if source.has_later() { 5 } else { 4 };
        all[source.below(known)]
    }
}

impl Sample for ManifestBytes {
    fn sample(source: &mut Source<'_>) -> Self {
        Self(Sample::sample(source))
    }
}

impl Sample for LeafBytes {
    fn sample(source: &mut Source<'_>) -> Self {
        Self(Sample::sample(source))
    }
}

impl Sample for SealedSecret {
    fn sample(source: &mut Source<'_>) -> Self {
        Self(Sample::sample(source))
    }
}

impl Sample for AnswerBytes {
    fn sample(source: &mut Source<'_>) -> Self {
        Self(Sample::sample(source))
    }
}

impl<T: Sample> Sample for Signed<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        Self {
            statement: Sample::sample(source),
            signature: Sample::sample(source),
        }
    }
}

sample_enums! {
    OpClass { Start, Finish }
    SizeClass { Small, Medium, Large }
    Start { Register(_), Recover(_), Status(_), Delete(_), Reset(_), CancelReset(_) }
    Finish { Register(_), Recover(_) }
    Operation { Replace, Delete, CancelReset, Status, Recover, Reset }
    Answer { RegisterStarted(_), RecoverStarted(_), Receipt(_), Status(_), Refused(_) }
    EventKind {
        Registered, Replaced, Recovered, Deleted, ResetCancelled, Guessed, ResetStarted,
        ReplacedAfterReset, DeletedAfterReset, Destroyed,
    }
    Destruction { Guessed, Deleted, DeletedAfterReset }
    Refusal {
        WrongTokenOrTenant, NeverRegistered, Destroyed { at, why, totals },
        WaitUntil { until, now, attempts_left }, OwnerProofNeeded, ResetPending { until },
        StaleTicket, StaleAttempt { greatest, now }, Superseded, OpIdReused, RetiredFleet,
        Busy { retry_after_ms }, WrongCode, SlotOutOfRange, NoSuchReset, InvalidRequest,
        StaleOp { greatest, now },
    }
    PlatformClass { None, AtRest, Isolating }
    TokenAlgorithm { EdDsa, Es256 }
    TenantChange { Create { fleet, tenant }, Keys { fleet, issuer, version, keys } }
    TenantRefusal { Invalid, WrongSigner, Exists, Unknown, StaleVersion }
    frame::Request {
        Hello { version }, Draft, Genesis { manifest, secret },
        Resume { place, certificate }, Promise { epoch, leader, process },
        Lead { epoch, promises, start }, Open { envelope },
        Evaluate { handle, record, tenant }, Propose { handles, proof, leaves },
        ProposeTenant { change, proof, leaf }, Notarise { run, start }, Release { certificate },
        Forget { handles }, Inspect, TenantKeyOf { issuer }, Shutdown,
        Adopt { place, certificate }, HandOver { member, key, signature, next },
        ProposeClock { change }, Ready { manifest, secret },
        Join { secret, named, base, certificate }, ProposeMembers { change, ready },
        Retire { place, certificate },
    }
    frame::Response {
        Welcome(_), Drafted(_), Standing { proposal, state }, Promised(_), Leading { start },
        Opened { handle, record, tenant }, Evaluated { answer },
        Proposed { proposal, state, writes, left_out }, Notarised(_), Released { answers }, Done,
        Inspection(_), TenantKey(_), TenantRefused(_), Error(_), HandedOver { secret },
        Ready(_),
    }
    LeftOutReason { LeafMissing, NotCovered, NotEvaluated }
    Phase {
        Blank, Drafted, Waiting { fleet, tip, promised }, Standing { fleet, tip, promised },
        Retired { fleet },
    }
    HsmError {
        AnchorFailed, AnchorMismatch, BatchTooLarge, Busy, CertificateInvalid, ClockChangeInvalid,
        EnvelopeUnopened, EpochStale, EpochTooFar, Fault, FrameMalformed, FrameTooLong,
        EntryForged, Gap, HandleUnknown, HandoverInvalid, LeafForged, ManifestInvalid, NotLeading,
        NotOnChain, NotReady, OfficersInvalid, ProofInvalid, PromisesInvalid, Stale, TooEarly,
        Unsettled, WrongPhase, WrongVersion,
    }
}
