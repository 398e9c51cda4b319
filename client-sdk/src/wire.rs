//! Wire types of the legacy v1 API, message properties, and outcome reports.
//!
//! Most types of the legacy API decode a missing field as its zero value, which the API treats as
//! absent. So the server, and not the decoder, reports an invalid request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Names of the user properties of a message of the task center.
pub mod property {
    /// Run id. It is the same for all attempts and redeliveries of the run.
    pub const RUN_ID: &str = "TC_RUN_ID";
    /// 1-based number of the server's attempt.
    pub const ATTEMPT: &str = "TC_ATTEMPT";
    /// Nominal moment of the run, in milliseconds since the Unix epoch.
    pub const SCHEDULED_AT: &str = "TC_SCHEDULED_AT";
    /// 1-based number of this fire within its task; 0 for a manual trigger. Only on runs from a
    /// queue.
    pub const NUMBER: &str = "TC_NUMBER";
    /// Number of times that the run has been claimed. It only grows: a handler can use it as a
    /// fencing token.
    pub const CLAIM: &str = "TC_CLAIM";
    /// Attempt token. An outcome report must carry it.
    pub const TOKEN: &str = "TC_TOKEN";
    /// [`ACK_WANTED`] if the server waits for an outcome report and owns the retries; otherwise
    /// absent.
    pub const ACK: &str = "TC_ACK";
    /// Names of the headers of the task, separated by commas. Each header is a property with its own
    /// name. Absent: the task has no headers.
    pub const HEADERS: &str = "TC_HEADERS";
    /// Labels of the task when it fired, as a JSON object. Absent: the task had no labels.
    pub const LABELS: &str = "TC_LABELS";
    /// Time limit of the attempt in milliseconds, counted from its lease. Only on runs from a queue
    /// whose task has a limit.
    pub const MAX_RUNTIME_MS: &str = "TC_MAX_RUNTIME_MS";
    /// Value of [`ACK`] that requests an outcome report.
    pub const ACK_WANTED: &str = "1";
}

/// Values of the `type` of a task.
pub mod task_type {
    /// The task fires once.
    pub const ONCE: i32 = 1;
    /// The task fires every `loop_time` seconds.
    pub const EVERY: i32 = 2;
    /// The task fires at each match of `crontab`.
    pub const CRON: i32 = 3;
}

/// Response header of a page of tasks: the value of `cursor` for the next page. Absent on the last
/// page.
pub const NEXT_CURSOR_HEADER: &str = "x-next-cursor";

/// Body of `POST /v1/api/task`. For every number except `type`, 0 means absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddTask {
    /// Name of the task, which is the tag of its messages. 1 to 128 bytes. Required.
    pub name: String,
    /// Type of the schedule: a value of [`task_type`]. Required.
    #[serde(rename = "type")]
    pub task_type: i32,
    /// Payload. At most 4,128,768 bytes; may be empty.
    pub data: String,
    /// Cron expression. Required for [`task_type::CRON`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub crontab: String,
    /// Seconds between two fires, at least 1. Required for [`task_type::EVERY`].
    pub loop_time: i64,
    /// Maximum number of fires. 0: unlimited.
    pub loop_count: i64,
    /// Earliest moment of the first fire, in Unix seconds. 0: now.
    pub start_time: i64,
    /// Latest moment that fires, in Unix seconds. 0: no end.
    pub end_time: i64,
    /// With `ack`: seconds until an attempt fails without an outcome report. Bounds: 1 to
    /// 31,622,400 (366 days). 0: 60.
    pub max_runtime: i64,
    /// Whether the server waits for an outcome report and owns the retries.
    pub ack: bool,
    /// Deduplication key, 1 to 256 bytes: at most one live task per name and key. Default: the name
    /// and data are the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

/// Answer to [`AddTask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddTaskReply {
    /// Id of the new or existing task.
    pub taskid: String,
    /// Name of the task.
    pub name: String,
}

/// Body of `POST /v1/api/delete-task`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteTasks {
    /// Ids of the tasks to delete, at least one. Unknown ids are ignored.
    pub ids: Vec<String>,
}

/// Body of `POST /v1/api/delete-task-by-name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteTasksByName {
    /// Name of the tasks to delete. Required.
    pub name: String,
}

/// Answer to [`DeleteTasks`] and [`DeleteTasksByName`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// Ids of the deleted tasks.
    #[serde(rename = "SucIds")]
    pub suc_ids: Vec<String>,
    /// Whether the name has more tasks: repeat the request. Absent if it has none.
    #[serde(rename = "More", default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A task in the answers of the legacy v1 API. A value that the task does not have is 0, empty or
