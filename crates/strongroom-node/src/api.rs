//! The HTTP API (DESIGN §11): bytes in, bytes out, problems in words (RFC 9457).
//!
//! What an attacker controls: every byte of a request, how slowly it comes, and when its connection
//! breaks. So an operation runs in a task of its own, which a client that hangs up cannot end half
//! way; it holds one of a bounded number of places until the HSM is done with it; and whatever else
//! needs no token and reaches the HSM has few places of its own.

use crate::admission::{Admission, Denied};
use crate::engine::{Job, Live, Operation};
use crate::forward;
use crate::link::{LinkError, Open, Opening};
use crate::met::Line;
use crate::metrics::REQUEST;
use crate::problem::Problem;
use crate::record::{Recorder, Seen};
use crate::roster::Rosters;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_peers::Peers;
use strongroom_wire::entry::SignedClockChange;
use strongroom_wire::envelope::{Envelope, OpClass};
use strongroom_wire::frame::{LeafBytes, Request, Response as HsmResponse};
use strongroom_wire::limits::ENVELOPE_BYTES_MAX;
use strongroom_wire::manifest::{PlatformClass, SignedManifest};
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{FleetId, MemberId, RecordId, TenantKey, decode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// The OpenAPI document.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What every handler shares.
pub struct Shared {
    /// The manifest in force, and what is served of it.
    pub rosters: Rosters,
    /// One change of members at a time.
    pub reconfiguring: tokio::sync::Mutex<()>,
    /// The fleet.
    pub fleet: FleetId,
    /// Who may come in.
    pub admission: Arc<Admission>,
    /// What there is to work with.
    pub live: watch::Receiver<Option<Live>>,
    /// This member.
    pub member: MemberId,
    /// Who leads, as far as this host knows.
    pub leader: watch::Receiver<Option<MemberId>>,
    /// The other hosts; none for a fleet of one.
    pub peers: Option<Peers>,
    /// The line to them.
    pub(crate) line: Option<Line>,
    /// Operations for the engine.
    pub jobs: mpsc::Sender<Job>,
    /// Starts under way; finishes have places of their own, so that starts never starve them.
    pub starts: Arc<Semaphore>,
    /// Finishes under way.
    pub finishes: Arc<Semaphore>,
    /// Changes of tenants under way.
    pub changes: Arc<Semaphore>,
    /// Questions of operators under way.
    pub inspections: Arc<Semaphore>,
    /// How long a request may take, its body included.
    pub request: Duration,
    /// Writes down what passes.
    pub recorder: Recorder,
    /// Snapshots that other hosts copy from.
    pub(crate) copies: crate::copy::Copies,
    /// Renders the metrics.
    pub prometheus: PrometheusHandle,
}

/// Changes of tenants under way at once. They are rare; and anyone may send one.
pub const CHANGES_MAX: usize = 4;
/// Questions of operators under way at once, for the same reason.
pub const INSPECTIONS_MAX: usize = 4;

type Handler = MethodRouter<Arc<Shared>>;

/// Every route: method, path, handler. The OpenAPI document lists the same ones.
fn routes() -> Vec<(&'static str, &'static str, Handler)> {
    vec![
        ("post", "/v1/vault", post(vault)),
        ("get", "/v1/fleet", get(fleet)),
        ("post", "/v1/tenants", post(tenants)),
        ("post", "/v1/clock", post(clock)),
        ("post", "/v1/members", post(members)),
        ("get", "/v1/status", get(status)),
        ("get", "/healthz", get(|| async { "ok\n" })),
        ("get", "/readyz", get(ready)),
        ("get", "/metrics", get(render_metrics)),
        ("get", "/openapi.json", get(openapi)),
    ]
}

/// Method and path of every route.
pub fn paths() -> Vec<(&'static str, &'static str)> {
    let routes = routes().into_iter();
    routes.map(|(method, path, _)| (method, path)).collect()
}

/// The routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    router
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(DefaultBodyLimit::max(ENVELOPE_BYTES_MAX))
        .layer(from_fn_with_state(shared.clone(), in_time))
        .with_state(shared)
}

/// Bounds a request as a whole: a body that trickles in, and an answer that does not come.
async fn in_time(State(shared): State<Arc<Shared>>, request: HttpRequest, next: Next) -> Response {
    match tokio::time::timeout(shared.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy().into_response(),
    }
}

type Body = Result<Bytes, BytesRejection>;

