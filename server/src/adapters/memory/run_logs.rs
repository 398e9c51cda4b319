//! Logs of runs.

use super::ledger::Ledger;
use crate::core::RunId;
use crate::core::run_log::{LogBatch, LogChunk, LogPart, removed};
use crate::ports::{AppendedLog, MAX_LOG_PART_BYTES};

impl Ledger {
    /// Appends a batch to the log of its run.
    pub fn append_log(&mut self, batch: &LogBatch) -> AppendedLog {
        if self.run(&batch.run_id).is_none() {
            return AppendedLog::NoRun;
        }
        let chunks = self.logs.entry(batch.run_id.clone()).or_default();
        if chunks.iter().any(|chunk| chunk.batch.batch_id == batch.batch_id) {
            return AppendedLog::Repeated;
        }
        let start = chunks.last().map(LogChunk::end).unwrap_or_default();
        let chunk = LogChunk { batch: batch.clone(), start };
        chunks.push(chunk.clone());
        if let Some(bytes) = removed(&chunk) {
            chunks.retain(|chunk| !bytes.contains(&chunk.start.byte));
        }
        AppendedLog::Stored(Box::new(chunk))
    }

    /// Returns the part of a log that begins with the line `from`.
    pub fn log(&self, id: &RunId, from: u64) -> LogPart {
        let Some(all) = self.logs.get(id) else { return LogPart::default() };
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for chunk in all.iter().filter(|chunk| chunk.end().line > from) {
            if bytes >= MAX_LOG_PART_BYTES {
                break;
            }
            bytes += chunk.batch.bytes();
            chunks.push(chunk.clone());
        }
        LogPart { chunks, written: all.last().map_or(0, |last| last.end().line) }
    }
}
