//! The edit that began a definition of a task.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Revision of a task that was never edited.
pub const FIRST_REV: u32 = 1;
/// Maximum number of earlier definitions that a store keeps of a task. It removes the oldest ones.
pub const MAX_PAST_DEFINITIONS: u32 = 100;

/// The edit that began the current definition of a task, with the position of the task at the edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// Revision of the task after the edit.
    pub rev: u32,
    /// When the server accepted the edit.
    pub at: Moment,
    /// Name of the caller. `None`: the caller had no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// First moment of the definition.
    pub first_due_at: Option<Moment>,
    /// Last moment that was decided under earlier definitions.
    pub last_due_at: Option<Moment>,
    /// Number of fires under earlier definitions.
    pub fired_count: u64,
}
