//! What went wrong, for a program and its reader (RFC 9457).

use super::Unpublished;
use crate::auditor::AuditorError;
use crate::submission::Unwelcome;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A problem.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            name,
            detail: detail.into(),
        }
    }

    pub(super) fn not_found() -> Self {
        let detail = "no such file in the published tree; see /checkpoint";
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(super) fn wrong_method() -> Self {
        let detail = "this path has other methods";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
    }

    pub(super) fn forked(error: &Unpublished) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "forked",
            error.to_string(),
        )
    }

    pub(super) fn not_compared() -> Self {
        let detail = "too few witnesses answer to tell whether this is the newest tree, as after a \
                      restored copy; nothing was logged; send the very same again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-compared", detail)
    }

    pub(super) fn busy() -> Self {
        let detail = "too many submissions, or too slow; send the very same one again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    pub(super) fn fault() -> Self {
        let detail = "a fault of the log; see its own messages";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    }

    pub(super) fn unwelcome(unwelcome: Unwelcome) -> Self {
        let (status, name) = match unwelcome {
            Unwelcome::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Unwelcome::Origin => (StatusCode::FORBIDDEN, "origin"),
            Unwelcome::Signature | Unwelcome::Submitter => (StatusCode::FORBIDDEN, "submitter"),
        };
        Self::new(status, name, unwelcome.to_string())
    }

    pub(super) fn unwitnessed(index: u64, error: &dyn std::fmt::Display) -> Self {
        let detail = format!("logged at index {index}, but {error}; send the very same again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unwitnessed", detail)
    }

    pub(super) fn auditor(error: AuditorError) -> Self {
        match error {
            AuditorError::Unwelcome(unwelcome) => Self::unwelcome(unwelcome),
            AuditorError::Denied(denied) => {
                Self::new(StatusCode::CONFLICT, "denied", denied.to_string())
            }
            error => {
                tracing::error!(%error, "the log failed");
                Self::fault()
            }
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), "malformed", rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:strongroom:problem:{}", self.name),
            "title": self.name, "status": self.status.as_u16(), "detail": self.detail,
        });
        let headers = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let mut response = (self.status, headers, body.to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, 2.into());
        }
        response
    }
}
