use serde::{Deserialize, Serialize};

use crate::core::{Moment, TaskId};

/// What a run of a backfill is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfilled<'a> {
    /// Id of the operation.
    pub operation: &'a str,
    /// Nominal moment.
    pub at: Moment,
    /// Number of earlier runs of the moment, which a change of the task has cancelled before they fired.
    pub replaced: u32,
}

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

    /// Returns the id of the run of a moment in a backfill. A repeated step of the operation finds the first run.
    pub fn of_backfill(task: &TaskId, of: Backfilled<'_>) -> Self {
        let Backfilled { operation, at, replaced } = of;
        let suffix = if replaced == 0 { String::new() } else { format!(".{replaced}") };
        Self(format!("{task}-b{operation}-{}{suffix}", at.ms()))
    }

    /// Returns what a run of a backfill is for. `None`: another run.
    pub fn backfill(&self) -> Option<Backfilled<'_>> {
        let (_, rest) = self.0.split_once('-')?;
        let (operation, moment) = rest.strip_prefix('b')?.split_once('-')?;
        let (ms, replaced) = moment.split_once('.').unwrap_or((moment, "0"));
        let at = Moment::from_ms(ms.parse().ok()?);
        Some(Backfilled { operation, at, replaced: replaced.parse().ok()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_backfilled_run_has_its_operation_and_its_moment() {
        let task = TaskId::new(uuid::Uuid::nil());
        for (ms, replaced) in [(7, 0), (7, 2), (-7, 0)] {
            let of = Backfilled { operation: "0a1", at: Moment::from_ms(ms), replaced };
            assert_eq!(RunId::of_backfill(&task, of).backfill(), Some(of));
        }
        let others = [RunId::derive(&task, 1, Moment::from_ms(7)), RunId::of_trigger(&task, "b1-7")];
        assert!(others.iter().all(|run| run.backfill().is_none()));
        assert_eq!(RunId::from_text("x").backfill(), None);
    }
}
