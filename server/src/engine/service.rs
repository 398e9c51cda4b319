//! The commands. Every front (v1, resource API, legacy fronts, console) calls these and nothing else.
//!
//! Here are the ones that create, read and report; `change` has those that change a task or a run, `work` those of the workers.

mod access;
mod audit;
mod callees;
mod change;
mod once;
mod open;
mod reach;
mod records;
mod taking;
mod tokens;
mod users;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::hints::Hints;
use super::settings::Settings;
use crate::core::access::InvalidToken;
use crate::core::run::Outcome;
use crate::core::submission::{InvalidSubmission, Submission};
use crate::core::task::{Task, TaskId, TaskState};
pub use crate::core::task_change::CannotChange;
use crate::core::{Moment, Run, RunId};
use crate::ports::{Clock, InsertedTask, Lock, Records, Store};
// What a front shows beside the commands' answers, or draws from: it names nothing else of the engine.
pub use super::health::{Check, Condition, Health, Readiness};
pub use super::ids::Ids;
pub use super::metrics::Metrics;
// Part of the commands' questions and answers: a front names nothing of the ports.
pub use crate::ports::{
    BacklogRow, OutcomeCount, Page, PortError, QueueRow, Record, RunFilter, RunPage, TaskFilter,
};
use access::Access;
pub use access::{AccessSettings, Caller, Denied, Origin, Random, Required, on_behalf_of};
pub use audit::Change;
use audit::{told, told_of_several};
pub use change::{Changed, Confirmation, definition};
pub use once::IdempotencyKey;
pub use open::MAX_OPEN_RUNS;
use reach::Reach;
use taking::Taking;
pub use tokens::{Token, drawn_token};
pub use users::User;
pub use work::{Held, LeaseTerms, MAX_LEASE_MS, MIN_LEASE_MS};

/// Deleted tasks whose open runs are looked up at the same time.
const OPEN_RUNS_AT_ONCE: usize = 16;

/// The commands' answers when something is wrong: with the caller, or with us.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The submission breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
    /// The token breaks a rule.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The caller may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The task is over.
    #[error("{0}")]
    Over(String),
    /// The task has another revision than the caller knows.
    #[error("the task is at revision {0} now")]
    RevisionMoved(u32),
    /// Another live task holds the dedup key.
    #[error("task {0} has the same dedup key, or the same name and data")]
    KeyHeld(TaskId),
    /// The idempotency key came with another request before.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The run is where this cannot be done to it.
    #[error("the run is {0:?}")]
    RunState(crate::core::RunState),
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
    /// Runs whose fire came before the delete and which have not ended; at most [`MAX_OPEN_RUNS`].
    pub open_runs: Vec<RunId>,
    /// Whether there are more than these.
    pub more_open_runs: bool,
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
    ports: Ports,
    ids: Arc<Ids>,
    hints: Arc<Hints>,
    settings: Settings,
    shutdown: CancellationToken,
    taking: Taking,
    access: Access,
    lease_clock: Arc<dyn Clock>,
}

/// What the commands stand on.
pub struct Ports {
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The leases, for a word to the node that watches a task.
    pub lock: Arc<dyn Lock>,
    /// The documents beside the ledger.
    pub records: Arc<dyn Records>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether there is a bus. Without one a task that names no queue gets the one with its own name.
    pub has_bus: bool,
}

impl Service {
    /// Commands over these ports. `shutdown` ends the waits of workers.
    pub fn new(
        ports: Ports,
        ids: Arc<Ids>,
        hints: Arc<Hints>,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let lease_clock = Arc::clone(&ports.clock);
        let (taking, access) = (Taking::default(), Access::default());
        Self { ports, ids, hints, settings, shutdown, taking, access, lease_clock }
    }

    /// The same, with leases that count from another clock than the commands': one that is not behind the store's.
    #[must_use]
    pub fn with_lease_clock(self, lease_clock: Arc<dyn Clock>) -> Self {
        Self { lease_clock, ..self }
    }

    /// The same, with who gets in and where the chance for tokens comes from; without, no token can be made.
    #[must_use]
    pub fn with_access(self, settings: AccessSettings, random: Random) -> Self {
        Self { access: Access::new(settings, random), ..self }
    }

    /// The zone for cron expressions without one of their own.
    pub fn time_zone(&self) -> &str {
        &self.settings.time_zone
    }

