//! Attempts that a worker must stop: a user has cancelled the run, or the server has given it to another worker.
//!
//! The worker learns this from the answer to a renewal. A handler of an external program stops the
//! program then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use taskcenter_client::resources::{
    LeaseRequest, LeasedAttempt, LeasedRuns, LogBatch, RenewRequest, RunAnswer, RunAnswers, SettleRequest,
};
use taskcenter_client::transport::pull::{CallError, WorkerApi};
use tokio_util::sync::CancellationToken;

/// Attempts that handlers work on, by run id and number.
#[derive(Clone, Default)]
pub struct Attempts(Arc<Mutex<HashMap<(String, u32), CancellationToken>>>);

/// An attempt that a handler works on. A drop forgets it.
pub struct Attempt {
    attempts: Attempts,
    key: (String, u32),
    lost: CancellationToken,
}

impl Attempts {
    /// Starts to observe the lease of an attempt.
    pub fn observe(&self, run_id: &str, number: u32) -> Attempt {
        let (key, lost) = ((run_id.to_owned(), number), CancellationToken::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), lost.clone());
        Attempt { attempts: self.clone(), key, lost }
    }

    fn apply(&self, attempt: &LeasedAttempt, answer: &RunAnswer) {
        if !answer.cancel_requested && !matches!(answer.status, 404 | 409) {
            return;
        }
        let attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = attempts.get(&(attempt.run_id.clone(), attempt.attempt)) {
            lost.cancel();
        }
    }
}

impl Attempt {
    /// Waits until the lease is lost, or a user has requested to cancel the run.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.attempts.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A worker API that reports lost leases to the handlers.
pub struct ObservedApi<A> {
    pub api: A,
    pub attempts: Attempts,
}

#[async_trait]
impl<A: WorkerApi> WorkerApi for ObservedApi<A> {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        self.api.lease(request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        let runs = request.runs.clone();
        let answers = self.api.renew(request).await?;
        runs.iter().zip(&answers.results).for_each(|(run, answer)| self.attempts.apply(run, answer));
        Ok(answers)
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        self.api.settle(request).await
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), CallError> {
        self.api.append_log(run_id, batch).await
    }
}
