//! The last judgement: after everything is well again, and a quiet time.

use std::collections::BTreeMap;

use taskcenter_server::core::{Run, RunState, Task, TaskState};
use taskcenter_server::ports::{Page, RunFilter, RunPage, Store, TaskFilter};

use super::{Book, Checker};

/// What is older than this must have come to its end, in milliseconds: leases, pauses and deadlines of a history are far shorter.
const LONG_MS: i64 = 60_000;
/// How late an idle node may be, in milliseconds.
const SLACK_MS: i64 = 2_500;

impl Checker {
    /// Judges what is stored.
    pub async fn finish(&self, store: &dyn Store) {
        let runs = every_run(store).await;
        let tasks = every_task(store).await;
        let mut book = self.book();
        self.all_tasks(&mut book, &tasks);
        self.all_runs(&mut book, &runs);
    }

    fn all_tasks(&self, book: &mut Book, tasks: &[Task]) {
        let stored: BTreeMap<_, _> = tasks.iter().map(|task| (&task.id, task)).collect();
        let mut found = Vec::new();
        for (id, story) in &book.tasks {
            // A hidden one is in no list.
            match stored.get(id) {
                None if story.task.hidden => {}
                None => found.push(("a task is gone", format!("{:?}", story.task))),
                Some(task) if **task != story.task => {
                    found.push(("a task has changed in silence", format!("{task:?}")));
                }
                Some(_) => {}
            }
            if story.task.fired_count != story.fires || story.fires != decided_fires(book, &story.task) {
                found.push((
                    "fires are not counted exactly",
                    format!("{}: {} in {:?}", id, story.fires, story.task),
                ));
            }
            let overdue = story.task.next_due_at.filter(|due| self.now().since(*due) > SLACK_MS);
            if story.task.state == TaskState::Active && overdue.is_some() {
                found.push(("a due moment was never looked at", format!("{:?}", story.task)));
            }
        }
        for task in tasks {
            if !book.tasks.contains_key(&task.id) {
                found.push(("a task that nobody stored", format!("{task:?}")));
            }
        }
        self.all_wrong(book, found);
    }

    fn all_runs(&self, book: &mut Book, runs: &[Run]) {
        let mut found = Vec::new();
        let mut moments = BTreeMap::new();
        for run in runs {
            let moment = (&run.task_id, run.rev, run.scheduled_at);
            if !run.triggered && moments.insert(moment, &run.id).is_some() {
                found.push(("a moment has two rows", format!("{run:?}")));
            }
            match book.runs.get(&run.id) {
                None => found.push(("a run that nobody stored", format!("{run:?}"))),
                Some(story) if story.run != *run => {
                    found.push(("a run has changed in silence", format!("{run:?}")));
                }
                Some(_) => {}
            }
        }
        if runs.len() != book.runs.len() {
            found.push(("runs are gone", format!("{} of {}", runs.len(), book.runs.len())));
        }
        for story in book.runs.values() {
            let run = &story.run;
            if !run.has_ended() && self.now().since(story.begun) > LONG_MS {
                found.push(("a run does not come to its end", format!("{run:?}")));
            }
            // A skipped row whose task was changed before it stepped over the stretch stays as it was written.
            let is_orphan = run.has_ended() && !story.decided && !run.triggered;
            if is_orphan && !matches!(run.state, RunState::Cancelled | RunState::Skipped) {
                found.push(("a run ended that was never decided", format!("{run:?}")));
            }
        }
        self.all_wrong(book, found);
    }

    fn all_wrong(&self, book: &mut Book, found: Vec<(&'static str, String)>) {
        for (rule, what) in found {
            self.wrong(book, rule, what);
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
    let cancelled = TaskFilter { name: None, state: Some(TaskState::Cancelled) };
    tasks.extend(store.list_tasks(&cancelled, &page).await.unwrap_or_default());
    tasks
}
