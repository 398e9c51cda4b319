//! The calls that a worker makes.

use async_trait::async_trait;

use crate::handler::with_causes;
use crate::http::{Error, TaskCenter};
use crate::resources::{LeaseRequest, LeasedRuns, RenewRequest, RunAnswers, SettleRequest};

/// A call that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not get through, or could not be served now: the same call may be answered later.
    #[error("{0}")]
    Unavailable(String),
    /// The request is not taken as it stands, now or later.
    #[error("{0}")]
    Refused(String),
}

/// What a worker asks of the server: [`TaskCenter`] does so over HTTP. Each call is made once; the caller repeats it.
#[async_trait]
pub trait WorkerApi: Send + Sync + 'static {
    /// Takes runs from queues.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Unavailable`] some may be leased and nobody knows.
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError>;

    /// Keeps runs for longer; one answer a run, in order.
    ///
    /// # Errors
    /// [`CallError`]
    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError>;

    /// Reports outcomes; one answer a run, in order.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Unavailable`] any part of it may have been done.
    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError>;
}

#[async_trait]
impl WorkerApi for TaskCenter {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        Self::lease(&self.clone().without_retries(), &request).await.map_err(|error| failed(&error))
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        Self::renew(&self.clone().without_retries(), &request).await.map_err(|error| failed(&error))
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        Self::settle(&self.clone().without_retries(), &request).await.map_err(|error| failed(&error))
    }
}

/// Other errors may be those of a proxy, or of a server that is about to be another version.
fn failed(error: &Error) -> CallError {
    match error.status() {
        Some(400 | 413 | 422) => CallError::Refused(with_causes(error)),
        _ => CallError::Unavailable(with_causes(error)),
    }
}
