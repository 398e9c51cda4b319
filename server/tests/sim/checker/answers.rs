//! What users and workers were told.

use std::collections::BTreeSet;

use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunId, RunState, Task, TaskId, TaskState};
use taskcenter_server::engine::service::{Changed, Confirmation, Deleted, Report, definition};

use super::{Book, Checker, Promise};
use crate::words::word;

/// An acknowledged change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pause,
    Resume,
    Edit,
    Cancel,
    Delete,
}

/// Whether a run that was answered stands in the ledger, or has stood there.
fn stood_so(book: &Book, run: &Run) -> bool {
    book.runs.get(&run.id).is_some_and(|story| {
        let stored = &story.run;
        stored.version > run.version || (stored.version == run.version && stored.state == run.state)
    })
}

fn confirmed_state(word: &Confirmation) -> RunState {
    if word.succeeded { RunState::Succeeded } else { RunState::Dead }
}

impl Checker {
    /// A submit was acknowledged as a new task.
    pub fn submitted(&self, id: &TaskId, asked: &Submission) {
        let mut book = self.book();
        let Some(story) = book.tasks.get_mut(id) else {
            return self.wrong(&mut book, "an acknowledged task is not there", id);
        };
        story.acknowledged = true;
        let is_untouched = story.task.rev == 1 && story.task.state == TaskState::Active;
        let stored = Submission { dedup: asked.dedup.clone(), ..definition(&story.task) };
        if is_untouched && stored != *asked {
            self.wrong(&mut book, "a task is not as it was submitted", format!("{stored:?}, not {asked:?}"));
        }
    }

    /// A submit was answered with a task that stands already.
    pub fn existing(&self, id: &TaskId) {
        let mut book = self.book();
        if !book.tasks.contains_key(id) {
            self.wrong(&mut book, "an answer names a task that never was", id);
        }
    }

    /// A request with an idempotency key was answered with these tasks.
    pub fn answered_once(&self, key: &str, ids: &[TaskId]) {
        let mut book = self.book();
        let first = book.requests.entry(key.to_owned()).or_insert_with(|| ids.to_vec()).clone();
        if first != ids {
            self.wrong(&mut book, "a request was carried out twice", format!("{key}: {first:?} and {ids:?}"));
        }
    }

    /// A pause, a resume, an edit or a cancel was acknowledged.
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
            self.wrong(
                &mut book,
                "a change was acknowledged that was not made",
                format!("{kind:?}: {task:?}"),
            );
        }
        self.promise(
            &mut book,
            &task.id,
            Promise { kind, rev, triggered_rev, listed: answer.open_runs.iter().cloned().collect() },
        );
    }

    /// A delete was acknowledged.
    pub fn deleted(&self, answer: &Deleted) {
        let listed: BTreeSet<RunId> = answer.open_runs.iter().cloned().collect();
        let promise = Promise { kind: Kind::Delete, rev: u32::MAX, triggered_rev: u32::MAX, listed };
        self.promise(&mut self.book(), &answer.id, promise);
    }

    fn promise(&self, book: &mut Book, id: &TaskId, promise: Promise) {
        let Some(story) = book.tasks.get_mut(id) else {
            return self.wrong(book, "a change of a task that never was", id);
        };
        let is_gone = story.task.state == TaskState::Cancelled;
        let came = is_gone || story.task.rev >= promise.rev;
        if matches!(promise.kind, Kind::Cancel | Kind::Delete) && !is_gone {
            return self.wrong(book, "an acknowledged delete is not there", id);
        }
        if !came && !matches!(promise.kind, Kind::Cancel | Kind::Delete) {
            return self.wrong(book, "an acknowledged change is not there", id);
        }
        story.promises.push(promise);
    }

    /// A task that was read.
    pub fn seen(&self, task: &Task) {
        let mut book = self.book();
        if book.tasks.get(&task.id).is_none_or(|story| story.task.rev < task.rev) {
            self.wrong(&mut book, "a task was read that never stood so", format!("{task:?}"));
        }
    }

    /// A run was acknowledged to a user: triggered, brought back, called off.
    pub fn acknowledged_run(&self, run: &Run) {
        let mut book = self.book();
        if !stood_so(&book, run) {
            self.wrong(&mut book, "an answer names a run that never stood so", format!("{run:?}"));
        }
    }

    /// A worker was handed a run.
    pub fn leased(&self, worker: &str, run: &Run) {
        let mut book = self.book();
        let holder = book.runs.get(&run.id).and_then(|story| story.holders.get(&run.claim).cloned());
        if holder.as_deref() != Some(worker) {
            self.wrong(
                &mut book,
                "a run was given to one who does not hold it",
                format!("{worker}: {run:?}, but {holder:?}"),
            );
        }
    }

    /// Somebody is about to report on an attempt.
    pub fn about_to_report(&self, id: &RunId, report: &Report) {
        if let Some(story) = self.book().runs.get_mut(id) {
            story.reports.insert((report.attempt, report.token.clone(), word(&report.outcome)));
        }
    }

    /// A report was taken.
    pub fn report_taken(&self, id: &RunId, report: &Report, run: &Run) {
        let mut book = self.book();
        if run.token != report.token || run.attempt != report.attempt {
            self.wrong(&mut book, "a stale report was taken", format!("{id}: {report:?}, {run:?}"));
        }
        if !stood_so(&book, run) {
            self.wrong(
                &mut book,
                "an acknowledged outcome is not there",
                format!("{id}: {report:?}, {run:?}"),
            );
        }
    }

    /// Somebody is about to put a run's outcome on record, without a token.
    pub fn about_to_confirm(&self, id: &RunId, word: &Confirmation) {
        if let Some(story) = self.book().runs.get_mut(id) {
            story.confirmed.insert(confirmed_state(word));
        }
    }

    /// That was taken. What had succeeded, was left out or called off stays as it is.
    pub fn confirmation_taken(&self, word: &Confirmation, run: &Run) {
        let mut book = self.book();
        let stays = matches!(run.state, RunState::Succeeded | RunState::Skipped | RunState::Cancelled);
        if !stays && run.state != confirmed_state(word) {
            self.wrong(&mut book, "a confirmation was taken and not heeded", format!("{word:?}: {run:?}"));
        }
        if !stood_so(&book, run) {
            self.wrong(&mut book, "an acknowledged outcome is not there", format!("{word:?}: {run:?}"));
        }
    }
}
