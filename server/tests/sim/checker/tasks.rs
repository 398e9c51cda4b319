//! Changes of tasks: steps, revisions, deaths.

use taskcenter_server::core::{Moment, RunId, RunState, Task, TaskId, TaskState};

use super::{Book, Checker, TaskStory, model};

/// What a run's end says that a person called off.
const BY_HAND: &str = "cancelled by hand";

impl Checker {
    /// A write has turned the rows `before` into `after`.
    pub fn tasks_changed(&self, ids: &[TaskId], before: &[Task], after: &[Task]) {
        let mut book = self.book();
        let of = |rows: &[Task], id: &TaskId| rows.iter().find(|task| task.id == *id).cloned();
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        for id in &ids {
            match (of(before, id), of(after, id)) {
                (None, Some(task)) => self.task_came(&mut book, task),
                (Some(before), Some(after)) if before != after => self.task_moved(&mut book, &before, after),
                (Some(before), None) => self.wrong(&mut book, "a task is lost", before.id),
                _ => {}
            }
        }
    }

    fn task_came(&self, book: &mut Book, task: Task) {
        self.log(|| format!("task {} {:?} due {:?}", task.id, task.schedule, task.next_due_at));
        if book.tasks.contains_key(&task.id) {
            return self.wrong(book, "a task came twice", &task.id);
        }
        if (task.rev, task.state, task.fired_count) != (1, TaskState::Active, 0)
            || task.next_due_at != model::first(&task)
        {
            self.wrong(book, "a task begins wrongly", format!("{task:?}"));
        }
        self.take_key(book, &task);
        let story = TaskStory { task: task.clone(), fires: 0, acknowledged: false, promises: Vec::new() };
        book.tasks.insert(task.id, story);
    }

    fn take_key(&self, book: &mut Book, task: &Task) {
        book.keys.retain(|_, holder| *holder != task.id);
        if let Some(key) = &task.dedup_key
            && let Some(holder) = book.keys.insert(key.clone(), task.id.clone())
        {
            self.wrong(book, "two live tasks have one dedup key", format!("{holder} and {}", task.id));
        }
    }

    fn task_moved(&self, book: &mut Book, before: &Task, after: Task) {
        self.log(|| {
            let Task { id, rev, state, next_due_at, fired_count, .. } = &after;
            format!("task {id} rev {rev} {state:?} due {next_due_at:?} fired {fired_count}")
        });
        match () {
            () if after.state == TaskState::Cancelled => self.task_died(book, before, &after),
            () if after.rev == before.rev => self.task_stepped(book, before, &after),
            () if after.rev == before.rev + 1 => self.task_revised(book, before, &after),
            () => self.wrong(book, "a revision was left out", format!("{before:?} to {after:?}")),
        }
        self.take_key(book, &after);
        if let Some(story) = book.tasks.get_mut(&after.id) {
            story.task = after;
        } else {
            self.wrong(book, "a task came from nowhere", &after.id);
        }
    }

    fn task_died(&self, book: &mut Book, before: &Task, after: &Task) {
        let expected = Task {
            state: TaskState::Cancelled,
            next_due_at: None,
            dedup_key: None,
            hidden: after.hidden,
            ..before.clone()
        };
        if *after != expected || (before.hidden && !after.hidden) {
            self.wrong(book, "a tombstone is wrong", format!("{before:?} to {after:?}"));
        }
    }

    /// The linearization point of a fire or a skip.
    fn task_stepped(&self, book: &mut Book, before: &Task, after: &Task) {
        let (Some(due), Some(last), TaskState::Active) =
            (before.next_due_at, after.last_due_at, before.state)
        else {
            return self.wrong(book, "a task stepped that was not due", format!("{before:?} to {after:?}"));
        };
        let fires = after.fired_count.wrapping_sub(before.fired_count);
        self.decided(book, before, (due, last), fires == 1);
        if due > self.now().plus_ms(1) {
            self.wrong(book, "a moment was decided before it came", format!("{} at {due}", before.id));
        }
        let next = model::after(before, last, after.fired_count);
        let state = if next.is_some() { TaskState::Active } else { TaskState::Finished };
        if fires > 1 || after.next_due_at != next || after.state != state {
            self.wrong(book, "a step leads astray", format!("{before:?} to {after:?}, expected {next:?}"));
        }
        if after.max_fires.is_some_and(|max| after.fired_count > max) {
            self.wrong(book, "a task fired too often", format!("{after:?}"));
        }
        if let Some(story) = book.tasks.get_mut(&before.id) {
            story.fires += fires;
        }
    }

    /// The moments from `due` to `last` are decided: the row of the first one says how.
    fn decided(&self, book: &mut Book, task: &Task, (due, last): (Moment, Moment), fires: bool) {
        let id = RunId::derive(&task.id, task.rev, due);
        let Some(story) = book.runs.get_mut(&id) else {
            return self.wrong(book, "a moment has no run", &id);
        };
        story.decided = true;
        let stretch = story.run.stretch;
        let fits = match stretch {
            None => fires && due == last,
            Some(stretch) => {
                !fires && stretch.to == last && model::count(task, due, last) == Some(stretch.count)
            }
        };
        let skips_what_is_to_come =
            stretch.is_some_and(|stretch| stretch.to > self.now().plus_ms(self.skew_ms + 1));
        // A person may call a run off at any time, and with it its moment. Whoever else ends a row unfired has seen that it never fires.
        let is_called_off =
            story.run.state == RunState::Cancelled && story.run.reason.as_deref() != Some(BY_HAND);
        if !fits {
            self.wrong(
                book,
                "a row does not say what was decided",
                format!("{id}: {stretch:?}, but {due} to {last}"),
            );
        }
        if skips_what_is_to_come {
            self.wrong(book, "moments are skipped before they came", format!("{id}: {stretch:?}"));
        }
        if is_called_off {
            self.wrong(book, "a moment was decided by a run that was called off", &id);
        }
    }

    fn task_revised(&self, book: &mut Book, before: &Task, after: &Task) {
        use TaskState::{Active, Paused};
        let kept = after.fired_count == before.fired_count && after.last_due_at == before.last_due_at;
        let same_times = times(before) == times(after);
        let fits = match (before.state, after.state) {
            (Active, Paused) => kept && same_times && after.next_due_at == before.next_due_at,
            (Paused, Active) if after.next_due_at == before.next_due_at => kept && same_times,
            (Paused, Active) => return self.task_resumed_later(book, before, after),
            (Active, Active) | (Paused, Paused) if same_times => {
                kept && after.next_due_at == before.next_due_at
            }
            (Active, Active) | (Paused, Paused) => kept && after.next_due_at == model::first(after),
            _ => false,
        };
        if !fits {
            self.wrong(book, "a change is wrong", format!("{before:?} to {after:?}"));
        }
    }

    /// It goes on beyond moments that passed while it was held.
    fn task_resumed_later(&self, book: &mut Book, before: &Task, after: &Task) {
        let (Some(due), Some(last)) = (before.next_due_at, after.last_due_at) else {
            return self.wrong(book, "a change is wrong", format!("{before:?} to {after:?}"));
        };
        self.decided(book, before, (due, last), false);
        if after.next_due_at != model::after(after, last, after.fired_count)
            || after.fired_count != before.fired_count
        {
            self.wrong(book, "a task goes on at the wrong moment", format!("{before:?} to {after:?}"));
        }
    }
}

type Times<'a> = (&'a taskcenter_server::core::Schedule, Option<Moment>, Option<Moment>, Option<u64>);

fn times(task: &Task) -> Times<'_> {
    (&task.schedule, task.start_at, task.end_at, task.max_fires)
}
