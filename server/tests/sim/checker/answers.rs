//! Checks of the answers to users and workers.

use std::collections::BTreeSet;

use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunId, RunState, Task, TaskId, TaskState};
use taskcenter_server::engine::service::{Changed, Confirmation, Deleted, Report, definition};

use super::{Book, Checker, Promise};
use crate::random_input::outcome_name;

/// Kind of an acknowledged change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pause,
    Resume,
    Edit,
    Cancel,
    Delete,
}

/// Returns whether the ledger contains, or has contained, the run as it was answered.
fn was_stored(book: &Book, run: &Run) -> bool {
    book.runs.get(&run.id).is_some_and(|story| {
        let stored = &story.run;
        stored.version > run.version || (stored.version == run.version && stored.state == run.state)
    })
}

fn confirmed_state(confirmation: &Confirmation) -> RunState {
    if confirmation.succeeded { RunState::Succeeded } else { RunState::Dead }
}

impl Checker {
    /// Checks an acknowledged submit of a new task.
    pub fn submitted(&self, id: &TaskId, submission: &Submission) {
        let mut book = self.book();
        let Some(story) = book.tasks.get_mut(id) else {
            return self.violation(&mut book, "an acknowledged task is missing", id);
        };
        story.acknowledged = true;
        let is_untouched = story.task.rev == 1 && story.task.state == TaskState::Active;
        if is_untouched {
            let task = story.task.clone();
            self.matches(&mut book, &task, submission);
        }
    }

    /// Checks an acknowledged submit that has replaced a live task. `stored` is the task as the answer contains it.
    pub fn replaced(&self, stored: &Task, submission: &Submission) {
        let mut book = self.book();
        self.matches(&mut book, stored, submission);
        let is_made = book.tasks.get(&stored.id).is_some_and(|story| story.task.rev >= stored.rev);
        if !is_made {
            self.violation(&mut book, "an acknowledged replacement is missing", format!("{stored:?}"));
        }
    }

    fn matches(&self, book: &mut Book, task: &Task, submission: &Submission) {
        let Submission { dedup, on_conflict, .. } = submission.clone();
        let stored = Submission { dedup, on_conflict, ..definition(task) };
        if stored != *submission {
            let what = format!("{stored:?}, not {submission:?}");
            self.violation(book, "a task differs from its submission", what);
        }
    }

    /// Checks an answer with an existing task.
    pub fn existing(&self, id: &TaskId) {
        let mut book = self.book();
        if !book.tasks.contains_key(id) {
            self.violation(&mut book, "an answer contains a task that never existed", id);
        }
    }

    /// Checks the answer to a request with an idempotency key.
    pub fn answered_idempotent(&self, key: &str, ids: &[TaskId]) {
        let mut book = self.book();
        let first = book.requests.entry(key.to_owned()).or_insert_with(|| ids.to_vec()).clone();
        if first != ids {
            self.violation(
                &mut book,
                "a request was executed twice",
                format!("{key}: {first:?} and {ids:?}"),
            );
        }
    }

    /// Checks an acknowledged pause, resume, edit or cancel.
    pub fn changed(&self, kind: Kind, answer: &Changed) {
        let (task, rev) = (&answer.task, answer.task.rev);
        let (rev, triggered_rev) = match kind {
            Kind::Pause => (rev, rev - 1),
            Kind::Resume | Kind::Edit => (rev - 1, rev - 1),
            Kind::Cancel | Kind::Delete => (u32::MAX, u32::MAX),
        };
        let state = match kind {
            Kind::Pause => Some(TaskState::Paused),
            Kind::Resume => Some(TaskState::Active),
            Kind::Edit => None,
            Kind::Cancel | Kind::Delete => Some(TaskState::Cancelled),
        };
        let mut book = self.book();
        if state.is_some_and(|state| task.state != state) {
            self.violation(
                &mut book,
                "a change was acknowledged but not made",
                format!("{kind:?}: {task:?}"),
            );
        }
        self.promise(
            &mut book,
            &task.id,
            Promise { kind, rev, triggered_rev, listed: answer.open_runs.iter().cloned().collect() },
        );
    }

