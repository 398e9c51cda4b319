//! Theoretical arrival times of rate limits. They are documents of `counters`, which MongoDB removes some time after the TAT
//! has passed: a key without a document is unused.

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use serde::Deserialize;

use super::Ledger;
use super::errors::{bounded, corrupt};
use super::rows::moment;
use crate::core::Moment;
use crate::core::rate::{Permits, RateLimit};
use crate::ports::Result;

/// Time for which MongoDB keeps a TAT that has passed, in microseconds: an hour.
const KEPT_US: i64 = 3_600_000_000;

#[derive(Deserialize)]
struct Row {
    tat_us: i64,
    granted: i64,
    /// MongoDB's time of the last update.
    taken_at: DateTime,
}

/// Takes permits of a rate limit, in one update with MongoDB's clock.
pub async fn take(ledger: &Ledger, limit: &RateLimit, least: u32, most: u32) -> Result<Permits> {
    let rows = ledger.counters.clone_with_type::<Row>();
    let update = rows.find_one_and_update(doc! { "_id": id(&limit.key) }, taken(limit, least, most));
    let update = update.upsert(true).return_document(ReturnDocument::After);
    let row =
        bounded(update.into_future()).await?.ok_or_else(|| corrupt("no rate limit after its upsert"))?;
    Ok(limit.answer(row.granted as u32, row.tat_us, least, moment(row.taken_at)))
}

/// Returns when a rate limit has its next permit.
pub async fn next(ledger: &Ledger, limit: &RateLimit) -> Result<Moment> {
    let rows = ledger.counters.clone_with_type::<Row>();
    let row = bounded(rows.find_one(doc! { "_id": id(&limit.key) }).into_future()).await?;
    Ok(limit.next_at(row.map_or(0, |row| row.tat_us)))
}

fn id(key: &str) -> String {
    format!("rate|{key}")
}

/// Returns the stages of [`RateLimit::take`].
fn taken(limit: &RateLimit, least: u32, most: u32) -> Vec<Document> {
    let interval = limit.interval_us();
    let now = doc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] };
    let room = doc! { "$subtract": [{ "$add": [&now, limit.tolerance_us()] }, "$tat_us"] };
    let free = doc! { "$add": [1, { "$floor": { "$divide": [room, interval] } }] };
    let free = doc! { "$max": [0, free] };
    let has_least = doc! { "$gte": [&free, i64::from(least)] };
    let granted = doc! { "$cond": [has_least, { "$min": [i64::from(most), free] }, 0] };
    let expire_ms = doc! { "$divide": [{ "$add": ["$tat_us", KEPT_US] }, 1_000] };
    vec![
        doc! { "$set": { "tat_us": { "$max": [{ "$ifNull": ["$tat_us", 0_i64] }, now] } } },
        doc! { "$set": { "granted": { "$toLong": granted }, "taken_at": "$$NOW" } },
        doc! { "$set": { "tat_us": { "$add": ["$tat_us", { "$multiply": ["$granted", interval] }] } } },
        doc! { "$set": { "expire_at": { "$toDate": { "$toLong": expire_ms } } } },
    ]
}
