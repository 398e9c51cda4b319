//! Errors of requests, and their status codes. An answer explains an error of the caller; the cause
//! of an internal error is only logged.
//!
//! An error has two forms: `{err,msg}` of the legacy v1 API under its two prefixes, and a problem
//! (RFC 9457) elsewhere. Handlers return an [`ApiError`], and [`write()`] encodes it in the form of
//! the path.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskcenter_client::resources::Problem;
use taskcenter_client::wire::ErrorReply;

use super::error_code::Code;
use super::{quota, rules};
use crate::core::quota::QuotaExceeded;
use crate::core::submission::InvalidSubmission;
use crate::engine::service::{Denied, PortError, ServiceError};

/// Path prefixes of the legacy v1 API.
const LEGACY_PREFIXES: [&str; 2] = ["/v1/api", "/api/v1"];
/// Content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// A field is invalid.
    Field {
        /// Path of the field.
        field: Cow<'static, str>,
        /// Message. Clients of the legacy v1 API match on it.
        msg: Cow<'static, str>,
        /// Human-readable detail, if any.
        detail: Option<String>,
    },
    /// A field cannot be decoded.
    Format {
        /// The field; `body` for the body as a whole.
        field: Cow<'static, str>,
        /// What was expected.
        detail: String,
    },
    /// The caller has no valid token.
    Unauthorized(Denied),
    /// The token of the caller does not allow the request; it needs this.
    Forbidden(&'static str),
    /// The path does not exist.
    NoRoute,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body has more bytes than this limit.
    BodyTooLarge(usize),
    /// The required header `If-Match` is absent.
    IfMatchRequired,
    /// The caller has exceeded its request rate.
    TooManyRequests {
        /// Seconds until the next request is allowed.
        retry_after_sec: u64,
    },
    /// The request exceeded its time limit.
    Timeout,
    /// The service refused or failed the command.
    Service(ServiceError),
    /// Any other internal error.
    Internal(String),
}

impl ApiError {
    /// Creates an error of an invalid field.
    pub fn field(field: impl Into<Cow<'static, str>>, msg: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), msg: msg.into(), detail: None }
    }

    /// Creates an error of a field that cannot be decoded.
    pub fn format(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Format { field: field.into(), detail: detail.into() }
    }

