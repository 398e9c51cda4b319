//! What is waiting, by tag. Both queries walk indexes of open rows only.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use mongodb::{Collection, error};
use serde::Deserialize;

use super::errors::bounded;
use super::rows::{all_shards, date};
use super::{Ledger, schema, tasks};
use crate::core::{Moment, RunState};
use crate::ports::{BacklogRow, QueueRow, Result};

#[derive(Deserialize)]
struct Count {
    #[serde(rename = "_id")]
    tag: String,
    #[serde(default)]
    due: i64,
    #[serde(default)]
    unreported: i64,
}

pub async fn rows(ledger: &Ledger, now: Moment) -> Result<Vec<BacklogRow>> {
    let (overdue, waiting) = tokio::try_join!(
        bounded(counts(&ledger.tasks, overdue(now), schema::due_index())),
        bounded(counts(&ledger.runs, waiting(now), schema::attention_index())),
    )?;
    Ok(merge(overdue.into_iter().chain(waiting)))
}

/// Tasks whose moment has come.
pub fn overdue(now: Moment) -> Vec<Document> {
    vec![
        doc! { "$match": tasks::due_filter(&all_shards(), now) },
        doc! { "$group": { "_id": "$name", "due": { "$sum": 1 } } },
    ]
}

/// Open runs: handed over and unreported, or due and not handed over.
pub fn waiting(now: Moment) -> Vec<Document> {
    let open = doc! {
        "shard": { "$in": all_shards() },
        "attention_at": { "$exists": true },
        "$or": [
            { "state": { "$in": ["fired", "leased"] } },
            { "state": "firing", "scheduled_at": { "$lte": date(now) } },
            { "state": "retrying", "scheduled_at": { "$lte": date(now) }, "attention_at": { "$lte": date(now) } },
        ],
    };
    let is_fired = doc! { "$in": ["$state", ["fired", "leased"]] };
    vec![
        doc! { "$match": open },
        doc! { "$group": {
            "_id": "$tag",
            "due": { "$sum": { "$cond": [&is_fired, 0, 1] } },
            "unreported": { "$sum": { "$cond": [&is_fired, 1, 0] } },
        } },
    ]
}

async fn counts<T: Send + Sync>(
    collection: &Collection<T>,
    pipeline: Vec<Document>,
    index: Document,
) -> error::Result<Vec<Count>> {
    collection.aggregate(pipeline).hint(Hint::Keys(index)).with_type::<Count>().await?.try_collect().await
}

fn merge(counts: impl Iterator<Item = Count>) -> Vec<BacklogRow> {
    let mut by_tag = BTreeMap::<String, (u64, u64)>::new();
    for count in counts {
        let row = by_tag.entry(count.tag).or_default();
        row.0 += count.due as u64;
        row.1 += count.unreported as u64;
    }
    by_tag.into_iter().map(|(tag, (due, unreported))| BacklogRow { tag, due, unreported }).collect()
}

#[derive(Deserialize)]
struct Held {
    #[serde(rename = "_id")]
    id: QueueAndState,
    runs: i64,
}

#[derive(Deserialize)]
struct QueueAndState {
    queue: String,
    state: RunState,
}

/// What each queue holds: a walk over its open runs.
pub async fn queues(ledger: &Ledger) -> Result<Vec<QueueRow>> {
    let index = Hint::Keys(schema::queued_attention_index());
    let held = ledger.runs.aggregate(held()).hint(index).with_type::<Held>();
    let held: Vec<Held> = bounded(async { held.await?.try_collect().await }).await?;
    Ok(by_queue(held))
}

/// Open runs by queue and state.
pub fn held() -> Vec<Document> {
    let open = doc! {
        "shard": { "$in": all_shards() },
        "attention_at": { "$exists": true },
        "queue": { "$exists": true },
    };
    let by = doc! { "_id": { "queue": "$queue", "state": "$state" }, "runs": { "$sum": 1 } };
    vec![doc! { "$match": open }, doc! { "$group": by }]
}

fn by_queue(held: Vec<Held>) -> Vec<QueueRow> {
    let mut rows = BTreeMap::<String, QueueRow>::new();
    for Held { id: QueueAndState { queue, state }, runs } in held {
        let empty = QueueRow { queue: queue.clone(), ready: 0, leased: 0, retrying: 0 };
        let row = rows.entry(queue).or_insert(empty);
        match state {
            RunState::Ready => row.ready += runs as u64,
            RunState::Leased => row.leased += runs as u64,
            RunState::Retrying => row.retrying += runs as u64,
            _ => {}
        }
    }
    rows.into_values().filter(|row| row.ready + row.leased + row.retrying > 0).collect()
}
