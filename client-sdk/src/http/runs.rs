//! Runs: `/v1/runs`, for whoever looks at them, and for whoever works on them.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Error, TaskCenter};
use crate::handler::with_causes;
use crate::report::{ReportError, Reporter};
use crate::resources::{
    LeaseRequest, LeasedRuns, RenewRequest, RunAnswers, RunConfirmation, RunList, RunResource, SettleRequest,
};
use crate::wire::{OutcomeReport, ReportReply};

/// What the answer to a lease may take beyond the time that the server was asked to wait.
const BEYOND_THE_WAIT: Duration = Duration::from_secs(10);

/// Which runs to list; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQuery {
    /// Only those of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Only those with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only those in this [state](RunResource::state).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many; left out: as many as the server thinks fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The [`next_cursor`](RunList::next_cursor) of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TaskCenter {
    /// A page of runs, latest moment first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an unknown state or a foreign cursor.
    pub async fn list_runs(&self, query: &RunQuery) -> Result<RunList, Error> {
        self.get(&["v1", "runs"], query).await
    }

    /// Looks a run up; `None` when the server does not know it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn get_run(&self, run_id: &str) -> Result<Option<RunResource>, Error> {
        self.find(&["v1", "runs", run_id], &()).await
    }

    /// Brings a dead run back, or has the next attempt of one that waits for it begin now.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run and 409 for one in another state.
    pub async fn retry_run(&self, run_id: &str) -> Result<RunResource, Error> {
        self.bare_unless_done(Method::POST, &["v1", "runs", run_id, "retry"]).await
    }

    /// Calls a run off. What a handler has begun goes on, and its outcome is refused.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run and 409 for one that has ended.
    pub async fn cancel_run(&self, run_id: &str) -> Result<RunResource, Error> {
        self.bare_unless_done(Method::POST, &["v1", "runs", run_id, "cancel"]).await
    }

    /// Confirms a run, or puts on record that it failed, whichever attempt is under way, and also after it was given up.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run and 409 for one that waits for no outcome.
    pub async fn confirm_run(&self, run_id: &str, word: &RunConfirmation) -> Result<RunResource, Error> {
        self.post(&["v1", "runs", run_id, "confirm"], word).await
    }

    /// Reports the outcome of an attempt, and returns the state the run is in now. A consumer does this by itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run and 409 for an attempt that is stale or has ended.
    pub async fn report(&self, run_id: &str, report: &OutcomeReport) -> Result<ReportReply, Error> {
        self.post(&["v1", "runs", run_id, "report"], report).await
    }

    /// Takes runs from queues, waiting where nothing is ready for as long as the request says. A consumer on
    /// [`Pull`](crate::transport::pull::Pull) does this by itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for what the server does not take. After [`Error::Unanswered`] and status 503 the runs may be
    /// leased and nobody knows by whom; they come back when the lease has run out.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeasedRuns, Error> {
        let patience = Duration::from_millis(request.wait_ms).saturating_add(BEYOND_THE_WAIT);
        let call = self.request(Method::POST, &["v1", "runs", "lease"]).timeout(patience);
        self.send_unless_done(&call.json(request)).await?.read()
    }

    /// Keeps runs for longer. The answer says of each one whether it is still the caller's, in their order.
    ///
    /// # Errors
    /// [`Error::Refused`] when the request as a whole is not taken.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RunAnswers, Error> {
        self.post(&["v1", "runs", "renew"], request).await
    }

    /// Reports the outcomes of attempts. The answer says of each one what became of it, in their order.
    ///
    /// # Errors
    /// [`Error::Refused`] when the request as a whole is not taken.
    pub async fn settle(&self, request: &SettleRequest) -> Result<RunAnswers, Error> {
        self.post(&["v1", "runs", "settle"], request).await
    }
}

#[async_trait]
impl Reporter for TaskCenter {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError> {
        match TaskCenter::report(self, run_id, &report).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.status(), Some(404 | 409)) => {
                Err(ReportError::Refused(error.to_string()))
            }
            Err(error) => Err(ReportError::Undelivered(with_causes(&error))),
        }
    }
}
