//! Records: small documents beside the ledger.

use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use super::errors::{bounded, is_inserted, unavailable, with_counted_retries};
use super::{Ledger, schema};
use crate::ports::{Record, Result};

/// A document of `records`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordRow {
    kind: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_by: Option<String>,
    doc: String,
    version: i64,
    /// Identifies the write. Missing in rows of earlier releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    write_id: Option<ObjectId>,
}

impl From<RecordRow> for Record {
    fn from(row: RecordRow) -> Self {
        let RecordRow { kind, key, found_by: index, doc, version, write_id: _ } = row;
        Self { kind, key, index, doc, version: version as u64 }
    }
}

pub async fn by_key(ledger: &Ledger, kind: &str, key: &str) -> Result<Option<Record>> {
    Ok(row(ledger, kind, key).await?.map(Record::from))
}

async fn row(ledger: &Ledger, kind: &str, key: &str) -> Result<Option<RecordRow>> {
    bounded(ledger.records.find_one(doc! { "kind": kind, "key": key }).into_future()).await
}

pub async fn put(ledger: &Ledger, record: &Record) -> Result<bool> {
    let Record { kind, key, index: found_by, doc, version } = record.clone();
    let write_id = Some(ObjectId::new());
    let row = RecordRow { kind, key, found_by, doc, version: version as i64 + 1, write_id };
    crate::failpoint!("mongo::before_record");
    let (stored, retries) = with_counted_retries(|| try_put(ledger, record, &row)).await?;
    crate::failpoint!("mongo::record_stored");
    if stored || retries == 0 { Ok(stored) } else { is_own(ledger, &row).await }
}

async fn try_put(ledger: &Ledger, record: &Record, row: &RecordRow) -> Result<bool> {
    if record.version == 0 { insert(ledger, row).await } else { replace(ledger, record, row).await }
}

/// Reads the document after a write that failed when it was repeated: an earlier attempt may have
/// succeeded.
async fn is_own(ledger: &Ledger, written: &RecordRow) -> Result<bool> {
    match row(ledger, &written.kind, &written.key).await? {
        Some(stored) if stored.write_id == written.write_id => Ok(true),
        Some(stored) if stored.version == written.version => Ok(false),
        _ => Err(unavailable("the answer to the write was lost, and a later write replaced the document")),
    }
}

async fn replace(ledger: &Ledger, record: &Record, row: &RecordRow) -> Result<bool> {
    let replaced = bounded(ledger.records.replace_one(at_version(record), row).into_future()).await?;
    Ok(replaced.matched_count == 1)
}

async fn insert(ledger: &Ledger, row: &RecordRow) -> Result<bool> {
    is_inserted(ledger.records.insert_one(row).into_future()).await
}

fn at_version(record: &Record) -> Document {
    doc! { "kind": &record.kind, "key": &record.key, "version": record.version as i64 }
}

pub async fn remove(ledger: &Ledger, record: &Record) -> Result<bool> {
    let removed = bounded(ledger.records.delete_one(at_version(record)).into_future()).await?;
    crate::failpoint!("mongo::record_removed");
    Ok(removed.deleted_count == 1 || by_key(ledger, &record.kind, &record.key).await?.is_none())
}

pub async fn list(
    ledger: &Ledger,
    kind: &str,
    index: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Record>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = doc! { "kind": kind, "key": { "$exists": true, "$gt": after.unwrap_or_default() } };
    let mut hint = doc! { "kind": 1, "key": 1 };
    if let Some(index) = index {
        filter.insert("found_by", doc! { "$eq": index, "$exists": true });
        hint = schema::records_index();
    }
    let find =
        ledger.records.find(filter).sort(doc! { "key": 1 }).hint(Hint::Keys(hint)).limit(i64::from(limit));
    let rows: Vec<RecordRow> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(rows.into_iter().map(Record::from).collect())
}
