//! The error answer.

use serde::{Deserialize, Serialize};

/// Error answer (RFC 9457), with the content type `application/problem+json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Problem {
    /// Always `about:blank`: the kind of the error is `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the HTTP status, such as `Bad Request`.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Human-readable text: what is wrong with this request. The wording may change.
    pub detail: String,
    /// Stable, machine-readable kind of the error, such as `invalid_field`. docs/api.md lists them.
    pub code: String,
    /// Invalid field, query parameter or header, as a path such as `tasks[3].schedule.cron`. Absent
    /// if the error is not about one field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Live task that has the deduplication key. Only with the code `duplicate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Quota of the token that refuses the request. Only with the codes `too_many_live_tasks` and `too_many_creates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<ProblemQuota>,
}

/// Quota of a token that refuses a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemQuota {
    /// Name of the quota, as in the token: `max_live_tasks` or `max_creates_per_sec`.
    pub name: String,
    /// Limit of the quota.
    pub limit: u32,
    /// How much of the limit is used: live tasks of the token, or creates in the last second.
    pub used: u32,
}
