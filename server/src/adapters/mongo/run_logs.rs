//! Logs of runs: chunks of lines, numbered by their first line.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use super::errors::{bounded, corrupt, is_inserted, refused, unavailable, with_retries};
use super::{Ledger, schema};
use crate::core::RunId;
use crate::core::run_log::{LogBatch, LogChunk, LogPart, LogPosition, removed};
use crate::ports::{AppendedLog, MAX_LOG_PART_BYTES, Result};

/// Number of tries to append a batch while other writers append to the same log.
const TRIES: usize = 16;

/// Runs whose logs one statement removes. A log has up to 2,000 chunks, and a statement has a time limit.
const PRUNED_AT_ONCE: usize = 16;

/// A document of `run_logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogRow {
    /// Run and batch, so that a repeated batch conflicts with itself.
    #[serde(rename = "_id")]
    id: String,
    run_id: String,
    first_line: i64,
    end_line: i64,
    first_byte: i64,
    end_byte: i64,
    attempt: i64,
    batch_id: String,
    /// The lines as JSON.
    lines: String,
}

/// End of a chunk.
#[derive(Deserialize)]
struct EndRow {
    end_line: i64,
    end_byte: i64,
}

impl LogRow {
    fn of(chunk: &LogChunk) -> Result<Self> {
        let LogChunk { batch, start } = chunk;
        let end = chunk.end();
        Ok(Self {
            id: row_id(batch),
            run_id: batch.run_id.to_string(),
            first_line: start.line as i64,
            end_line: end.line as i64,
            first_byte: start.byte as i64,
            end_byte: end.byte as i64,
            attempt: i64::from(batch.attempt),
            batch_id: batch.batch_id.clone(),
            lines: serde_json::to_string(&batch.lines).map_err(refused)?,
        })
    }

    fn chunk(self) -> Result<LogChunk> {
        let lines = serde_json::from_str(&self.lines).map_err(corrupt)?;
        let attempt = u32::try_from(self.attempt).map_err(corrupt)?;
        let run_id = RunId::from_text(self.run_id);
        let start = LogPosition { line: number(self.first_line), byte: number(self.first_byte) };
        Ok(LogChunk { batch: LogBatch { run_id, attempt, batch_id: self.batch_id, lines }, start })
    }
}

/// A run id contains no colon.
fn row_id(batch: &LogBatch) -> String {
    format!("{}:{}", batch.run_id, batch.batch_id)
}

/// Appends a batch after the last chunk. The unique index of the first line orders concurrent appends: a
/// chunk is stored only after the chunk before it.
pub async fn append(ledger: &Ledger, batch: &LogBatch) -> Result<AppendedLog> {
    if !has_run(ledger, &batch.run_id).await? {
        return Ok(AppendedLog::NoRun);
    }
    for _ in 0..TRIES {
        let chunk = LogChunk { batch: batch.clone(), start: end(ledger, &batch.run_id).await? };
        let row = LogRow::of(&chunk)?;
        crate::failpoint!("mongo::before_log");
        let inserted = with_retries(|| is_inserted(ledger.run_logs.insert_one(&row).into_future())).await?;
        crate::failpoint!("mongo::log_inserted");
        if inserted {
            remove(ledger, &chunk).await?;
            return Ok(AppendedLog::Stored(Box::new(chunk)));
        }
        if has_batch(ledger, &row.id).await? {
            return Ok(AppendedLog::Repeated);
        }
    }
    Err(unavailable("too many concurrent writers append to the log of the run"))
}

async fn has_run(ledger: &Ledger, id: &RunId) -> Result<bool> {
    let ids = ledger.runs.clone_with_type::<Document>();
    let find = ids.find_one(doc! { "_id": id.as_str() }).projection(doc! { "_id": 1 });
    Ok(bounded(find.into_future()).await?.is_some())
}

async fn has_batch(ledger: &Ledger, id: &str) -> Result<bool> {
    let ids = ledger.run_logs.clone_with_type::<Document>();
    let find = ids.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 });
    Ok(bounded(find.into_future()).await?.is_some())
}

