//! Commands that change a run: cancel, retry, confirm.

use super::audit::AuditAction;
use super::{Result, Service, ServiceError, TaskOver};
use crate::core::access::Scope;
use crate::core::run::{BY_HAND, IllegalTransition, PayloadChange};
use crate::core::{Run, RunId, RunState, TaskState};
use crate::engine::outcome_counts;

/// A run's outcome, from a caller that does not know the attempt's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    pub succeeded: bool,
    /// Text for the run's history.
    pub message: Option<String>,
    /// The result, as JSON.
    pub result: Option<String>,
}

impl Service {
    /// Cancels a run. If a worker has leased the run, records the request: the worker receives it with its next
    /// renewal, and has a grace period to stop. Then the run ends as cancelled, unless the work has succeeded.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::RunState`] if the run has
    /// ended, or a port's error.
    pub async fn cancel_run(&self, id: &RunId) -> Result<Run> {
        let now = self.now();
        let answer = self.change_run(id, |run| run.request_cancel(now)).await;
        self.record_change(AuditAction::RunCancel, [id.as_str()], &answer).await;
        answer
    }

    /// Cancels a run at once, also if a worker has leased it: the server refuses the outcome. For legacy APIs, which
    /// tell the handler themselves.
    ///
    /// # Errors
    /// As [`Service::cancel_run`].
    pub async fn cancel_run_at_once(&self, id: &RunId) -> Result<Run> {
        let now = self.now();
        let answer = self.change_run(id, |run| run.cancel(BY_HAND, now)).await;
        self.record_change(AuditAction::RunCancel, [id.as_str()], &answer).await;
        answer
    }

    /// Gives a dead run one more attempt, or ends the retry pause of a run that waits for its next attempt.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::NotFound`]; [`ServiceError::Over`] if the task was
    /// deleted; [`ServiceError::RunState`] if the run is neither dead nor waiting; or a port's error.
    pub async fn retry_run(&self, id: &RunId) -> Result<Run> {
        self.retry_run_with(id, &PayloadChange::default()).await
    }

    /// Same as [`retry_run`](Self::retry_run), with another payload from the next attempt on. The run keeps its
    /// original payload, and tells which attempt had which one.
    ///
    /// # Errors
    /// As [`Service::retry_run`], and [`ServiceError::Invalid`].
    pub async fn retry_run_with(&self, id: &RunId, change: &PayloadChange) -> Result<Run> {
        let answer = self.redrive(id, change).await;
        self.record_change(AuditAction::RunRetry, [id.as_str()], &answer).await;
        answer
    }

    /// Same as [`retry_run_with`](Self::retry_run_with), if the run has this version. `None`: the run has another
    /// version, and nothing was changed.
    ///
    /// # Errors
    /// As [`Service::retry_run_with`].
    pub async fn retry_run_at(
        &self,
        id: &RunId,
        version: u64,
        change: &PayloadChange,
    ) -> Result<Option<Run>> {
        let answer = self.redrive_at(id, Some(version), change).await;
        if !matches!(answer, Ok(None)) {
            self.record_change(AuditAction::RunRetry, [id.as_str()], &answer).await;
        }
        answer
    }

    async fn redrive(&self, id: &RunId, change: &PayloadChange) -> Result<Run> {
        self.redrive_at(id, None, change).await?.ok_or(ServiceError::NotFound)
    }

    async fn redrive_at(
        &self,
        id: &RunId,
        version: Option<u64>,
        change: &PayloadChange,
    ) -> Result<Option<Run>> {
        self.require(Scope::TaskWrite)?;
        change.check()?;
        let run = self.run(id).await?;
        let task = self.shared.ports.store.task(&run.task_id).await?;
        if task.is_none_or(|task| task.state == TaskState::Cancelled) {
            return Err(TaskOver::Deleted.into());
        }
        let now = self.now();
        let run = self.change_run_at(id, version, |run| run.redrive(change, now)).await?;
        self.shared.hints.attention();
        Ok(run)
    }

