//! The v1 API as it goes over the wire: bodies, headers and message properties.
//!
//! The types are lenient when read (a missing optional field is its zero value, which the API treats as absent) so that
//! the server, not the decoder, says what is wrong with a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names of the user properties a message of the task center carries.
pub mod property {
    /// The run's id: the same on every attempt and every redelivery.
    pub const RUN_ID: &str = "TC_RUN_ID";
    /// The server's attempt, from 1.
    pub const ATTEMPT: &str = "TC_ATTEMPT";
    /// The moment the run was due, in milliseconds since the Unix epoch.
    pub const SCHEDULED_AT: &str = "TC_SCHEDULED_AT";
    /// The how-manieth fire of its task the run is, from 1; 0 for one by hand. Set for runs from a queue.
    pub const NUMBER: &str = "TC_NUMBER";
    /// How often the run has been claimed for publishing: an epoch a handler may fence on.
    pub const CLAIM: &str = "TC_CLAIM";
    /// The attempt's token, without which no outcome can be reported.
    pub const TOKEN: &str = "TC_TOKEN";
    /// [`ACK_WANTED`] when the server waits for a report and owns the retries.
    pub const ACK: &str = "TC_ACK";
    /// The value of [`ACK`] that asks for a report.
    pub const ACK_WANTED: &str = "1";
}

/// Values of a task's `type`.
pub mod task_type {
    /// Fires once.
    pub const ONCE: i32 = 1;
    /// Fires every `loop_time` seconds.
    pub const EVERY: i32 = 2;
    /// Fires at each match of `crontab`.
    pub const CRON: i32 = 3;
}

/// Response header of a page of tasks: pass its value as `cursor` to get the next page. Absent on the last page.
pub const NEXT_CURSOR_HEADER: &str = "x-next-cursor";

/// Body of `POST /v1/api/task`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddTask {
    /// The task's name, which is its messages' tag.
    pub name: String,
    /// One of [`task_type`].
    #[serde(rename = "type")]
    pub task_type: i32,
    /// What to deliver.
    pub data: String,
    /// The cron expression of a cron task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub crontab: String,
    /// Seconds between the fires of a loop task.
    pub loop_time: i64,
    /// How many times a loop task fires in all; 0 is without end.
    pub loop_count: i64,
    /// No fire before this moment, in Unix seconds; 0 is now.
    pub start_time: i64,
    /// No fire after this moment, in Unix seconds; 0 is never.
    pub end_time: i64,
    /// Seconds a handler may take before the server counts the attempt as failed; only with `ack`.
    pub max_runtime: i64,
    /// Whether the server waits for an outcome report and owns the retries.
    pub ack: bool,
    /// What identifies the task in place of (name, data).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

/// Answer to [`AddTask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddTaskReply {
    /// The id of the task, new or existing.
    pub taskid: String,
    /// Its name.
    pub name: String,
}

/// Body of `POST /v1/api/delete-task`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteTasks {
    /// The ids to delete.
    pub ids: Vec<String>,
}

/// Body of `POST /v1/api/delete-task-by-name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteTasksByName {
    /// The name whose tasks go.
    pub name: String,
}

/// Answer to both deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// The ids that were deleted.
    #[serde(rename = "SucIds")]
    pub suc_ids: Vec<String>,
}

/// A task as the queries show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskView {
    /// The task's id.
    #[serde(rename = "_id")]
    pub id: String,
    /// The task's name.
    pub name: String,
    /// One of [`task_type`].
    #[serde(rename = "type")]
    pub task_type: i32,
    /// What it delivers.
    pub data: String,
    /// The cron expression of a cron task.
    pub crontab: String,
    /// Seconds between the fires of a loop task.
    pub loop_time: i64,
    /// How many times a loop task fires in all; 0 is without end.
    pub loop_count: i64,
    /// Unix seconds; 0 is unset.
    pub start_time: i64,
    /// Unix seconds; 0 is unset.
    pub end_time: i64,
    /// Seconds a handler may take; 0 is unset.
    pub max_runtime: i64,
    /// Whether the server waits for outcome reports.
    pub ack: bool,
    /// When the task was created, in Unix seconds.
    pub created_at: i64,
}

/// Answer of `GET /v1/api/task/stat`: fires in the current minute by tag, and their `total`.
pub type StatReply = BTreeMap<String, String>;

/// Body of every error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorReply {
    /// The HTTP status again.
    pub err: i32,
    /// What is wrong, in words clients match on.
    pub msg: String,
    /// The parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// More for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How an attempt ended, as reported to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReportedOutcome {
    /// The run is done.
    Succeeded,
    /// The attempt failed; the server publishes the next one or gives up.
    Failed,
    /// The run is given up at once.
    Dead,
    /// The handler decided that there is nothing to do.
    Skipped,
    /// The attempt was not begun: another worker may have it at once, and it does not count. Only for runs in a queue.
    Released,
}

/// Body of `POST /v1/runs/{run_id}/report`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutcomeReport {
    /// The attempt that ended, from [`property::ATTEMPT`].
    pub attempt: u32,
    /// The attempt's token, from [`property::TOKEN`].
    pub token: String,
    /// How it ended.
    pub outcome: ReportedOutcome,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With `failed`: no next attempt sooner than this many milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// With `succeeded`: what the handler gives back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

/// Answer to an accepted [`OutcomeReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// The run.
    pub run_id: String,
    /// The state it is in now.
    pub state: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_the_contracts() {
        let view: TaskView = serde_json::from_str(
            r#"{"_id":"7","name":"n","type":2,"data":"d","loop_time":60,"loop_count":3,"created_at":5,"ack":true}"#,
        )
        .unwrap();
        assert_eq!((view.id.as_str(), view.task_type, view.loop_time, view.loop_count), ("7", 2, 60, 3));
        let reply = serde_json::to_string(&DeleteReply { suc_ids: vec!["7".into()] }).unwrap();
        assert_eq!(reply, r#"{"SucIds":["7"]}"#);
    }

    #[test]
    fn a_report_leaves_out_what_is_not_said() {
        let report = OutcomeReport {
            attempt: 1,
            token: "t".into(),
            outcome: ReportedOutcome::Succeeded,
            message: None,
            retry_after_ms: None,
            result: None,
        };
        let body = serde_json::to_string(&report).unwrap();
        assert_eq!(body, r#"{"attempt":1,"token":"t","outcome":"succeeded"}"#);
    }
}
