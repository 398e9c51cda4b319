//! Logs of runs: chunks of lines, numbered by their first line.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::errors::{corrupt, refused};
use crate::core::RunId;
use crate::core::run_log::{LogBatch, LogChunk, LogPart, LogPosition, removed};
use crate::ports::{AppendedLog, MAX_LOG_PART_BYTES, Result};

pub const HAS_RUN: &str = "SELECT 1 FROM runs WHERE id = ?1";
pub const HAS_BATCH: &str =
    "SELECT 1 FROM run_logs INDEXED BY run_logs_batch WHERE run_id = ?1 AND batch_id = ?2";
pub const END: &str =
    "SELECT end_line, end_byte FROM run_logs WHERE run_id = ?1 ORDER BY first_line DESC LIMIT 1";
pub const INSERT: &str = "INSERT INTO run_logs
    (run_id, first_line, end_line, first_byte, end_byte, attempt, batch_id, lines) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
pub const REMOVE: &str = "DELETE FROM run_logs WHERE run_id = ?1 AND first_byte >= ?2 AND first_byte < ?3";
/// The chunk of the line comes first. If that chunk was removed, the chunk before it has no wanted line.
pub const FROM: &str = "SELECT attempt, batch_id, first_line, first_byte, lines FROM run_logs
    WHERE run_id = ?1 AND end_line > ?2 AND first_line >= coalesce(
        (SELECT first_line FROM run_logs WHERE run_id = ?1 AND first_line <= ?2 ORDER BY first_line DESC LIMIT 1), 0)
    ORDER BY first_line";

/// Appends a batch, in the transaction of the caller.
pub fn append(db: &Connection, batch: &LogBatch) -> Result<AppendedLog> {
    let id = batch.run_id.as_str();
    if !db.prepare_cached(HAS_RUN)?.exists([id])? {
        return Ok(AppendedLog::NoRun);
    }
    if db.prepare_cached(HAS_BATCH)?.exists([id, &batch.batch_id])? {
        return Ok(AppendedLog::Repeated);
    }
    let chunk = LogChunk { batch: batch.clone(), start: end(db, &batch.run_id)? };
    insert(db, &chunk)?;
    if let Some(bytes) = removed(&chunk) {
        db.prepare_cached(REMOVE)?.execute(params![id, bytes.start as i64, bytes.end as i64])?;
    }
    Ok(AppendedLog::Stored(Box::new(chunk)))
}

fn end(db: &Connection, id: &RunId) -> Result<LogPosition> {
    let position = |row: &Row<'_>| Ok(LogPosition { line: number(row.get(0)?), byte: number(row.get(1)?) });
    Ok(db.prepare_cached(END)?.query_row([id.as_str()], position).optional()?.unwrap_or_default())
}

fn insert(db: &Connection, chunk: &LogChunk) -> Result<()> {
    let LogChunk { batch, start } = chunk;
    let (end, lines) = (chunk.end(), serde_json::to_string(&batch.lines).map_err(refused)?);
    db.prepare_cached(INSERT)?.execute(params![
        batch.run_id.as_str(),
        start.line as i64,
        end.line as i64,
        start.byte as i64,
        end.byte as i64,
        batch.attempt,
        batch.batch_id,
        lines
    ])?;
    Ok(())
}

/// Returns the part of a log that begins with the line `from`.
pub fn read(db: &Connection, id: &RunId, from: u64) -> Result<LogPart> {
    let written = end(db, id)?.line;
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    let mut find = db.prepare_cached(FROM)?;
    let mut rows = find.query(params![id.as_str(), i64::try_from(from).unwrap_or(i64::MAX)])?;
    while bytes < MAX_LOG_PART_BYTES
        && let Some(row) = rows.next()?
    {
        let chunk = chunk(id, row)?;
        bytes += chunk.batch.bytes();
        chunks.push(chunk);
    }
    Ok(LogPart { chunks, written })
}

fn chunk(id: &RunId, row: &Row<'_>) -> Result<LogChunk> {
    let lines: String = row.get(4)?;
    let lines = serde_json::from_str(&lines).map_err(corrupt)?;
    let batch = LogBatch { run_id: id.clone(), attempt: row.get(0)?, batch_id: row.get(1)?, lines };
    Ok(LogChunk { batch, start: LogPosition { line: number(row.get(2)?), byte: number(row.get(3)?) } })
}

/// Numbers of lines and bytes are never negative.
fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