    /// Confirms a run's outcome without the attempt token (for callers that only know the run id). A run
    /// that was given up can still be confirmed. A run that has succeeded, was skipped or was cancelled
    /// stays as it is.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::NotFound`]; [`ServiceError::RunState`] if the server
    /// waits for no outcome or the run's moment is not decided yet; or a port's error.
    pub async fn confirm(&self, id: &RunId, confirmation: &Confirmation) -> Result<Run> {
        let answer = self.apply_confirmation(id, confirmation).await;
        self.record_change(AuditAction::RunConfirm, [id.as_str()], &answer).await;
        answer
    }

    async fn apply_confirmation(&self, id: &RunId, confirmation: &Confirmation) -> Result<Run> {
        self.require(Scope::TaskWrite)?;
        loop {
            let mut run = self.run(id).await?;
            if matches!(run.state, RunState::Succeeded | RunState::Skipped | RunState::Cancelled) {
                return Ok(run);
            }
            if !self.has_fired(&run).await? {
                return Err(ServiceError::RunState(run.state));
            }
            let was_dead = run.state == RunState::Dead;
            let Confirmation { succeeded, message, result } = confirmation.clone();
            run.confirm(succeeded, message, result, self.now())
                .map_err(|_| ServiceError::RunState(run.state))?;
            crate::failpoint!("confirm::before_update");
            let confirmed = if was_dead && !succeeded {
                // The outcome has been counted before.
                let updated =
                    self.shared.ports.store.update_runs(std::slice::from_ref(&run)).await? == [true];
                let updated = updated.then(|| run.next_version());
                self.shared.hints.changes.runs(&updated);
                updated
            } else {
                self.replace_runs(vec![run]).await?.pop()
            };
            crate::failpoint!("confirm::updated");
            if let Some(run) = confirmed {
                return Ok(run);
            }
        }
    }

    /// Returns whether a handler may have received the run. `false` only for a `firing` run whose
    /// task has not passed the moment: such a run may still be cancelled.
    async fn has_fired(&self, run: &Run) -> Result<bool> {
        if run.state != RunState::Firing || run.triggered || run.fired_at.is_some() {
            return Ok(true);
        }
        let task = self.shared.ports.store.task(&run.task_id).await?;
        Ok(task.is_some_and(|task| task.has_passed(run.rev, run.scheduled_at)))
    }

    async fn change_run(
        &self,
        id: &RunId,
        change: impl Fn(&mut Run) -> std::result::Result<(), IllegalTransition>,
    ) -> Result<Run> {
        self.change_run_at(id, None, change).await?.ok_or(ServiceError::NotFound)
    }

    /// Changes a run, at any version or at this one only. `None`: the run has another version.
    async fn change_run_at(
        &self,
        id: &RunId,
        version: Option<u64>,
        change: impl Fn(&mut Run) -> std::result::Result<(), IllegalTransition>,
    ) -> Result<Option<Run>> {
        self.require(Scope::TaskWrite)?;
        loop {
            let mut run = self.run(id).await?;
            if version.is_some_and(|version| version != run.version) {
                return Ok(None);
            }
            change(&mut run).map_err(|_| ServiceError::RunState(run.state))?;
            crate::failpoint!("run::before_change");
            let replaced = self.replace_runs(vec![run]).await?.pop();
            crate::failpoint!("run::changed");
            if replaced.is_some() {
                return Ok(replaced);
            }
        }
    }

    /// Replaces runs by compare-and-set, and counts those that have ended. Returns the runs that were
    /// replaced, as stored. The calling command has checked the caller's rights.
    pub(super) async fn replace_runs(&self, runs: Vec<Run>) -> Result<Vec<Run>> {
        let Self { shared, .. } = self;
        let (store, zone) = (&*shared.ports.store, &shared.settings.time_zone);
        let replaced = outcome_counts::replace_runs(store, zone, &shared.metrics, runs).await?;
        shared.hints.replaced(&replaced);
        Ok(replaced)
    }
}
