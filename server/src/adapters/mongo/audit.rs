//! The audit log.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use super::errors::{bounded, corrupt, refused, with_retries};
use super::{Ledger, batches, schema};
use crate::core::Moment;
use crate::core::audit::{AUDIT_KEPT_MS, AuditEntry, AuditPage, AuditSelection, first_id};
use crate::ports::Result;

/// A document of `audit`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditRow {
    #[serde(rename = "_id")]
    id: String,
    actor: String,
    action: String,
    object: String,
    /// The entry as JSON.
    entry: String,
}

impl AuditRow {
    fn of(entry: &AuditEntry) -> Result<Self> {
        Ok(Self {
            id: entry.id.clone(),
            actor: entry.actor.clone(),
            action: entry.action.clone(),
            object: entry.object.clone(),
            entry: serde_json::to_string(entry).map_err(refused)?,
        })
    }
}

/// Stores entries. An entry that is stored already is left as it is.
pub async fn append(ledger: &Ledger, entries: &[AuditEntry]) -> Result<()> {
    let rows: Vec<AuditRow> = entries.iter().map(AuditRow::of).collect::<Result<_>>()?;
    let stored = with_retries(|| batches::insert(&rows, &ledger.audit)).await?;
    stored.refused.into_iter().next().map_or(Ok(()), |(_, why)| Err(refused(why)))
}

/// Removes entries that are older than [`AUDIT_KEPT_MS`] at `now`. MongoDB does not remove them by itself, because
/// its clock is not the clock of the entries.
pub async fn expire(ledger: &Ledger, now: Moment) -> Result<()> {
    let old = doc! { "_id": { "$lt": first_id(now.plus_ms(-AUDIT_KEPT_MS)) } };
    bounded(ledger.audit.delete_many(old).into_future()).await?;
    Ok(())
}

/// Returns the filter of a page, and the index that it uses.
pub fn query(selection: &AuditSelection, page: &AuditPage) -> (Document, Document) {
    let (first, below) = page.ids();
    let mut filter = doc! { "_id": { "$gte": first, "$lt": below } };
    let by = match selection {
        AuditSelection::All => return (filter, doc! { "_id": 1 }),
        AuditSelection::Actor(actor) => ("actor", actor),
        AuditSelection::Action(action) => ("action", action),
        AuditSelection::Object(object) => ("object", object),
    };
    filter.insert(by.0, by.1);
    (filter, schema::audit_index(by.0))
}

/// Returns a page of entries, newest first.
pub async fn list(ledger: &Ledger, selection: &AuditSelection, page: &AuditPage) -> Result<Vec<AuditEntry>> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let (filter, index) = query(selection, page);
    let find = ledger.audit.find(filter).sort(doc! { "_id": -1 }).hint(Hint::Keys(index));
    let find = find.limit(i64::from(page.limit));
    let rows: Vec<AuditRow> = bounded(async { find.await?.try_collect().await }).await?;
    rows.iter().map(|row| serde_json::from_str(&row.entry).map_err(corrupt)).collect()
}
