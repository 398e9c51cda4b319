//! The audit log. The server removes old entries by itself.

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use super::errors::{bounded, corrupt, refused, with_retries};
use super::rows::date;
use super::{Ledger, batches, schema};
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection};
use crate::ports::Result;

/// A document of `audit`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditRow {
    #[serde(rename = "_id")]
    id: String,
    at: DateTime,
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
            at: date(entry.at),
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
