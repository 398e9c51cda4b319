//! Events of `GET /v1/events`.

use serde::{Deserialize, Serialize};

/// A change of a task, a run, a queue or an operation. An absent value means that this kind of event has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `task`, `run`, `log` (a run has new log lines), `queue` or `operation`; or `resync`: events were lost, so
    /// read the current state again.
    pub kind: String,
    /// Id of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Id of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// Tag: the name of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Queue of the run, or the queue that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// State of the task, run or operation; `deleted` for a deleted task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
