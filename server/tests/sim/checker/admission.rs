//! Checks of tasks with an overlap policy: at most one run of the task is admitted, and a run that was
//! suppressed names the run that has caused it.

use taskcenter_server::core::{Run, RunId, RunState};

use super::{Book, Checker};

impl Checker {
    /// Checks a write of a run against the other runs of its task.
    pub(super) fn admission_changed(&self, book: &mut Book, before: &Run, after: &Run) {
        if after.overlap.is_none() {
            return;
        }
        let is_handed_over = matches!(after.state, RunState::Ready | RunState::Leased | RunState::Fired);
        let has_no_slot = after.slots.is_empty();
        for (rule, broken) in [
            ("a run was handed over without its slot", is_handed_over && has_no_slot),
            ("an ended run has a slot", after.has_ended() && !has_no_slot),
            ("two admitted runs of a task", !has_no_slot && has_admitted(book, after)),
            (
                "a run was suppressed without a cause",
                after.blocked_by.as_ref().is_some_and(|by| !is_run_of_task(book, by, after)),
            ),
        ] {
            if broken {
                self.violation(book, rule, format!("{before:?} to {after:?}"));
            }
        }
        if before.state == RunState::Held && after.state == RunState::Firing {
            // The other runs that wait have a turn after this one.
            let now = self.now();
            let of_task = book.runs.values_mut().filter(|story| story.run.task_id == after.task_id);
            of_task.for_each(|story| story.begun = now);
        }
    }
}

fn has_admitted(book: &Book, run: &Run) -> bool {
    let is_admitted = |other: &Run| {
        other.id != run.id && other.task_id == run.task_id && !other.slots.is_empty() && !other.has_ended()
    };
    book.runs.values().any(|story| is_admitted(&story.run))
}

fn is_run_of_task(book: &Book, id: &RunId, run: &Run) -> bool {
    book.runs.get(id).is_some_and(|story| story.run.task_id == run.task_id)
}

/// Returns whether the run ends because of another run.
pub(super) fn is_suppressed(before: &Run, after: &Run) -> bool {
    before.blocked_by.is_none() && after.blocked_by.is_some() && after.state == RunState::Skipped
}
