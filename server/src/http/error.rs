//! The one place that knows status codes. Callers hear what they did wrong; what went wrong with us is logged and hidden.
//!
//! A refusal has two shapes: the legacy contract's `{err,msg}` under its two prefixes, and a problem (RFC 9457) everywhere else. A
//! handler knows neither: its error travels with the answer, and [`write()`] puts it into the shape of the path's family.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskcenter_client::resources::Problem;
use taskcenter_client::wire::ErrorReply;

use super::rules;
use crate::core::submission::InvalidSubmission;
use crate::engine::service::{Denied, PortError, ServiceError};

/// Where the answers of the legacy contract live.
const LEGACY_PREFIXES: [&str; 2] = ["/v1/api", "/api/v1"];
/// What a problem's Content-Type says.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The one table of refusals: the word that programs go by, and its status. `docs/api.md` lists it for them.
macro_rules! codes {
    ($($code:ident => $word:literal $status:ident,)*) => {
        /// What kind of refusal it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Code { $($code),* }

        impl Code {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$code),*];

            const fn word(self) -> &'static str {
                match self { $(Self::$code => $word),* }
            }

            const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }
        }
    };
}

codes! {
    InvalidField => "invalid_field" BAD_REQUEST,
    MalformedBody => "malformed_body" BAD_REQUEST,
    Unauthorized => "unauthorized" UNAUTHORIZED,
    Forbidden => "forbidden" FORBIDDEN,
    NotFound => "not_found" NOT_FOUND,
    NoRoute => "no_such_route" NOT_FOUND,
    MethodNotAllowed => "method_not_allowed" METHOD_NOT_ALLOWED,
    BodyTimeout => "body_timeout" REQUEST_TIMEOUT,
    Duplicate => "duplicate" CONFLICT,
    RunState => "run_state" CONFLICT,
    Stale => "stale" CONFLICT,
    TaskOver => "task_over" CONFLICT,
    RevisionMoved => "revision_moved" PRECONDITION_FAILED,
    BodyTooLarge => "body_too_large" PAYLOAD_TOO_LARGE,
    KeyReused => "idempotency_key_reused" UNPROCESSABLE_ENTITY,
    IfMatchRequired => "if_match_required" PRECONDITION_REQUIRED,
    TooManyRequests => "too_many_requests" TOO_MANY_REQUESTS,
    Internal => "internal" INTERNAL_SERVER_ERROR,
    StoreUnavailable => "store_unavailable" SERVICE_UNAVAILABLE,
    Timeout => "timeout" SERVICE_UNAVAILABLE,
    StoreFull => "store_full" INSUFFICIENT_STORAGE,
}

/// Why a request was not done.
#[derive(Debug)]
pub enum ApiError {
    /// A field is wrong.
    Field {
        /// The field.
        field: Cow<'static, str>,
        /// The message, which old clients match on.
        msg: Cow<'static, str>,
        /// More for a person.
        detail: Option<String>,
    },
    /// A field, or `body` as a whole, cannot be decoded.
    Format {
        /// The field.
        field: Cow<'static, str>,
        /// What it should be.
        detail: String,
    },
    /// Who asks does not get in.
    Unauthorized(Denied),
    /// Their token does not allow it; what it would take.
    Forbidden(&'static str),
    /// No such route.
    NoRoute,
    /// The route is there, not with this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is over the limit of so many bytes.
    BodyTooLarge(usize),
    /// A change that must say which revision it is of does not.
    IfMatchRequired,
    /// The caller asks too often.
    TooManyRequests {
        /// When it may ask again.
        retry_after_sec: u64,
    },
    /// The work took too long.
    Timeout,
    /// The command said no.
    Service(ServiceError),
    /// Anything else that is not the caller's fault.
    Internal(String),
}

impl ApiError {
    /// A field with a message.
    pub fn field(field: impl Into<Cow<'static, str>>, msg: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), msg: msg.into(), detail: None }
    }

    /// What the contract calls undecodable, with the field at fault.
    pub fn format(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Format { field: field.into(), detail: detail.into() }
    }

    /// There is no such thing.
    pub fn not_found() -> Self {
        Self::Service(ServiceError::NotFound)
    }

