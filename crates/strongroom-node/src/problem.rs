//! Problems in words (RFC 9457): everything but a success leaves the API as one of these.
//!
//! Who may be lying: any client. So a problem says what its sender can do about it and nothing
//! that tells a near miss from a wild one: a token is no good, an envelope does not open, for
//! whatever reason.

use crate::admission::Denied;
use crate::link::LinkError;
use crate::metrics::PROBLEMS;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::borrow::Cow;
use strongroom_wire::frame::HsmError;
use strongroom_wire::tenant::TenantRefusal;

/// A problem, and when to come back.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    name: Cow<'static, str>,
    detail: Cow<'static, str>,
    retry_after_s: Option<u64>,
    /// The fleet may have done it, but the answer is lost: the very same request, sent again, gets
    /// it. A host of a fleet does so itself.
    lost: bool,
}

impl Problem {
    const fn new(status: StatusCode, name: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            name: Cow::Borrowed(name),
            detail: Cow::Borrowed(detail),
            retry_after_s: None,
            lost: false,
        }
    }

    /// Send the same again. Not "nothing was spent": the answer to a spent guess may be what was
    /// lost. The retry of the same guess is free either way.
    pub(crate) const fn busy() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            name: Cow::Borrowed("busy"),
            detail: Cow::Borrowed(
                "the vault is busy or starting, or the answer was lost; send the very same \
                 request again: it costs no other guess",
            ),
            retry_after_s: Some(1),
            lost: false,
        }
    }

    /// As [`Self::busy`], where another host may have what it takes.
    pub(crate) const fn lost() -> Self {
        let mut problem = Self::busy();
        problem.lost = true;
        problem
    }

    /// Whether the same request may go better elsewhere.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// For another host, which gives it to its client.
    pub(crate) fn to_parts(&self) -> (u16, String, String, Option<u64>, bool) {
        let (name, detail) = (self.name.to_string(), self.detail.to_string());
        (
            self.status.as_u16(),
            name,
            detail,
            self.retry_after_s,
            self.lost,
        )
    }

    /// From another host.
    pub(crate) fn from_parts(parts: (u16, String, String, Option<u64>, bool)) -> Self {
        let (status, name, detail, retry_after_s, lost) = parts;
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            name: Cow::Owned(name),
            detail: Cow::Owned(detail),
            retry_after_s,
            lost,
        }
    }

    /// The envelope is none, or does not open: one answer for every cause.
    pub(crate) const fn malformed() -> Self {
        let detail = "the envelope is malformed, damaged, or sealed to another fleet or key";
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// A fault of node or HSM.
    pub(crate) const fn fault() -> Self {
        let detail = "node and HSM disagree; see the node's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    }

    /// No such path.
    pub(crate) const fn not_found() -> Self {
        let detail = "no such path; see /openapi.json";
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// No such method on that path.
    pub(crate) const fn wrong_method() -> Self {
        let detail = "this path has other methods; see /openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
    }

    /// The fleet refused the officers' change of the clock.
    pub(crate) fn clock(error: HsmError) -> Self {
        let detail = "the change is not the next one, too few officers signed it, or the new time \
                      is ahead of the leader's clock; see /v1/status for number and time";
        match error {
            HsmError::ClockChangeInvalid => Self::new(StatusCode::CONFLICT, "clock", detail),
            error => LinkError::Hsm(error).into(),
        }
    }

    /// The fleet refused the change of members.
    pub(crate) fn members(why: &str) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            name: Cow::Borrowed("members"),
            detail: Cow::Owned(format!("the members stay as they are: {why}")),
            retry_after_s: None,
            lost: false,
        }
    }

    /// A joiner takes its copy of the store.
    pub(crate) const fn copying() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            name: Cow::Borrowed("copying"),
            detail: Cow::Borrowed("the member that joins copies the store; send the same again"),
            retry_after_s: Some(1),
            lost: false,
        }
    }

    /// The fleet refused the change of a tenant.
    pub(crate) fn tenant(refusal: TenantRefusal) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            name: Cow::Borrowed("tenant"),
            detail: Cow::Owned(format!("the fleet refused the change: {refusal:?}")),
            retry_after_s: None,
            lost: false,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Token => Self::new(
                StatusCode::UNAUTHORIZED,
                "admission",
                "the admission token is missing, expired or not for this node",
            ),
            Denied::Rate(seconds) => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                name: Cow::Borrowed("rate"),
                detail: Cow::Borrowed(
                    "too many requests for this account or tenant; nothing was spent",
                ),
                retry_after_s: Some(seconds),
                lost: false,
            },
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed | LinkError::Silent => Self::lost(),
            LinkError::Hsm(HsmError::EnvelopeUnopened | HsmError::FrameMalformed) => {
                Self::malformed()
            }
            LinkError::Hsm(HsmError::Busy | HsmError::TooEarly) => Self::busy(),
            // It is starting, or another process than the one that gave the handle.
            LinkError::Hsm(
                HsmError::HandleUnknown | HsmError::NotLeading | HsmError::WrongPhase,
            ) => Self::lost(),
            LinkError::Hsm(_) | LinkError::Unexpected => {
                tracing::error!(%error, "the HSM refused what this node brought");
                Self::fault()
            }
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "the body is longer than an envelope can be";
            Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        } else {
            Self::malformed()
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let name = self.name;
        ::metrics::counter!(PROBLEMS, "problem" => name.clone()).increment(1);
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
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
