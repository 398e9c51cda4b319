//! The audit log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An entry of the audit log: one change of one object that a caller requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntryResource {
    /// Id of the entry. Ids sort by time.
    pub id: String,
    /// When the change was requested.
    pub at: Timestamp,
    /// Name of the caller's token, or where a caller without a named token came from, such as `loopback`.
    pub actor: String,
    /// Id of the caller's token, or where a caller without a token came from.
    pub actor_id: String,
    /// Where the request arrived: `api`, `console` or `legacy`.
    pub front: String,
    /// What was requested, such as `task.pause`.
    pub action: String,
    /// The object: the id of a task, a run, an operation or a token, or kind and key of a document. `null`: a
    /// refused request without an object.
    pub object: Option<String>,
    /// More about the change, such as the new revision of a task. Never the content of a payload.
    pub detail: Option<String>,
    /// `done`; `unchanged`; the reason of a refusal; or `unknown: the store is unavailable`, if the change may have
    /// happened.
    pub outcome: String,
    /// Id of the request, as in the answer's `x-request-id`.
    pub request_id: Option<String>,
}

/// Answer of `GET /v1/audit`: a page of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// The entries, newest first.
    pub entries: Vec<AuditEntryResource>,
    /// `cursor` of the next page. `null`: this is the last page.
    pub next_cursor: Option<String>,
}
