//! Final check, after a time without faults.

use std::collections::BTreeMap;

use taskcenter_server::core::{Run, RunState, Task, TaskState};
use taskcenter_server::ports::{Page, RunFilter, RunPage, Store, TaskFilter};

use super::{Book, Checker};

/// Age at which every run must have ended, in milliseconds. Leases, pauses and deadlines of a
/// history are far shorter.
const MAX_AGE_MS: i64 = 60_000;
/// Maximum lateness of an idle node, in milliseconds.
const MAX_LATE_MS: i64 = 2_500;

impl Checker {
    /// Checks the stored tasks and runs.
    pub async fn finish(&self, store: &dyn Store) {
        let runs = every_run(store).await;
        let tasks = every_task(store).await;
        let of_slots = self.check_slots(store, &runs).await;
        let mut book = self.book();
        self.violations_found(&mut book, of_slots);
        self.check_tasks(&mut book, &tasks);
        self.check_runs(&mut book, &runs);
    }

    fn check_tasks(&self, book: &mut Book, tasks: &[Task]) {
        let stored: BTreeMap<_, _> = tasks.iter().map(|task| (&task.id, task)).collect();
        let mut found = Vec::new();
        for (id, story) in &book.tasks {
            // Lists do not contain hidden tasks.
            match stored.get(id) {
                None if story.task.hidden => {}
                None => found.push(("a task is gone", format!("{:?}", story.task))),
                Some(task) if **task != story.task => {
                    found.push(("a task changed without a record", format!("{task:?}")));
                }
                Some(_) => {}
            }
            if story.task.fired_count != story.fires || story.fires != decided_fires(book, &story.task) {
                found.push((
                    "the number of fires is wrong",
                    format!("{}: {} in {:?}", id, story.fires, story.task),
                ));
            }
            let overdue = story.task.next_due_at.filter(|due| self.now().since(*due) > MAX_LATE_MS);
            if story.task.state == TaskState::Active && overdue.is_some() {
                found.push(("a due moment was never processed", format!("{:?}", story.task)));
            }
        }
        for task in tasks {
            if !book.tasks.contains_key(&task.id) {
                found.push(("a task without a record", format!("{task:?}")));
            }
        }
        self.violations_found(book, found);
    }

    fn check_runs(&self, book: &mut Book, runs: &[Run]) {
        let mut found = Vec::new();
        let mut moments = BTreeMap::new();
        for run in runs {
            let moment = (&run.task_id, run.rev, run.scheduled_at);
            if !run.triggered && moments.insert(moment, &run.id).is_some() {
                found.push(("a moment has two rows", format!("{run:?}")));
            }
            match book.runs.get(&run.id) {
                None => found.push(("a run without a record", format!("{run:?}"))),
                Some(story) if story.run != *run => {
                    found.push(("a run changed without a record", format!("{run:?}")));
                }
                Some(_) => {}
            }
        }
        if runs.len() != book.runs.len() {
            found.push(("runs are gone", format!("{} of {}", runs.len(), book.runs.len())));
        }
        for story in book.runs.values() {
            let run = &story.run;
            if !run.has_ended() && self.now().since(story.begun) > MAX_AGE_MS {
                found.push(("a run does not end", format!("{run:?}")));
            }
            // A skipped row remains if its task was changed before it advanced past the skipped
            // moments.
            let is_orphan = run.has_ended() && !story.decided && !run.triggered;
            if is_orphan && !matches!(run.state, RunState::Cancelled | RunState::Skipped) {
                found.push(("a run ended without a decision", format!("{run:?}")));
            }
        }
        self.violations_found(book, found);
    }

    fn violations_found(&self, book: &mut Book, found: Vec<(&'static str, String)>) {
        for (rule, what) in found {
            self.violation(book, rule, what);
        }
    }
}

fn decided_fires(book: &Book, task: &Task) -> u64 {
    let of_task = |story: &&super::RunStory| story.run.task_id == task.id;
    let fired = |story: &&super::RunStory| story.decided && story.run.stretch.is_none();
    book.runs.values().filter(of_task).filter(fired).count() as u64
}

async fn every_run(store: &dyn Store) -> Vec<Run> {
    let page = RunPage { limit: u32::MAX, before: None };
    store.list_runs(&RunFilter::default(), &page).await.unwrap_or_default()
}

async fn every_task(store: &dyn Store) -> Vec<Task> {
    let page = Page { limit: u32::MAX, before: None };
    let mut tasks = store.list_tasks(&TaskFilter::default(), &page).await.unwrap_or_default();
    let cancelled = TaskFilter { state: Some(TaskState::Cancelled), ..TaskFilter::default() };
    tasks.extend(store.list_tasks(&cancelled, &page).await.unwrap_or_default());
    tasks
}
