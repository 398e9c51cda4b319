//! Outcome reports to the server.

use async_trait::async_trait;

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

/// Sends outcome reports to the server. [`TaskCenter`](crate::TaskCenter) implements it over HTTP.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// Reports the outcome of one attempt of a run.
    ///
    /// # Errors
    /// [`ReportError::Refused`] if the report can never be accepted, and
    /// [`ReportError::Undelivered`] if it can be repeated.
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError>;
}
