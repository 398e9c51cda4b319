//! Idempotency records.

use futures_util::future::join_all;
use mongodb::bson::{DateTime, doc};
use serde::{Deserialize, Serialize};

use super::errors::{bounded, refused, unavailable, with_retries};
use super::rows::{date, moment};
use super::{Ledger, batches};
use crate::core::Moment;
use crate::ports::{IdempotencyRecord, Result};

/// A document of `remembered`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdempotencyRow {
    #[serde(rename = "_id")]
    key: String,
    fingerprint: String,
    ids: Vec<String>,
    at: DateTime,
}

impl From<&IdempotencyRecord> for IdempotencyRow {
    fn from(record: &IdempotencyRecord) -> Self {
        let IdempotencyRecord { key, fingerprint, ids, at } = record.clone();
        Self { key, fingerprint, ids, at: date(at) }
    }
}

impl From<IdempotencyRow> for IdempotencyRecord {
    fn from(row: IdempotencyRow) -> Self {
        let IdempotencyRow { key, fingerprint, ids, at } = row;
        Self { key, fingerprint, ids, at: moment(at) }
    }
}

/// The record of another request that has the key, if any.
pub type Inserted = Result<Option<IdempotencyRecord>>;

/// Stores a batch. Returns one result per record, in order.
pub async fn insert(ledger: &Ledger, records: Vec<IdempotencyRecord>) -> Vec<Inserted> {
    let inserted = try_insert(ledger, &records).await;
    inserted.unwrap_or_else(|error| records.iter().map(|_| Err(error.duplicate())).collect())
}

async fn try_insert(ledger: &Ledger, records: &[IdempotencyRecord]) -> Result<Vec<Inserted>> {
    let rows: Vec<IdempotencyRow> = records.iter().map(IdempotencyRow::from).collect();
    crate::failpoint!("mongo::before_insert_idempotency");
    let collisions = with_retries(|| batches::insert(&rows, &ledger.idempotency)).await?;
    crate::failpoint!("mongo::idempotency_inserted");
    let mut answers: Vec<Inserted> = records.iter().map(|_| Ok(None)).collect();
    let others = collisions.duplicates.iter().map(|at| other_request(ledger, &records[*at]));
    let others = join_all(others).await;
    for (at, other) in collisions.duplicates.into_iter().zip(others) {
        answers[at] = other;
    }
    for (at, why) in collisions.refused {
        answers[at] = Err(refused(why));
    }
    Ok(answers)
}

/// Returns the record that is stored under the key of `record`, unless an earlier attempt of this
/// insert has stored it. Each record is read on its own, so that an unreadable one concerns only its
/// own request.
async fn other_request(ledger: &Ledger, record: &IdempotencyRecord) -> Inserted {
    let stored = by_key(ledger, &record.key).await?;
    let stored = stored.ok_or_else(|| unavailable("the idempotency record was just pruned"))?;
    Ok((!record.has_written(&stored)).then_some(stored))
}

pub async fn by_key(ledger: &Ledger, key: &str) -> Result<Option<IdempotencyRecord>> {
    let row = bounded(ledger.idempotency.find_one(doc! { "_id": key }).into_future()).await?;
    Ok(row.map(IdempotencyRecord::from))
}

pub async fn prune(ledger: &Ledger, before: Moment) -> Result<u64> {
    let delete = ledger.idempotency.delete_many(doc! { "at": { "$lt": date(before) } });
    Ok(bounded(delete.into_future()).await?.deleted_count)
}
