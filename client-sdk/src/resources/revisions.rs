//! Definitions of a task over time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskSpec;

/// A definition of a task, and the revision of the task that began the definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskRevision {
    /// Revision of the task that began the definition, from 1.
    pub rev: u32,
    /// `created` or `edited`.
    pub change: String,
    /// When the server accepted the definition.
    pub at: Timestamp,
    /// Name of the caller's token, or where a caller without a token came from, such as `loopback`. `null`:
    /// unknown, as for a task that an earlier release has created.
    pub by: Option<String>,
    /// First moment of the definition.
    pub first_due_at: Option<Timestamp>,
    /// The definition, as it creates the task.
    pub definition: TaskSpec,
}

/// Answer of `GET /v1/tasks/{task_id}/revisions`: a page of definitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskRevisionList {
    /// The definitions, latest first. At most 8 MiB, except for a single larger one.
    pub revisions: Vec<TaskRevision>,
    /// `cursor` of the next page. `null`: this is the last page.
    pub next_cursor: Option<String>,
}
