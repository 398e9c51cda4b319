//! Operations: actions on many tasks or runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Body of `POST /v1/operations`: one action on many tasks or runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewOperation {
    /// What to do with each item. Tasks: `pause`, `resume`, `cancel`, `delete`, `trigger` or `edit`. Runs:
    /// `redrive` (another attempt for dead runs) or `cancel_runs`.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^(pause|resume|cancel|delete|trigger|edit|redrive|cancel_runs)$")
    )]
    pub action: String,
    /// The tasks or runs.
    pub select: OperationSelection,
    /// JSON merge patch: at most 16,384 bytes. `edit` needs the patch, which changes the fields of `TaskSpec`, as of
    /// `PATCH /v1/tasks/{task_id}`. A `schedule` must be complete, and `delay_ms` is not allowed. `redrive` applies
    /// the patch to the payload of each run, which must be a JSON object. Other actions take no patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub patch: Option<Map<String, Value>>,
    /// Human-readable reason: 1 to 500 bytes, without control characters. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 500))]
    pub reason: Option<String>,
    /// Maximum number of items per second. Bounds: 1 to 1,000. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000))]
    pub rate_per_sec: Option<u32>,
    /// Number of runs that `redrive` tries first. The operation continues when all of these runs have succeeded, and is
    /// `held` if one of them ends otherwise. Bounds: 1 to 100. Default: no canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub canary: Option<u32>,
    /// Whether the server only counts the items, and does nothing else. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The items of an operation: either `ids` or `filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OperationSelection {
    /// Ids of tasks, or of runs for an action on runs: 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1_000))]
    pub ids: Option<Vec<String>>,
    /// All tasks or runs that match. An empty filter selects all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<OperationFilter>,
}

/// Filter of an operation. It selects tasks that existed, or runs that were due, when the operation was created,
/// and that match when the operation reaches them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OperationFilter {
    /// Only tasks with this name. Not for runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128, pattern = "^[^|*]+$"))]
    pub name: Option<String>,
    /// Only runs with this tag. Not for tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128, pattern = "^[^|*]+$"))]
    pub tag: Option<String>,
    /// Only runs of the task with this id. Not for tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{32}$"))]
    pub task_id: Option<String>,
    /// Only tasks or runs in this state. `pause`: `active`; `resume`: `paused`; `cancel` and `edit`: `active` or
    /// `paused`; `trigger`: also `finished`; `delete`: any; `redrive`: `dead`; `cancel_runs`: `firing`, `fired`,
    /// `ready`, `leased` or `retrying`. Default: all of these, except `finished` for `trigger`, `cancelled` for
    /// `delete`, and `fired` for `cancel_runs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^(active|paused|finished|cancelled|firing|held|fired|ready|leased|retrying|dead)$"
        )
    )]
    pub state: Option<String>,
    /// Only tasks or runs with all of these labels, at most 16. Default: any labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Body of `POST /v1/tasks/{task_id}/backfill`: one run for each nominal moment of the schedule in a range of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewBackfill {
    /// First instant of the range. The range may begin before the task was created.
    pub from: Timestamp,
    /// End of the range, exclusive: later than `from`, and not in the future.
    pub to: Timestamp,
    /// Maximum number of runs per second. Bounds: 1 to 1,000. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000))]
    pub rate_per_sec: Option<u32>,
    /// Human-readable reason: 1 to 500 bytes, without control characters. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 500))]
    pub reason: Option<String>,
    /// Whether the server only counts the moments, and does nothing else. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Task and range of a backfill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackfillRange {
    /// Id of the task.
    pub task_id: String,
    /// First instant of the range.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
}

/// Answer to a dry run: what an operation would select now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationPreview {
    /// Always `true`.
    pub dry_run: bool,
    /// Number of tasks, runs or moments that are selected now, at most 10,000.
    pub expected: u64,
    /// Whether there are more than `expected`.
    #[serde(default)]
    pub expected_more: bool,
}

/// An item that could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationFailure {
    /// Id of the task or run.
    pub id: String,
    /// Human-readable error.
    pub error: String,
}

/// The first runs of a redrive, whose outcomes decide whether the operation continues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationCanary {
    /// Number of runs that the operation tries first.
    pub size: u32,
    /// `open`: the runs are redriven, or have not all ended; `passed`; `failed`; `overruled`: a user has continued the
    /// operation.
    pub state: String,
    /// Ids of the runs.
    #[serde(default)]
    pub run_ids: Vec<String>,
    /// Runs that ended without success, with their states and errors.
    #[serde(default)]
    pub failures: Vec<OperationFailure>,
}

/// An operation with its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationResource {
    /// Id of the operation.
    pub id: String,
    /// What the operation does with each item, such as `pause`. `backfill`: creates a run for each moment.
    pub action: String,
    /// `running`; `held`: the canary has failed, and a user must continue or abort the operation; `completed`;
    /// `aborted`; or `failed`: the creator has lost the rights.
    pub state: String,
    /// Why the operation failed or is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Human-readable reason of the creator, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The filter; absent for another selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<OperationFilter>,
    /// Number of the ids; absent for another selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u64>,
    /// The range of a `backfill`; absent for another action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillRange>,
    /// The patch of an `edit` or of a `redrive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub patch: Option<Map<String, Value>>,
    /// Maximum number of items per second; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_sec: Option<u32>,
    /// The canary, if the operation has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<OperationCanary>,
    /// Number of items at the creation, at most 10,000.
    pub expected: u64,
    /// Whether there were more than `expected`.
    #[serde(default)]
    pub expected_more: bool,
    /// Number of items that were found so far.
    pub matched: u64,
    /// Number of items that are as the operation wants them.
    pub done: u64,
    /// Number of items that could not be changed.
    pub failed: u64,
    /// Number of items whose state no longer allowed the action.
    pub skipped: u64,
    /// The first failures, at most 100.
    #[serde(default)]
    pub failures: Vec<OperationFailure>,
    /// When the operation was created.
    pub created_at: Timestamp,
    /// Id of the creator's token, or where the creator called from, such as `loopback`.
    pub created_by: String,
    /// When the operation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl OperationResource {
    /// Returns whether the operation processes items, or waits for its canary.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Returns whether the operation waits for the outcomes of its canary.
    pub fn waits_for_canary(&self) -> bool {
        self.is_running() && self.canary.as_ref().is_some_and(|canary| canary.state == "open")
    }

    /// Returns the number of items that were processed.
    pub fn processed(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}

/// Answer of `GET /v1/operations`: a page of operations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationList {
    /// Operations, newest first.
    pub operations: Vec<OperationResource>,
    /// Cursor of the next page; absent: this is the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
