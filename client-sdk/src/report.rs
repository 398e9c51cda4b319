//! Telling the server how an attempt ended.

use async_trait::async_trait;

use crate::wire::OutcomeReport;

/// Why a report was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The server will never take it: the run is unknown (404), or the attempt is stale or has ended (409).
    #[error("the server refused the report: {0}")]
    Refused(String),
    /// It did not get through; it may be tried again.
    #[error("the report could not be delivered: {0}")]
    Undelivered(String),
}

/// Takes outcome reports to the server. [`TaskCenter`](crate::TaskCenter) is one.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// Reports the outcome of an attempt at the run.
    ///
    /// # Errors
    /// [`ReportError`] tells a report that is refused for good from one that did not get through.
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError>;
}
