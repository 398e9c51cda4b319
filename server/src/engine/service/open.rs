//! A task's open runs. There may be very many, with large payloads: they are read in pages and without what they carry, and an answer
//! names some.

use super::{Result, Service};
use crate::core::run::OpenRun;
use crate::core::{Run, RunId, RunState, TaskId};

/// Most open runs that an answer names.
pub const MAX_OPEN_RUNS: usize = 1_000;
/// Open runs read at a time.
const PAGE: u32 = 1_000;
/// Runs called off at a time: these are read with what they carry.
const CALLED_OFF_AT_ONCE: usize = 100;

impl Service {
    /// The revisions with open runs. The runs' ids begin with their revision, so that there is one look for each of these, however many
    /// runs there are; what is triggered stands behind them all, and waits for no moment of a revision.
    pub(super) async fn open_revs(&self, id: &TaskId) -> Result<Vec<u32>> {
        let (mut revs, mut after) = (Vec::new(), None);
        loop {
            let first = self.ports.store.open_runs(id, after.as_ref(), 1).await?.pop();
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

    /// The first open runs that count, and whether more do.
    pub(super) async fn first_open(
        &self,
        id: &TaskId,
        counts: impl Fn(&OpenRun) -> bool,
    ) -> Result<(Vec<RunId>, bool)> {
        let (mut named, mut after) = (Vec::new(), None);
        loop {
            let page = self.ports.store.open_runs(id, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|run| run.id.clone());
            named.extend(page.into_iter().filter(&counts).map(|run| run.id));
            if is_last || named.len() > MAX_OPEN_RUNS {
                return Ok(bounded(named));
            }
        }
    }

    /// Calls off what waits for a worker, page by page: what a call that breaks off has done stays done. The other open runs of the task,
    /// and whether there are more.
    pub(super) async fn call_off_waiting(&self, id: &TaskId) -> Result<(Vec<RunId>, bool)> {
        let (mut others, mut after) = (Vec::new(), None);
        loop {
            let page = self.ports.store.open_runs(id, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|run| run.id.clone());
            let (waiting, held): (Vec<OpenRun>, Vec<OpenRun>) =
                page.into_iter().partition(|run| run.state == RunState::Ready);
            others.extend(held.into_iter().map(|run| run.id));
            let waiting: Vec<RunId> = waiting.into_iter().map(|run| run.id).collect();
            for some in waiting.chunks(CALLED_OFF_AT_ONCE) {
                others.extend(self.call_off(some).await?);
            }
            others.truncate(MAX_OPEN_RUNS + 1);
            crate::failpoint!("delete::called_off");
            if is_last {
                return Ok(bounded(others));
            }
        }
    }

    /// Calls runs off that wait for a worker; those that one has taken, or that have moved on otherwise, meanwhile.
    async fn call_off(&self, ids: &[RunId]) -> Result<Vec<RunId>> {
        let now = self.now();
        let mut waiting: Vec<Run> = self.ports.store.runs(ids).await?;
        waiting.retain_mut(|run| {
            run.state == RunState::Ready && run.cancel("its task was deleted", now).is_ok()
        });
        let off: Vec<RunId> = self.replace(waiting).await?.into_iter().map(|run| run.id).collect();
        Ok(ids.iter().filter(|id| !off.contains(id)).cloned().collect())
    }
}

fn bounded(mut runs: Vec<RunId>) -> (Vec<RunId>, bool) {
    let more = runs.len() > MAX_OPEN_RUNS;
    runs.truncate(MAX_OPEN_RUNS);
    (runs, more)
}
