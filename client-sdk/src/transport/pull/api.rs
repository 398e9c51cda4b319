//! Calls of a worker to the server.

use async_trait::async_trait;

use crate::error_text::with_causes;
use crate::http::{Error, TaskCenter};
use crate::resources::{LeaseRequest, LeasedRuns, LogBatch, RenewRequest, RunAnswers, SettleRequest};

/// Why a call failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call was not delivered, or the server cannot serve it now. It can be repeated.
    #[error("{0}")]
    Unavailable(String),
    /// The server refuses the request, also if it is repeated.
    #[error("{0}")]
    Refused(String),
    /// The server refuses the caller: the token is absent, invalid, or lacks a scope.
    #[error("{0}")]
    Denied(String),
}

/// Calls of a worker to the server. [`TaskCenter`] implements them over HTTP.
///
/// An implementation does not repeat a call: [`Pull`](super::Pull) does.
#[async_trait]
pub trait WorkerApi: Send + Sync + 'static {
    /// Leases runs from queues.
    ///
    /// # Errors
    /// [`CallError`]. After [`CallError::Unavailable`], the server may have leased some runs. A
    /// repetition with the same [`request_id`](LeaseRequest::request_id) returns them.
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError>;

    /// Renews leases. The answer has one result for each run, in order.
    ///
    /// # Errors
    /// [`CallError`] if the call fails as a whole.
    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError>;

    /// Reports outcomes. The answer has one result for each run, in order.
    ///
    /// # Errors
    /// [`CallError`] if the call fails as a whole. After [`CallError::Unavailable`], the server may
    /// have stored any of the outcomes.
    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError>;

    /// Appends lines to the log of a run. A repetition with the same [`batch_id`](LogBatch::batch_id)
    /// changes nothing. Default: refuses the lines, and they are dropped.
    ///
    /// # Errors
    /// [`CallError`]. Lines of an attempt that is not in progress are refused.
    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), CallError> {
        let _ = (run_id, batch);
        Err(CallError::Refused("the server does not store log lines".to_owned()))
    }
}

#[async_trait]
impl WorkerApi for TaskCenter {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        Self::lease(&self.clone().without_retries(), &request).await.map_err(|error| call_error(&error))
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        Self::renew(&self.clone().without_retries(), &request).await.map_err(|error| call_error(&error))
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        Self::settle(&self.clone().without_retries(), &request).await.map_err(|error| call_error(&error))
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), CallError> {
        let appended = self.clone().without_retries().append_run_log(run_id, &batch).await;
        appended.map(drop).map_err(|error| match error.status() {
            // The attempt is over, or an older server has no such route.
            Some(404 | 405 | 409) => CallError::Refused(with_causes(&error)),
            _ => call_error(&error),
        })
    }
}

/// Only these statuses refuse the request or the caller. Others may come from a proxy, or from a
/// server that is being upgraded. So may 401 and 403 without the error code of the server.
fn call_error(error: &Error) -> CallError {
    match error.status() {
        Some(400 | 413 | 422) => CallError::Refused(with_causes(error)),
        Some(401 | 403) if error.code().is_some() => CallError::Denied(with_causes(error)),
        _ => CallError::Unavailable(with_causes(error)),
    }
}
