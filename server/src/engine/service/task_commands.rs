//! Commands that change or end a task.

use super::audit::AuditAction;
use super::{Page, Result, Service, ServiceError, Submitted};
use crate::core::access::Scope;
use crate::core::run::OpenRun;
use crate::core::submission::Submission;
use crate::core::task_change::{self, CannotChange};
use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{Attached, ReplacedTask};

/// Number of tasks after which [`Service::delete_by_name`] ends.
const MAX_DELETED: usize = 20_000;

/// A task after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub task: Task,
    /// Open runs whose fires came before the change; at most [`MAX_OPEN_RUNS`](super::MAX_OPEN_RUNS).
    pub open_runs: Vec<RunId>,
    /// Whether there are more open runs than these.
    pub more_open_runs: bool,
}

/// A task that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub id: TaskId,
    /// Open runs whose fires came before the delete; at most [`MAX_OPEN_RUNS`](super::MAX_OPEN_RUNS).
    pub open_runs: Vec<RunId>,
    /// Whether there are more open runs than these.
    pub more_open_runs: bool,
}

/// Decides on a task, given its revisions that have open runs. The result is the changed task with a row
/// to insert, or `None` if there is nothing to change.
pub(super) trait Decide: Fn(&Task, &[u32], Moment) -> Decision {}
impl<F: Fn(&Task, &[u32], Moment) -> Decision> Decide for F {}
pub(super) type Decision = std::result::Result<Option<(Task, Option<Run>)>, CannotChange>;

/// Returns the row of the due moments that an edit drops.
pub(super) fn dropped_row(task: &Task, edited: &Task, now: Moment) -> Option<Run> {
    let missed = task_change::dropped(task, edited, now)?;
    let reason = format!("edited: {} moments were due", missed.stretch.count);
    Some(Run::skipped(task, missed.from, missed.stretch, reason, "", now))
}

impl Service {
    /// Gives a task at revision `rev` another definition. A task whose schedule does not change keeps its
    /// next moment; otherwise the moments that are due are decided as the task was, and the schedule starts
    /// anew.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::RevisionMoved`] if the task has another revision;
    /// [`ServiceError::Over`], [`ServiceError::Invalid`], [`ServiceError::KeyHeld`],
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn edit(&self, id: &TaskId, rev: u32, definition: Submission) -> Result<Changed> {
        self.require(Scope::TaskWrite)?;
        let definition = self.with_calendars(self.with_queue(definition)).await?;
        self.require_task(&definition)?;
        let edit = |task: &Task, open: &[u32], now| self.edited(task, &definition, open, now).map(Some);
        self.decide_due(id, rev, &definition).await?;
        self.change(AuditAction::TaskEdit, id, Some(rev), edit).await
    }

    /// Returns the edited task, and the row of the due moments that the edit drops.
    pub(super) fn edited(
        &self,
        task: &Task,
        definition: &Submission,
        open: &[u32],
        now: Moment,
    ) -> std::result::Result<(Task, Option<Run>), CannotChange> {
        let edited = task_change::edit(task, definition.clone(), open, now)?;
        let row = dropped_row(task, &edited, now);
        Ok((edited.defined_by(self.caller.shown_name()), row))
    }

    /// Pauses a task. A paused task stays as it is. With `rev`, only at that revision.
    ///
    /// # Errors
    /// As [`Service::edit`].
    pub async fn pause(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let pause =
            |task: &Task, open: &[u32], _| Ok(task_change::pause(task, open)?.map(|task| (task, None)));
        self.change(AuditAction::TaskPause, id, rev, pause).await
    }

