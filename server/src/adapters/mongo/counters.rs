//! Counters of fires and outcomes per tag: one document per minute and per day, so that no query
//! counts history.

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, deserialize_from_document, doc};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Ledger;
use super::errors::bounded;
use super::updates;
use crate::core::{Moment, RunState};
use crate::ports::{DAYS_KEPT_MS, MINUTES_KEPT_MS, OutcomeCount, Result};

/// Adds fires to the counters of the minute and of the UTC day of `at`. Not repeated after a lost
/// answer: a counter that misses some fires is better than one that counts some twice.
pub async fn count(ledger: &Ledger, at: Moment, fires: &[(String, u64)]) -> Result<()> {
    let (minute, day) = (minute_prefix(at), day_prefix(at));
    let both = fires.iter().flat_map(|(tag, n)| {
        [increment(&minute, tag, *n, at, MINUTES_KEPT_MS), increment(&day, tag, *n, at, DAYS_KEPT_MS)]
    });
    let statements: Vec<Document> = both.collect();
    updates::apply(ledger, "counters", &statements).await.map(drop)
}

/// Adds ended runs to the counters of a day. Not repeated after a lost answer, like [`count`].
pub async fn count_outcomes(ledger: &Ledger, day: Moment, counts: &[OutcomeCount]) -> Result<()> {
    let statement = |row: &OutcomeCount| {
        let mut add = increment(&outcome_prefix(day, row.state), &row.tag, row.runs, day, DAYS_KEPT_MS);
        if let Ok(set) = add.get_document_mut("u").and_then(|update| update.get_document_mut("$setOnInsert"))
        {
            set.insert("state", row.state.as_str());
        }
        add
    };
    let statements: Vec<Document> = counts.iter().map(statement).collect();
    updates::apply(ledger, "counters", &statements).await.map(drop)
}

fn increment(prefix: &str, tag: &str, fires: u64, at: Moment, kept_ms: i64) -> Document {
    let expire_at = DateTime::from_millis(at.plus_ms(kept_ms).ms());
    let update =
        doc! { "$inc": { "fires": fires as i64 }, "$setOnInsert": { "tag": tag, "expire_at": expire_at } };
    doc! { "q": { "_id": format!("{prefix}{tag}") }, "u": update, "upsert": true }
}

/// `minute|2026-11-21T04:26|`
fn minute_prefix(at: Moment) -> String {
    format!("minute|{}|", leading(at, 16))
}

/// `day|2026-11-21|`
fn day_prefix(at: Moment) -> String {
    format!("day|{}|", leading(at, 10))
}

/// `ends|2026-11-21|dead|`
fn outcome_prefix(day: Moment, state: RunState) -> String {
    format!("ends|{}|{}|", leading(day, 10), state.as_str())
}

fn leading(at: Moment, chars: usize) -> String {
    at.to_string().chars().take(chars).collect()
}

#[derive(Deserialize)]
struct Count<S = Option<IgnoredAny>> {
    tag: String,
    state: S,
    fires: u64,
}

pub async fn outcomes_on(ledger: &Ledger, day: Moment) -> Result<Vec<OutcomeCount>> {
    let prefix = format!("ends|{}|", leading(day, 10));
    let counts = counted::<RunState>(ledger, &prefix).await?.into_iter();
    Ok(counts.map(|Count { tag, state, fires }| OutcomeCount { tag, state, runs: fires }).collect())
}

/// Returns the counters of a period. An unreadable one is skipped.
async fn counted<S: DeserializeOwned>(ledger: &Ledger, prefix: &str) -> Result<Vec<Count<S>>> {
    // '}' is the character after '|'.
    let end = format!("{}}}", prefix.trim_end_matches('|'));
    let find = ledger.counters.find(doc! { "_id": { "$gte": prefix, "$lt": end } });
    let rows: Vec<Document> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(rows.into_iter().filter_map(readable).collect())
}

fn readable<S: DeserializeOwned>(row: Document) -> Option<Count<S>> {
    let id = row.get_str("_id").unwrap_or("?").to_owned();
    deserialize_from_document(row)
        .inspect_err(|error| tracing::warn!(row = id, %error, "unreadable counter skipped"))
        .ok()
}

pub async fn in_minute(ledger: &Ledger, at: Moment) -> Result<Vec<(String, u64)>> {
    let counts: Vec<Count> = counted(ledger, &minute_prefix(at)).await?;
    Ok(counts.into_iter().map(|count| (count.tag, count.fires)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_id_begins_with_its_minute_or_day() {
        let at = Moment::from_ms(1_795_000_000_000);
        assert_eq!(minute_prefix(at), "minute|2026-11-18T11:06|");
        assert_eq!(day_prefix(at), "day|2026-11-18|");
    }
}
