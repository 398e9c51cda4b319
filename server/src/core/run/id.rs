use serde::{Deserialize, Serialize};

use crate::core::{Moment, TaskId};

/// Identifies a run. Derived from task, revision and `scheduled_at`, so that two nodes which fire
/// the same moment create the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Returns the id of the run of one moment.
    pub fn derive(task: &TaskId, rev: u32, scheduled_at: Moment) -> Self {
        Self(format!("{task}-{rev}-{}", scheduled_at.ms()))
    }

    /// Returns the id of a manual fire. `mark` separates it from other manual fires, and from the
    /// moments of the schedule. The id does not contain the revision: the same trigger, sent again
    /// after an edit, finds the first run.
    pub fn of_trigger(task: &TaskId, mark: &str) -> Self {
        Self(format!("{task}-t{mark}"))
    }

    /// Returns an id that sorts after all runs of this revision, and before those of later
    /// revisions.
    pub fn end_of(task: &TaskId, rev: u32) -> Self {
        // '.' is the character after '-', which ends the revision.
        Self(format!("{task}-{rev}."))
    }

    /// Wraps an id from outside, without a check.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
