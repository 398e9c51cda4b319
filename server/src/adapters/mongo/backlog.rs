//! Backlog per tag and per queue. An index of open rows covers every query, so that no query reads
//! a document.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use mongodb::{Collection, error};
use serde::Deserialize;

use super::errors::{READ_TIMEOUT, bounded};
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
    #[serde(default)]
    ready: i64,
    #[serde(default)]
    held: i64,
}

pub async fn rows(ledger: &Ledger, now: Moment) -> Result<Vec<BacklogRow>> {
    let (overdue, waiting) = tokio::try_join!(
        bounded(counts(&ledger.tasks, overdue(now), schema::due_index())),
        bounded(counts(&ledger.runs, waiting(now), schema::attention_index())),
    )?;
    Ok(merge(overdue.into_iter().chain(waiting)))
}

/// Returns the pipeline that counts overdue tasks.
pub fn overdue(now: Moment) -> Vec<Document> {
    vec![
        doc! { "$match": tasks::due_filter(&all_shards(), now) },
        doc! { "$group": { "_id": "$name", "due": { "$sum": 1 } } },
    ]
}

/// Returns the pipeline that counts open runs: those without an outcome, and those that are due. The
/// times are conditions of the sums, because MongoDB reads the documents for an `$or`.
pub fn waiting(now: Moment) -> Vec<Document> {
    let open = doc! {
        "shard": { "$in": all_shards() },
        "attention_at": any_date(),
        "state": { "$in": ["firing", "fired", "ready", "leased", "retrying", "held"] },
    };
    let is_fired = doc! { "$in": ["$state", ["fired", "leased"]] };
    let is_ready = doc! { "$eq": ["$state", "ready"] };
    let is_held = doc! { "$eq": ["$state", "held"] };
    let has_come = |field: &str| doc! { "$lte": [field, date(now)] };
    let is_retried = doc! { "$and": [{ "$eq": ["$state", "retrying"] }, has_come("$attention_at")] };
    let is_due_state = doc! { "$or": [{ "$eq": ["$state", "firing"] }, is_retried] };
    let is_due = doc! { "$and": [is_due_state, has_come("$scheduled_at")] };
    vec![
        doc! { "$match": open },
        doc! { "$group": {
            "_id": "$tag",
            "due": { "$sum": { "$cond": [is_due, 1, 0] } },
            "unreported": { "$sum": { "$cond": [is_fired, 1, 0] } },
            "ready": { "$sum": { "$cond": [is_ready, 1, 0] } },
            "held": { "$sum": { "$cond": [is_held, 1, 0] } },
        } },
    ]
}

/// Matches every date. An index does not cover `$exists`, because it has null for a missing field.
fn any_date() -> Document {
    doc! { "$gte": DateTime::MIN }
}

async fn counts<T: Send + Sync>(
    collection: &Collection<T>,
    pipeline: Vec<Document>,
    index: Document,
) -> error::Result<Vec<Count>> {
    let counts = collection.aggregate(pipeline).hint(Hint::Keys(index)).max_time(READ_TIMEOUT);
    counts.with_type::<Count>().await?.try_collect().await
}

fn merge(counts: impl Iterator<Item = Count>) -> Vec<BacklogRow> {
    let mut by_tag = BTreeMap::<String, BacklogRow>::new();
    for count in counts.filter(|count| count.due + count.unreported + count.ready + count.held > 0) {
        let row = BacklogRow::of(&mut by_tag, count.tag);
        row.due += count.due as u64;
        row.unreported += count.unreported as u64;
        row.ready += count.ready as u64;
        row.held += count.held as u64;
    }
    by_tag.into_values().collect()
}

#[derive(Deserialize)]
struct QueueCount {
    #[serde(rename = "_id")]
    id: QueueAndState,
    runs: i64,
    oldest: DateTime,
}

#[derive(Deserialize)]
struct QueueAndState {
    queue: String,
    state: RunState,
}

/// Returns the non-empty queues.
pub async fn queues(ledger: &Ledger) -> Result<Vec<QueueRow>> {
    let index = Hint::Keys(schema::queued_attention_index());
    let counts = ledger.runs.aggregate(queue_counts()).hint(index);
    let counts = counts.max_time(READ_TIMEOUT).with_type::<QueueCount>();
    let counts: Vec<QueueCount> = bounded(async { counts.await?.try_collect().await }).await?;
    Ok(by_queue(counts))
}

/// Returns the pipeline that counts open runs by queue and state.
pub fn queue_counts() -> Vec<Document> {
    let open = doc! {
        "shard": { "$in": all_shards() },
        "attention_at": any_date(),
        "queue": { "$gte": "" },
        "state": { "$in": QueueRow::STATES.map(RunState::as_str).to_vec() },
    };
    let by = doc! { "queue": "$queue", "state": "$state" };
    let counts = doc! { "_id": by, "runs": { "$sum": 1 }, "oldest": { "$min": "$scheduled_at" } };
    vec![doc! { "$match": open }, doc! { "$group": counts }]
}

fn by_queue(counts: Vec<QueueCount>) -> Vec<QueueRow> {
    let mut rows = BTreeMap::<String, QueueRow>::new();
    for QueueCount { id: QueueAndState { queue, state }, runs, oldest } in counts {
        let oldest = Moment::from_ms(oldest.timestamp_millis());
        let mut row = rows.remove(&queue).unwrap_or_else(|| QueueRow::empty(queue.clone()));
        if row.add(state, runs as u64, oldest) {
            rows.insert(queue, row);
        }
    }
    rows.into_values().collect()
}