async fn vault(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body?;
    let began = Instant::now();
    let class = match Envelope::parse(&body) {
        Ok(envelope) => envelope.header.class,
        Err(_) => return Err(Problem::malformed()),
    };
    shared.recorder.record(Seen::Request, &body);
    // Before admission: what is not tried does not count against the account.
    let place = shared.place(class)?;
    let token = match class {
        OpClass::Start => admit(&shared, &headers)?,
        OpClass::Finish => None,
    };
    let operation = forward::carried_out(shared.clone(), class, body, token, place);
    let answer = tokio::spawn(operation).await;
    let name = match class {
        OpClass::Start => "start",
        OpClass::Finish => "finish",
    };
    ::metrics::histogram!(REQUEST, "class" => name).record(began.elapsed().as_secs_f64());
    let answer = answer.unwrap_or_else(|_| Err(Problem::fault()))?;
    shared.recorder.record(Seen::Answer, &answer);
    let octets = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((octets, answer).into_response())
}

impl Shared {
    /// The other members.
    pub(crate) fn others(&self) -> Vec<MemberId> {
        let roster = self.rosters.now();
        let members = roster.manifest.members.iter().map(|member| member.id);
        members.filter(|id| *id != self.member).collect()
    }

    /// A place among the operations under way: places bound what the HSM holds, not how many
    /// connections wait.
    pub(crate) fn place(&self, class: OpClass) -> Result<OwnedSemaphorePermit, Problem> {
        let places = match class {
            OpClass::Start => &self.starts,
            OpClass::Finish => &self.finishes,
        };
        let place = places.clone().try_acquire_owned();
        place.map_err(|_| Problem::busy())
    }
}

/// One operation from its envelope to its answer, by the own HSM, which leads.
pub(crate) async fn operate(
    live: Live,
    jobs: mpsc::Sender<Job>,
    class: OpClass,
    envelope: Bytes,
) -> Result<Vec<u8>, Problem> {
    let (open, record, tenant) = match live.link.open(envelope.into()).await? {
        Opening::Answered(answer) => return Ok(answer),
        Opening::Opened {
            open,
            record,
            tenant,
        } => (open, record, tenant),
    };
    let mut operation = Waiting {
        open,
        record,
        tenant,
    };
    // A finish needs no leaf before it is decided.
    if class == OpClass::Start {
        operation = match evaluate(&live, operation).await? {
            Evaluation::Answered(answer) => return Ok(answer),
            Evaluation::Waits(operation) => operation,
        };
    }
    // The store must be free to be opened again, should the engine have to.
    drop(live);
    let (answer, answered) = oneshot::channel();
    let operation = Operation {
        open: operation.open,
        record: operation.record,
        tenant: operation.tenant,
        evaluated: class == OpClass::Start,
        tries: 0,
        answer,
    };
    let queued = jobs.try_send(Job::Operation(operation));
    queued.map_err(|_| Problem::busy())?;
    answered.await.map_err(|_| Problem::lost())
}

/// An operation that is open inside.
struct Waiting {
    open: Open,
    record: RecordId,
    tenant: Option<TenantKey>,
}

enum Evaluation {
    Answered(Vec<u8>),
    Waits(Waiting),
}

/// Has the HSM do what needs no decision.
async fn evaluate(live: &Live, waiting: Waiting) -> Result<Evaluation, Problem> {
    let leaf = |key: &[u8; 32]| {
        live.store.leaf(key).map_err(|error| {
            tracing::error!(%error, "a leaf cannot be read");
            Problem::busy()
        })
    };
    let evaluate = Request::Evaluate {
        handle: waiting.open.handle(),
        record: leaf(&waiting.record.0)?.map(LeafBytes),
        tenant: match &waiting.tenant {
            Some(tenant) => leaf(&tenant.0)?.map(LeafBytes),
            None => None,
        },
    };
    match live.link.call(&evaluate).await? {
        HsmResponse::Evaluated {
            answer: Some(answer),
        } => {
            waiting.open.settle();
            Ok(Evaluation::Answered(answer.0))
        }
        HsmResponse::Evaluated { answer: None } => Ok(Evaluation::Waits(waiting)),
        _ => Err(LinkError::Unexpected.into()),
    }
}

/// Gives the token where only the leader can tell whether it is good.
fn admit(shared: &Shared, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    let seen = token.unwrap_or_default().as_bytes();
    shared.recorder.record(Seen::Token, seen);
    let token = token.ok_or(Denied::Token)?;
    let follows = *shared.leader.borrow() != Some(shared.member);
    match shared.admission.admit(token) {
        Ok(()) => Ok(None),
        Err(Denied::Token) if follows && shared.peers.is_some() => Ok(Some(token.to_owned())),
        Err(denied) => Err(denied.into()),
    }
}

