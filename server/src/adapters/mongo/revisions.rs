//! Earlier definitions of tasks.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use super::errors::{bounded, corrupt, is_inserted, with_retries};
use super::rows::TaskRow;
use super::{Ledger, schema};
use crate::core::revision::MAX_PAST_DEFINITIONS;
use crate::core::{Task, TaskId};
use crate::ports::{MAX_RESULT_BYTES, Result};

/// A document of `revisions`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Task and revision: the same definition is inserted once.
    #[serde(rename = "_id")]
    id: String,
    task_id: String,
    rev: i64,
    task: TaskRow,
}

/// Stores the definition of a task before another one replaces the definition. The content depends only on the
/// id of the row, so a row whose change then does not happen is right for the change that happens later.
pub async fn keep(ledger: &Ledger, task: &Task) -> Result<()> {
    let defined = task.as_defined();
    let row = RevisionRow {
        id: format!("{}:{}", defined.id, defined.rev),
        task_id: defined.id.to_string(),
        rev: i64::from(defined.rev),
        task: TaskRow::from(&defined),
    };
    crate::failpoint!("mongo::before_definition");
    with_retries(|| is_inserted(ledger.revisions.insert_one(&row).into_future())).await?;
    crate::failpoint!("mongo::definition_kept");
    Ok(())
}

/// Removes the definitions of a task that are too old to be kept. A failure costs only space: the next edit
/// removes them.
pub async fn remove_oldest(ledger: &Ledger, id: &TaskId) {
    if let Err(error) = try_remove_oldest(ledger, id).await {
        tracing::debug!(%error, task_id = id.as_str(), "old definitions of a task were not removed");
    }
}

async fn try_remove_oldest(ledger: &Ledger, id: &TaskId) -> Result<()> {
    #[derive(Deserialize)]
    struct Rev {
        rev: i64,
    }
    let revs = ledger.revisions.clone_with_type::<Rev>();
    let find = revs
        .find_one(of_task(id))
        .sort(doc! { "rev": -1 })
        .skip(u64::from(MAX_PAST_DEFINITIONS))
        .hint(Hint::Keys(schema::revisions_index()))
        .projection(doc! { "_id": 0, "rev": 1 });
    let Some(Rev { rev }) = bounded(find.into_future()).await? else { return Ok(()) };
    let mut oldest = of_task(id);
    oldest.insert("rev", doc! { "$lte": rev });
    let remove = ledger.revisions.delete_many(oldest).hint(Hint::Keys(schema::revisions_index()));
    bounded(remove.into_future()).await?;
    Ok(())
}

fn of_task(id: &TaskId) -> Document {
    doc! { "task_id": id.as_str() }
}

/// Returns the filter of the definitions of a task that began before a revision.
pub fn filter(id: &TaskId, before: u32) -> Document {
    doc! { "task_id": id.as_str(), "rev": { "$lt": i64::from(before) } }
}

/// Returns the definitions of a task that began before a revision, latest first.
pub async fn before(ledger: &Ledger, id: &TaskId, rev: u32, limit: u32) -> Result<Vec<Task>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let find = ledger
        .revisions
        .find(filter(id, rev))
        .sort(doc! { "rev": -1 })
        .hint(Hint::Keys(schema::revisions_index()))
        .limit(i64::from(limit));
    let rows = async {
        let (mut cursor, mut rows, mut bytes) = (find.await?, Vec::<RevisionRow>::new(), 0);
        while bytes <= MAX_RESULT_BYTES
            && let Some(row) = cursor.try_next().await?
        {
            bytes += row.task.data.len();
            rows.push(row);
        }
        Ok(rows)
    };
    let rows = bounded(rows).await?.into_iter();
    rows.map(|row| Task::try_from(row.task).map_err(corrupt)).collect()
}

/// Removes the definitions of tasks, before the tasks are removed.
pub async fn prune(ledger: &Ledger, tasks: &[String]) -> Result<()> {
    let filter = doc! { "task_id": { "$in": tasks } };
    let delete = || async {
        let delete = ledger.revisions.delete_many(filter.clone()).hint(Hint::Keys(schema::revisions_index()));
        bounded(delete.into_future()).await
    };
    with_retries(delete).await?;
    crate::failpoint!("mongo::definitions_pruned");
    Ok(())
}
