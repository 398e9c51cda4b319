//! Ready runs of queues: the earliest ones, and those of each fairness key.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream, try_join};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::bounded;
use super::slots::earliest_first;
use super::{Ledger, schema, updates};
use crate::core::Run;
use crate::core::run::FairnessKey;
use crate::ports::{Head, MAX_RESULT_BYTES, Result};

/// Keys whose runs are read at the same time.
const KEYS_AT_ONCE: usize = 8;

/// A filter, the index that serves it, and the order of the rows.
pub struct Query {
    pub filter: Document,
    pub index: Document,
    pub sort: Document,
}

/// Returns the earliest ready runs. Runs one query per queue, because a query over several queues
/// would need a sort.
pub async fn earliest(ledger: &Ledger, queues: &[String], limit: u32) -> Result<Head<Run>> {
    if queues.is_empty() {
        return head(ledger, &earliest_query(None), limit, MAX_RESULT_BYTES).await;
    }
    let mut found = Head { rows: Vec::new(), more: false };
    for queue in queues.iter().collect::<BTreeSet<_>>() {
        let head = head(ledger, &earliest_query(Some(queue)), limit, MAX_RESULT_BYTES).await?;
        found.more |= head.more;
        found.rows.extend(head.rows);
    }
    found.rows.sort_by(|a, b| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
    found.more |= found.rows.len() > limit as usize;
    found.rows.truncate(limit as usize);
    Ok(found)
}

/// Returns the query for the ready runs of a queue. `None`: of every queue whose name equals the run's
/// tag.
pub fn earliest_query(queue: Option<&String>) -> Query {
    // Rows without `by_tag` are from an earlier release. They are few, so `$expr` examines each of
    // them.
    let (filter, index) = if let Some(queue) = queue {
        let of_any_tag = doc! { "$in": [true, false, Bson::Null] };
        (doc! { "state": "ready", "by_tag": of_any_tag, "queue": queue }, schema::ready_of_queue_index())
    } else {
        let has_tag_of_queue = doc! { "$eq": ["$queue", "$tag"] };
        let filter =
            doc! { "state": "ready", "by_tag": { "$in": [true, Bson::Null] }, "$expr": has_tag_of_queue };
        (filter, schema::ready_index())
    };
    Query { filter, index, sort: earliest_first() }
}

/// Returns the fairness keys that have ready runs: one query for each key. The filter has a field that no index has, so
/// an aggregation would examine all ready runs. Rows from an earlier release, without `by_tag`, have no keys.
pub async fn keys(
    ledger: &Ledger,
    queues: &[String],
    after: Option<&FairnessKey>,
    limit: u32,
) -> Result<Vec<FairnessKey>> {
    let of_queues = keys_of_queues(ledger, queues, after, limit);
    let (mut keys, others) = try_join!(of_queues, keys_of_other_tags(ledger, queues, after, limit))?;
    keys.extend(others);
    keys.sort();
    keys.truncate(limit as usize);
    Ok(keys)
}

/// Returns the keys of runs whose tag is the name of their queue.
async fn keys_of_queues(
    ledger: &Ledger,
    queues: &[String],
    after: Option<&FairnessKey>,
    limit: u32,
) -> Result<Vec<FairnessKey>> {
    let mut keys: Vec<FairnessKey> = Vec::new();
    while keys.len() < limit as usize {
        let last = keys.last().or(after).map_or("", |last| &last.queue);
        let Some(query) = next_queue(queues, last) else { break };
        let Some(key) = next_key(ledger, query).await? else { break };
        keys.push(key);
    }
    Ok(keys)
}

/// Returns the keys of runs in the queues with other tags. Only a worker that names a queue gets such runs.
async fn keys_of_other_tags(
    ledger: &Ledger,
    queues: &[String],
    after: Option<&FairnessKey>,
    limit: u32,
) -> Result<Vec<FairnessKey>> {
    let mut keys: Vec<FairnessKey> = Vec::new();
    while keys.len() < limit as usize {
        let Some(key) = next_key_of_other_tags(ledger, queues, keys.last().or(after)).await? else { break };
        keys.push(key);
    }
    Ok(keys)
}

async fn next_key_of_other_tags(
    ledger: &Ledger,
    queues: &[String],
    last: Option<&FairnessKey>,
) -> Result<Option<FairnessKey>> {
    if let Some(last) = last.filter(|last| queues.contains(&last.queue)) {
        let next = next_key(ledger, next_tag(last)).await?;
        if next.is_some() {
            return Ok(next);
        }
    }
    let Some(query) = next_queue_of_other_tags(queues, last.map_or("", |last| &last.queue)) else {
        return Ok(None);
    };
    next_key(ledger, query).await
}

/// Returns the query for the first queue after `last` that has runs with its own name as tag.
pub fn next_queue(queues: &[String], last: &str) -> Option<Query> {
    let later = if queues.is_empty() {
        doc! { "$gt": last }
    } else {
        later_than(queues, last)?
    };
    let filter = doc! { "state": "ready", "by_tag": true, "queue": later };
    Some(Query { filter, index: schema::ready_of_queue_index(), sort: doc! { "queue": 1 } })
}

/// Returns the query for the first of the queues after `last` that has runs with other tags, and for their first tag.
pub fn next_queue_of_other_tags(queues: &[String], last: &str) -> Option<Query> {
    let filter = doc! { "state": "ready", "by_tag": false, "queue": later_than(queues, last)? };
    Some(Query { filter, index: schema::ready_of_tag_index(), sort: doc! { "queue": 1, "tag": 1 } })
}

/// Returns the query for the next tag in the queue of a key.
pub fn next_tag(last: &FairnessKey) -> Query {
    let later = doc! { "$gt": last.other_tag.as_deref().unwrap_or_default() };
    let filter = doc! { "state": "ready", "by_tag": false, "queue": &last.queue, "tag": later };
    Query { filter, index: schema::ready_of_tag_index(), sort: doc! { "tag": 1 } }
}

/// Returns the condition for the queues after `last`. `None`: no queue follows.
fn later_than(queues: &[String], last: &str) -> Option<Document> {
    let later: Vec<&String> = queues.iter().filter(|queue| queue.as_str() > last).collect();
    (!later.is_empty()).then(|| doc! { "$in": later })
}

async fn next_key(ledger: &Ledger, query: Query) -> Result<Option<FairnessKey>> {
    #[derive(Deserialize)]
    struct Row {
        queue: String,
        tag: String,
    }
    let runs = ledger.runs.clone_with_type::<Row>();
    let find = runs.find_one(query.filter).sort(query.sort).hint(Hint::Keys(query.index));
    let find = find.projection(doc! { "queue": 1, "tag": 1 });
    let row = bounded(find.into_future()).await?;
    Ok(row.map(|row| FairnessKey::new(&row.queue, &row.tag)))
}

/// Returns the earliest ready runs of each key.
pub async fn of_keys(ledger: &Ledger, keys: &[FairnessKey], each: u32) -> Result<Vec<Run>> {
    let max_bytes = MAX_RESULT_BYTES / keys.len().max(1);
    let queries: Vec<Query> = keys.iter().map(key_query).collect();
    let reads: Vec<_> = queries.iter().map(|query| head(ledger, query, each, max_bytes)).collect();
    let heads: Vec<Head<Run>> = stream::iter(reads).buffered(KEYS_AT_ONCE).try_collect().await?;
    Ok(heads.into_iter().flat_map(|head| head.rows).collect())
}

/// Returns the query for the ready runs of a key.
pub fn key_query(key: &FairnessKey) -> Query {
    let mut filter = doc! { "state": "ready", "by_tag": key.other_tag.is_none(), "queue": &key.queue };
    let index = if let Some(tag) = &key.other_tag {
        filter.insert("tag", tag);
        schema::ready_of_tag_index()
    } else {
        schema::ready_of_queue_index()
    };
    Query { filter, index, sort: earliest_first() }
}

async fn head(ledger: &Ledger, query: &Query, limit: u32, max_bytes: usize) -> Result<Head<Run>> {
    let find = || ledger.runs.find(query.filter.clone()).sort(query.sort.clone());
    let find = || find().hint(Hint::Keys(query.index.clone()));
    bounded(updates::head_within(ledger, find, limit, max_bytes)).await
}
