//! Errors of calls.

use reqwest::StatusCode;
use serde::Deserialize;

use crate::error_text::debug_as_text;

/// Why a call failed.
///
/// Every error of this crate converts into this type, so that a program can return it from `main`.
/// Its `Debug` form is the text of the error with its causes.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the server is not an http or https URL.
    #[error("invalid server address {0:?}: use an http or https URL such as http://127.0.0.1:8275")]
    Address(String),
    /// The token contains characters that are not allowed in a header. The error does not contain
    /// the token.
    #[error("the token contains characters that are not allowed: copy it again, without line ends")]
    Token,
    /// The CA file cannot be used.
    #[error("the CA file {0} cannot be used: {1}")]
    Authority(std::path::PathBuf, String),
    /// The HTTP client cannot be created, for example without root certificates.
    #[error("the HTTP client cannot be created")]
    Setup(#[source] reqwest::Error),
    /// The server answered with an error status.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Human-readable text of the server.
        message: String,
        /// Invalid field, query parameter or header, if the server names one.
        field: Option<String>,
        /// Human-readable detail, if any.
        detail: Option<String>,
        /// Stable, machine-readable kind of the error, such as `invalid_field`. `None`: the legacy
        /// v1 API.
        code: Option<String>,
        /// Live task that has the deduplication key, with the code `duplicate`.
        task_id: Option<Box<str>>,
    },
    /// There was no answer: the server is unreachable, or the time limit has passed. The server may
    /// have executed the request.
    #[error("the server did not answer: check that it is running and reachable")]
    Unanswered(#[source] reqwest::Error),
    /// The answer cannot be decoded.
    #[error("the answer of the server cannot be decoded: {0}")]
    Answer(String),
    /// A value cannot be encoded as JSON, such as a map whose keys are not strings.
    #[error("the value cannot be encoded as JSON")]
    Json(#[from] serde_json::Error),
    /// The consumer cannot be built or started, or it has failed: a
    /// [`ConnectError`](crate::ConnectError), [`StartError`](crate::StartError),
    /// [`RouteError`](crate::RouteError) or [`TransportError`](crate::TransportError).
    #[error(transparent)]
    Consumer(Box<dyn std::error::Error + Send + Sync>),
}

debug_as_text!(Error);

impl Error {
    /// Returns the HTTP status of [`Error::Refused`].
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns the invalid field, query parameter or header, if the server names one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Refused { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// Returns the stable kind of the error. docs/api.md lists the kinds.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Returns the live task that has the deduplication key, if the code is `duplicate`.
    pub fn task_id(&self) -> Option<&str> {
        match self {
            Self::Refused { task_id, .. } => task_id.as_deref(),
            _ => None,
        }
    }

    /// Returns whether the server answered 404.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND.as_u16())
    }
}

/// Body of an error answer: a `Problem` of the resource API, or an `ErrorReply` of the legacy v1
/// API.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    msg: String,
    title: String,
    detail: Option<String>,
    code: Option<String>,
    field: Option<String>,
    task_id: Option<String>,
}

/// Decodes an error answer. The body can have any form, because a proxy may have written it.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> Error {
    let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
    let detail = reply.detail.filter(|detail| !detail.is_empty());
    // The legacy API has the text in `msg` and may add `detail`; a problem has the whole text in
    // `detail`.
    let (message, detail) = if reply.msg.is_empty() { (detail, None) } else { (Some(reply.msg), detail) };
    let title = Some(reply.title).filter(|title| !title.is_empty());
    let reason = || status.canonical_reason().unwrap_or("no reason given").to_owned();
    let message = message.or(title).unwrap_or_else(reason);
    let code = reply.code.filter(|code| !code.is_empty());
    let Reply { field, task_id, .. } = reply;
    let task_id = task_id.map(String::into_boxed_str);
    Error::Refused { status: status.as_u16(), message, field, detail, code, task_id }
}
