//! The commands. Every front (v1, resource API, legacy fronts, console) calls these and nothing else.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::ids::Ids;
use super::settings::Settings;
use crate::core::run::{IllegalTransition, Outcome};
use crate::core::submission::{InvalidSubmission, Submission};
use crate::core::task::{Task, TaskId, TaskState};
use crate::core::{Moment, Run, RunId};
use crate::ports::{Clock, InsertedTask, Lock, Store};
// Part of the commands' answers: a front names nothing of the ports.
pub use crate::ports::{BacklogRow, Page, PortError};

/// Deleted tasks whose open runs are looked up at the same time.
const OPEN_RUNS_AT_ONCE: usize = 16;

/// The commands' answers when something is wrong: with the caller, or with us.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The submission breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The report speaks of an attempt that is not the current one, or of a run that has ended. Nothing was changed.
    #[error("stale: {0}")]
    Stale(String),
    /// A port failed. Nothing that was acknowledged is lost; the command itself may or may not have happened.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A command's answer.
pub type Result<T> = std::result::Result<T, ServiceError>;

/// A task that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Whether a live task with the same key stood already, and nothing new was stored.
    pub existing: bool,
}

/// A task that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its id.
    pub id: TaskId,
    /// Runs whose fire came before the delete and which have not ended.
    pub open_runs: Vec<RunId>,
}

/// An outcome report on an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The attempt's token, from its message.
    pub token: String,
    /// What happened.
    pub outcome: Outcome,
    /// A word for the person who reads the history.
    pub message: Option<String>,
}

/// The commands, on any store.
pub struct Service {
    store: Arc<dyn Store>,
    lock: Arc<dyn Lock>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    settings: Settings,
}

impl Service {
    /// Commands over these ports.
    pub fn new(
        store: Arc<dyn Store>,
        lock: Arc<dyn Lock>,
        clock: Arc<dyn Clock>,
        ids: Arc<Ids>,
        settings: Settings,
    ) -> Self {
        Self { store, lock, clock, ids, settings }
    }

    /// The zone for cron expressions without one of their own.
    pub fn time_zone(&self) -> &str {
        &self.settings.time_zone
    }

