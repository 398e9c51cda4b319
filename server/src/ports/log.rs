//! Results of the log of a run.

use crate::core::run_log::LogChunk;

/// Maximum size of a part of a log, in bytes of its chunks. A part has at least one chunk.
pub const MAX_LOG_PART_BYTES: u64 = 128 * 1_024;

/// Result of appending a batch to the log of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendedLog {
    /// The batch is stored, as this chunk.
    Stored(Box<LogChunk>),
    /// The batch was stored before. Nothing has changed.
    Repeated,
    /// The run does not exist. Nothing was stored.
    NoRun,
}
