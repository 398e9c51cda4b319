//! Pages of tasks and runs, limited in rows and in bytes, so that a page fits into memory.

use taskcenter_client::resources::RunResource;

use super::error::ApiError;
use super::view;
use crate::core::{Moment, RunId, Task, TaskId};
use crate::engine::service::{Page, RunFilter, RunPage, Service, TaskFilter};

/// Maximum number of rows in a page.
pub const MAX_LIMIT: u32 = 1_000;
/// Number of rows per read of the store.
const CHUNK: u32 = 100;
/// Number of bytes after which a page ends early.
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;

/// Returns a page of matching tasks, newest first and converted by `view`, and the start of the
/// next page.
pub async fn tasks<T>(
    service: &Service,
    filter: &TaskFilter,
    limit: u32,
    mut before: Option<TaskId>,
    view: impl Fn(Task) -> T,
) -> Result<(Vec<T>, Option<TaskId>), ApiError> {
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    while tasks.len() < limit as usize && bytes < MAX_PAGE_BYTES {
        let ask = CHUNK.min(limit - tasks.len() as u32);
        let chunk = service.list_tasks(filter, &Page { limit: ask, before: before.clone() }).await?;
        // The store ends a read of large tasks early, so only an empty read means that no tasks
        // follow.
        let Some(last) = chunk.last() else { return Ok((tasks, None)) };
        before = Some(last.id.clone());
        bytes += chunk.iter().map(|task| task.data.len()).sum::<usize>();
        tasks.extend(chunk.into_iter().map(&view));
    }
    let next = service.list_tasks(filter, &Page { limit: 1, before: before.clone() }).await?;
    Ok((tasks, before.filter(|_| !next.is_empty())))
}

/// Start of a page of runs: the last run of the previous page.
pub type RunPlace = (Moment, RunId);

/// Returns a page of matching runs, latest first, and the start of the next page.
pub async fn runs(
    service: &Service,
    filter: &RunFilter,
    limit: u32,
    mut before: Option<RunPlace>,
) -> Result<(Vec<RunResource>, Option<RunPlace>), ApiError> {
    let (mut runs, mut bytes) = (Vec::new(), 0);
    while runs.len() < limit as usize && bytes < MAX_PAGE_BYTES {
        let ask = CHUNK.min(limit - runs.len() as u32);
        let chunk = service.list_runs(filter, &RunPage { limit: ask, before: before.clone() }).await?;
        let Some(last) = chunk.last() else { return Ok((runs, None)) };
        before = Some((last.scheduled_at, last.id.clone()));
        bytes += chunk.iter().filter_map(|run| run.result.as_ref()).map(String::len).sum::<usize>();
        runs.extend(chunk.into_iter().map(view::run));
    }
    let next = service.list_runs(filter, &RunPage { limit: 1, before: before.clone() }).await?;
    Ok((runs, before.filter(|_| !next.is_empty())))
}