    /// Now, by this node's clock.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Stores a task. Where a live task has the same dedup key, that one's id is the answer and nothing new fires.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the broken rule; [`ServiceError::Port`] means that it may or may not be stored: send it again.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let now = self.clock.now();
        let task = submission.accept(TaskId::new(self.ids.uuid(now)), now)?;
        crate::failpoint!("submit::before_insert");
        let (id, name, due, shard) = (task.id.clone(), task.name.clone(), task.next_due_at, task.id.shard());
        let answer = self.store.insert_tasks(vec![task]).await.pop();
        crate::failpoint!("submit::inserted");
        match answer {
            Some(Ok(InsertedTask::New)) => {
                self.wake_if_soon(shard, due, now).await;
                Ok(Submitted { id, name, existing: false })
            }
            Some(Ok(InsertedTask::Existing(id))) => Ok(Submitted { id, name, existing: true }),
            Some(Err(error)) => Err(error.into()),
            None => Err(PortError::Corrupt("store", "no answer for a task".into()).into()),
        }
    }

    /// A watcher reads the near future only every so often; a task that is due before it looks again is worth a word. A word that
    /// gets lost costs at most that time.
    async fn wake_if_soon(&self, shard: u16, due: Option<Moment>, now: Moment) {
        let soon = due.is_some_and(|due| due.since(now) <= self.settings.window_ms);
        if soon && let Err(error) = self.lock.wake(&[shard]).await {
            tracing::debug!(%error, "no wake-up was sent; the next scan finds the task");
        }
    }

    /// Deletes tasks, finished ones included. Unknown ids are left out of the answer; one that was deleted before is in it, so that a
    /// call whose answer was lost can be repeated.
    ///
    /// # Errors
    /// [`ServiceError::Port`]: some may be deleted; send it again.
    pub async fn delete(&self, ids: &[TaskId]) -> Result<Vec<Deleted>> {
        let turned = self.store.cancel_tasks(ids, self.clock.now()).await?;
        crate::failpoint!("delete::cancelled");
        stream::iter(turned).map(|id| self.deleted(id)).buffered(OPEN_RUNS_AT_ONCE).try_collect().await
    }

    async fn deleted(&self, id: TaskId) -> Result<Deleted> {
        let open_runs = self.store.open_runs(&id).await?.into_iter().map(|run| run.id).collect();
        Ok(Deleted { id, open_runs })
    }

    /// Deletes every task of a name.
    ///
    /// # Errors
    /// As [`Service::delete`].
    pub async fn delete_by_name(&self, name: &str) -> Result<Vec<Deleted>> {
        const PAGE: u32 = 1_000;
        let mut deleted = Vec::new();
        let mut before = None;
        loop {
            let tasks = self.store.tasks_by_name(name, &Page { limit: PAGE, before }).await?;
            let ids: Vec<TaskId> = tasks.into_iter().map(|task| task.id).collect();
            deleted.extend(self.delete(&ids).await?);
            if ids.len() < PAGE as usize {
                return Ok(deleted);
            }
            before = ids.last().cloned();
        }
    }

    /// A task that is not deleted.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn task(&self, id: &TaskId) -> Result<Task> {
        let task = self.store.task(id).await?.filter(|task| task.state != TaskState::Cancelled);
        task.ok_or(ServiceError::NotFound)
    }

    /// Tasks of a name, newest first, deleted ones left out.
    ///
    /// # Errors
    /// A port's error.
    pub async fn tasks_by_name(&self, name: &str, page: &Page) -> Result<Vec<Task>> {
        Ok(self.store.tasks_by_name(name, page).await?)
    }

    /// A run.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        self.store.run(id).await?.ok_or(ServiceError::NotFound)
    }

    /// Fires by tag in the current minute, over all nodes.
    ///
    /// # Errors
    /// A port's error.
    pub async fn fires_this_minute(&self) -> Result<Vec<(String, u64)>> {
        Ok(self.store.fires_in_minute(self.clock.now()).await?)
    }

    /// What waits now, by tag.
    ///
    /// # Errors
    /// A port's error.
    pub async fn backlog(&self) -> Result<Vec<BacklogRow>> {
        Ok(self.store.backlog(self.clock.now()).await?)
    }

    /// Takes a handler's word on an attempt. The same report again, after its answer was lost, is answered like the first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown run; [`ServiceError::Stale`] when attempt or token is not the current one or the
    /// run has ended otherwise; then nothing has changed.
    pub async fn report(&self, id: &RunId, report: &Report) -> Result<Run> {
        loop {
            let mut run = self.run(id).await?;
            if (run.attempt, &run.token) != (report.attempt, &report.token) {
                return Err(ServiceError::Stale(format!("attempt {} is the current one", run.attempt)));
            }
            if already_says(&run, &report.outcome) {
                return Ok(run);
            }
            let now = self.clock.now();
            run.reported(&report.outcome, report.message.clone(), &self.settings.retry, now).map_err(
                |IllegalTransition { state, .. }| ServiceError::Stale(format!("the run is {state:?}")),
            )?;
            crate::failpoint!("report::before_update");
            let replaced = self.store.update_runs(std::slice::from_ref(&run)).await?;
            crate::failpoint!("report::updated");
            if replaced == [true] {
                return Ok(run);
            }
            // Somebody else wrote in between (the node that marks it as fired, most likely): look again.
        }
    }
}

/// Whether the run stands where this outcome would bring it: the report's first try got through and its answer was lost.
fn already_says(run: &Run, outcome: &Outcome) -> bool {
    use crate::core::RunState;
    let wanted: &[RunState] = match outcome {
        Outcome::Succeeded => &[RunState::Succeeded],
        // The last attempt's failure is the end.
        Outcome::Failed { .. } => &[RunState::Retrying, RunState::Dead],
        Outcome::Dead => &[RunState::Dead],
        Outcome::Skipped => &[RunState::Skipped],
    };
    wanted.contains(&run.state)
}
