//! The commands that change a task or a run that is there.

use super::{Change, IdempotencyKey, Reach, Result, Service, ServiceError, told};
use crate::core::run::{IllegalTransition, OpenRun, SUPERSEDED};
use crate::core::submission::{Dedup, Submission};
use crate::core::task_change::{self, CannotChange};
use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{InsertedRun, ReplacedTask};

/// A task that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// As it stands now.
    pub task: Task,
    /// Runs whose fire came before the change and which have not ended; at most [`MAX_OPEN_RUNS`](super::MAX_OPEN_RUNS).
    pub open_runs: Vec<RunId>,
    /// Whether there are more than these.
    pub more_open_runs: bool,
}

/// What becomes of a task as it stands, with its revisions that still have open runs.
trait Decide: Fn(&Task, &[u32], Moment) -> Decision {}
impl<F: Fn(&Task, &[u32], Moment) -> Decision> Decide for F {}
type Decision = std::result::Result<Option<(Task, Option<Run>)>, CannotChange>;

/// The word of whoever did a run's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Whether it is done.
    pub succeeded: bool,
    /// A word for the person who reads the history.
    pub message: Option<String>,
    /// What it gave back, as JSON.
    pub result: Option<String>,
}

impl Service {
    /// A task that is not hidden, cancelled ones included.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn shown_task(&self, id: &TaskId) -> Result<Task> {
        let task = self.ports.store.task(id).await?.filter(|task| !task.hidden);
        task.filter(|task| Reach::now().reaches(&task.name)).ok_or(ServiceError::NotFound)
    }

    /// Gives a task that stands at revision `rev` another definition. Its place is kept where its times are the same; otherwise its
    /// schedule begins anew.
    ///
    /// # Errors
    /// [`ServiceError::RevisionMoved`] where it stands at another one, [`ServiceError::Over`], [`ServiceError::Invalid`],
    /// [`ServiceError::KeyHeld`], [`ServiceError::NotFound`], or a port's error.
    pub async fn edit(&self, id: &TaskId, rev: u32, definition: Submission) -> Result<Changed> {
        let definition = self.with_queue(definition);
        Reach::now().demand_task(&definition)?;
        let edit = |task: &Task, open: &[u32], now| {
            Ok(Some((task_change::edit(task, definition.clone(), open, now)?, None)))
        };
        self.change(Change::TaskEdit, id, Some(rev), edit).await
    }

    /// Holds a task; one that is held stays so. With `rev` only at that revision.
    ///
    /// # Errors
    /// As [`Service::edit`].
    pub async fn pause(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let pause =
            |task: &Task, open: &[u32], _| Ok(task_change::pause(task, open)?.map(|task| (task, None)));
        self.change(Change::TaskPause, id, rev, pause).await
    }

    /// Lets a task go on; one that is not held stays so. What passed meanwhile is written down as skipped; a one-shot whose moment has
    /// passed fires at once. With `rev` only at that revision.
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
        self.change(Change::TaskResume, id, rev, resume).await
    }

    async fn change(
        &self,
        what: Change,
        id: &TaskId,
        rev: Option<u32>,
        decide: impl Decide,
    ) -> Result<Changed> {
        let answer = self.change_as_decided(id, rev, decide).await;
        told(what, [id.as_str()], &answer);
        answer
    }

    /// Decides on the task as it stands, and decides anew where it has moved on meanwhile. `None`: there is nothing to change. A row
    /// that is decided with the change is stored before it: after a crash in between the same change finds it there.
    async fn change_as_decided(&self, id: &TaskId, rev: Option<u32>, decide: impl Decide) -> Result<Changed> {
        loop {
            let now = self.now();
            let task = self.shown_task(id).await?;
            if rev.is_some_and(|rev| rev != task.rev) {
                return Err(ServiceError::RevisionMoved(task.rev));
            }
            let open = self.open_revs(id).await?;
            let Some((mut next, row)) = decide(&task, &open, now)? else { return self.changed(task).await };
            if let Some(row) = row {
                next = task_change::continue_after(&next, self.standing_row(row).await?.decides_up_to());
            }
            crate::failpoint!("change::before_replace");
            let replaced = self.ports.store.replace_task(&task, &next).await?;
            crate::failpoint!("change::replaced");
            match replaced {
                ReplacedTask::Done => {
                    self.wake_if_soon(&[(id.shard(), next.next_due_at)], now).await;
                    return self.changed(next).await;
                }
                ReplacedTask::KeyHeld(holder) => return Err(ServiceError::KeyHeld(holder)),
                ReplacedTask::Moved => {}
            }
        }
    }

    /// The row that stands decides: an earlier try of the same change may have written it, when fewer moments had passed.
    async fn standing_row(&self, row: Run) -> Result<Run> {
        crate::failpoint!("change::before_insert");
        let inserted = self.ports.store.insert_runs(std::slice::from_ref(&row)).await?.pop();
        crate::failpoint!("change::inserted");
        Ok(match inserted {
            Some(InsertedRun::Existing(standing)) => *standing,
            _ => row,
        })
    }

    async fn changed(&self, task: Task) -> Result<Changed> {
        // One that is still being fired counts only where that is decided: otherwise it ends unfired. A triggered one waits for no
        // decision: a node may have looked at the task before the change, and be sending it now.
        let fired = |run: &OpenRun| run.state != RunState::Firing || run.triggered || run.is_decided(&task);
        let (open_runs, more_open_runs) = self.first_open(&task.id, fired).await?;
        Ok(Changed { task, open_runs, more_open_runs })
    }

    /// Ends a task; it stays to be seen. Runs that wait in a queue are called off. With `rev` only at that revision.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::RevisionMoved`], or a port's error.
    pub async fn cancel(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let answer = async {
            let ended = self.ended(id, rev, false).await?;
            Ok(Changed { task: self.shown_task(id).await?, ..ended })
        };
        let answer = answer.await;
        told(Change::TaskCancel, [id.as_str()], &answer);
        answer
    }

    /// Deletes a task as [`Service::delete`] does, and says what it was. With `rev` only at that revision.
    ///
    /// # Errors
    /// As [`Service::cancel`].
    pub async fn delete_one(&self, id: &TaskId, rev: Option<u32>) -> Result<Changed> {
        let answer = self.ended(id, rev, true).await;
        told(Change::TaskDelete, [id.as_str()], &answer);
        answer
    }

    /// The task as it was before its end.
    async fn ended(&self, id: &TaskId, rev: Option<u32>, hide: bool) -> Result<Changed> {
        loop {
            let task = self.shown_task(id).await?;
            if rev.is_some_and(|rev| rev != task.rev) {
                return Err(ServiceError::RevisionMoved(task.rev));
            }
            crate::failpoint!("cancel::before_cancel");
            let ended =
                self.ports.store.cancel_tasks(std::slice::from_ref(id), rev, hide, self.now()).await?;
            crate::failpoint!("cancel::cancelled");
            // Not one that has moved on, or was cleared away, since it was looked at.
            if !ended.is_empty() {
                let (open_runs, more_open_runs) = self.call_off_waiting(id).await?;
                return Ok(Changed { task, open_runs, more_open_runs });
            }
        }
    }

    /// Fires a task by hand, whatever its schedule says; a held task as well. The run is handed over within a moment.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Over`] for a cancelled task, [`ServiceError::KeyReused`], or a port's error.
    pub async fn trigger(&self, id: &TaskId, key: Option<IdempotencyKey>) -> Result<Run> {
        let answer = self.triggered(id, key).await;
        let run = answer.iter().map(|run| run.id.as_str());
        told(Change::TaskTrigger, [id.as_str()].into_iter().chain(run), &answer);
        answer
    }

    async fn triggered(&self, id: &TaskId, key: Option<IdempotencyKey>) -> Result<Run> {
        let mark = self.ids_for("trigger", key, || vec![self.ids.token(self.now())]).await?.concat();
        let mut overtaken = 0;
        loop {
            let mark = if overtaken == 0 { mark.clone() } else { format!("{mark}.{overtaken}") };
            if let Some(run) = self.triggered_as(id, &mark).await? {
                self.hints.attention();
                return Ok(run);
            }
            overtaken += 1;
        }
    }

    /// The run under this mark. One that stands was made by the same request, sent before: once a node has taken it on it is the answer,
    /// at whatever revision. `None`: a change of the task came in between, and the next mark is to be tried.
    async fn triggered_as(&self, id: &TaskId, mark: &str) -> Result<Option<Run>> {
        let task = self.shown_task(id).await?;
        let now = self.now();
        let run = Run::triggered(&task, mark, self.ids.token(now), now);
        if task.state == TaskState::Cancelled {
            // One that was not handed over before the end never is.
            let standing = self.ports.store.run(&run.id).await?.filter(Run::has_been_tried);
            return standing.map(Some).ok_or_else(|| CannotChange::Over(task.state).into());
        }
        crate::failpoint!("trigger::before_insert");
        let inserted = self.ports.store.insert_runs(std::slice::from_ref(&run)).await?.pop();
        crate::failpoint!("trigger::inserted");
        let stands = match inserted {
            Some(InsertedRun::Existing(standing)) => *standing,
            _ => run,
        };
        // A change that came in between may have been answered without this run: then it must not fire.
        let again = self.shown_task(id).await?;
        let is_of_now = again.rev == stands.rev && again.state != TaskState::Cancelled;
        if is_of_now || !stands.is_untouched() {
            return Ok((!stands.was_superseded()).then_some(stands));
        }
        self.unless_called_off(stands).await
    }

    /// Calls a run off, unless a node was faster: then it has been handed over, or is just being, and is the answer. One that ended unfired
    /// meanwhile is none.
    async fn unless_called_off(&self, run: Run) -> Result<Option<Run>> {
        let mut off = run.clone();
        if off.cancel(SUPERSEDED, self.now()).is_ok() && !self.replace(vec![off]).await?.is_empty() {
            crate::failpoint!("trigger::called_off");
            return Ok(None);
        }
        let standing = self.ports.store.run(&run.id).await?;
        Ok(standing.filter(|run| run.state != RunState::Cancelled))
    }

    /// Calls a run off. What a consumer has in its hands goes on; its outcome is refused.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::RunState`] when it has ended, or a port's error.
    pub async fn cancel_run(&self, id: &RunId) -> Result<Run> {
        let now = self.now();
        let answer = self.change_run(id, |run| run.cancel("called off by hand", now)).await;
        told(Change::RunCancel, [id.as_str()], &answer);
        answer
    }

    /// Brings a dead run back for one more attempt, or hurries one that waits for its next.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Over`] when its task was deleted, [`ServiceError::RunState`] when it is neither dead nor
    /// waiting, or a port's error.
    pub async fn retry_run(&self, id: &RunId) -> Result<Run> {
        let answer = self.redriven(id).await;
        told(Change::RunRetry, [id.as_str()], &answer);
        answer
    }

    async fn redriven(&self, id: &RunId) -> Result<Run> {
        let run = self.run(id).await?;
        let task = self.ports.store.task(&run.task_id).await?;
        if task.is_none_or(|task| task.state == TaskState::Cancelled) {
            return Err(ServiceError::Over("the run's task is deleted".to_owned()));
        }
        let now = self.now();
        let run = self.change_run(id, |run| run.redrive(now)).await?;
        self.hints.attention();
        Ok(run)
    }

    /// Takes the word of whoever did the work, for protocols whose confirmations name only the run: no attempt's token is asked for, and
    /// one that comes after the run was given up is accepted. What has succeeded, was left out or called off stays as it is.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::RunState`] when nobody waits for its outcome or its moment is not decided yet, or a
    /// port's error.
    pub async fn confirm(&self, id: &RunId, word: &Confirmation) -> Result<Run> {
        let answer = self.put_on_record(id, word).await;
        told(Change::RunConfirm, [id.as_str()], &answer);
        answer
    }

    async fn put_on_record(&self, id: &RunId, word: &Confirmation) -> Result<Run> {
        loop {
            let mut run = self.run(id).await?;
            if matches!(run.state, RunState::Succeeded | RunState::Skipped | RunState::Cancelled) {
                return Ok(run);
            }
            if !self.can_be_done(&run).await? {
                return Err(ServiceError::RunState(run.state));
            }
            let was_dead = run.state == RunState::Dead;
            let Confirmation { succeeded, message, result } = word.clone();
            run.confirm(succeeded, message, result, self.now())
                .map_err(|_| ServiceError::RunState(run.state))?;
            crate::failpoint!("confirm::before_update");
            let confirmed = if was_dead && !succeeded {
                // It has been counted as an end already.
                let updated = self.ports.store.update_runs(std::slice::from_ref(&run)).await? == [true];
                updated.then(|| Run { version: run.version + 1, ..run })
            } else {
                self.replace(vec![run]).await?.pop()
            };
            crate::failpoint!("confirm::updated");
            if let Some(run) = confirmed {
                return Ok(run);
            }
        }
    }

    /// Nobody can have done the work of a row that is being fired and whose moment the task has not passed: it may yet end unfired.
    async fn can_be_done(&self, run: &Run) -> Result<bool> {
        if run.state != RunState::Firing || run.triggered || run.fired_at.is_some() {
            return Ok(true);
        }
        let task = self.ports.store.task(&run.task_id).await?;
        Ok(task.is_some_and(|task| task.has_passed(run.rev, run.scheduled_at)))
    }

    async fn change_run(
        &self,
        id: &RunId,
        change: impl Fn(&mut Run) -> std::result::Result<(), IllegalTransition>,
    ) -> Result<Run> {
        loop {
            let mut run = self.run(id).await?;
            change(&mut run).map_err(|_| ServiceError::RunState(run.state))?;
            crate::failpoint!("run::before_change");
            let replaced = self.replace(vec![run]).await?.pop();
            crate::failpoint!("run::changed");
            if let Some(run) = replaced {
                return Ok(run);
            }
        }
    }
}

impl From<CannotChange> for ServiceError {
    fn from(why: CannotChange) -> Self {
        match why {
            CannotChange::Invalid(invalid) => Self::Invalid(invalid),
            CannotChange::Over(_) => Self::Over(why.to_string()),
        }
    }
}

/// The definition that a task has, as the submission that would create it: what an edit begins with.
pub fn definition(task: &Task) -> Submission {
    let own = format!("key:{}|", task.name);
    let dedup = match &task.dedup_key {
        None => Dedup::Nothing,
        Some(key) => key.strip_prefix(&own).map_or(Dedup::Pair, |key| Dedup::Key(key.to_owned())),
    };
    Submission {
        name: task.name.clone(),
        data: task.data.clone(),
        schedule: task.schedule.clone(),
        start_at: task.start_at,
        end_at: task.end_at,
        max_fires: task.max_fires,
        ack: task.ack,
        max_runtime_sec: task.max_runtime_sec,
        queue: task.queue.clone(),
        retry: task.retry,
        dedup,
    }
}
