//! Commands that trigger a task.

use super::audit::AuditAction;
use super::{IdempotencyKey, Result, Service, TaskOver};
use crate::core::access::Scope;
use crate::core::run::{PayloadChange, SUPERSEDED};
use crate::core::{Moment, Run, RunState, Task, TaskId, TaskState};
use crate::ports::InsertedRun;

/// Makes a run of a task, with the number of runs that changes of the task have overtaken, a token and the current
/// moment.
pub(super) trait CreateRun: Fn(&Task, u32, String, Moment) -> Run + Send + Sync {}
impl<F: Fn(&Task, u32, String, Moment) -> Run + Send + Sync> CreateRun for F {}

/// A run that the schedule does not fire.
pub(super) struct ManualRun {
    pub run: Run,
    /// Whether this call has inserted the run. A repeated call finds the run of the first one.
    pub is_new: bool,
}

impl Service {
    /// Triggers a task: fires it by hand, independently of its schedule, also if it is paused.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::Over`] for a cancelled
    /// task, [`ServiceError::KeyReused`], or a port's error.
    pub async fn trigger(&self, id: &TaskId, key: Option<IdempotencyKey>) -> Result<Run> {
        self.trigger_with(id, &PayloadChange::default(), key).await
    }

    /// Same as [`trigger`](Self::trigger), with another payload for this run. The task stays as it is. The
    /// fingerprint of the key must cover the payload.
    ///
    /// # Errors
    /// As [`Service::trigger`], and [`ServiceError::Invalid`].
    pub async fn trigger_with(
        &self,
        id: &TaskId,
        change: &PayloadChange,
        key: Option<IdempotencyKey>,
    ) -> Result<Run> {
        let answer = self.trigger_once(id, change, key).await;
        // The first request with the key has its entry.
        if answer.as_ref().map_or(true, |triggered| triggered.is_new) {
            self.record_trigger(id, &answer).await;
        }
        answer.map(|triggered| triggered.run)
    }

    async fn record_trigger(&self, id: &TaskId, answer: &Result<ManualRun>) {
        let run = answer.iter().map(|triggered| triggered.run.id.as_str());
        self.record_change(AuditAction::TaskTrigger, [id.as_str()].into_iter().chain(run), answer).await;
    }

    async fn trigger_once(
        &self,
        id: &TaskId,
        change: &PayloadChange,
        key: Option<IdempotencyKey>,
    ) -> Result<ManualRun> {
        self.require(Scope::TaskWrite)?;
        change.check()?;
        // A refused request stores nothing.
        let state = if key.is_some() { self.shown_task(id).await?.state } else { TaskState::Active };
        let mark = self.keyed_mark("trigger", key, state != TaskState::Cancelled).await?;
        self.trigger_marked(id, &mark.ok_or(TaskOver::Ended(state))?, change).await
    }

    /// Triggers a task for an operation. A repeated call with the same mark returns the first run.
    pub(super) async fn trigger_with_mark(&self, id: &TaskId, mark: &str) -> Result<Run> {
        let answer = match self.require(Scope::TaskWrite) {
            Ok(()) => self.trigger_marked(id, mark, &PayloadChange::default()).await,
            Err(error) => Err(error),
        };
        self.record_trigger(id, &answer).await;
        answer.map(|triggered| triggered.run)
    }

    async fn trigger_marked(
        &self,
        id: &TaskId,
        first_mark: &str,
        change: &PayloadChange,
    ) -> Result<ManualRun> {
        let triggered = |task: &Task, overtaken: u32, token, now| {
            let mark =
                if overtaken == 0 { first_mark.to_owned() } else { format!("{first_mark}.{overtaken}") };
            Run::triggered(task, &mark, token, now).with_payload(change)
        };
        self.insert_manual(id, triggered).await
    }

    /// Inserts a run that the schedule does not fire. `create` makes the run.
    pub(super) async fn insert_manual(&self, id: &TaskId, create: impl CreateRun) -> Result<ManualRun> {
        let mut overtaken = 0;
        loop {
            if let Some(inserted) = self.insert_triggered(id, overtaken, &create).await? {
                self.shared.hints.attention();
                return Ok(inserted);
            }
            overtaken += 1;
        }
    }

    /// Inserts the run after `overtaken` others. If the same request inserted the run before and a node has taken it,
    /// that run is the answer at any revision. `None`: the task was changed at the same time, so the caller
    /// must try the next run.
    async fn insert_triggered(
        &self,
        id: &TaskId,
        overtaken: u32,
        create: &impl CreateRun,
    ) -> Result<Option<ManualRun>> {
        let task = self.shown_task(id).await?;
        let now = self.now();
        let run = create(&task, overtaken, self.shared.ids.token(now), now);
        if task.state == TaskState::Cancelled {
            // A run that was not handed over before the end of its task never is.
            let stored = self.shared.ports.store.run(&run.id).await?.filter(Run::has_been_tried);
            let stored = stored.ok_or(TaskOver::Ended(task.state))?;
            return Ok(Some(ManualRun { run: stored, is_new: false }));
        }
        crate::failpoint!("trigger::before_insert");
        let inserted = self.shared.ports.store.insert_runs(std::slice::from_ref(&run)).await?.pop();
        crate::failpoint!("trigger::inserted");
        let is_new = !matches!(inserted, Some(InsertedRun::Existing(_)));
        let run = stored(run, inserted);
        self.shared.hints.changes.runs([&run]);
        // The answer of a change that came in between may not have named this run. Then it must not fire.
        let task = self.shown_task(id).await?;
        let is_current = task.rev == run.rev && task.state != TaskState::Cancelled;
        if is_current || !run.is_untouched() {
            return Ok((!run.was_superseded()).then_some(ManualRun { run, is_new }));
        }
        Ok(self.cancel_overtaken(run).await?.map(|run| ManualRun { run, is_new }))
    }

    /// Cancels a triggered run. If a node has taken it since, the run is the answer, unless it ended
    /// unfired.
    async fn cancel_overtaken(&self, run: Run) -> Result<Option<Run>> {
        let mut cancelled = run.clone();
        if cancelled.cancel(SUPERSEDED, self.now()).is_ok()
            && !self.replace_runs(vec![cancelled]).await?.is_empty()
        {
            crate::failpoint!("trigger::cancelled");
            return Ok(None);
        }
        let stored = self.shared.ports.store.run(&run.id).await?;
        Ok(stored.filter(|run| run.state != RunState::Cancelled))
    }
}

/// Returns the run as stored after an insert.
fn stored(run: Run, inserted: Option<InsertedRun>) -> Run {
    match inserted {
        Some(InsertedRun::Existing(stored)) => *stored,
        _ => run,
    }
}
