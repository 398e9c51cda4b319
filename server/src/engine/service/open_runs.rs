//! The open runs of a task. There may be very many with large payloads, so they are read in pages and
//! without payloads, and an answer names a limited number of them.

use super::{Result, Service};
use crate::core::run::OpenRun;
use crate::core::{Run, RunId, RunState, TaskId};

/// Maximum number of open runs that an answer names.
pub const MAX_OPEN_RUNS: usize = 1_000;
/// Open runs read at a time.
const PAGE: u32 = 1_000;
/// Runs cancelled at a time. These are read with their payloads.
const CANCELLED_AT_ONCE: usize = 100;

impl Service {
    /// Returns the task's revisions that have open runs. Triggered runs do not count, because no moment of a
    /// revision waits for them.
    ///
    /// The ids of runs begin with their revision, so this needs one read for each revision. The ids of
    /// triggered runs come after all others.
    pub(super) async fn open_revs(&self, id: &TaskId) -> Result<Vec<u32>> {
        let (mut revs, mut after) = (Vec::new(), None);
        loop {
            let first = self.shared.ports.store.open_runs(id, after.as_ref(), 1).await?.pop();
            let end = first.as_ref().map(|run| RunId::end_of(id, run.rev));
            match (first, end) {
                (Some(run), Some(end)) if run.id < end => {
                    revs.push(run.rev);
                    after = Some(end);
                }
                _ => return Ok(revs),
            }
        }
    }

    /// Returns the first open runs that `counts` accepts, and whether there are more.
    pub(super) async fn first_open(
        &self,
        id: &TaskId,
        counts: impl Fn(&OpenRun) -> bool,
    ) -> Result<(Vec<RunId>, bool)> {
        let (mut open, mut after) = (Vec::new(), None);
        loop {
            let page = self.shared.ports.store.open_runs(id, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|run| run.id.clone());
            open.extend(page.into_iter().filter(&counts).map(|run| run.id));
            if is_last || open.len() > MAX_OPEN_RUNS {
                return Ok(truncate(open));
            }
        }
    }

    /// Cancels the task's runs that wait for a worker, page by page. An interrupted call leaves the runs that
    /// it has cancelled. Returns the task's other open runs, and whether there are more.
    pub(super) async fn cancel_waiting_runs(&self, id: &TaskId) -> Result<(Vec<RunId>, bool)> {
        let (mut others, mut after) = (Vec::new(), None);
        loop {
            let page = self.shared.ports.store.open_runs(id, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|run| run.id.clone());
            let (waiting, other): (Vec<OpenRun>, Vec<OpenRun>) =
                page.into_iter().partition(|run| run.state == RunState::Ready);
            others.extend(other.into_iter().map(|run| run.id));
            let waiting: Vec<RunId> = waiting.into_iter().map(|run| run.id).collect();
            for some in waiting.chunks(CANCELLED_AT_ONCE) {
                others.extend(self.cancel_ready(some).await?);
            }
            others.truncate(MAX_OPEN_RUNS + 1);
            crate::failpoint!("delete::runs_cancelled");
            if is_last {
                return Ok(truncate(others));
            }
        }
    }

    /// Cancels those of the runs that still wait for a worker. Returns the others.
    async fn cancel_ready(&self, ids: &[RunId]) -> Result<Vec<RunId>> {
        let now = self.now();
        let mut waiting: Vec<Run> = self.shared.ports.store.runs(ids).await?.rows;
        waiting.retain_mut(|run| {
            run.state == RunState::Ready && run.cancel("its task was deleted", now).is_ok()
        });
        let cancelled: Vec<RunId> = self.replace_runs(waiting).await?.into_iter().map(|run| run.id).collect();
        Ok(ids.iter().filter(|id| !cancelled.contains(id)).cloned().collect())
    }
}

fn truncate(mut runs: Vec<RunId>) -> (Vec<RunId>, bool) {
    let more = runs.len() > MAX_OPEN_RUNS;
    runs.truncate(MAX_OPEN_RUNS);
    (runs, more)
}
