//! Creating tasks.

use std::collections::BTreeSet;

use super::audit::{self, AuditAction};
use super::{PortError, Result, Service};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::core::submission::Submission;
use crate::core::task::{Task, TaskId};
use crate::ports::InsertedTask;

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub id: TaskId,
    pub name: String,
    /// Whether a live task with the same key existed, so that no task was created.
    pub existing: bool,
}

impl Service {
    /// Creates a task. If a live task has the same dedup key, returns that task's id instead.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Invalid`] names the broken rule;
    /// [`ServiceError::Port`]: the task may or may not be stored, so repeat the call.
    ///
    /// [`ServiceError::Forbidden`]: super::ServiceError::Forbidden
    /// [`ServiceError::Invalid`]: super::ServiceError::Invalid
    /// [`ServiceError::Port`]: super::ServiceError::Port
    pub async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let now = self.now();
        let task = self.accept(self.fresh_id(), submission, now);
        self.submit_all(vec![task], now).await.pop().unwrap_or_else(|| Err(no_answer().into()))
    }

    /// Stores the tasks that were accepted at `now`, each on its own. Returns one answer for each, in
    /// order.
    pub(super) async fn submit_all(
        &self,
        accepted: Vec<Result<Task>>,
        now: Moment,
    ) -> Vec<Result<Submitted>> {
        let valid: Vec<Task> = accepted.iter().filter_map(|task| task.as_ref().ok()).cloned().collect();
        crate::failpoint!("submit::before_insert");
        let inserted = self.shared.ports.store.insert_tasks(valid).await;
        crate::failpoint!("submit::inserted");
        let mut inserted = inserted.into_iter();
        let mut answers = Vec::with_capacity(accepted.len());
        let mut due = Vec::new();
        for task in accepted {
            answers.push(task.and_then(|task| {
                let inserted = inserted.next().unwrap_or_else(|| Err(no_answer()))?;
                let answer = submitted(&task, inserted);
                due.extend((!answer.existing).then(|| (task.id.shard(), task.next_due_at)));
                Ok(answer)
            }));
        }
        self.wake_if_soon(&due, now).await;
        let stored = answers.iter().flatten().filter(|task| !task.existing).map(|task| task.id.as_str());
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        audit::record_batch(&self.caller, AuditAction::TaskCreate, stored, refused);
        answers
    }

    pub(super) fn accept(&self, id: TaskId, submission: Submission, now: Moment) -> Result<Task> {
        self.require(Scope::TaskWrite)?;
        let submission = self.with_queue(submission);
        self.require_task(&submission)?;
        Ok(submission.accept(id, now)?)
    }

    /// Returns the submission with a queue if there is no bus.
    pub(super) fn with_queue(&self, submission: Submission) -> Submission {
        let by_name = || (!self.shared.ports.has_bus).then(|| submission.name.clone());
        Submission { queue: submission.queue.or_else(by_name), ..submission }
    }

    pub(super) fn fresh_id(&self) -> TaskId {
        TaskId::new(self.shared.ids.uuid(self.now()))
    }

    /// Wakes the nodes that watch the shards of tasks that are due before the next scan. A lost wake-up
    /// delays a task until that scan.
    pub(super) async fn wake_if_soon(&self, tasks: &[(u16, Option<Moment>)], now: Moment) {
        let is_soon =
            |due: &Option<Moment>| due.is_some_and(|due| due.since(now) <= self.shared.settings.window_ms);
        let shards: BTreeSet<u16> =
            tasks.iter().filter(|(_, due)| is_soon(due)).map(|(shard, _)| *shard).collect();
        let shards: Vec<u16> = shards.into_iter().collect();
        if !shards.is_empty()
            && let Err(error) = self.shared.ports.lock.wake(&shards).await
        {
            tracing::debug!(%error, "no wake-up was sent; the next scan finds the tasks");
        }
    }
}

pub(super) fn no_answer() -> PortError {
    PortError::Corrupt("store", "it returned no answer for a task".into())
}

fn submitted(task: &Task, inserted: InsertedTask) -> Submitted {
    let (id, existing) = match inserted {
        InsertedTask::New => (task.id.clone(), false),
        InsertedTask::Existing(id) => (id, true),
    };
    Submitted { id, name: task.name.clone(), existing }
}
