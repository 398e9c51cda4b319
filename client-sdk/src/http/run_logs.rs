//! Calls for the logs of runs.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;

use super::{Error, TaskCenter};
use crate::resources::{LogBatch, LogReceipt, RunLogPage};

/// Time limit of a page in addition to its wait.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct LogQuery {
    from: u64,
    wait_ms: u64,
}

impl TaskCenter {
    /// Returns the page of the log of a run that begins with the line `from`. If the page would be empty and
    /// lines may follow, waits up to `wait` for a line; the server waits at most 20 s.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run.
    pub async fn run_log(&self, run_id: &str, from: u64, wait: Duration) -> Result<RunLogPage, Error> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let call = self.request(Method::GET, &["v1", "runs", run_id, "log"]);
        let call = call.query(&LogQuery { from, wait_ms }).timeout(wait.saturating_add(TIMEOUT_MARGIN));
        self.send(&call).await?.read()
    }

    /// Appends lines to the log of a run. A consumer does this itself ([`Context::log`](crate::Context::log)).
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run, and 409 for an attempt that is not in progress.
    pub async fn append_run_log(&self, run_id: &str, batch: &LogBatch) -> Result<LogReceipt, Error> {
        self.post(&["v1", "runs", run_id, "log"], batch).await
    }
}
