//! Runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A run: one due moment of a task, from its fire to its end.
///
/// The attempt token is not part of it, because a caller with the token can report an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunResource {
    /// Id of the run.
    pub run_id: String,
    /// Id of the task.
    pub task_id: String,
    /// Tag: the name of the task.
    pub tag: String,
    /// Labels of the task when it fired. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Queue of the run; `null`: the bus.
    pub queue: Option<String>,
    /// Nominal moment. For a manual trigger: the time of the request.
    pub scheduled_at: Timestamp,
    /// When the moment was due with the jitter of the task, or by a backfill. Absent: at `scheduled_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Whether a manual trigger or a backfill created the run.
    pub triggered: bool,
    /// Id of the operation whose backfill created the run; `due_at` is then when the operation reached the moment. Absent:
    /// no backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<String>,
    /// State: `firing`, `held`, `fired`, `ready`, `leased`, `retrying`, `succeeded`, `dead`, `skipped` or
    /// `cancelled`.
    pub state: String,
    /// Human-readable reason, if any: why the run is `retrying`, `dead`, `skipped` or `cancelled`,
    /// or the message of the outcome report.
    pub reason: Option<String>,
    /// Id of the run because of which the overlap policy suppressed or cancelled this run. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// 1-based number of the current attempt.
    pub attempt: u32,
    /// Number of times that a node or a worker has claimed the run.
    pub claim: u32,
    /// Name of the worker that leases the run; `null` unless the state is `leased`.
    pub worker: Option<String>,
    /// When the lease, the retry pause or the outcome deadline ends, or when a run in a queue expires. `null`
    /// for a run that waits in a queue without a limit, or has ended.
    pub attention_at: Option<Timestamp>,
    /// When the run ends as `skipped` if its first attempt has not started. Absent: the task has no
    /// `start_within_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the last attempt was handed over: the broker confirmed the message, or the run entered
    /// its queue.
    pub fired_at: Option<Timestamp>,
    /// When a worker leased the current attempt; `null`: no worker has leased it.
    #[serde(default)]
    pub leased_at: Option<Timestamp>,
    /// When the handler of the current attempt started, if its outcome report says so and that is at least
    /// 100 ms after the attempt was handed over; otherwise `null`.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When a user requested to cancel the run while a worker had leased it. The worker receives the request with
    /// its next renewal; `attention_at` is then the end of its grace period. Absent: no such request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested_at: Option<Timestamp>,
    /// Last progress that the handler of the current attempt has reported. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgress>,
    /// When the run ended.
    pub ended_at: Option<Timestamp>,
    /// Result that the handler reported, if any.
    pub result: Option<serde_json::Value>,
    /// Last skipped moment, if the run covers several skipped moments; `scheduled_at` is the first.
    pub skipped_to: Option<Timestamp>,
    /// Number of skipped moments, if the run covers several.
    pub skipped_count: Option<u64>,
    /// Payload. Only `GET /v1/runs/{run_id}` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Headers that the deliveries carry. Only `GET /v1/runs/{run_id}` has them. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Payload of the attempts before the first edit. Only `GET /v1/runs/{run_id}` has it. Absent: the payload was
    /// never edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalPayload>,
    /// Attempts that have started, first one first: at most the last 20 failed ones, and the current
    /// one. Only `GET /v1/runs/{run_id}` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<RunAttempt>,
    /// Human-readable text: what the run waits for, such as a worker on its queue; absent: the run
    /// has ended. The server knows the workers of one node. Only `GET /v1/runs/{run_id}` has the
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Progress of the current attempt, by the report of its handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunProgress {
    /// Percent of the work, 0 to 100.
    pub percent: u8,
    /// One line for users, at most 256 bytes. Absent: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// When the server received the progress.
    pub at: Timestamp,
}

/// One attempt of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAttempt {
    /// 1-based number of the attempt.
    pub attempt: u32,
    /// Name of the worker that leased the attempt; `null`: the bus.
    pub worker: Option<String>,
    /// When a worker leased the attempt, or the broker confirmed its message.
    pub started_at: Option<Timestamp>,
    /// When the attempt ended; `null`: the server waits for its outcome, or the task has no outcome
    /// reports.
    pub ended_at: Option<Timestamp>,
    /// Outcome: `succeeded`, `failed`, `dead`, `skipped` or `cancelled`; `null`: unknown, as
    /// `ended_at`.
    pub outcome: Option<String>,
    /// Reason of a failure. The reason of a failed attempt is cut at 1,024 bytes.
    pub error: Option<String>,
    /// Length of the data that the attempt delivered, in bytes. Absent: the payload of the run was never edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// SHA-256 of the data that the attempt delivered, in hexadecimal digits. Absent: as `data_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<String>,
}

/// Payload of a run before its first edit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OriginalPayload {
    /// Data.
    pub data: String,
    /// Headers. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Body of `POST /v1/tasks/{task_id}/trigger` and of `POST /v1/runs/{run_id}/retry`: another payload for the run. The
/// task keeps its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunPayload {
    /// Payload, at most 4,128,768 bytes. Default: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 4_128_768))]
    pub data: Option<String>,
    /// Payload as a JSON value: the server stores its text, without blanks, as `data`. Mutually exclusive with
    /// `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// All headers of the run, by the rules of the headers of a task. Default: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// Answer of `GET /v1/runs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunList {
    /// Runs, latest `scheduled_at` first. A page may have fewer than `limit` runs, even if more
    /// pages follow.
    pub runs: Vec<RunResource>,
    /// Value of `cursor` for the next page; `null`: this is the last page.
    pub next_cursor: Option<String>,
}

/// Body of `POST /v1/runs/{run_id}/confirm`: the outcome of a run, without the attempt token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunConfirmation {
    /// Whether the work is done. `true`: the run becomes `succeeded`. `false`: it becomes `dead`.
    pub succeeded: bool,
    /// Human-readable reason for the run's history. The server cuts it at 32,768 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Result of a successful run. At most 65,536 bytes as JSON without blanks, nested at most 64
    /// levels deep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}
