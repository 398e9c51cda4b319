//! What can go wrong with a call.

use reqwest::StatusCode;
use serde::Deserialize;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address is no URL that requests can be made of.
    #[error("{0:?} is not an http or https URL")]
    Address(String),
    /// The token holds what cannot be sent.
    #[error("the token holds characters that cannot be sent")]
    Token,
    /// The HTTP client cannot be set up, for want of root certificates say.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// The server answered with an error.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server says, for a person.
        message: String,
        /// The parameter at fault, where the server says so.
        field: Option<String>,
        /// More for a person to read, where there is any.
        detail: Option<String>,
        /// The stable name of the problem, for programs; the old routes give none.
        code: Option<String>,
    },
    /// No answer: not reachable, or not in time. Whether the server acted is unknown; repeating a call is safe.
    #[error("the server did not answer")]
    Unanswered(#[source] reqwest::Error),
    /// The answer is not what the API promises.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
}

impl Error {
    /// The status of an error answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The parameter the server found fault with.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Refused { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// The stable name of the problem, such as docs/api.md lists them.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Whether the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND.as_u16())
    }
}

/// An error's body: a `Problem` of the resource API or an `ErrorReply` of the old routes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    msg: String,
    title: String,
    detail: Option<String>,
    code: Option<String>,
    field: Option<String>,
}

/// Reads an error answer. A proxy in between does not speak the API, so that the body can be anything.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
    let detail = reply.detail.filter(|detail| !detail.is_empty());
    // The old routes say what is wrong in `msg` and may add to it; a problem has all of it in `detail`.
    let (message, detail) = if reply.msg.is_empty() { (detail, None) } else { (Some(reply.msg), detail) };
    let title = Some(reply.title).filter(|title| !title.is_empty());
    let reason = || status.canonical_reason().unwrap_or("no reason given").to_owned();
    let message = message.or(title).unwrap_or_else(reason);
    let code = reply.code.filter(|code| !code.is_empty());
    Error::Refused { status: status.as_u16(), message, field: reply.field, detail, code }
}