    /// Returns what the token of the caller lacks.
    pub const fn missing_right(&self) -> Option<&'static str> {
        match self {
            Self::Forbidden(missing) => Some(*missing),
            _ => None,
        }
    }

    /// Creates the error of an unknown resource.
    pub fn not_found() -> Self {
        Self::Service(ServiceError::NotFound)
    }

    /// Prefixes the field with the path of a list item, such as `tasks[3]`.
    #[must_use]
    pub fn under(self, at: &str) -> Self {
        match self {
            Self::Field { field, msg, detail } => {
                Self::Field { field: format!("{at}.{field}").into(), msg, detail }
            }
            other => other,
        }
    }

    /// Returns the invalid field, which may be empty, and the message.
    pub fn into_field(self) -> (String, String) {
        (self.invalid_field().unwrap_or_default(), self.message().into_owned())
    }

    fn code(&self) -> Code {
        match self {
            Self::Format { field, .. } if field == "body" => Code::MalformedBody,
            Self::Field { .. } | Self::Format { .. } => Code::InvalidField,
            Self::Forbidden(_) => Code::Forbidden,
            Self::NoRoute => Code::NoRoute,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::BodyTimeout => Code::BodyTimeout,
            Self::BodyTooLarge(_) => Code::BodyTooLarge,
            Self::IfMatchRequired => Code::IfMatchRequired,
            Self::TooManyRequests { .. } => Code::TooManyRequests,
            Self::Timeout => Code::Timeout,
            Self::Unauthorized(Denied::Unchecked(error)) | Self::Service(error) => Code::of(error),
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// Returns the message of the error.
    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Field { msg, detail: None, .. } => msg.clone(),
            Self::Field { msg, detail: Some(detail), .. } => format!("{msg}: {detail}").into(),
            Self::Format { detail, .. } => detail.clone().into(),
            Self::Forbidden(needed) => format!("the token does not allow this request: use {needed}").into(),
            Self::NoRoute => "no such route".into(),
            Self::MethodNotAllowed => "method not allowed".into(),
            Self::BodyTimeout => "the request body did not arrive in time".into(),
            Self::BodyTooLarge(limit) => format!("the request body is over {limit} bytes").into(),
            Self::IfMatchRequired => {
                "If-Match is missing: send the ETag of the revision to edit, or *".into()
            }
            Self::TooManyRequests { .. } => "too many requests from this address; nothing was done".into(),
            Self::Timeout => "the request took too long; it may or may not have been done: repeat it".into(),
            Self::Unauthorized(Denied::Unchecked(error)) | Self::Service(error) => service_message(error),
            Self::Unauthorized(denied) => denial_message(denied).into(),
            Self::Internal(_) => "internal error".into(),
        }
    }

    /// Returns the path of the invalid field, by the names of the resource API.
    fn invalid_field(&self) -> Option<String> {
        match self {
            Self::Field { field, .. } | Self::Format { field, .. } => Some(field.to_string()),
            Self::IfMatchRequired => Some("If-Match".to_owned()),
            Self::Service(ServiceError::Invalid(invalid)) => Some(rules::field(invalid).to_owned()),
            Self::Service(ServiceError::Token(invalid)) => Some(invalid.field().to_owned()),
            Self::Service(ServiceError::User(invalid)) => Some(invalid.field().to_owned()),
            Self::Service(ServiceError::Operation(invalid)) => Some(invalid.field.clone()),
            Self::Service(ServiceError::Calendar(invalid)) => Some(invalid.field.clone()),
            Self::Service(ServiceError::Silence(invalid)) => Some(invalid.field.to_owned()),
            Self::Service(ServiceError::Hold(invalid)) => Some(invalid.field.to_owned()),
            Self::Service(ServiceError::Quota(QuotaExceeded::List { .. })) => Some("tasks".to_owned()),
            _ => None,
        }
    }

    /// Returns the live task that has the deduplication key of the request.
    fn key_holder(&self) -> Option<String> {
        match self {
            Self::Service(ServiceError::KeyHeld(id)) => Some(id.to_string()),
            _ => None,
        }
    }

    fn exceeded_quota(&self) -> Option<&QuotaExceeded> {
        match self {
            Self::Service(ServiceError::Quota(exceeded)) => Some(exceeded),
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        let (code, status) = (self.code(), self.code().status());
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.message().into_owned(),
            code: code.as_str().to_owned(),
            field: self.invalid_field(),
            task_id: self.key_holder(),
            quota: self.exceeded_quota().and_then(quota::problem),
        }
    }

    /// Returns the problem of a list item; `at` is the path of the item, such as `tasks[3]`.
    pub fn of_item(self, at: &str) -> Problem {
        self.log();
        let mut problem = self.problem();
        problem.field = problem.field.map(|field| format!("{at}.{field}"));
        problem
    }

    /// Returns the error in the form and with the messages of the legacy v1 API.
    fn legacy(&self) -> ErrorReply {
        let err = i32::from(self.code().status().as_u16());
        let (msg, field, detail) = match self {
            Self::Field { field, msg, detail } => (msg.clone(), Some(field.to_string()), detail.clone()),
            Self::Format { field, detail } => {
                ("request body format error".into(), Some(field.to_string()), Some(detail.clone()))
            }
            Self::Service(ServiceError::Invalid(invalid)) => rules::legacy_message(invalid),
            _ => (self.message(), None, None),
        };
        ErrorReply { err, msg: msg.into_owned(), field, detail }
    }

    fn retry_after_sec(&self, status: StatusCode) -> Option<u64> {
        match self {
            Self::TooManyRequests { retry_after_sec }
            | Self::Service(ServiceError::TooManyAttempts { retry_after_sec }) => Some(*retry_after_sec),
            Self::Service(ServiceError::Quota(exceeded)) => exceeded.retry_after_sec(),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    fn log(&self) {
        match self {
            Self::Service(ServiceError::Port(
                error @ (PortError::Unavailable(..) | PortError::Interrupted(..)),
            ))
            | Self::Unauthorized(Denied::Unchecked(ServiceError::Port(error))) => {
                tracing::warn!(cause = chain(error), "back end unavailable");
            }
            Self::Service(ServiceError::Port(error)) => {
                tracing::error!(cause = chain(error), "request failed");
            }
            Self::Internal(cause) => tracing::error!(cause, "request failed"),
            _ => {}
        }
    }
}

fn service_message(error: &ServiceError) -> Cow<'static, str> {
    match error {
        ServiceError::Invalid(invalid) => rules::message(invalid),
        ServiceError::Port(PortError::Unavailable(..)) => {
            "the store is unavailable; it may or may not have been done: repeat it".into()
        }
        ServiceError::Port(PortError::Interrupted(..)) => {
            "the store interrupted a query that took too long: repeat the request, or use a narrower filter"
                .into()
        }
        ServiceError::Port(PortError::Full(..)) => "the store is full; nothing was done".into(),
        ServiceError::Port(_) => "internal error".into(),
        other => other.to_string().into(),
    }
}

