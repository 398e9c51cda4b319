//! Commands that backfill a task: one run for each moment of its schedule in a range of the past.

use super::audit::AuditAction;
use super::{IdempotencyKey, Result, Service, ServiceError, TaskOver};
use crate::core::access::Scope;
use crate::core::operation::{Action, Backfill, Count, Item, NewOperation, Operation, Selection, Verdict};
use crate::core::run::Backfilled;
use crate::core::{Moment, Run, RunId, Task, TaskId, TaskState};

/// A backfill to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackfill {
    /// First instant of the range.
    pub from: Moment,
    /// End of the range, exclusive. Not in the future.
    pub to: Moment,
    /// Maximum number of runs per second. `None`: unlimited.
    pub rate_per_sec: Option<u32>,
    /// Human-readable reason, if any.
    pub reason: Option<String>,
}

impl Service {
    /// Returns the number of runs that a backfill would create, at most
    /// [`COUNT_LIMIT`](crate::core::operation::COUNT_LIMIT).
    ///
    /// # Errors
    /// As [`Service::backfill`].
    pub async fn preview_backfill(&self, id: &TaskId, new: NewBackfill) -> Result<Count> {
        let new = self.backfill_operation(id, new).await?;
        self.preview_operation(new).await
    }

    /// Creates an operation that creates one run for each nominal moment of a task's schedule in a range. The moments
    /// are those of the schedule now; each run has the definition that the task has when the operation reaches it.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::Over`] for a cancelled task;
    /// [`ServiceError::Operation`] names the broken rule; otherwise as [`Service::create_operation`].
    pub async fn backfill(
        &self,
        id: &TaskId,
        new: NewBackfill,
        key: Option<IdempotencyKey>,
    ) -> Result<Operation> {
        let new = self.backfill_operation(id, new).await?;
        self.create_operation(new, key).await
    }

    async fn backfill_operation(&self, id: &TaskId, new: NewBackfill) -> Result<NewOperation> {
        self.require(Scope::TaskWrite)?;
        let task = self.shown_task(id).await?;
        if task.state == TaskState::Cancelled {
            return Err(TaskOver::Ended(task.state).into());
        }
        let NewBackfill { from, to, rate_per_sec, reason } = new;
        let backfill = Backfill::new(&task, from, to, self.now())?;
        let new = NewOperation::new(Action::Backfill, Selection::Moments(Box::new(backfill)));
        Ok(NewOperation { reason, rate_per_sec, ..new })
    }

    /// Creates the run of one moment. A repeated call finds the first run.
    pub(super) async fn backfill_moment(&self, backfill: &Backfill, item: &Item) -> Result<Verdict> {
        let id = RunId::from_text(&item.id);
        let of = id.backfill().ok_or(ServiceError::NotFound)?;
        let create = |task: &Task, replaced, token, now| {
            Run::backfilled(task, Backfilled { replaced, ..of }, token, now)
        };
        crate::failpoint!("backfill::before_insert");
        let answer = self.insert_manual(&backfill.task_id, create).await;
        crate::failpoint!("backfill::inserted");
        let ids = [backfill.task_id.as_str(), item.id.as_str()];
        self.record_change(AuditAction::TaskTrigger, ids, &answer).await;
        answer.map(|_| Verdict::Done)
    }
}