async fn fleet(State(shared): State<Arc<Shared>>) -> Response {
    let cbor = [(header::CONTENT_TYPE, "application/cbor")];
    (cbor, shared.rosters.now().bundle.clone()).into_response()
}

async fn tenants(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, Problem> {
    let change: SignedTenantChange = decode(&body?).map_err(|_| Problem::malformed())?;
    let place = shared.changes.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::busy())?;
    shared
        .admission
        .check_change(&change)
        .map_err(Problem::tenant)?;
    forward::tenant_changed(&shared, change).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A change of a tenant, by the own HSM, which leads.
pub(crate) async fn change(shared: &Shared, change: SignedTenantChange) -> Result<(), Problem> {
    if shared.live.borrow().is_none() {
        return Err(Problem::lost());
    }
    let (answer, answered) = oneshot::channel();
    let queued = shared.jobs.try_send(Job::Tenant(change, answer));
    queued.map_err(|_| Problem::busy())?;
    let decided = answered.await.map_err(|_| Problem::lost())?;
    decided.map_err(Problem::tenant)
}

async fn clock(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, Problem> {
    let change: SignedClockChange = decode(&body?).map_err(|_| Problem::malformed())?;
    let place = shared.changes.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::busy())?;
    forward::clock_changed(&shared, change).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The officers' change of the clock, by the own HSM, which leads.
pub(crate) async fn set_clock(shared: &Shared, change: SignedClockChange) -> Result<(), Problem> {
    if shared.live.borrow().is_none() {
        return Err(Problem::lost());
    }
    let (answer, answered) = oneshot::channel();
    let queued = shared.jobs.try_send(Job::Clock(change, answer));
    queued.map_err(|_| Problem::busy())?;
    let decided = answered.await.map_err(|_| Problem::lost())?;
    decided.map_err(Problem::clock)
}

async fn members(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, Problem> {
    let change: SignedManifest = decode(&body?).map_err(|_| Problem::malformed())?;
    let place = shared.changes.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::busy())?;
    forward::members_changed(&shared, change).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The word for a platform's class.
pub(crate) fn class_name(class: PlatformClass) -> &'static str {
    match class {
        PlatformClass::None => "none",
        PlatformClass::AtRest => "at-rest",
        PlatformClass::Isolating => "isolating",
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let place = shared.inspections.clone().try_acquire_owned();
    let _place = place.map_err(|_| Problem::busy())?;
    let live = shared.live.borrow().clone();
    let inspection = match &live {
        Some(live) => live.link.call(&Request::Inspect).await.ok(),
        None => None,
    };
    let standing = match inspection {
        Some(HsmResponse::Inspection(i)) => json!({
            "index": i.tip.index.0, "epoch": i.tip.epoch.0, "hash": hex::encode(i.tip.hash.0),
            "leading": i.leading.is_some(),
            "open": i.handles, "held": i.held, "refused": i.refused, "clock_ms": i.clock.0,
        }),
        _ => serde_json::Value::Null,
    };
    let roster = shared.rosters.now();
    let members = roster.manifest.members.iter().map(|member| {
        let reached = member.id == shared.member
            || shared
                .peers
                .as_ref()
                .is_some_and(|p| p.reachable(member.id));
        json!({
            "id": member.id.0, "platform": member.platform, "site": member.site,
            "reached": reached,
            "class": class_name(member.class),
        })
    });
    let members: Vec<_> = members.collect();
    let disk = live.as_ref().and_then(|live| live.store.disk_bytes().ok());
    let applied = live.and_then(|live| live.store.standing().ok().flatten());
    let applied = applied.map(|standing| {
        json!({
            "index": standing.header.index.0, "root": standing.header.root.to_string(),
            "time_ms": standing.header.time.0, "clock_changes": standing.state.clock_changes,
            "greatest_member": standing.state.greatest_member.map(|member| member.0),
        })
    });
    let body = json!({
        "fleet": shared.fleet.to_string(), "version": env!("CARGO_PKG_VERSION"),
        "member": shared.member.0, "leader": shared.leader.borrow().map(|leader| leader.0),
        "members": members, "quorum": roster.manifest.quorum(),
        "manifest_epoch": roster.manifest.epoch, "standing": standing,
        "applied": applied, "disk_bytes": disk,
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, body.to_string()).into_response())
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.live.borrow().is_some() {
        "ready\n".into_response()
    } else {
        let words = "the HSM is not at work\n";
        (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
    }
}

async fn render_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, shared.prometheus.render()).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
