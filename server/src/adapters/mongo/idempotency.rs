//! Idempotency records.

use mongodb::bson::{DateTime, doc};
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::errors::{bounded, is_inserted, unavailable, with_retries};
use super::rows::{date, moment};
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

pub async fn insert(ledger: &Ledger, record: &IdempotencyRecord) -> Result<IdempotencyRecord> {
    let IdempotencyRecord { key, fingerprint, ids, at } = record.clone();
    let row = IdempotencyRow { key, fingerprint, ids, at: date(at) };
    crate::failpoint!("mongo::before_insert_idempotency");
    let is_new = with_retries(|| insert_row(ledger, &row)).await?;
    crate::failpoint!("mongo::idempotency_inserted");
    if is_new {
        return Ok(record.clone());
    }
    let stored = by_key(ledger, &record.key).await?;
    stored.ok_or_else(|| unavailable("the idempotency record was just pruned"))
}

pub async fn by_key(ledger: &Ledger, key: &str) -> Result<Option<IdempotencyRecord>> {
    let row = bounded(ledger.idempotency.find_one(doc! { "_id": key }).into_future()).await?;
    Ok(row.map(|row| {
        let IdempotencyRow { key, fingerprint, ids, at } = row;
        IdempotencyRecord { key, fingerprint, ids, at: moment(at) }
    }))
}

/// Returns `false` if the key already exists.
async fn insert_row(ledger: &Ledger, row: &IdempotencyRow) -> Result<bool> {
    is_inserted(ledger.idempotency.insert_one(row).into_future()).await
}

pub async fn prune(ledger: &Ledger, before: Moment) -> Result<u64> {
    let delete = ledger.idempotency.delete_many(doc! { "at": { "$lt": date(before) } });
    Ok(bounded(delete.into_future()).await?.deleted_count)
}
