//! Definitions of a task over time: which revision began a definition, and the definition as it began.

use super::revision::{FIRST_REV, Revised};
use super::submission::Submission;
use super::{Moment, Task, TaskState};

impl Task {
    /// Returns the revision that began the current definition. Pause and resume keep the definition.
    pub fn defined_at_rev(&self) -> u32 {
        self.revised.as_ref().map_or(FIRST_REV, |revised| revised.rev)
    }

    /// Returns whether this revision began another definition: the store must keep the one before.
    pub fn begins_definition(&self) -> bool {
        self.rev > FIRST_REV && self.defined_at_rev() == self.rev
    }

    /// Returns the task as the edit `read` -> `self` at `at` leaves it: with the start of its definition, unless
    /// the definition is the one of `read`.
    #[must_use]
    pub fn with_start_of_definition(self, read: &Self, at: Moment) -> Self {
        if Submission::of(&self) == Submission::of(read) {
            return self;
        }
        let Self { rev, next_due_at: first_due_at, last_due_at, fired_count, .. } = self;
        let revised = Revised { rev, at, by: None, first_due_at, last_due_at, fired_count };
        Self { revised: Some(Box::new(revised)), ..self }
    }

    /// Returns the task with this caller as the one who began the definition, if this revision began it.
    #[must_use]
    pub fn defined_by(mut self, caller: &str) -> Self {
        let begins = self.begins_definition();
        if let Some(revised) = self.revised.as_mut().filter(|_| begins) {
            revised.by = Some(caller.to_owned());
        }
        self
    }

    /// Returns the task as it was when its definition began. The value depends only on the task and on
    /// [`defined_at_rev`](Self::defined_at_rev), so that writes of it can be repeated.
    #[must_use]
    pub fn as_defined(&self) -> Self {
        let begun = Self {
            rev: self.defined_at_rev(),
            state: TaskState::Active,
            nominal_at: None,
            last_due_at: None,
            fired_count: 0,
            past: Vec::new(),
            hidden: false,
            write_id: None,
            ..self.clone()
        };
        match &self.revised {
            None => begun.with_next(self.first_due()),
            Some(revised) => Self {
                next_due_at: revised.first_due_at,
                last_due_at: revised.last_due_at,
                fired_count: revised.fired_count,
                ..begun
            },
        }
    }

    /// Returns the name of the caller that began the current definition, if known.
    pub fn author(&self) -> Option<&str> {
        match &self.revised {
            None => self.created_by.as_deref(),
            Some(revised) => revised.by.as_deref(),
        }
    }

    /// Returns when the current definition began.
    pub fn defined_at(&self) -> Moment {
        self.revised.as_ref().map_or(self.created_at, |revised| revised.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::task::TaskId;
    use crate::core::task_change::{edit, pause, resume};
    use crate::core::{Moment, Schedule};

    const NOW: Moment = Moment::from_sec(1_000);

    fn task() -> Task {
        let definition =
            Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..Submission::named("mail", "1") };
        definition.accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap()
    }

    fn with_data(task: &Task, data: &str, at: Moment) -> Task {
        edit(task, Submission { data: data.to_owned(), ..Submission::of(task) }, &[], at).unwrap()
    }

    #[test]
    fn a_definition_is_the_same_however_far_the_task_is() {
        let task = task();
        let fired = Task {
            last_due_at: Some(NOW),
            next_due_at: Some(NOW.plus_ms(1_000)),
            fired_count: 1,
            ..task.clone()
        };
        assert_eq!(fired.as_defined(), task);
        let edited = with_data(&fired, "2", NOW.plus_ms(500));
        assert_eq!(
            (edited.as_defined().next_due_at, edited.as_defined().fired_count),
            (edited.next_due_at, 1)
        );
        let paused = pause(&edited, &[]).unwrap().unwrap();
        let (resumed, _) = resume(&paused, &[], NOW.plus_ms(9_500)).unwrap().unwrap();
        assert_eq!((resumed.rev, resumed.defined_at_rev()), (4, 2));
        assert_eq!(resumed.as_defined(), edited.as_defined());
    }

    #[test]
    fn only_another_definition_begins_one() {
        let task = task();
        assert!(!task.begins_definition() && !pause(&task, &[]).unwrap().unwrap().begins_definition());
        let same = with_data(&task, "1", NOW);
        assert_eq!((same.rev, same.begins_definition(), same.defined_at_rev()), (2, false, 1));
        let edited = with_data(&same, "2", NOW);
        assert_eq!(
            (edited.begins_definition(), edited.defined_at_rev(), edited.defined_at()),
            (true, 3, NOW)
        );
    }
}
