//! Outcome reports to the server.

use async_trait::async_trait;

use crate::resources::{LogBatch, RunAnswer};
use crate::wire::OutcomeReport;

/// Why an outcome report was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The server refuses the report, also if it is repeated: the run is unknown (404), or the
    /// attempt is stale or has ended (409).
    #[error("the server refused the report: {0}")]
    Refused(String),
    /// The report was not delivered. It can be repeated.
    #[error("the report could not be delivered: {0}")]
    Undelivered(String),
}

/// Sends outcome reports and log lines to the server. [`TaskCenter`](crate::TaskCenter) implements it over HTTP:
/// reports that gather while requests are under way share the next request.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// Reports the outcome of one attempt of a run.
    ///
    /// # Errors
    /// [`ReportError::Refused`] if the report can never be accepted, and
    /// [`ReportError::Undelivered`] if it can be repeated.
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError>;

    /// Appends lines to the log of a run. A repeated batch has the same
    /// [`batch_id`](LogBatch::batch_id). Default: refuses the lines, and they are dropped.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), ReportError> {
        let _ = (run_id, batch);
        Err(ReportError::Refused("the reporter does not send log lines".to_owned()))
    }
}

/// Approximate size of a report without its message and result.
const ENVELOPE_BYTES: usize = 256;

/// Returns the approximate size of a report in a request, in bytes.
pub(crate) fn approximate_bytes(report: &OutcomeReport) -> usize {
    let message = report.message.as_ref().map_or(0, String::len);
    let result = report.result.as_ref().map_or(0, |result| result.to_string().len());
    ENVELOPE_BYTES + message + result
}

/// Returns the error for a report that the server refuses.
pub(crate) fn refusal(answer: &RunAnswer) -> ReportError {
    let problem = answer.problem.as_ref().map(|problem| problem.detail.as_str());
    ReportError::Refused(format!("{} {}", answer.status, problem.unwrap_or_default()).trim_end().to_owned())
}