/// false.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskView {
    /// Id of the task: 32 lower-case hexadecimal digits.
    #[serde(rename = "_id")]
    pub id: String,
    /// Name of the task.
    pub name: String,
    /// Type of the schedule: a value of [`task_type`].
    #[serde(rename = "type")]
    pub task_type: i32,
    /// Payload.
    pub data: String,
    /// Cron expression of a cron task.
    pub crontab: String,
    /// Seconds between two fires of a loop task.
    pub loop_time: i64,
    /// Maximum number of fires; 0: unlimited.
    pub loop_count: i64,
    /// Earliest moment of the first fire, in Unix seconds; 0: not set.
    pub start_time: i64,
    /// Latest moment that fires, in Unix seconds; 0: no end.
    pub end_time: i64,
    /// Seconds until an attempt fails without an outcome report; 0: not set.
    pub max_runtime: i64,
    /// Whether the server waits for outcome reports.
    pub ack: bool,
    /// Creation time, in Unix seconds.
    pub created_at: i64,
}

/// Answer of `GET /v1/api/task/stat`: number of fires in the current minute by tag, and their sum
/// under the key `total`. A tag that is itself `total`, or begins with `tag:`, has the prefix
/// `tag:`.
pub type StatReply = BTreeMap<String, String>;

/// Error answer of the legacy v1 API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorReply {
    /// HTTP status.
    pub err: i32,
    /// What is wrong. Clients may match on this text.
    pub msg: String,
    /// Invalid field or query parameter, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Human-readable detail, if any. The wording may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Outcome of an attempt, as a consumer reports it.
///
/// - `succeeded`: the run is done.
/// - `failed`: the server starts the next attempt after the retry pause, or the run is dead.
/// - `dead`: the run is dead, without further attempts.
/// - `skipped`: the handler had nothing to do, and the run ends as `skipped`.
/// - `released`: the attempt did not begin and does not count; the run is ready again, at once or
///   after `retry_after_ms`. Only for runs in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReportedOutcome {
    /// The run is done.
    Succeeded,
    /// The attempt failed. The server starts the next attempt after the retry pause; after the last
    /// attempt, the run is dead.
    Failed,
    /// The run is dead, without further attempts.
    Dead,
    /// The handler had nothing to do. The run ends as `skipped`.
    Skipped,
    /// The attempt did not begin and does not count. The run is ready again, at once or after
    /// `retry_after_ms`. Only for runs in a queue.
    Released,
}

/// Body of `POST /v1/runs/{run_id}/report`: the outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutcomeReport {
    /// 1-based number of the attempt, from the lease or from the message property `TC_ATTEMPT`.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Attempt token, from the lease or from the message property `TC_TOKEN`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub token: String,
    /// Outcome of the attempt.
    pub outcome: ReportedOutcome,
    /// Human-readable reason. The server cuts it at 32,768 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With `failed`: pause before the next attempt in milliseconds, instead of the back-off of the
    /// retry policy. With `released`: pause before the run is ready again; default 0. Bounds: 0 to 31,622,400,000 (366 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub retry_after_ms: Option<u64>,
    /// With `succeeded`: result of the handler. At most 65,536 bytes as JSON without blanks, nested
    /// at most 64 levels deep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// When the handler started, by the worker's clock. The server takes the nearest moment of the attempt.
    /// Default: when the worker leased the run, or when the broker confirmed its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// Answer to an accepted [`OutcomeReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// Id of the run.
    pub run_id: String,
    /// State of the run after the report.
    pub state: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_are_those_of_the_contract() {
        let view: TaskView = serde_json::from_str(
            r#"{"_id":"7","name":"n","type":2,"data":"d","loop_time":60,"loop_count":3,"created_at":5,"ack":true}"#,
        )
        .unwrap();
        assert_eq!((view.id.as_str(), view.task_type, view.loop_time, view.loop_count), ("7", 2, 60, 3));
        let reply = serde_json::to_string(&DeleteReply { suc_ids: vec!["7".into()], more: false }).unwrap();
        assert_eq!(reply, r#"{"SucIds":["7"]}"#);
    }

    #[test]
    fn a_report_omits_absent_fields() {
        let report = OutcomeReport {
            attempt: 1,
            token: "t".into(),
            outcome: ReportedOutcome::Succeeded,
            message: None,
            retry_after_ms: None,
            result: None,
            started_at: None,
        };
        let body = serde_json::to_string(&report).unwrap();
        assert_eq!(body, r#"{"attempt":1,"token":"t","outcome":"succeeded"}"#);
    }
}
