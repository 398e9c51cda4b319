//! Calls for runs, `/v1/runs`, and for workers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};

use super::{Error, TaskCenter};
use crate::error_text::with_causes;
use crate::report::{ReportError, Reporter};
use crate::resources::{
    LeaseRequest, LeasedRuns, LogBatch, RenewRequest, RunAnswers, RunConfirmation, RunList, RunPayload,
    RunResource, SettleRequest, Settlement,
};
use crate::wire::{OutcomeReport, ReportReply};

/// Time limit of a lease in addition to the wait time of the request.
const LEASE_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// Filter of [`TaskCenter::list_runs`]. An absent field does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQuery {
    /// Only runs of the task with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Only runs with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only runs in this [state](RunResource::state).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only runs with all of these labels, as values by key. An empty page may have a
    /// [`next_cursor`](RunList::next_cursor), because the server examines a limited number of rows for a page.
    #[serde(flatten, with = "super::labels")]
    pub labels: BTreeMap<String, String>,
    /// Maximum number of runs in the page, 1 to 1,000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// [`next_cursor`](RunList::next_cursor) of the previous page. Default: the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TaskCenter {
    /// Returns a page of runs, latest moment first.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an unknown state, a limit out of bounds, or an
    /// invalid cursor.
    pub async fn list_runs(&self, query: &RunQuery) -> Result<RunList, Error> {
        self.get(&["v1", "runs"], query).await
    }

    /// Returns a run. `None`: the run does not exist or has been pruned.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn get_run(&self, run_id: &str) -> Result<Option<RunResource>, Error> {
        self.find(&["v1", "runs", run_id], &()).await
    }

    /// Retries a run now: redrives a dead run for one more attempt, or ends the pause of a retrying
    /// run.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run, and 409 for a run in another state or
    /// of a cancelled task.
    pub async fn retry_run(&self, run_id: &str) -> Result<RunResource, Error> {
        self.retry_run_with(run_id, &RunPayload::default()).await
    }

    /// Same as [`retry_run`](Self::retry_run), with another payload from the next attempt on.
    ///
    /// # Errors
    /// As [`retry_run`](Self::retry_run), and [`Error::Refused`] with status 400 for an invalid payload.
    pub async fn retry_run_with(&self, run_id: &str, payload: &RunPayload) -> Result<RunResource, Error> {
        let request = self.request(Method::POST, &["v1", "runs", run_id, "retry"]);
        self.send_non_idempotent(&with_payload(request, payload)).await?.read()
    }

    /// Cancels a run. If a worker has leased the run, the server records the request, and the answer is the
    /// `leased` run with [`cancel_requested_at`](RunResource::cancel_requested_at): the worker has a grace period
    /// to stop. A consumer of the bus is not interrupted, but its outcome is refused.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run, and 409 for a run that has ended.
    pub async fn cancel_run(&self, run_id: &str) -> Result<RunResource, Error> {
        self.call_non_idempotent(Method::POST, &["v1", "runs", run_id, "cancel"]).await
    }

    /// Confirms the outcome of a run without the attempt token, during any attempt, and also after
    /// the run is dead. A run that is succeeded, skipped or cancelled does not change.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run, and 409 for a run without an outcome
    /// to confirm.
    pub async fn confirm_run(
        &self,
        run_id: &str,
        confirmation: &RunConfirmation,
    ) -> Result<RunResource, Error> {
        self.post(&["v1", "runs", run_id, "confirm"], confirmation).await
    }

    /// Reports the outcome of an attempt and returns the state of the run. A consumer does this
    /// itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run, and 409 for an attempt that is stale
    /// or has ended.
    pub async fn report(&self, run_id: &str, report: &OutcomeReport) -> Result<ReportReply, Error> {
        self.post(&["v1", "runs", run_id, "report"], report).await
    }

    /// Leases runs from queues. If no run is ready, waits for [`wait_ms`](LeaseRequest::wait_ms). A
    /// consumer on [`Pull`](crate::transport::pull::Pull) does this itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field. After [`Error::Unanswered`] or
    /// status 503, some runs may be leased without the caller's knowledge. Repeat the request with
    /// the same [`request_id`](LeaseRequest::request_id) to get them. Otherwise their leases expire,
    /// and the attempts have failed.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeasedRuns, Error> {
        let timeout = Duration::from_millis(request.wait_ms).saturating_add(LEASE_TIMEOUT_MARGIN);
        let call = self.request(Method::POST, &["v1", "runs", "lease"]).timeout(timeout);
        self.send_non_idempotent(&call.json(request)).await?.read()
    }

    /// Renews leases. The answer has one result for each run, in the order of the request.
    ///
    /// # Errors
    /// [`Error::Refused`] if the request as a whole is refused, such as status 400 for too many
    /// runs.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RunAnswers, Error> {
        self.post(&["v1", "runs", "renew"], request).await
    }

    /// Reports the outcomes of several attempts. The answer has one result for each run, in the
    /// order of the request.
    ///
    /// # Errors
    /// [`Error::Refused`] if the request as a whole is refused, such as status 400 for too many
    /// runs.
    pub async fn settle(&self, request: &SettleRequest) -> Result<RunAnswers, Error> {
        self.post(&["v1", "runs", "settle"], request).await
    }
}

/// Adds the payload to a request. Without a change the request has no body, which earlier servers expect.
pub(super) fn with_payload(request: RequestBuilder, payload: &RunPayload) -> RequestBuilder {
    if *payload == RunPayload::default() { request } else { request.json(payload) }
}

#[async_trait]
impl Reporter for TaskCenter {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError> {
        self.report_with_others(Settlement { run_id: run_id.to_owned(), report }).await
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), ReportError> {
        // The caller repeats the batch.
        let appended = self.clone().without_retries().append_run_log(run_id, &batch).await;
        appended.map(drop).map_err(|error| match error.status() {
            Some(400..=405 | 409 | 413 | 422) => ReportError::Refused(error.to_string()),
            _ => ReportError::Undelivered(with_causes(&error)),
        })
    }
}