    /// Checks an acknowledged delete.
    pub fn deleted(&self, answer: &Deleted) {
        let listed: BTreeSet<RunId> = answer.open_runs.iter().cloned().collect();
        let promise = Promise { kind: Kind::Delete, rev: u32::MAX, triggered_rev: u32::MAX, listed };
        self.promise(&mut self.book(), &answer.id, promise);
    }

    fn promise(&self, book: &mut Book, id: &TaskId, promise: Promise) {
        let Some(story) = book.tasks.get_mut(id) else {
            return self.violation(book, "a change of a task that never existed", id);
        };
        let is_gone = story.task.state == TaskState::Cancelled;
        let is_made = is_gone || story.task.rev >= promise.rev;
        if matches!(promise.kind, Kind::Cancel | Kind::Delete) && !is_gone {
            return self.violation(book, "an acknowledged delete is missing", id);
        }
        if !is_made && !matches!(promise.kind, Kind::Cancel | Kind::Delete) {
            return self.violation(book, "an acknowledged change is missing", id);
        }
        story.promises.push(promise);
    }

    /// Checks a task that was read.
    pub fn seen(&self, task: &Task) {
        let mut book = self.book();
        if book.tasks.get(&task.id).is_none_or(|story| story.task.rev < task.rev) {
            self.violation(&mut book, "a task was read that was never stored like this", format!("{task:?}"));
        }
    }

    /// Checks the run in the answer to a user: triggered, retried or cancelled.
    pub fn acknowledged_run(&self, run: &Run) {
        let mut book = self.book();
        if !was_stored(&book, run) {
            self.violation(
                &mut book,
                "an answer contains a run that was never stored like this",
                format!("{run:?}"),
            );
        }
    }

    /// Checks a run that a worker leased.
    pub fn leased(&self, worker: &str, run: &Run) {
        let mut book = self.book();
        let holder = book.runs.get(&run.id).and_then(|story| story.holders.get(&run.claim).cloned());
        if holder.as_deref() != Some(worker) {
            self.violation(
                &mut book,
                "a worker received a run that it does not hold",
                format!("{worker}: {run:?}, but {holder:?}"),
            );
        }
    }

    /// Records a report before it is sent.
    pub fn about_to_report(&self, id: &RunId, report: &Report) {
        if let Some(story) = self.book().runs.get_mut(id) {
            story.reports.insert((report.attempt, report.token.clone(), outcome_name(&report.outcome)));
        }
    }

    /// Checks an accepted report.
    pub fn report_accepted(&self, id: &RunId, report: &Report, run: &Run) {
        let mut book = self.book();
        if run.token != report.token || run.attempt != report.attempt {
            self.violation(&mut book, "a stale report was accepted", format!("{id}: {report:?}, {run:?}"));
        }
        if !was_stored(&book, run) {
            self.violation(
                &mut book,
                "an acknowledged outcome is missing",
                format!("{id}: {report:?}, {run:?}"),
            );
        }
    }

    /// Records a confirmation before it is sent.
    pub fn about_to_confirm(&self, id: &RunId, confirmation: &Confirmation) {
        if let Some(story) = self.book().runs.get_mut(id) {
            story.confirmed.insert(confirmed_state(confirmation));
        }
    }

    /// Checks an accepted confirmation. A succeeded, skipped or cancelled run stays unchanged.
    pub fn confirmation_accepted(&self, confirmation: &Confirmation, run: &Run) {
        let mut book = self.book();
        let is_final = matches!(run.state, RunState::Succeeded | RunState::Skipped | RunState::Cancelled);
        if !is_final && run.state != confirmed_state(confirmation) {
            self.violation(
                &mut book,
                "a confirmation was accepted without effect",
                format!("{confirmation:?}: {run:?}"),
            );
        }
        if !was_stored(&book, run) {
            self.violation(
                &mut book,
                "an acknowledged outcome is missing",
                format!("{confirmation:?}: {run:?}"),
            );
        }
    }
}
