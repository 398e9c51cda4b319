//! The latest runs of tasks, without reading a document.

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{READ_TIMEOUT, interruptible};
use super::rows::moment;
use super::{Ledger, lists, schema};
use crate::core::run::RunMark;
use crate::core::{RunId, RunState, TaskId};
use crate::ports::{Result, RunFilter, RunPage};

/// Tasks whose runs are read at the same time.
const TASKS_AT_ONCE: usize = 8;

/// Returns the latest runs of each task.
pub async fn runs(ledger: &Ledger, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
    // MongoDB reads a limit of 0 as no limit.
    if limit == 0 {
        return Ok(vec![Vec::new(); tasks.len()]);
    }
    let of_task = |task: TaskId| async move { of_task(ledger, &task, limit).await };
    stream::iter(tasks.to_vec()).map(of_task).buffered(TASKS_AT_ONCE).try_collect().await
}

async fn of_task(ledger: &Ledger, task: &TaskId, limit: u32) -> Result<Vec<RunMark>> {
    let (filter, index) = query(task);
    let runs = ledger.runs.clone_with_type::<MarkRow>();
    let find = runs.find(filter).sort(schema::latest_first(&[]));
    let find = find.projection(fields()).hint(Hint::Keys(index)).limit(limit.into()).max_time(READ_TIMEOUT);
    let rows: Vec<MarkRow> = interruptible(async { find.await?.try_collect().await }).await?;
    Ok(rows.into_iter().map(RunMark::from).collect())
}

/// Returns the filter, and the index. The index has all fields of a mark.
pub fn query(task: &TaskId) -> (Document, Document) {
    let filter = RunFilter { task_id: Some(task.clone()), ..RunFilter::default() };
    let first = RunPage { limit: 0, before: None };
    (lists::run_filter(&filter, &first), lists::run_index(&filter))
}

/// Returns the projection, which the index covers.
pub fn fields() -> Document {
    doc! { "_id": 1, "state": 1, "scheduled_at": 1 }
}

#[derive(Deserialize)]
struct MarkRow {
    #[serde(rename = "_id")]
    id: RunId,
    state: RunState,
    scheduled_at: DateTime,
}

impl From<MarkRow> for RunMark {
    fn from(row: MarkRow) -> Self {
        Self { id: row.id, state: row.state, scheduled_at: moment(row.scheduled_at) }
    }
}
