//! The open runs of a task. There may be very many with large payloads, so they are read in pages and
//! without payloads, and an answer names a limited number of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Result, Service, ServiceError};
use crate::core::run::{OF_ENDED_TASK, OpenRun};
use crate::core::{Run, RunId, RunState, TaskId};

/// Maximum number of open runs that an answer names.
pub const MAX_OPEN_RUNS: usize = 1_000;
/// Open runs read at a time.
const PAGE: u32 = 1_000;
/// Open runs that one call examines to cancel those that wait: a few seconds of work.
pub const EXAMINED_PER_CALL: usize = 20_000;
/// Ended tasks whose open runs are read at the same time.
const TASKS_AT_ONCE: usize = 16;
/// Runs cancelled at a time. These are read with their payloads.
const CANCELLED_AT_ONCE: usize = 100;

/// Open runs of an ended task that do not wait for a worker.
struct Others {
    runs: Vec<RunId>,
    /// Whether the task may have further open runs that were not examined.
    is_cut: bool,
}

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

    /// Cancels the runs of ended tasks that wait for a worker. Returns each task's other open runs, and
    /// whether there are more, in the order of `ids`.
    ///
    /// The call examines about [`EXAMINED_PER_CALL`] runs of all tasks together; a task without open
    /// runs counts as one. A background task cancels the rest: workers may
    /// still get some of these runs, which fired before the tasks ended.
    pub(super) async fn cancel_waiting_runs(
        &self,
        ids: Vec<TaskId>,
    ) -> Result<Vec<(TaskId, Vec<RunId>, bool)>> {
        let examined = AtomicUsize::new(0);
        let examined = &examined;
        let cancel = |id: TaskId| async move {
            let continues = || examined.load(Ordering::Relaxed) < EXAMINED_PER_CALL;
            let others = if continues() {
                self.cancel_some(&id, examined, continues).await?
            } else {
                Others { runs: Vec::new(), is_cut: true }
            };
            Ok::<_, ServiceError>((id, others))
        };
        let ended: Vec<(TaskId, Others)> =
            stream::iter(ids).map(cancel).buffered(TASKS_AT_ONCE).try_collect().await?;
        let unfinished = ended.iter().filter(|(_, others)| others.is_cut).map(|(id, _)| id.clone()).collect();
        self.cancel_in_background(unfinished);
        let answer = |(id, others): (TaskId, Others)| {
            let (runs, more) = truncate(others.runs);
            (id, runs, more || others.is_cut)
        };
        Ok(ended.into_iter().map(answer).collect())
    }

    /// Cancels the task's runs that wait for a worker, page by page, while `continues` holds. An interrupted
    /// call leaves the runs that it has cancelled.
    async fn cancel_some(
        &self,
        id: &TaskId,
        examined: &AtomicUsize,
        continues: impl Fn() -> bool,
    ) -> Result<Others> {
        let (mut others, mut after) = (Vec::new(), None);
        loop {
            let page = self.shared.ports.store.open_runs(id, after.as_ref(), PAGE).await?;
            examined.fetch_add(page.len().max(1), Ordering::Relaxed);
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|run| run.id.clone());
            let (waiting, other): (Vec<OpenRun>, Vec<OpenRun>) =
                page.into_iter().partition(|run| waits(run.state));
            others.extend(other.into_iter().map(|run| run.id));
            let waiting: Vec<RunId> = waiting.into_iter().map(|run| run.id).collect();
            for some in waiting.chunks(CANCELLED_AT_ONCE) {
                others.extend(self.cancel_ready(some).await?);
            }
            others.truncate(MAX_OPEN_RUNS + 1);
            crate::failpoint!("delete::runs_cancelled");
            if is_last || !continues() {
                return Ok(Others { runs: others, is_cut: !is_last });
            }
        }
    }

    /// Cancels all waiting runs of these tasks. If the node stops before the end, workers get the rest.
    fn cancel_in_background(&self, ids: Vec<TaskId>) {
        if ids.is_empty() {
            return;
        }
        let service = self.clone();
        tokio::spawn(async move {
            let examined = AtomicUsize::new(0);
            for id in ids {
                let continues = || !service.is_stopping();
                if let Err(error) = service.cancel_some(&id, &examined, continues).await {
                    tracing::warn!(task = %id, %error, "waiting runs of an ended task were not cancelled");
                }
            }
        });
    }

    /// Cancels those of the runs that still wait for a worker. Returns the others.
    async fn cancel_ready(&self, ids: &[RunId]) -> Result<Vec<RunId>> {
        let now = self.now();
        let mut waiting: Vec<Run> = self.shared.ports.store.runs(ids).await?.rows;
        waiting.retain_mut(|run| waits(run.state) && run.cancel(OF_ENDED_TASK, now).is_ok());
        let cancelled: Vec<RunId> = self.replace_runs(waiting).await?.into_iter().map(|run| run.id).collect();
        Ok(ids.iter().filter(|id| !cancelled.contains(id)).cloned().collect())
    }
}

/// Returns whether a run in this state waits for a worker, or for admission.
fn waits(state: RunState) -> bool {
    matches!(state, RunState::Ready | RunState::Held)
}

fn truncate(mut runs: Vec<RunId>) -> (Vec<RunId>, bool) {
    let more = runs.len() > MAX_OPEN_RUNS;
    runs.truncate(MAX_OPEN_RUNS);
    (runs, more)
}
