//! Removes old rows, in steps of limited size.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{bounded, with_retries};
use super::rows::date;
use super::updates::by_id_hint;
use super::{CHUNK, Ledger, revisions, run_logs, schema};
use crate::core::Moment;
use crate::ports::Result;

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    id: String,
}

/// Id and end of a row that has ended.
#[derive(Deserialize)]
pub struct Ended {
    #[serde(rename = "_id")]
    pub id: String,
    pub ended_at: DateTime,
}

pub async fn run(ledger: &Ledger, ended_before: Moment, limit: u32) -> Result<u64> {
    let runs = prune_runs(ledger, &ended(ended_before), u64::from(limit)).await?;
    crate::failpoint!("mongo::runs_pruned");
    let tasks = prune_tasks(ledger, ended_before, u64::from(limit) - runs).await?;
    Ok(runs + tasks)
}

async fn prune_runs(ledger: &Ledger, ended: &Document, limit: u64) -> Result<u64> {
    let mut total = 0;
    while total < limit {
        let oldest = oldest(&ledger.runs, ended.clone(), (limit - total).min(CHUNK as u64)).await?;
        if oldest.is_empty() {
            break;
        }
        let oldest = ids(oldest);
        run_logs::prune(ledger, &oldest).await?;
        total += delete(&ledger.runs, ended, &oldest).await?;
    }
    Ok(total)
}

/// Passes tasks with open runs, which must stay, so that they do not block the tasks after them.
async fn prune_tasks(ledger: &Ledger, ended_before: Moment, limit: u64) -> Result<u64> {
    let ended = &ended(ended_before);
    let (mut total, mut next) = (0, ended.clone());
    while total < limit {
        let oldest = oldest(&ledger.tasks, next, (limit - total).min(CHUNK as u64)).await?;
        let Some(last) = oldest.last() else { break };
        next = ended_after(last, ended_before);
        let mut idle = ids(oldest);
        let busy = with_open_runs(ledger, &idle).await?;
        idle.retain(|id| !busy.contains(id));
        revisions::prune(ledger, &idle).await?;
        total += delete(&ledger.tasks, ended, &idle).await?;
    }
    Ok(total)
}

/// Returns the filter for rows that ended before `ended_before`.
pub fn ended(ended_before: Moment) -> Document {
    doc! { "ended_at": { "$lt": date(ended_before) } }
}

/// Same as [`ended`], after the row `last`. The filter has two ranges of the index, so that the
/// query does not read earlier rows again.
pub fn ended_after(last: &Ended, ended_before: Moment) -> Document {
    let same_end = doc! { "ended_at": last.ended_at, "_id": { "$gt": &last.id } };
    let later = doc! { "ended_at": { "$gt": last.ended_at, "$lt": date(ended_before) } };
    doc! { "$or": [same_end, later] }
}

fn ids(rows: Vec<Ended>) -> Vec<String> {
    rows.into_iter().map(|row| row.id).collect()
}

async fn oldest<T: Send + Sync>(
    collection: &Collection<T>,
    filter: Document,
    limit: u64,
) -> Result<Vec<Ended>> {
    let find = collection.clone_with_type::<Ended>();
    let find = find
        .find(filter)
        .sort(schema::ended_index())
        .hint(Hint::Keys(schema::ended_index()))
        .projection(doc! { "ended_at": 1 })
        .limit(limit as i64);
    bounded(async { find.await?.try_collect().await }).await
}

async fn with_open_runs(ledger: &Ledger, tasks: &[String]) -> Result<HashSet<String>> {
    let open = doc! { "task_id": { "$in": tasks }, "attention_at": { "$exists": true } };
    let pipeline = [doc! { "$match": open }, doc! { "$group": { "_id": "$task_id" } }];
    let aggregate = ledger.runs.aggregate(pipeline).hint(Hint::Keys(schema::open_index())).with_type::<Id>();
    let rows: Vec<Id> = bounded(async { aggregate.await?.try_collect().await }).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

async fn delete<T: Send + Sync>(collection: &Collection<T>, ended: &Document, ids: &[String]) -> Result<u64> {
    let mut filter = ended.clone();
    filter.insert("_id", doc! { "$in": ids });
    let delete = || async {
        let delete = collection.delete_many(filter.clone()).hint(by_id_hint());
        bounded(delete.into_future()).await
    };
    Ok(with_retries(delete).await?.deleted_count)
}
