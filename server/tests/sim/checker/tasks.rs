//! Checks of task writes: inserts, advances, revisions, cancellations.

use taskcenter_server::core::calendar::Calendars;
use taskcenter_server::core::{Moment, RunId, RunState, Schedule, Task, TaskId, TaskState};

use super::{Book, Checker, TaskStory, model};

/// Reason of a run that a user cancelled.
const BY_HAND: &str = "cancelled by hand";

impl Checker {
    /// Checks a write that changed the rows `before` to `after`.
    pub fn tasks_changed(&self, ids: &[TaskId], before: &[Task], after: &[Task]) {
        let mut book = self.book();
        let of = |rows: &[Task], id: &TaskId| rows.iter().find(|task| task.id == *id).cloned();
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        for id in &ids {
            match (of(before, id), of(after, id)) {
                (None, Some(task)) => self.task_inserted(&mut book, task),
                (Some(before), Some(after)) if before != after => {
                    self.task_updated(&mut book, &before, after);
                }
                (Some(before), None) => self.violation(&mut book, "a task is lost", before.id),
                _ => {}
            }
        }
    }

    fn task_inserted(&self, book: &mut Book, task: Task) {
        self.log(|| format!("task {} {:?} due {:?}", task.id, task.schedule, task.next_due_at));
        if task.stands_for.is_some() {
            // The row only keeps an answer; the checker of answers compares the answers.
            return;
        }
        if book.tasks.contains_key(&task.id) {
            return self.violation(book, "a task was inserted twice", &task.id);
        }
        if (task.rev, task.state, task.fired_count) != (1, TaskState::Active, 0)
            || !model::waits_for(&task, model::first(&task))
        {
            self.violation(book, "a new task is wrong", format!("{task:?}"));
        }
        self.take_key(book, &task);
        let story = TaskStory { task: task.clone(), fires: 0, acknowledged: false, promises: Vec::new() };
        self.quota_used(book, &task);
        book.tasks.insert(task.id, story);
    }

    fn take_key(&self, book: &mut Book, task: &Task) {
        book.keys.retain(|_, holder| *holder != task.id);
        if let Some(key) = &task.dedup_key
            && let Some(holder) = book.keys.insert(key.clone(), task.id.clone())
        {
            self.violation(book, "two live tasks have one dedup key", format!("{holder} and {}", task.id));
        }
    }

    fn task_updated(&self, book: &mut Book, before: &Task, after: Task) {
        self.log(|| {
            let Task { id, rev, state, next_due_at, fired_count, .. } = &after;
            format!("task {id} rev {rev} {state:?} due {next_due_at:?} fired {fired_count}")
        });
        match () {
            () if after.state == TaskState::Cancelled => self.task_cancelled(book, before, &after),
            () if after.rev == before.rev => self.task_advanced(book, before, &after),
            () if after.rev == before.rev + 1 => self.task_revised(book, before, &after),
            () => self.violation(book, "a revision is missing", format!("{before:?} to {after:?}")),
        }
        self.take_key(book, &after);
        if let Some(story) = book.tasks.get_mut(&after.id) {
            story.task = after;
        } else {
            self.violation(book, "an update of an unknown task", &after.id);
        }
    }

    fn task_cancelled(&self, book: &mut Book, before: &Task, after: &Task) {
        let expected = Task {
            state: TaskState::Cancelled,
            next_due_at: None,
            nominal_at: None,
            dedup_key: None,
            hidden: after.hidden,
            ..before.clone()
        };
        if *after != expected || (before.hidden && !after.hidden) {
            self.violation(book, "a tombstone is wrong", format!("{before:?} to {after:?}"));
        }
    }

    /// Checks the linearization point of a fire or a skip.
    fn task_advanced(&self, book: &mut Book, before: &Task, after: &Task) {
        let (Some(due), Some(effective), Some(last), TaskState::Active) =
            (model::nominal(before), before.next_due_at, after.last_due_at, before.state)
        else {
            return self.violation(
                book,
                "a task advanced that was not due",
                format!("{before:?} to {after:?}"),
            );
        };
        let fires = after.fired_count.wrapping_sub(before.fired_count);
        self.decided(book, before, (due, last), fires == 1);
        if effective > self.now().plus_ms(1) {
            let what = format!("{} at {effective}", before.id);
            self.violation(book, "a moment was decided before it was due", what);
        }
        let next = model::after(before, last, after.fired_count);
        let stays = next.is_some() || model::waits(before, last, after.fired_count);
        let state = if stays { TaskState::Active } else { TaskState::Finished };
        if fires > 1 || !model::waits_for(after, next) || after.state != state {
            self.violation(book, "a wrong advance", format!("{before:?} to {after:?}, expected {next:?}"));
        }
        if after.max_fires.is_some_and(|max| after.fired_count > max) {
            self.violation(book, "a task fired too often", format!("{after:?}"));
        }
        if let Some(story) = book.tasks.get_mut(&before.id) {
            story.fires += fires;
        }
    }

