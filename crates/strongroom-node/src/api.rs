//! The HTTP API (DESIGN §11): bytes in, bytes out, problems in words (RFC 9457).

use crate::admission::{Admission, Denied};
use crate::engine::{Job, Live, Operation, is_busy};
use crate::link::{Link, LinkError};
use crate::record::{Recorder, Seen};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_wire::envelope::{Envelope, OpClass};
use strongroom_wire::frame::{LeafBytes, Request, Response as HsmResponse};
use strongroom_wire::limits::ENVELOPE_BYTES_MAX;
use strongroom_wire::manifest::Manifest;
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{FleetId, decode};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tower_http::timeout::TimeoutLayer;

/// The OpenAPI document.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What every handler shares.
pub struct Shared {
    /// The bundle, as served.
    pub bundle: Vec<u8>,
    /// Its manifest.
    pub manifest: Manifest,
    /// The fleet.
    pub fleet: FleetId,
    /// Who may come in.
    pub admission: Admission,
    /// What there is to work with.
    pub live: watch::Receiver<Option<Live>>,
    /// Operations for the engine.
    pub jobs: mpsc::Sender<Job>,
    /// Starts under way; finishes have places of their own, so that starts never starve them.
    pub starts: Semaphore,
    /// Finishes under way.
    pub finishes: Semaphore,
    /// Writes down what passes.
    pub recorder: Recorder,
    /// Renders the metrics.
    pub prometheus: PrometheusHandle,
}

/// Starts under way at once.
pub const STARTS_MAX: usize = 512;
/// Finishes under way at once.
pub const FINISHES_MAX: usize = 512;

/// The routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/vault", post(vault))
        .route("/v1/fleet", get(fleet))
        .route("/v1/tenants", post(tenants))
        .route("/v1/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(ENVELOPE_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            TIMEOUT,
        ))
        .with_state(shared)
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// A problem in words, and when to come back.
struct Problem {
    status: StatusCode,
    name: &'static str,
    detail: &'static str,
    retry_after_s: Option<u64>,
}