    /// Resumes a task. A task that is not paused stays as it is. Moments that passed during the pause are
    /// stored as skipped; a one-shot whose moment has passed fires at once. With `rev`, only at that
    /// revision.
    ///
    /// # Errors
    /// As [`Service::edit`].
    pub async fn resume(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let resume = |task: &Task, open: &[u32], now| {
            let Some((next, missed)) = task_change::resume(task, open, now)? else { return Ok(None) };
            let row = missed.map(|missed| {
                let reason = format!("paused: {} moments passed", missed.stretch.count);
                Run::skipped(task, missed.from, missed.stretch, reason, "", now)
            });
            Ok(Some((next, row)))
        };
        self.change(AuditAction::TaskResume, id, rev, resume).await
    }

    pub(super) async fn change(
        &self,
        action: AuditAction,
        id: &TaskId,
        rev: Option<u32>,
        decide: impl Decide,
    ) -> Result<Changed> {
        let answer = self.change_task(id, rev, decide).await;
        let detail = answer.as_ref().map_or_else(|_| String::new(), |changed| rev_detail(&changed.task));
        self.record_with(action, [id.as_str()], &detail, &answer).await;
        answer
    }

    /// Decides on the stored task, and decides again if another writer was faster.
    async fn change_task(&self, id: &TaskId, rev: Option<u32>, decide: impl Decide) -> Result<Changed> {
        self.require(Scope::TaskWrite)?;
        let mut task = self.task_at(id, rev).await?;
        loop {
            let now = self.now();
            let open = self.open_revs(id).await?;
            let Some((next, row)) = decide(&task, &open, now)? else {
                // Nothing is written, so only this read shows whether the task is still like this.
                let latest = self.latest_task_at(id, rev).await?;
                if latest.position() == task.position() {
                    return self.with_open_runs(latest).await;
                }
                task = latest;
                continue;
            };
            let (replaced, next) = Box::pin(self.replace(&task, (next, row), None, now)).await?;
            match replaced {
                ReplacedTask::Done => return self.with_open_runs(next).await,
                ReplacedTask::KeyHeld(holder) => return Err(ServiceError::KeyHeld(holder)),
                ReplacedTask::Moved | ReplacedTask::Answered => task = self.latest_task_at(id, rev).await?,
            }
        }
    }

    /// Writes a change of the task `read`, with the row of the moments that the change skips, and with the
    /// tombstone that keeps the answer to a request. Returns the task as it was written. Viewers and nodes
    /// learn of it.
    pub(super) async fn replace(
        &self,
        read: &Task,
        (next, row): (Task, Option<Run>),
        answer: Option<&Task>,
        now: Moment,
    ) -> Result<(ReplacedTask, Task)> {
        let (next, row) = self.continue_after_stored_row(next, row).await?;
        let next = Task { write_id: Some(self.token()), ..next };
        let rows = Attached { skipped: row.as_ref(), answer };
        crate::failpoint!("change::before_replace");
        let replaced = self.shared.ports.store.replace_task(read, &next, rows).await?;
        crate::failpoint!("change::replaced");
        if replaced == ReplacedTask::Done {
            self.shared.hints.changes.tasks([&next]);
            self.shared.hints.changes.runs(&row);
            self.wake_if_soon(&[(next.id.shard(), next.next_due_at)], now).await;
        }
        Ok((replaced, next))
    }

    /// Returns a task that is not deleted, at revision `rev` if given.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::RevisionMoved`], or a
    /// port's error.
    pub async fn task_at(&self, id: &TaskId, rev: Option<u32>) -> Result<Task> {
        let task = self.shown_task(id).await?;
        match rev {
            // The task may have been read from a server that was replaced.
            Some(rev) if task.rev < rev => self.latest_task_at(id, Some(rev)).await,
            rev => at_rev(task, rev),
        }
    }

    /// Same as [`task_at`](Self::task_at), never older than the last acknowledged change.
    async fn latest_task_at(&self, id: &TaskId, rev: Option<u32>) -> Result<Task> {
        let task = self.shared.ports.store.latest_task(id).await?;
        at_rev(self.shown(task)?, rev)
    }

