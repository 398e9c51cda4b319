use super::{Backfilled, Run, RunId};
use crate::core::{Moment, Task, TaskState};

impl Run {
    /// Creates the run of a moment in a backfill, due at once.
    pub fn backfilled(task: &Task, of: Backfilled<'_>, token: String, now: Moment) -> Self {
        Self {
            id: RunId::of_backfill(&task.id, of),
            scheduled_at: of.at,
            due_at: Some(now),
            ..Self::triggered(task, "", token, now)
        }
    }

    /// Returns the run that replaces this run of a backfill, because the task was changed before the run was handed
    /// over. `None`: the run is not of a backfill, or the task does not fire any more.
    pub fn replacement(&self, task: &Task, token: String, now: Moment) -> Option<Self> {
        let of = self.id.backfill().filter(|_| task.state != TaskState::Cancelled)?;
        let of = Backfilled { replaced: of.replaced.checked_add(1)?, ..of };
        Some(Self::backfilled(task, of, token, now))
    }
}
