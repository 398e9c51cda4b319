//! Counts of matching rows that end at a bound, so that their cost does not grow with what is stored.

use super::{Page, Result, RunFilter, RunPage, Service, TaskFilter, Wanted};
use crate::core::access::Scope;
use crate::core::operation::{COUNT_LIMIT, Count};
use crate::core::{Moment, RunId, RunState};

/// Maximum number of rows, and of bytes of their payloads, that a count examines if no index counts.
const MAX_EXAMINED: usize = 5_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Rows of a read.
const CHUNK: u32 = 500;
/// One row more than the bound shows that there are more.
const LIMIT: u32 = COUNT_LIMIT as u32 + 1;

/// A count that examines rows.
#[derive(Default)]
struct Examination {
    matched: u64,
    examined: usize,
    bytes: usize,
}

impl Examination {
    /// Adds the rows of a read. Returns the result if the count ends here.
    fn add(&mut self, matched: usize, examined: usize, bytes: usize) -> Option<Count> {
        self.matched += matched as u64;
        self.examined += examined;
        self.bytes += bytes;
        let is_complete = examined == 0;
        let is_over = self.examined >= MAX_EXAMINED || self.bytes >= MAX_BYTES;
        (is_complete || is_over).then_some(Count { rows: self.matched, more: !is_complete })
    }
}

impl Service {
    /// Returns the number of matching runs in each state, each at most [`COUNT_LIMIT`]. The state of the filter
    /// does not count.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn count_runs_by_state(&self, wanted: &Wanted<RunFilter>) -> Result<Vec<(RunState, Count)>> {
        self.require(Scope::TaskRead)?;
        let mut counts = Vec::new();
        for state in RunState::ALL {
            let filter = RunFilter { state: Some(state), ..wanted.filter.clone() };
            let of_state = Wanted { filter, labels: wanted.labels.clone() };
            counts.push((state, self.count_runs(&of_state, None).await?));
        }
        Ok(counts)
    }

    /// Counts the matching tasks, at most [`COUNT_LIMIT`]. If no index counts them, examines 5,000 tasks.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub(super) async fn count_tasks(&self, wanted: &Wanted<TaskFilter>) -> Result<Count> {
        if let Some(filter) = self.counted_tasks(wanted) {
            let rows = self.count_allowed_tasks(&filter, &Page { limit: LIMIT, before: None }).await?;
            return Ok(Count::default().plus(rows));
        }
        let (mut count, mut before) = (Examination::default(), None);
        loop {
            let read = self.examine_tasks(wanted, &Page { limit: CHUNK, before }).await?;
            if let Some(count) = count.add(read.rows.len(), read.count, read.bytes) {
                return Ok(count);
            }
            before = read.last;
        }
    }

    /// Counts the matching runs before a position, at most [`COUNT_LIMIT`]. If no index counts them, examines
    /// 5,000 runs.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub(super) async fn count_runs(
        &self,
        wanted: &Wanted<RunFilter>,
        mut before: Option<(Moment, RunId)>,
    ) -> Result<Count> {
        if let Some(filter) = self.counted_runs(wanted) {
            let rows = self.count_allowed_runs(&filter, &RunPage { limit: LIMIT, before }).await?;
            return Ok(Count::default().plus(rows));
        }
        let mut count = Examination::default();
        loop {
            let read = self.examine_runs(wanted, &RunPage { limit: CHUNK, before }).await?;
            if let Some(count) = count.add(read.rows.len(), read.count, read.bytes) {
                return Ok(count);
            }
            before = read.last;
        }
    }

    /// Returns the filter whose index counts the tasks, if there is one.
    fn counted_tasks(&self, wanted: &Wanted<TaskFilter>) -> Option<TaskFilter> {
        self.has_index_of_tasks(wanted).then(|| self.task_selection(wanted))
    }

    /// Returns the filter whose index counts the runs, if there is one.
    fn counted_runs(&self, wanted: &Wanted<RunFilter>) -> Option<RunFilter> {
        self.has_index_of_runs(wanted).then(|| self.run_selection(wanted))
    }
}
