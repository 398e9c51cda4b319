//! The worker API inside the server process: calls of commands instead of HTTP requests.

use std::time::Duration;

use async_trait::async_trait;
use taskcenter_client::resources::{
    EVERY_QUEUE, LeaseRequest, LeasedRuns, LogBatch, Problem, RenewRequest, RunAnswer, RunAnswers,
    SettleRequest, Settlement,
};
use taskcenter_client::transport::pull::{CallError, WorkerApi};

use crate::core::{Run, RunId};
use crate::engine::service::{Caller, Held, LeaseTerms, Renewal, Report, Service, ServiceError};
use crate::wire;

/// The commands as a worker API.
#[derive(Clone)]
pub struct LocalApi(Service);

impl LocalApi {
    /// Returns the commands with all rights: the built-in workers do the node's own work.
    pub fn new(service: &Service) -> Self {
        Self(service.for_caller(Caller::node()))
    }

    /// Returns the commands.
    pub fn service(&self) -> &Service {
        &self.0
    }
}

#[async_trait]
impl WorkerApi for LocalApi {
    async fn lease(&self, request: LeaseRequest) -> Result<LeasedRuns, CallError> {
        let runs = self
            .0
            .lease(&terms(request))
            .await
            .map_err(|error| CallError::Unavailable(error_message(&error)))?;
        Ok(LeasedRuns { runs: runs.into_iter().map(wire::leased_run).collect() })
    }

    async fn renew(&self, request: RenewRequest) -> Result<RunAnswers, CallError> {
        let held: Vec<Held> = request.runs.into_iter().map(wire::held).collect();
        let lease_ms = millis(request.lease_ms);
        let answers = if request.hand_over {
            self.0.hand_over(&held, lease_ms).await
        } else {
            self.0.renew(&held, lease_ms).await
        };
        let answers = answers.map_err(|error| CallError::Unavailable(error_message(&error)))?;
        let answer = |(held, answer): (Held, Result<Renewal, ServiceError>)| match answer {
            Ok(Renewal { until, cancel_requested }) => RunAnswer {
                lease_until: Some(wire::timestamp(until)),
                cancel_requested,
                ..accepted(&held.run_id)
            },
            Err(error) => refused(&held.run_id, &error),
        };
        Ok(RunAnswers { results: held.into_iter().zip(answers).map(answer).collect() })
    }

    async fn settle(&self, request: SettleRequest) -> Result<RunAnswers, CallError> {
        let reports: Vec<(RunId, Report)> = request.outcomes.into_iter().map(report).collect();
        let answers =
            self.0.settle(&reports).await.map_err(|error| CallError::Unavailable(error_message(&error)))?;
        let answer = |((id, _), answer): ((RunId, Report), Result<Run, ServiceError>)| match answer {
            Ok(_) => accepted(&id),
            Err(error) => refused(&id, &error),
        };
        Ok(RunAnswers { results: reports.into_iter().zip(answers).map(answer).collect() })
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), CallError> {
        let (batch, token) = wire::log_batch(RunId::from_text(run_id), batch);
        self.0.append_log(&batch, &token).await.map(drop).map_err(|error| match error {
            ServiceError::Port(_) => CallError::Unavailable(error_message(&error)),
            _ => CallError::Refused(error_message(&error)),
        })
    }
}

fn terms(request: LeaseRequest) -> LeaseTerms {
    LeaseTerms {
        queues: request.queues.into_iter().filter(|queue| queue != EVERY_QUEUE).collect(),
        worker: request.worker,
        limit: request.limit,
        lease_ms: millis(request.lease_ms),
        wait: Duration::from_millis(request.wait_ms),
        request_id: request.request_id,
    }
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn report(Settlement { run_id, report }: Settlement) -> (RunId, Report) {
    let result = report.result.map(|result| result.to_string());
    let outcome = wire::outcome(report.outcome, result, report.retry_after_ms);
    let report = Report {
        attempt: report.attempt,
        token: report.token,
        outcome,
        message: report.message,
        started_at: report.started_at.map(wire::moment),
    };
    (RunId::from_text(run_id), report)
}

fn accepted(id: &RunId) -> RunAnswer {
    RunAnswer { run_id: id.to_string(), status: 200, ..RunAnswer::default() }
}

/// Returns a refusal with the status of the HTTP API: 409 for a lost run, 503 for a retry.
fn refused(id: &RunId, error: &ServiceError) -> RunAnswer {
    let status = match error {
        ServiceError::NotFound => 404,
        ServiceError::Port(_) => 503,
        _ => 409,
    };
    let problem = Problem { status, detail: error_message(error), ..Problem::default() };
    RunAnswer { status, problem: Some(problem), ..accepted(id) }
}

/// Returns the error with its cause, for the log of this process.
fn error_message(error: &ServiceError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