async fn end(ledger: &Ledger, id: &RunId) -> Result<LogPosition> {
    let ends = ledger.run_logs.clone_with_type::<EndRow>();
    let last = ends
        .find_one(doc! { "run_id": id.as_str() })
        .sort(doc! { "first_line": -1 })
        .hint(Hint::Keys(schema::log_index()))
        .projection(doc! { "end_line": 1, "end_byte": 1 });
    let last = bounded(last.into_future()).await?;
    let position = |row: EndRow| LogPosition { line: number(row.end_line), byte: number(row.end_byte) };
    Ok(last.map(position).unwrap_or_default())
}

/// Removes the chunks that the log does not keep. A later append removes what this call could not.
async fn remove(ledger: &Ledger, last: &LogChunk) -> Result<()> {
    let Some(bytes) = removed(last) else { return Ok(()) };
    let filter = doc! {
        "run_id": last.batch.run_id.as_str(),
        "first_byte": { "$gte": bytes.start as i64, "$lt": bytes.end as i64 },
    };
    let delete = ledger.run_logs.delete_many(filter).hint(Hint::Keys(schema::log_index()));
    bounded(delete.into_future()).await?;
    Ok(())
}

/// Returns the part of a log that begins with the line `from`.
pub async fn read(ledger: &Ledger, id: &RunId, from: u64) -> Result<LogPart> {
    let written = end(ledger, id).await?.line;
    let first = first_line(ledger, id, from).await?;
    let find = ledger
        .run_logs
        .find(log_filter(id, first, from))
        .sort(schema::log_index())
        .hint(Hint::Keys(schema::log_index()));
    let rows = async {
        let (mut cursor, mut rows, mut bytes) = (find.await?, Vec::<LogRow>::new(), 0);
        while bytes < MAX_LOG_PART_BYTES
            && let Some(row) = cursor.try_next().await?
        {
            bytes += number(row.end_byte - row.first_byte);
            rows.push(row);
        }
        Ok(rows)
    };
    let chunks = bounded(rows).await?.into_iter().map(LogRow::chunk).collect::<Result<_>>()?;
    Ok(LogPart { chunks, written })
}

/// Returns the first line of the chunk that may contain the line `from`.
async fn first_line(ledger: &Ledger, id: &RunId, from: u64) -> Result<i64> {
    #[derive(Deserialize)]
    struct FirstLine {
        first_line: i64,
    }
    let find = ledger.run_logs.clone_with_type::<FirstLine>();
    let find = find
        .find_one(doc! { "run_id": id.as_str(), "first_line": { "$lte": line(from) } })
        .sort(doc! { "first_line": -1 })
        .hint(Hint::Keys(schema::log_index()))
        .projection(doc! { "first_line": 1 });
    Ok(bounded(find.into_future()).await?.map_or(0, |row| row.first_line))
}

/// Returns the filter of the chunks from `first` on that have lines from `from` on.
pub fn log_filter(id: &RunId, first: i64, from: u64) -> Document {
    doc! { "run_id": id.as_str(), "first_line": { "$gte": first }, "end_line": { "$gt": line(from) } }
}

/// Removes the logs of runs, before the runs are removed: an interrupted removal leaves runs without logs,
/// which the next one removes, and no logs without runs.
pub async fn prune(ledger: &Ledger, runs: &[String]) -> Result<()> {
    for some in runs.chunks(PRUNED_AT_ONCE) {
        let filter = doc! { "run_id": { "$in": some } };
        let delete = || async {
            let delete = ledger.run_logs.delete_many(filter.clone()).hint(Hint::Keys(schema::log_index()));
            bounded(delete.into_future()).await
        };
        with_retries(delete).await?;
    }
    crate::failpoint!("mongo::logs_pruned");
    Ok(())
}

fn line(line: u64) -> i64 {
    i64::try_from(line).unwrap_or(i64::MAX)
}

/// Numbers of lines and bytes are never negative.
fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
