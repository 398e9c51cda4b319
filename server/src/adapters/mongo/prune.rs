//! Removes what ended long enough ago, in bounded steps.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{bounded, persistent};
use super::rows::date;
use super::updates::by_id_hint;
use super::{CHUNK, Ledger, schema};
use crate::core::Moment;
use crate::ports::Result;

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    id: String,
}

pub async fn run(ledger: &Ledger, ended_before: Moment, limit: u32) -> Result<u64> {
    let ended = doc! { "ended_at": { "$lt": date(ended_before) } };
    let runs = prune_runs(ledger, &ended, u64::from(limit)).await?;
    crate::failpoint!("mongo::runs_pruned");
    let tasks = prune_tasks(ledger, &ended, u64::from(limit) - runs).await?;
    Ok(runs + tasks)
}

async fn prune_runs(ledger: &Ledger, ended: &Document, limit: u64) -> Result<u64> {
    let mut gone = 0;
    while gone < limit {
        let ids = oldest(&ledger.runs, ended, None, (limit - gone).min(CHUNK as u64)).await?;
        if ids.is_empty() {
            break;
        }
        gone += delete(&ledger.runs, ended, &ids).await?;
    }
    Ok(gone)
}

/// Walks over tasks that must stay because a run of theirs is open, so that they hold up no others.
async fn prune_tasks(ledger: &Ledger, ended: &Document, limit: u64) -> Result<u64> {
    let mut gone = 0;
    let mut stay: Vec<String> = Vec::new();
    while gone < limit {
        let ids = oldest(&ledger.tasks, ended, Some(&stay), (limit - gone).min(CHUNK as u64)).await?;
        if ids.is_empty() {
            break;
        }
        let busy = with_open_runs(ledger, &ids).await?;
        let (kept, free): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| busy.contains(id));
        stay.extend(kept);
        gone += delete(&ledger.tasks, ended, &free).await?;
    }
    Ok(gone)
}

async fn oldest<T: Send + Sync>(
    collection: &Collection<T>,
    ended: &Document,
    except: Option<&[String]>,
    limit: u64,
) -> Result<Vec<String>> {
    let mut filter = ended.clone();
    if let Some(except) = except {
        filter.insert("_id", doc! { "$nin": except });
    }
    let find = collection.clone_with_type::<Id>();
    let find = find
        .find(filter)
        .sort(doc! { "ended_at": 1 })
        .hint(Hint::Keys(doc! { "ended_at": 1 }))
        .projection(doc! { "_id": 1 })
        .limit(limit as i64);
    let rows: Vec<Id> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
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
    Ok(persistent(delete).await?.deleted_count)
}