    /// The same of an item of a list; `at` is the item's place in the body.
    #[must_use]
    pub fn under(self, at: &str) -> Self {
        match self {
            Self::Field { field, msg, detail } => {
                Self::Field { field: format!("{at}.{field}").into(), msg, detail }
            }
            other => other,
        }
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
            Self::Unauthorized(Denied::Unchecked(error)) | Self::Service(error) => code_of(error),
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// What is wrong, in one sentence.
    fn sentence(&self) -> Cow<'static, str> {
        match self {
            Self::Field { msg, detail: None, .. } => msg.clone(),
            Self::Field { msg, detail: Some(detail), .. } => format!("{msg}: {detail}").into(),
            Self::Format { detail, .. } => detail.clone().into(),
            Self::Forbidden(needed) => format!("the token does not allow this; it takes {needed}").into(),
            Self::NoRoute => "no such route".into(),
            Self::MethodNotAllowed => "method not allowed".into(),
            Self::BodyTimeout => "the request body did not arrive in time".into(),
            Self::BodyTooLarge(limit) => format!("the request body is over {limit} bytes").into(),
            Self::IfMatchRequired => {
                "If-Match should name the revision that is changed, as its ETag does, or be *".into()
            }
            Self::TooManyRequests { .. } => "too many requests from this address; nothing was done".into(),
            Self::Timeout => "the request took too long; it may or may not have been done: repeat it".into(),
            Self::Unauthorized(Denied::Unchecked(error)) | Self::Service(error) => sentence_of(error),
            Self::Unauthorized(denied) => unauthorized(denied).into(),
            Self::Internal(_) => "internal error".into(),
        }
    }

    /// The field at fault, by the resource API's names.
    fn field_at_fault(&self) -> Option<String> {
        match self {
            Self::Field { field, .. } | Self::Format { field, .. } => Some(field.to_string()),
            Self::IfMatchRequired => Some("If-Match".to_owned()),
            Self::Service(ServiceError::Invalid(invalid)) => Some(rules::field(invalid).to_owned()),
            Self::Service(ServiceError::Token(invalid)) => Some(invalid.field().to_owned()),
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        let (code, status) = (self.code(), self.code().status());
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.sentence().into_owned(),
            code: code.word().to_owned(),
            field: self.field_at_fault(),
        }
    }

    /// The problem of one item of a batch; `at` is the item's place in the body.
    pub fn of_item(self, at: &str) -> Problem {
        self.log();
        let mut problem = self.problem();
        problem.field = problem.field.map(|field| format!("{at}.{field}"));
        problem
    }

    /// The same in the contract's shape and words.
    fn legacy(&self) -> ErrorReply {
        let err = i32::from(self.code().status().as_u16());
        let (msg, field, detail) = match self {
            Self::Field { field, msg, detail } => (msg.clone(), Some(field.to_string()), detail.clone()),
            Self::Format { field, detail } => {
                ("request body format error".into(), Some(field.to_string()), Some(detail.clone()))
            }
            Self::Service(ServiceError::Invalid(invalid)) => rules::in_the_contracts_words(invalid),
            _ => (self.sentence(), None, None),
        };
        ErrorReply { err, msg: msg.into_owned(), field, detail }
    }