    /// Checks that the row of the moment `due` matches the decision about the moments from `due` to
    /// `last`.
    fn decided(&self, book: &mut Book, task: &Task, (due, last): (Moment, Moment), fires: bool) {
        let id = RunId::derive(&task.id, task.rev, due);
        let Some(story) = book.runs.get_mut(&id) else {
            return self.violation(book, "a moment has no run", &id);
        };
        story.decided = true;
        let stretch = story.run.stretch;
        let matches = match stretch {
            None => fires && due == last,
            Some(stretch) => {
                !fires && stretch.to == last && model::count(task, due, last) == Some(stretch.count)
            }
        };
        let skips_future_moments =
            stretch.is_some_and(|stretch| stretch.to > self.now().plus_ms(self.skew_ms + 1));
        // A user may cancel a run, and with it its moment, at any time. The engine cancels a row
        // only if the moment can never fire.
        let is_cancelled =
            story.run.state == RunState::Cancelled && story.run.reason.as_deref() != Some(BY_HAND);
        if !matches {
            self.violation(
                book,
                "a row does not match the decision",
                format!("{id}: {stretch:?}, but {due} to {last}"),
            );
        }
        if skips_future_moments {
            self.violation(book, "moments were skipped before they were due", format!("{id}: {stretch:?}"));
        }
        if is_cancelled {
            self.violation(book, "a moment was decided by a cancelled run", &id);
        }
    }

    fn task_revised(&self, book: &mut Book, before: &Task, after: &Task) {
        use TaskState::{Active, Paused};
        let kept = after.fired_count == before.fired_count && after.last_due_at == before.last_due_at;
        let same_times = times(before) == times(after);
        let is_valid = match (before.state, after.state) {
            (Active, Paused) => kept && same_times && after.next_due_at == before.next_due_at,
            (Paused, Active) if after.next_due_at == before.next_due_at => kept && same_times,
            (Paused, Active) => return self.task_resumed_later(book, before, after),
            (Active, Active) | (Paused, Paused) if same_times => {
                kept && model::waits_for(after, model::nominal(before))
            }
            (Active, Active) | (Paused, Paused) => {
                kept && model::waits_for(after, model::first_after_edit(before, after))
            }
            _ => false,
        };
        self.edit_drops_nothing(book, before, after);
        if !is_valid {
            self.violation(book, "a wrong change", format!("{before:?} to {after:?}"));
        }
    }

    /// Checks that an edit of the times leaves a row for the moment that was due.
    fn edit_drops_nothing(&self, book: &mut Book, before: &Task, after: &Task) {
        let (Some(due), Some(effective)) = (model::nominal(before), before.next_due_at) else { return };
        let was_due = times(before) != times(after) && effective <= after.anchored_at;
        let id = RunId::derive(&before.id, before.rev, due);
        if was_due && !book.runs.contains_key(&id) {
            self.violation(book, "an edit dropped a due moment", format!("{before:?} to {after:?}"));
        }
    }

    /// Checks a resume after moments that passed during the pause.
    fn task_resumed_later(&self, book: &mut Book, before: &Task, after: &Task) {
        let (Some(due), Some(last)) = (model::nominal(before), after.last_due_at) else {
            return self.violation(book, "a wrong change", format!("{before:?} to {after:?}"));
        };
        self.decided(book, before, (due, last), false);
        if !model::waits_for(after, model::after(after, last, after.fired_count))
            || after.fired_count != before.fired_count
        {
            self.violation(book, "a task resumes at the wrong moment", format!("{before:?} to {after:?}"));
        }
    }
}

type Times<'a> = (&'a Schedule, Option<Moment>, Option<Moment>, Option<u64>, &'a Option<Box<Calendars>>);

fn times(task: &Task) -> Times<'_> {
    (&task.schedule, task.start_at, task.end_at, task.max_fires, &task.timing.calendars)
}
