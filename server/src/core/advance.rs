//! The step of a task past a moment: the linearization point of a fire.

use super::{Moment, Run, Task, TaskId, TaskState};

/// How far the store's clock may be behind a moment that a task steps past, in milliseconds: the
/// loss by rounding.
pub const CLOCK_TOLERANCE_MS: i64 = 1;

/// A step of a task past one moment, or past a stretch of skipped moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    pub task_id: TaskId,
    /// Revision that the task must have.
    pub rev: u32,
    /// Value of `next_due_at` that the task must have.
    pub due: Moment,
    /// Last nominal moment that the step decides: that of `due`, or the end of a skipped stretch.
    pub last_due_at: Moment,
    /// When the next moment after the step fires. `None`: the task finishes and frees its deduplication key, or it
    /// `waits`.
    pub next_due_at: Option<Moment>,
    /// The nominal moment of `next_due_at`, for a task with jitter.
    pub nominal_at: Option<Moment>,
    /// Whether the step counts as a fire.
    pub fires: bool,
    /// Whether the task stays active without a next moment ([`Task::waits_after`]).
    pub waits: bool,
}

impl Advance {
    /// Returns the step over the moments that a row decides. The row may be one of another node or of
    /// a previous life.
    pub fn of(task: &Task, row: &Run) -> Self {
        let fires = row.stretch.is_none();
        let decided = row.decides_up_to();
        let count = task.fired_count + u64::from(fires);
        let next = task.due_after(decided, count);
        let (nominal_at, next_due_at) = task.places(next);
        Self {
            task_id: task.id.clone(),
            rev: row.rev,
            due: row.effective_at(),
            last_due_at: decided,
            next_due_at,
            nominal_at,
            fires,
            waits: next.is_none() && task.waits_after(decided, count),
        }
    }

    /// Returns whether the task has no moment after the step.
    pub fn finishes(&self) -> bool {
        self.next_due_at.is_none() && !self.waits
    }

    /// Returns whether the step may be made at `now`, by the store's clock: the task is active, has
    /// the expected revision and next moment, and the moment has come.
    pub fn is_allowed(&self, task: &Task, now: Moment) -> bool {
        let is_expected = task.position() == (self.rev, TaskState::Active, Some(self.due));
        is_expected && self.due <= now.plus_ms(CLOCK_TOLERANCE_MS)
    }

    /// Returns whether the task has passed the moment at the expected revision, by this step or by
    /// another node's.
    pub fn has_passed(&self, task: &Task) -> bool {
        task.has_passed(self.rev, self.last_due_at)
    }
}

impl Task {
    /// Returns the task after the step. See [`Advance::is_allowed`].
    #[must_use]
    pub fn stepped(&self, advance: &Advance) -> Self {
        let Advance { task_id: _, rev: _, due: _, last_due_at, next_due_at, nominal_at, fires, waits: _ } =
            advance;
        let moved = Self {
            last_due_at: Some(*last_due_at),
            next_due_at: *next_due_at,
            nominal_at: *nominal_at,
            fired_count: self.fired_count.saturating_add(u64::from(*fires)),
            ..self.clone()
        };
        if !advance.finishes() {
            return moved;
        }
        Self { state: TaskState::Finished, dedup_key: None, ..moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Schedule;
    use crate::core::submission::Submission;

    const NOW: Moment = Moment::from_sec(1_000);

    fn every_second() -> Task {
        let definition =
            Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..Submission::named("n", "d") };
        definition.accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap()
    }

    fn fire(task: &Task) -> Advance {
        Advance {
            task_id: task.id.clone(),
            rev: 1,
            due: NOW,
            last_due_at: NOW,
            next_due_at: Some(NOW.plus_ms(1_000)),
            nominal_at: None,
            fires: true,
            waits: false,
        }
    }

    #[test]
    fn a_step_needs_the_expected_position_and_a_moment_that_has_come() {
        let (task, advance) = (every_second(), fire(&every_second()));
        assert!(advance.is_allowed(&task, NOW));
        assert!(advance.is_allowed(&task, NOW.plus_ms(-CLOCK_TOLERANCE_MS)));
        assert!(!advance.is_allowed(&task, NOW.plus_ms(-CLOCK_TOLERANCE_MS - 1)));
        assert!(!advance.is_allowed(&task.next_revision(&[]), NOW));
        assert!(!advance.is_allowed(&task.stepped(&advance), NOW));
        assert!(!advance.is_allowed(&Task { state: TaskState::Paused, ..task }, NOW));
    }

    #[test]
    fn a_step_counts_a_fire_and_the_last_step_finishes_the_task() {
        let task = every_second();
        let advance = fire(&task);
        let stepped = task.stepped(&advance);
        assert!(advance.has_passed(&stepped) && !advance.has_passed(&task));
        assert_eq!((stepped.next_due_at, stepped.fired_count), (advance.next_due_at, 1));
        assert_eq!((stepped.state, &stepped.dedup_key), (TaskState::Active, &task.dedup_key));

        let skipped = task.stepped(&Advance { fires: false, ..advance.clone() });
        assert_eq!((skipped.last_due_at, skipped.fired_count), (Some(NOW), 0));
        let finished = task.stepped(&Advance { next_due_at: None, ..advance });
        assert_eq!((finished.state, finished.dedup_key), (TaskState::Finished, None));
    }
}
