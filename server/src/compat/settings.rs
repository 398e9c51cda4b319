//! Which fronts there are, and what each can be told.

use serde::{Deserialize, Serialize};

/// The fronts' part of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// kingtask: scripts and RPC calls.
    pub kingtask: Kingtask,
    /// easytask: HTTP callback services.
    pub easytask: Easytask,
    /// easyTask: pull workers.
    pub easytask_pull: EasytaskPull,
    /// TaskDash: the claim board.
    pub taskdash: Taskdash,
}

/// One front.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Whether its routes answer.
    pub enabled: bool,
}

/// The front for kingtask's clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kingtask {
    /// Whether its routes answer.
    pub enabled: bool,
    /// How long a task may run that names no `max_run_time`, in seconds; `task_run_time` of the old worker.
    pub task_run_sec: u64,
    /// How long a result can be read, in seconds; `result_keep_time` of the old worker.
    pub result_keep_sec: u64,
}

impl Default for Kingtask {
    /// What the old worker's example file says.
    fn default() -> Self {
        Self { enabled: false, task_run_sec: 30, result_keep_sec: 1_000 }
    }
}

/// The front for easytask's clients and callback services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Easytask {
    /// Whether its routes answer.
    pub enabled: bool,
    /// Whether callback services expect `cmd` as the old server's code had it (1 for a heartbeat, 0 for a task), and not as its document
    /// says.
    pub swap_cmd: bool,
    /// How long a callback may take to a service that names no `callback_timeout_sec`, in seconds.
    pub callback_timeout_sec: u64,
}

impl Default for Easytask {
    fn default() -> Self {
        Self { enabled: false, swap_cmd: false, callback_timeout_sec: 10 }
    }
}

/// The front for easyTask's clients and pull workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EasytaskPull {
    /// Whether its routes answer.
    pub enabled: bool,
    /// Whether callers must have signed in; `auth` of the old server.
    pub auth: bool,
    /// How long a session lasts, in hours.
    pub session_hours: u32,
}

impl Default for EasytaskPull {
    fn default() -> Self {
        Self { enabled: false, auth: false, session_hours: 168 }
    }
}

/// The front for TaskDash's page and task services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Taskdash {
    /// Whether its routes answer and its topics are read.
    pub enabled: bool,
    /// Whether the page's operations need a session, and a user binds tasks to himself alone.
    pub auth: bool,
    /// How long a session lasts, in hours.
    pub session_hours: u32,
    /// Stands before the names of the four topics.
    pub topic_prefix: String,
}

impl Default for Taskdash {
    fn default() -> Self {
        Self { enabled: false, auth: false, session_hours: 12, topic_prefix: String::new() }
    }
}

impl Compat {
    /// Every front switched on, each as it is set.
    #[must_use]
    pub fn all_on(mut self) -> Self {
        self.kingtask.enabled = true;
        self.easytask.enabled = true;
        self.easytask_pull.enabled = true;
        self.taskdash.enabled = true;
        self
    }
}
