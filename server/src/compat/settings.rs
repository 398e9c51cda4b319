//! Settings of the legacy APIs.

use serde::{Deserialize, Serialize};

/// Settings of all legacy APIs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// The task center, whose API is always enabled.
    pub taskcenter: Taskcenter,
    /// Scripts and RPC calls.
    pub kingtask: Kingtask,
    /// HTTP callback services.
    pub easytask: Easytask,
    /// easyTask with pull workers.
    pub easytask_pull: EasytaskPull,
    /// The board of tasks that users claim.
    pub taskdash: Taskdash,
}

/// Settings of the legacy v1 API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Taskcenter {
    /// Whether `ack` makes the server wait for outcome reports, which consumers of the old task center cannot
    /// send.
    pub wait_for_reports: bool,
}

/// Settings of the legacy API of kingtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kingtask {
    /// Whether the routes exist.
    pub enabled: bool,
    /// Timeout of a task without `max_run_time`, in seconds. `task_run_time` of the old worker.
    pub task_run_sec: u64,
    /// Retention of a result in seconds. `result_keep_time` of the old worker.
    pub result_keep_sec: u64,
}

impl Default for Kingtask {
    /// The values of the example configuration of the old worker.
    fn default() -> Self {
        Self { enabled: false, task_run_sec: 30, result_keep_sec: 1_000 }
    }
}

/// Settings of the legacy API of easytask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Easytask {
    /// Whether the routes exist.
    pub enabled: bool,
    /// Whether callback services expect `cmd` as in the code of the old server (1 for a heartbeat, 0 for a task)
    /// instead of as in its document.
    pub swap_cmd: bool,
    /// Timeout of a callback to a service without `callback_timeout_sec`, in seconds.
    pub callback_timeout_sec: u64,
}

impl Default for Easytask {
    fn default() -> Self {
        Self { enabled: false, swap_cmd: false, callback_timeout_sec: 10 }
    }
}

/// Settings of the legacy API of easyTask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EasytaskPull {
    /// Whether the routes exist.
    pub enabled: bool,
    /// Form of the contract that clients get.
    pub dialect: Dialect,
    /// Whether clients need a session. `auth` of the old server.
    pub auth: bool,
    /// Lifetime of a session in hours.
    pub session_hours: u32,
}

impl Default for EasytaskPull {
    fn default() -> Self {
        Self { enabled: false, dialect: Dialect::Document, auth: false, session_hours: 168 }
    }
}

/// Form of the contract of easyTask, whose document and code differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The document: states 1, 2, 3 and -1; workers register and send heartbeats.
    #[default]
    Document,
    /// The code of late 2019: states 0 to 3; workers neither register nor send heartbeats, and may have no name.
    Code,
}

/// Settings of the legacy API of TaskDash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Taskdash {
    /// Whether the routes exist and the topics are read.
    pub enabled: bool,
    /// Whether operations of the page need a session, and users may bind tasks only to themselves.
    pub auth: bool,
    /// Lifetime of a session in hours.
    pub session_hours: u32,
    /// Prefix of the names of the four topics.
    pub topic_prefix: String,
    /// Origins of pages on other hosts that may use the board, such as `https://board.example`.
    pub allow_origins: Vec<String>,
    /// Days that finished tasks are kept. 0: for ever.
    pub keep_days: u32,
}

impl Default for Taskdash {
    fn default() -> Self {
        Self {
            enabled: false,
            auth: false,
            session_hours: 12,
            topic_prefix: String::new(),
            allow_origins: Vec::new(),
            keep_days: 90,
        }
    }
}

impl Compat {
    /// Enables every API and keeps the other settings.
    #[must_use]
    pub fn all_on(mut self) -> Self {
        self.kingtask.enabled = true;
        self.easytask.enabled = true;
        self.easytask_pull.enabled = true;
        self.taskdash.enabled = true;
        self
    }
}