    /// Leaves out a row that is stored already. Earlier releases inserted the row before they changed the
    /// task, perhaps for fewer moments; the stored row decides.
    async fn continue_after_stored_row(&self, next: Task, row: Option<Run>) -> Result<(Task, Option<Run>)> {
        let Some(row) = row else { return Ok((next, None)) };
        Ok(match self.shared.ports.store.run(&row.id).await? {
            // An edit of the times does not continue after the row.
            Some(_) if next.last_due_at != Some(row.decides_up_to()) => (next, None),
            Some(stored) => (task_change::continue_after(&next, stored.decides_up_to()), None),
            None => (next, Some(row)),
        })
    }

    async fn with_open_runs(&self, task: Task) -> Result<Changed> {
        let (open_runs, more_open_runs) = self.first_open(&task.id, |run| has_fired(run, &task)).await?;
        Ok(Changed { task, open_runs, more_open_runs })
    }

    /// Returns the task of an answer to a submission. If the submission has replaced the task, the runs of its earlier
    /// definitions that have fired and have not ended are listed.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn submitted_task(&self, submitted: Submitted) -> Result<Changed> {
        self.require(Scope::TaskWrite)?;
        let task = match submitted.stored {
            Some(task) => *task,
            None => self.shown_task(&submitted.id).await?,
        };
        let is_earlier = |run: &OpenRun| run.rev < task.rev && has_fired(run, &task);
        let (open_runs, more_open_runs) = if submitted.replaced {
            self.first_open(&task.id, is_earlier).await?
        } else {
            (Vec::new(), false)
        };
        Ok(Changed { task, open_runs, more_open_runs })
    }

    /// Cancels a task, which stays visible, and its runs that wait in a queue. With `rev`, only at that
    /// revision.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::RevisionMoved`], or a
    /// port's error.
    pub async fn cancel(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let answer = async {
            let ended = self.end_task(id, rev, false).await?;
            Ok(Changed { task: self.shown_task(id).await?, ..ended })
        };
        let answer = answer.await;
        self.record_change(AuditAction::TaskCancel, [id.as_str()], &answer).await;
        answer
    }

    /// Deletes a task as [`Service::delete`] does, and returns it as it was. With `rev`, only at that
    /// revision.
    ///
    /// # Errors
    /// As [`Service::cancel`].
    pub async fn delete_one(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let answer = self.end_task(id, rev, true).await;
        self.record_change(AuditAction::TaskDelete, [id.as_str()], &answer).await;
        answer
    }

    /// Cancels a task, and hides it if `hide`. Returns the task as it was before.
    async fn end_task(&self, id: &TaskId, rev: Option<u32>, hide: bool) -> Result<Changed> {
        self.require(Scope::TaskWrite)?;
        loop {
            let task = self.task_at(id, rev).await?;
            crate::failpoint!("cancel::before_cancel");
            let store = &self.shared.ports.store;
            let cancelled = store.cancel_tasks(std::slice::from_ref(id), rev, hide, self.now()).await?;
            crate::failpoint!("cancel::cancelled");
            // Empty if the task was changed or pruned since it was read.
            let Some(tombstone) = cancelled.first() else { continue };
            if hide && !tombstone.is_new {
                return Err(ServiceError::NotFound);
            }
            let ended = Task { state: TaskState::Cancelled, hidden: hide, ..task.clone() };
            self.shared.hints.changes.tasks([&ended]);
            let open = self.cancel_waiting_runs(vec![id.clone()]).await?.pop();
            let (open_runs, more_open_runs) = open.map(|(_, runs, more)| (runs, more)).unwrap_or_default();
            return Ok(Changed { task, open_runs, more_open_runs });
        }
    }

    /// Deletes tasks, also finished ones: they are no longer visible, and their runs that wait in a queue
    /// are cancelled. Unknown ids are not in the answer. A task that was deleted before is in the answer, so
    /// that a call whose answer was lost can be repeated.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Port`]: some tasks may be deleted, so repeat the call.
    pub async fn delete(&self, ids: &[TaskId]) -> Result<Vec<Deleted>> {
        let answer = self.delete_allowed(ids).await;
        self.record_change(AuditAction::TaskDelete, ids.iter().map(TaskId::as_str), &answer).await;
        answer
    }

    async fn delete_allowed(&self, ids: &[TaskId]) -> Result<Vec<Deleted>> {
        self.require(Scope::TaskWrite)?;
        let ended = self.end_tasks(&self.allowed_tasks(ids).await?).await?;
        self.deleted(ended).await
    }

    /// Turns tasks into hidden tombstones, so that they no longer fire. Returns their ids.
    async fn end_tasks(&self, ids: &[TaskId]) -> Result<Vec<TaskId>> {
        crate::failpoint!("delete::before_cancel");
        let tombstones = self.shared.ports.store.cancel_tasks(ids, None, true, self.now()).await?;
        crate::failpoint!("delete::cancelled");
        let ended: Vec<TaskId> = tombstones.into_iter().map(|tombstone| tombstone.id).collect();
        self.tell_ended(&ended).await;
        Ok(ended)
    }

    /// Tells viewers of tombstones. Their tags are read only while somebody watches.
    async fn tell_ended(&self, ids: &[TaskId]) {
        let changes = &self.shared.hints.changes;
        if !changes.is_watched() {
            return;
        }
        match self.shared.ports.store.tasks(ids).await {
            Ok(found) => changes.tasks(&found.rows),
            Err(error) => {
                tracing::debug!(%error, "viewers read the deleted tasks again");
                changes.resync();
            }
        }
    }

    /// Cancels the waiting runs of ended tasks.
    async fn deleted(&self, ended: Vec<TaskId>) -> Result<Vec<Deleted>> {
        let deleted = |(id, open_runs, more_open_runs)| Deleted { id, open_runs, more_open_runs };
        Ok(self.cancel_waiting_runs(ended).await?.into_iter().map(deleted).collect())
    }

    /// Deletes the tasks of a name, at most [`MAX_DELETED`] of them. First ends all of these tasks, and then
    /// cancels their waiting runs: tasks with short periods fire faster than their runs are cancelled.
    /// Also returns whether there are more tasks, so that the caller must repeat the call.
    ///
    /// # Errors
    /// As [`Service::delete`].
    pub async fn delete_by_name(&self, name: &str) -> Result<(Vec<Deleted>, bool)> {
        const PAGE: u32 = 1_000;
        self.require(Scope::TaskWrite)?;
        let (mut ended, mut before, mut is_last) = (Vec::new(), None, false);
        while !is_last && ended.len() < MAX_DELETED {
            let tasks = self.tasks_by_name(name, &Page { limit: PAGE, before }).await?;
            let ids: Vec<TaskId> = tasks.into_iter().map(|task| task.id).collect();
            before = ids.last().cloned();
            is_last = ids.is_empty();
            let answer = self.end_tasks(&ids).await;
            self.record_change(AuditAction::TaskDelete, ids.iter().map(TaskId::as_str), &answer).await;
            ended.extend(answer?);
        }
        Ok((self.deleted(ended).await?, !is_last))
    }
}

/// Returns whether a run is delivered although its task has changed. A run in state `firing` counts only if its moment
/// is decided; otherwise it ends unfired. A triggered run always counts: a node may have read the task before the
/// change and be sending the run now.
fn has_fired(run: &OpenRun, task: &Task) -> bool {
    run.state != RunState::Firing || run.triggered || run.is_decided(task)
}

fn at_rev(task: Task, rev: Option<u32>) -> Result<Task> {
    match rev {
        Some(rev) if rev != task.rev => Err(ServiceError::RevisionMoved(task.rev)),
        _ => Ok(task),
    }
}

pub(super) fn rev_detail(task: &Task) -> String {
    format!("revision {}", task.rev)
}

/// Returns the definition that creates this task: the base of an edit.
pub fn definition(task: &Task) -> Submission {
    Submission::of(task)
}