    fn retry_after_sec(&self, status: StatusCode) -> Option<u64> {
        match self {
            Self::TooManyRequests { retry_after_sec } => Some(*retry_after_sec),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    fn log(&self) {
        match self {
            Self::Service(ServiceError::Port(error @ PortError::Unavailable(..)))
            | Self::Unauthorized(Denied::Unchecked(ServiceError::Port(error))) => {
                tracing::warn!(cause = chain(error), "a back end is unavailable");
            }
            Self::Service(ServiceError::Port(error)) => {
                tracing::error!(cause = chain(error), "a request failed");
            }
            Self::Internal(cause) => tracing::error!(cause, "a request failed"),
            _ => {}
        }
    }
}

fn code_of(error: &ServiceError) -> Code {
    match error {
        ServiceError::Invalid(_) | ServiceError::Token(_) => Code::InvalidField,
        ServiceError::Forbidden(_) => Code::Forbidden,
        ServiceError::NotFound => Code::NotFound,
        ServiceError::Over(_) => Code::TaskOver,
        ServiceError::RevisionMoved(_) => Code::RevisionMoved,
        ServiceError::KeyHeld(_) => Code::Duplicate,
        ServiceError::KeyReused => Code::KeyReused,
        ServiceError::RunState(_) => Code::RunState,
        ServiceError::Stale(_) => Code::Stale,
        ServiceError::Port(PortError::Unavailable(..)) => Code::StoreUnavailable,
        ServiceError::Port(PortError::Full(..)) => Code::StoreFull,
        ServiceError::Port(PortError::Refused(..) | PortError::Corrupt(..)) => Code::Internal,
    }
}

fn sentence_of(error: &ServiceError) -> Cow<'static, str> {
    match error {
        ServiceError::Invalid(invalid) => rules::told(invalid),
        ServiceError::Port(PortError::Unavailable(..)) => {
            "the store is unavailable; it may or may not have been done: repeat it".into()
        }
        ServiceError::Port(PortError::Full(..)) => "the store is full; nothing was done".into(),
        ServiceError::Port(_) => "internal error".into(),
        other => other.to_string().into(),
    }
}

/// What a caller that is not admitted can do.
fn unauthorized(denied: &Denied) -> &'static str {
    match denied {
        Denied::Missing => {
            "a token is required: the request does not come directly from the server's machine, or `access.required` \
             is \"always\". Create a token with `taskcenter token add NAME --scope ...` and send it as \
             `Authorization: Bearer TOKEN`"
        }
        Denied::Expired => "the token has expired: create another one with `taskcenter token add`",
        Denied::Unknown | Denied::Unchecked(_) => {
            "unknown token: it is mistyped or revoked; `taskcenter token list` shows the valid tokens"
        }
    }
}

/// Returns the `WWW-Authenticate` header of a refusal (RFC 6750).
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

/// An error and all that caused it, on one line.
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

/// The error of an answer that has no body yet.
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
            // The rest of the body is not read, so nothing more can follow on this connection.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Refusal(Arc::new(self)));
        response
    }
}

/// Gives a refusal its body, in the shape of the path's family. Any other answer is left as it is.
pub fn write(path: &str, mut response: Response) -> Response {
    let Some(Refusal(error)) = response.extensions_mut().remove::<Refusal>() else { return response };
    let (kind, body) = if is_legacy(path) {
        ("application/json", serde_json::to_vec(&error.legacy()))
    } else {
        (PROBLEM_JSON, serde_json::to_vec(&error.problem()))
    };
    // Neither has anything in it that cannot be written.
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
    fn what_went_wrong_with_us_is_not_told() {
        for error in [
            PortError::Unavailable("MongoDB", CANARY.into()),
            PortError::Refused("MongoDB", CANARY.into()),
            PortError::Corrupt("MongoDB", CANARY.into()),
            PortError::Full("SQLite", CANARY.into()),
        ] {
            let error = ApiError::from(ServiceError::Port(error));
            let text = format!("{:?}{:?}", error.legacy(), error.problem());
            assert!(!text.contains(CANARY), "{text}");
        }
    }

    #[test]
    fn an_absent_store_is_worth_another_try_and_a_full_one_is_not() {
        let answer = |error| ApiError::from(ServiceError::Port(error)).into_response();
        let away = answer(PortError::Unavailable("MongoDB", "no primary".into()));
        assert_eq!(
            (away.status().as_u16(), &away.headers()["retry-after"]),
            (503, &HeaderValue::from_static("1"))
        );
        let full = answer(PortError::Full("SQLite", "no space".into()));
        assert_eq!((full.status().as_u16(), full.headers().get("retry-after")), (507, None));
    }

    #[test]
    fn the_family_is_the_paths() {
        for path in ["/v1/api", "/v1/api/task", "/api/v1/nothing"] {
            assert!(is_legacy(path), "{path}");
        }
        for path in ["/", "/v1", "/v1/apis", "/v1/tasks", "/api/v10/task", "/livez"] {
            assert!(!is_legacy(path), "{path}");
        }
    }

    #[test]
    fn the_document_lists_every_code_with_its_status_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        let table = page.split("| `code` | status |").nth(1).expect("the page has the table of codes");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let listed: Vec<String> =
            rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" ")).collect();
        let row = |code: &Code| format!("| `{}` {}", code.word(), code.status().as_u16());
        let mut wanted: Vec<String> = Code::ALL.iter().map(row).collect();
        let mut listed = listed;
        listed.sort();
        wanted.sort();
        assert_eq!(listed, wanted);
    }
}
