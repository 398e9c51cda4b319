//! Work on queues: leases, renewals and settlements.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::wire::OutcomeReport;

/// Body of `POST /v1/runs/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Name of the worker, shown with its runs. 1 to 128 bytes, without control characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub worker: String,
    /// Queues to lease runs from, 1 to 1,000 names. `["*"]`: every queue that has the same name as
    /// the tag of its runs.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub queues: Vec<String>,
    /// Maximum number of runs. Bounds: 1 to 1,000. Default: 1.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = default_limit))]
    pub limit: u32,
    /// Length of the lease in milliseconds. When the lease ends before it is renewed or settled,
    /// the attempt has failed. Bounds: 1,000 to 86,400,000 (one day). Default: 30,000.
    #[serde(default = "default_lease_ms")]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 1000, maximum = 86_400_000, default = default_lease_ms)
    )]
    pub lease_ms: u64,
    /// Milliseconds to wait for the first run if no run is ready. The server waits at most 20 s and
    /// at most three quarters of `server.request_timeout_ms`. Default: 0.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = 0))]
    pub wait_ms: u64,
    /// Id of the request, unique among the requests of the worker. 1 to 64 visible ASCII characters. If the
    /// answer is lost, repeat the request with the same id: while runs of the first request are leased, the
    /// server returns these runs with the same attempt tokens, renews their leases, and leases no others.
    /// Default: each request leases other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$"))]
    pub request_id: Option<String>,
}

const fn default_limit() -> u32 {
    1
}

const fn default_lease_ms() -> u64 {
    30_000
}

/// A run that the worker leases, with its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedRun {
    /// Id of the run.
    pub run_id: String,
    /// Id of the task.
    pub task_id: String,
    /// Tag: the name of the task.
    pub tag: String,
    /// Queue of the run.
    pub queue: String,
    /// Payload.
    pub data: String,
    /// Headers of the task. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Labels of the task when it fired. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nominal moment. For a manual trigger: the time of the request.
    pub scheduled_at: Timestamp,
    /// 1-based number of this fire within its task; 0 for a manual trigger.
    #[serde(default)]
    pub number: u64,
    /// 1-based number of the attempt.
    pub attempt: u32,
    /// Number of times that the run has been claimed. It grows with each lease: a handler can use
    /// it as a fencing token.
    pub claim: u32,
    /// Attempt token. Every renewal and outcome report of this attempt must carry it.
    pub token: String,
    /// When the lease ends.
    pub lease_until: Timestamp,
    /// Time limit of the attempt in milliseconds, counted from the lease: no renewal extends the lease
    /// beyond the limit. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_ms: Option<u64>,
}

/// Answer of `POST /v1/runs/lease`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedRuns {
    /// Leased runs, in turn by tag; of each tag, the earliest `scheduled_at` first. Empty if no run became ready
    /// in time. The server may return fewer runs than are ready if they are large.
    pub runs: Vec<LeasedRun>,
}

/// How far a handler has come, by its own report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Percent of the work. Bounds: 0 to 100.
    #[cfg_attr(feature = "openapi", schema(maximum = 100))]
    pub percent: u8,
    /// One line for users. The server cuts it at 256 bytes. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// An attempt that the worker leases, for a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeasedAttempt {
    /// Id of the run.
    pub run_id: String,
    /// 1-based number of the attempt, from the lease.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Attempt token, from the lease.
    pub token: String,
    /// Progress of the handler. Default: as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Body of `POST /v1/runs/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Attempts to renew, 1 to 1,000. Each renewal succeeds or fails on its own.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub runs: Vec<LeasedAttempt>,
    /// New length of the leases from now, in milliseconds. Bounds: 1,000 to 86,400,000 (one day).
    /// Default: 30,000.
    #[serde(default = "default_lease_ms")]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 1000, maximum = 86_400_000, default = default_lease_ms)
    )]
    pub lease_ms: u64,
    /// Whether the leases end exactly `lease_ms` from now, even if they would have lasted longer.
    /// For work that another system finishes and reports. Default: `false`, and a renewal never
    /// shortens a lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_over: bool,
}

/// Body of `POST /v1/runs/settle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Outcome reports, 1 to 1,000. Each report succeeds or fails on its own.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub outcomes: Vec<Settlement>,
}

/// Outcome report of one attempt, with the id of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settlement {
    /// Id of the run.
    pub run_id: String,
    /// Outcome of the attempt.
    #[serde(flatten)]
    pub report: OutcomeReport,
}

/// Result for one run of a renewal or settlement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAnswer {
    /// Id of the run.
    pub run_id: String,
    /// 200, or the status of `problem`. 409: the caller no longer owns the attempt, and nothing was
    /// changed.
    pub status: u16,
    /// State of the run after a settlement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When the renewed lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Whether a user has requested to cancel the run. The worker stops its work, and reports the outcome
    /// before `lease_until`: then the run ends as `cancelled`. Absent: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_requested: bool,
    /// Why nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Answer of `POST /v1/runs/renew` and `POST /v1/runs/settle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAnswers {
    /// One result for each run, in the order of the request.
    pub results: Vec<RunAnswer>,
}