/// Returns the message for a caller that is not admitted.
fn denial_message(denied: &Denied) -> &'static str {
    match denied {
        Denied::Missing => {
            "a token is required, because the call does not come directly from the machine of the server (or \
             because access.required is \"always\"): create one with `taskcenter token add NAME --scope ...` and \
             send it as `Authorization: Bearer TOKEN`"
        }
        Denied::Expired => "the token has expired: create another with `taskcenter token add`",
        Denied::Unknown | Denied::Unchecked(_) => {
            "the token is unknown: it is mistyped or revoked; `taskcenter token list` shows the valid ones"
        }
    }
}

/// Returns the header `WWW-Authenticate` of an error (RFC 6750).
fn challenge(error: &ApiError) -> Option<HeaderValue> {
    let challenge = match error {
        ApiError::Unauthorized(Denied::Missing) => "Bearer realm=\"taskcenter\"",
        ApiError::Unauthorized(Denied::Unknown | Denied::Expired) => {
            "Bearer realm=\"taskcenter\", error=\"invalid_token\""
        }
        ApiError::Forbidden(_) => "Bearer realm=\"taskcenter\", error=\"insufficient_scope\"",
        _ => return None,
    };
    Some(HeaderValue::from_static(challenge))
}

/// Returns the text of an error and of all its causes, joined by colons.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<InvalidSubmission> for ApiError {
    fn from(invalid: InvalidSubmission) -> Self {
        Self::Service(invalid.into())
    }
}

/// Error of an answer whose body has not been written yet.
#[derive(Debug, Clone)]
struct Refusal(Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.code().status();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_sec(status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = challenge(&self) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
            // The rest of the body is not read, so the connection cannot be used again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Refusal(Arc::new(self)));
        response
    }
}

/// Writes the body of an error answer, in the form of the path. Other answers do not change.
pub fn write(path: &str, mut response: Response) -> Response {
    let Some(Refusal(error)) = response.extensions_mut().remove::<Refusal>() else { return response };
    let (kind, body) = if is_legacy(path) {
        ("application/json", serde_json::to_vec(&error.legacy()))
    } else {
        (PROBLEM_JSON, serde_json::to_vec(&error.problem()))
    };
    // Both forms consist of strings and numbers, so the encoding cannot fail.
    *response.body_mut() = Body::from(body.unwrap_or_default());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn is_legacy(path: &str) -> bool {
    let below = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    LEGACY_PREFIXES.iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn an_answer_does_not_contain_the_cause_of_an_internal_error() {
        for error in [
            PortError::Unavailable("MongoDB", CANARY.into()),
            PortError::Refused("MongoDB", CANARY.into()),
            PortError::Corrupt("MongoDB", CANARY.into()),
            PortError::Full("SQLite", CANARY.into()),
            PortError::Interrupted("SQLite", CANARY.into()),
        ] {
            let error = ApiError::from(ServiceError::Port(error));
            let text = format!("{:?}{:?}", error.legacy(), error.problem());
            assert!(!text.contains(CANARY), "{text}");
        }
    }

    #[test]
    fn only_an_unavailable_store_has_retry_after() {
        let answer = |error| ApiError::from(ServiceError::Port(error)).into_response();
        let away = answer(PortError::Unavailable("MongoDB", "no primary".into()));
        assert_eq!(
            (away.status().as_u16(), &away.headers()["retry-after"]),
            (503, &HeaderValue::from_static("1"))
        );
        let slow = answer(PortError::Interrupted("MongoDB", "time limit".into()));
        assert_eq!((slow.status().as_u16(), slow.headers().contains_key("retry-after")), (503, true));
        let full = answer(PortError::Full("SQLite", "no space".into()));
        assert_eq!((full.status().as_u16(), full.headers().get("retry-after")), (507, None));
    }

    #[test]
    fn the_path_selects_the_form_of_an_error() {
        for path in ["/v1/api", "/v1/api/task", "/api/v1/nothing"] {
            assert!(is_legacy(path), "{path}");
        }
        for path in ["/", "/v1", "/v1/apis", "/v1/tasks", "/api/v10/task", "/livez"] {
            assert!(!is_legacy(path), "{path}");
        }
    }
}
