//! What requests with an idempotency key have set out to do.

use mongodb::bson::{DateTime, doc};
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::errors::{bounded, is_duplicate, persistent, port_error, unavailable};
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

pub async fn insert(ledger: &Ledger, request: &IdempotencyRecord) -> Result<IdempotencyRecord> {
    let row = IdempotencyRow {
        key: request.key.clone(),
        fingerprint: request.fingerprint.clone(),
        ids: request.ids.clone(),
        at: date(request.at),
    };
    crate::failpoint!("mongo::before_remember");
    let is_new = persistent(|| insert_row(ledger, &row)).await?;
    crate::failpoint!("mongo::remembered");
    if is_new {
        return Ok(request.clone());
    }
    let standing = bounded(ledger.remembered.find_one(doc! { "_id": &request.key }).into_future()).await?;
    let row = standing.ok_or_else(|| unavailable("what was remembered has just been forgotten"))?;
    Ok(IdempotencyRecord { key: row.key, fingerprint: row.fingerprint, ids: row.ids, at: moment(row.at) })
}

/// Whether it was stored; otherwise its key is known.
async fn insert_row(ledger: &Ledger, row: &IdempotencyRow) -> Result<bool> {
    let insert = ledger.remembered.insert_one(row);
    let inserted = bounded(async {
        match insert.await {
            Ok(_) => Ok(Ok(true)),
            Err(error) if is_duplicate(&error) => Ok(Ok(false)),
            Err(error) => Ok(Err(port_error(error))),
        }
    });
    inserted.await?
}

pub async fn forget(ledger: &Ledger, before: Moment) -> Result<u64> {
    let forget = ledger.remembered.delete_many(doc! { "at": { "$lt": date(before) } });
    Ok(bounded(forget.into_future()).await?.deleted_count)
}