impl Problem {
    const fn new(status: StatusCode, name: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            name,
            detail,
            retry_after_s: None,
        }
    }

    const fn busy() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            name: "busy",
            detail: "the vault is busy or starting; nothing was spent, send the same again",
            retry_after_s: Some(1),
        }
    }

    const fn malformed() -> Self {
        let detail = "the envelope is malformed, damaged, or sealed to another fleet or key";
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let name = self.name;
        metrics::counter!("strongroom_problems_total", "problem" => name).increment(1);
        let body = json!({
            "type": format!("urn:strongroom:problem:{name}"),
            "title": name, "status": self.status.as_u16(), "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        let json = header::HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

type Answer = Result<Vec<u8>, Problem>;

async fn vault(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let began = Instant::now();
    let class = match Envelope::parse(&body) {
        Ok(envelope) => envelope.header.class,
        Err(_) => return Problem::malformed().into_response(),
    };
    shared.recorder.record(Seen::Request, &body);
    let answer = handle(&shared, class, &headers, body).await;
    let name = if class == OpClass::Start {
        "start"
    } else {
        "finish"
    };
    metrics::histogram!("strongroom_request_seconds", "class" => name)
        .record(began.elapsed().as_secs_f64());
    match answer {
        Ok(bytes) => {
            shared.recorder.record(Seen::Answer, &bytes);
            let octets = [(header::CONTENT_TYPE, "application/octet-stream")];
            (octets, bytes).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn handle(shared: &Shared, class: OpClass, headers: &HeaderMap, body: Bytes) -> Answer {
    let places = match class {
        OpClass::Start => {
            admit(shared, headers)?;
            &shared.starts
        }
        OpClass::Finish => &shared.finishes,
    };
    let _place = places.try_acquire().map_err(|_| Problem::busy())?;
    let live = shared.live.borrow().clone().ok_or_else(Problem::busy)?;
    let open = Request::Open {
        envelope: body.into(),
    };
    let (handle, record, tenant) = match live.link.call(&open).await.map_err(refused)? {
        HsmResponse::Opened {
            handle,
            record,
            tenant,
        } => (handle, record, tenant),
        HsmResponse::Evaluated {
            answer: Some(answer),
        } => return Ok(answer.0),
        _ => return Err(fault()),
    };
    let leaf = |key: &[u8; 32]| live.store.leaf(key).map_err(|_| Problem::busy());
    let evaluate = Request::Evaluate {
        handle,
        record: leaf(&record.0)?.map(LeafBytes),
        tenant: match &tenant {
            Some(tenant) => leaf(&tenant.0)?.map(LeafBytes),
            None => None,
        },
    };
    match live.link.call(&evaluate).await.map_err(refused)? {
        HsmResponse::Evaluated {
            answer: Some(answer),
        } => return Ok(answer.0),
        HsmResponse::Evaluated { answer: None } => {}
        _ => return Err(fault()),
    }
    let (answer, answered) = oneshot::channel();
    let operation = Operation {
        handle,
        record,
        tenant,
        tries: 0,
        answer,
    };
    if shared.jobs.try_send(Job::Operation(operation)).is_err() {
        forget(&live.link, handle).await;
        return Err(Problem::busy());
    }
    answered.await.map_err(|_| Problem::busy())
}

async fn forget(link: &Link, handle: strongroom_wire::Handle) {
    // If it fails the HSM is gone, and the handle with it.
    let _ = link
        .call(&Request::Forget {
            handles: vec![handle],
        })
        .await;
}

fn admit(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    let seen = token.unwrap_or_default().as_bytes();
    shared.recorder.record(Seen::Token, seen);
    match token.map_or(Err(Denied::Token), |token| shared.admission.admit(token)) {
        Ok(()) => Ok(()),
        Err(Denied::Token) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "admission",
            "the admission token is missing, expired or not for this node",
        )),
        Err(Denied::Rate(seconds)) => Err(Problem {
            status: StatusCode::TOO_MANY_REQUESTS,
            name: "rate",
            detail: "too many requests for this account or tenant; nothing was spent",
            retry_after_s: Some(seconds),
        }),
    }
}

fn refused(error: LinkError) -> Problem {
    if is_busy(error) {
        Problem::busy()
    } else {
        Problem::malformed()
    }
}

fn fault() -> Problem {
    let detail = "the HSM answered another question; see the node's log";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
}

async fn fleet(State(shared): State<Arc<Shared>>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/cbor")],
        shared.bundle.clone(),
    )
        .into_response()
}

async fn tenants(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(change) = decode::<SignedTenantChange>(&body) else {
        return Problem::malformed().into_response();
    };
    let (answer, answered) = oneshot::channel();
    if shared.jobs.try_send(Job::Tenant(change, answer)).is_err() {
        return Problem::busy().into_response();
    }
    match answered.await {
        Err(_) => Problem::busy().into_response(),
        Ok(Err(refusal)) => {
            let body = json!({
                "type": "urn:strongroom:problem:tenant", "title": "tenant", "status": 409,
                "detail": format!("the fleet refused the change: {refusal:?}"),
            });
            (StatusCode::CONFLICT, body.to_string()).into_response()
        }
        Ok(Ok(())) => {
            let live = shared.live.borrow().clone();
            match live.map(|live| shared.admission.refresh(&live.store)) {
                Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
                _ => Problem::busy().into_response(),
            }
        }
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let live = shared.live.borrow().clone();
    let inspection = match &live {
        Some(live) => live.link.call(&Request::Inspect).await.ok(),
        None => None,
    };
    let standing = match inspection {
        Some(HsmResponse::Inspection(i)) => json!({
            "index": i.tip.index.0, "epoch": i.tip.epoch.0, "leading": i.leading.is_some(),
            "open": i.handles, "held": i.held, "refused": i.refused, "clock_ms": i.clock.0,
        }),
        _ => serde_json::Value::Null,
    };
    let members: Vec<_> = shared
        .manifest
        .members
        .iter()
        .map(|member| {
            json!({
                "id": member.id.0, "platform": member.platform, "site": member.site,
                "class": format!("{:?}", member.class).to_lowercase(),
            })
        })
        .collect();
    let disk = live.and_then(|live| live.store.disk_bytes().ok());
    let body = json!({
        "fleet": shared.fleet.to_string(), "version": env!("CARGO_PKG_VERSION"),
        "members": members, "quorum": shared.manifest.quorum(), "standing": standing,
        "disk_bytes": disk,
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.live.borrow().is_some() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the HSM is not at work\n").into_response()
    }
}

async fn render_metrics(State(shared): State<Arc<Shared>>) -> String {
    shared.prometheus.render()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
