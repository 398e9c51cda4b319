//! Leased runs, without their payloads.

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{READ_TIMEOUT, interruptible};
use super::rows::moment;
use super::{Ledger, lists, schema, updates};
use crate::core::run::LeasedRun;
use crate::core::{RunId, RunState};
use crate::ports::{Head, Result, RunFilter, RunPage};

/// Returns the leased runs, latest first, by the index of the list of a state.
pub async fn runs(ledger: &Ledger, limit: u32) -> Result<Head<LeasedRun>> {
    let runs = ledger.runs.clone_with_type::<LeasedRow>();
    let (filter, index) = query();
    let find = || runs.find(filter.clone()).sort(schema::latest_first(&[])).projection(LeasedRow::fields());
    let find = || find().hint(Hint::Keys(index.clone())).max_time(READ_TIMEOUT);
    interruptible(updates::head(ledger, find, limit)).await
}

/// Returns the filter, and the index.
pub fn query() -> (Document, Document) {
    let leased = RunFilter { state: Some(RunState::Leased), ..RunFilter::default() };
    let first = RunPage { limit: 0, before: None };
    (lists::run_filter(&leased, &first), lists::run_index(&leased))
}

/// Projection of a leased run.
#[derive(Deserialize)]
struct LeasedRow {
    #[serde(rename = "_id")]
    id: RunId,
    tag: String,
    queue: Option<String>,
    holder: String,
    attempt: i64,
    leased_at: Option<DateTime>,
    attention_at: Option<DateTime>,
}

impl LeasedRow {
    fn fields() -> Document {
        doc! { "tag": 1, "queue": 1, "holder": 1, "attempt": 1, "leased_at": 1, "attention_at": 1 }
    }
}

impl From<LeasedRow> for LeasedRun {
    fn from(row: LeasedRow) -> Self {
        Self {
            id: row.id,
            tag: row.tag,
            queue: row.queue,
            holder: row.holder,
            attempt: row.attempt as u32,
            leased_at: row.leased_at.map(moment),
            attention_at: row.attention_at.map(moment),
        }
    }
}