    /// A fresh token that nobody can guess and no other call gets.
    pub fn token(&self) -> String {
        self.ids.token(self.now())
    }

    /// Whether this node is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Now, by this node's clock.
    pub fn now(&self) -> Moment {
        self.ports.clock.now()
    }

    /// Stores a task. Where a live task has the same dedup key, that one's id is the answer and nothing new fires.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the broken rule; [`ServiceError::Port`] means that it may or may not be stored: send it again.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let id = self.fresh_id();
        let answer = self.submit_all(vec![(id, submission)]).await.pop();
        answer.unwrap_or_else(|| Err(PortError::Corrupt("store", "no answer for a task".into()).into()))
    }

    /// Stores tasks, each on its own; an answer for each, in order.
    async fn submit_all(&self, submissions: Vec<(TaskId, Submission)>) -> Vec<Result<Submitted>> {
        let (now, reach) = (self.ports.clock.now(), Reach::now());
        let accept = |(id, submission)| self.accept(id, submission, now, &reach);
        let accepted: Vec<Result<Task>> = submissions.into_iter().map(accept).collect();
        let valid: Vec<Task> = accepted.iter().filter_map(|task| task.as_ref().ok()).cloned().collect();
        crate::failpoint!("submit::before_insert");
        let inserted = self.ports.store.insert_tasks(valid).await;
        crate::failpoint!("submit::inserted");
        let mut inserted = inserted.into_iter();
        let mut answers = Vec::with_capacity(accepted.len());
        let mut soon = Vec::new();
        for task in accepted {
            answers.push(task.and_then(|task| {
                let answer = inserted.next();
                let answer =
                    answer.unwrap_or_else(|| Err(PortError::Corrupt("store", "no answer for a task".into())));
                let answer = answer.map(|inserted| submitted(&task, inserted))?;
                soon.extend((!answer.existing).then(|| (task.id.shard(), task.next_due_at)));
                Ok(answer)
            }));
        }
        self.wake_if_soon(&soon, now).await;
        let stored = answers.iter().flatten().filter(|task| !task.existing).map(|task| task.id.as_str());
        told_of_several(Change::TaskCreate, stored, answers.iter().filter(|answer| answer.is_err()).count());
        answers
    }

    fn accept(&self, id: TaskId, submission: Submission, now: Moment, reach: &Reach) -> Result<Task> {
        let submission = self.with_queue(submission);
        reach.demand_task(&submission)?;
        Ok(submission.accept(id, now)?)
    }

    /// Without a bus every task has a queue.
    fn with_queue(&self, submission: Submission) -> Submission {
        let by_name = || (!self.ports.has_bus).then(|| submission.name.clone());
        Submission { queue: submission.queue.or_else(by_name), ..submission }
    }

    fn fresh_id(&self) -> TaskId {
        TaskId::new(self.ids.uuid(self.ports.clock.now()))
    }

    /// A watcher reads the near future only every so often; a task that is due before it looks again is worth a word. A word that
    /// gets lost costs at most that time.
    async fn wake_if_soon(&self, tasks: &[(u16, Option<Moment>)], now: Moment) {
        let soon = |due: &Option<Moment>| due.is_some_and(|due| due.since(now) <= self.settings.window_ms);
        let shards: BTreeSet<u16> =
            tasks.iter().filter(|(_, due)| soon(due)).map(|(shard, _)| *shard).collect();
        let shards: Vec<u16> = shards.into_iter().collect();
        if !shards.is_empty()
            && let Err(error) = self.ports.lock.wake(&shards).await
        {
            tracing::debug!(%error, "no wake-up was sent; the next scan finds the tasks");
        }
    }

    /// Deletes tasks, finished ones included: they are no longer shown, and runs that wait in a queue are called off. Unknown ids are
    /// left out of the answer; one that was deleted before is in it, so that a call whose answer was lost can be repeated.
    ///
    /// # Errors
    /// [`ServiceError::Port`]: some may be deleted; send it again.
    pub async fn delete(&self, ids: &[TaskId]) -> Result<Vec<Deleted>> {
        let answer = self.delete_these(&self.within_reach(ids).await?).await;
        told(Change::TaskDelete, ids.iter().map(TaskId::as_str), &answer);
        answer
    }

    async fn delete_these(&self, ids: &[TaskId]) -> Result<Vec<Deleted>> {
        crate::failpoint!("delete::before_cancel");
        let turned = self.ports.store.cancel_tasks(ids, None, true, self.ports.clock.now()).await?;
        crate::failpoint!("delete::cancelled");
        stream::iter(turned).map(|id| self.deleted(id)).buffered(OPEN_RUNS_AT_ONCE).try_collect().await
    }

    async fn deleted(&self, id: TaskId) -> Result<Deleted> {
        let (open_runs, more_open_runs) = self.call_off_waiting(&id).await?;
        Ok(Deleted { id, open_runs, more_open_runs })
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
            let tasks = self.tasks_by_name(name, &Page { limit: PAGE, before }).await?;
            let ids: Vec<TaskId> = tasks.into_iter().map(|task| task.id).collect();
            let Some(last) = ids.last() else { return Ok(deleted) };
            before = Some(last.clone());
            deleted.extend(self.delete(&ids).await?);
        }
    }

    /// A task that is not deleted.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn task(&self, id: &TaskId) -> Result<Task> {
        let shown = |task: &Task| task.state != TaskState::Cancelled && Reach::now().reaches(&task.name);
        self.ports.store.task(id).await?.filter(shown).ok_or(ServiceError::NotFound)
    }

    /// Tasks of a name, newest first, deleted ones left out.
    ///
    /// # Errors
    /// A port's error.
    pub async fn tasks_by_name(&self, name: &str, page: &Page) -> Result<Vec<Task>> {
        self.list_tasks(&TaskFilter { name: Some(name.to_owned()), state: None }, page).await
    }

    /// Tasks that match, newest first. A page may hold fewer than asked for: only an empty one says that there are no more.
    ///
    /// # Errors
    /// A port's error.
    pub async fn list_tasks(&self, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
        self.reached_tasks(filter, page).await
    }

    /// Runs that match, latest first; pages as of [`list_tasks`](Self::list_tasks).
    ///
    /// # Errors
    /// A port's error.
    pub async fn list_runs(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.reached_runs(filter, page).await
    }

    /// What each queue holds.
    ///
    /// # Errors
    /// A port's error.
    pub async fn queues(&self) -> Result<Vec<QueueRow>> {
        let reach = Reach::now();
        Ok(self.ports.store.queues().await?.into_iter().filter(|row| reach.reaches(&row.queue)).collect())
    }

    /// A run.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        let run = self.ports.store.run(id).await?.filter(|run| Reach::now().run(run));
        run.ok_or(ServiceError::NotFound)
    }

    /// Fires by tag in the current minute, over all nodes.
    ///
    /// # Errors
    /// A port's error.
    pub async fn fires_this_minute(&self) -> Result<Vec<(String, u64)>> {
        let (reach, now) = (Reach::now(), self.ports.clock.now());
        let fires = self.ports.store.fires_in_minute(now).await?.into_iter();
        Ok(fires.filter(|(tag, _)| reach.reaches(tag)).collect())
    }

    /// How runs ended on a day of the server's time zone; the day is named by its midnight in UTC.
    ///
    /// # Errors
    /// A port's error.
    pub async fn outcomes_on(&self, day: Moment) -> Result<Vec<OutcomeCount>> {
        Ok(self.ports.store.outcomes_on(day).await?)
    }

    /// What waits now, by tag.
    ///
    /// # Errors
    /// A port's error.
    pub async fn backlog(&self) -> Result<Vec<BacklogRow>> {
        let (reach, now) = (Reach::now(), self.ports.clock.now());
        Ok(self.ports.store.backlog(now).await?.into_iter().filter(|row| reach.reaches(&row.tag)).collect())
    }

    /// Takes a handler's word on an attempt. The same report again, after its answer was lost, is answered like the first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown run; [`ServiceError::Stale`] when attempt or token is not the current one or the
    /// run has ended otherwise; then nothing has changed.
    pub async fn report(&self, id: &RunId, report: &Report) -> Result<Run> {
        let answer = self.settle(&[(id.clone(), report.clone())]).await?.pop();
        answer.unwrap_or(Err(ServiceError::NotFound))
    }
}

fn submitted(task: &Task, inserted: InsertedTask) -> Submitted {
    let (id, existing) = match inserted {
        InsertedTask::New => (task.id.clone(), false),
        InsertedTask::Existing(id) => (id, true),
    };
    Submitted { id, name: task.name.clone(), existing }
}
