//! The log of a run: lines that scripts and handlers write, with their time and level.
//!
//! A worker sends its lines in batches, and a store keeps each batch as one chunk. The lines of a run are
//! numbered from 0 across all of its attempts, in the order in which the store got them.
//!
//! A log is bounded. A long log keeps its beginning, which tells how the work started, and its end, which
//! tells how it failed. Chunks between the two are removed; the numbers of their lines are missing then.

use serde::{Deserialize, Serialize};

use super::{Moment, Run, RunId, RunState};

/// Size of the beginning that a log keeps, in [bytes](LogChunk::bytes).
pub const HEAD_BYTES: u64 = 256 * 1_024;
/// Size of the end that a log keeps, in [bytes](LogChunk::bytes).
pub const TAIL_BYTES: u64 = 256 * 1_024;
/// Size of the part that is removed at a time, in [bytes](LogChunk::bytes). The end of a log is at most this much
/// larger than [`TAIL_BYTES`].
pub const REMOVAL_BYTES: u64 = 32 * 1_024;
/// Maximum length of the text of a line, in bytes. A longer text is cut.
pub const MAX_LINE_BYTES: usize = 4_096;
/// Maximum number of lines in a batch.
pub const MAX_BATCH_LINES: usize = 500;
/// Maximum size of a batch, in [bytes](LogChunk::bytes).
pub const MAX_BATCH_BYTES: u64 = 64 * 1_024;
/// What a line costs in addition to its text, in bytes. So the bound of the bytes also bounds the lines.
pub const LINE_COST: u64 = 32;
/// What a chunk costs in addition to its lines, in bytes. So the bound of the bytes also bounds the chunks.
pub const CHUNK_COST: u64 = 256;
/// How long after its end a run of the bus still accepts lines, in milliseconds: an hour. A run without
/// outcome reports ends before its handler starts. Less than any time for which runs are kept, so that
/// no line arrives after the removal of its run.
pub const LATE_MS: i64 = 3_600_000;

/// Level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the line was written, by the clock of the worker.
    pub at: Moment,
    pub level: LogLevel,
    pub text: String,
}

/// Lines of one attempt, which a store has not numbered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    pub run_id: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Id of this write, unique within the run. A repetition after a lost answer has the same id.
    pub batch_id: String,
    /// The lines, at least one.
    pub lines: Vec<LogLine>,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Number of lines before the place.
    pub line: u64,
    /// Number of bytes before the place.
    pub byte: u64,
}

/// A batch that a store keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    pub batch: LogBatch,
    /// Position of the first line.
    pub start: LogPosition,
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Chunks in order. The first one may begin before the wanted line.
    pub chunks: Vec<LogChunk>,
    /// Number of lines that the run has written so far.
    pub written: u64,
}

impl LogBatch {
    /// Returns the size of the batch: the texts, [`LINE_COST`] for each line, and [`CHUNK_COST`].
    pub fn bytes(&self) -> u64 {
        CHUNK_COST + self.lines.iter().map(|line| LINE_COST + line.text.len() as u64).sum::<u64>()
    }
}

impl LogChunk {
    /// Returns the position after the last line.
    pub fn end(&self) -> LogPosition {
        LogPosition {
            line: self.start.line + self.batch.lines.len() as u64,
            byte: self.start.byte + self.batch.bytes(),
        }
    }
}

/// Returns the range of [`LogPosition::byte`] whose chunks a log does not keep after it got `last`: chunks that
/// start in the range. `None`: nothing is removed now.
///
/// A removal examines all chunks of the log, so only one append in [`REMOVAL_BYTES`] removes chunks.
pub fn removed(last: &LogChunk) -> Option<std::ops::Range<u64>> {
    let end = last.end().byte;
    let is_due = last.start.byte / REMOVAL_BYTES != end / REMOVAL_BYTES;
    let tail = end.saturating_sub(TAIL_BYTES);
    (is_due && tail > HEAD_BYTES).then_some(HEAD_BYTES..tail)
}

/// Cuts a text to the maximum length of a line, without its line end.
pub fn cut_line(mut text: String) -> String {
    let line = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(text.floor_char_boundary(line.min(MAX_LINE_BYTES)));
    text
}

/// Returns whether the current attempt of the run may write lines at `now`.
pub fn accepts_lines(run: &Run, now: Moment) -> bool {
    let in_progress = matches!(run.state, RunState::Firing | RunState::Fired | RunState::Leased);
    in_progress && run.ended_at.is_none_or(|ended_at| now.since(ended_at) <= LATE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of a line of `bytes` bytes that begins at a byte.
    fn chunk(byte: u64, bytes: u64) -> LogChunk {
        let text = "x".repeat((bytes - CHUNK_COST - LINE_COST) as usize);
        let lines = vec![LogLine { at: Moment::from_ms(0), level: LogLevel::Info, text }];
        let (run_id, batch_id) = (RunId::from_text("r"), "b".to_owned());
        LogChunk {
            batch: LogBatch { run_id, attempt: 1, batch_id, lines },
            start: LogPosition { line: 0, byte },
        }
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let full = HEAD_BYTES + TAIL_BYTES;
        assert_eq!(removed(&chunk(0, 1_000)), None);
        assert_eq!(removed(&chunk(full - 1_000, 1_000)), None);
        assert_eq!(removed(&chunk(full, REMOVAL_BYTES)), Some(HEAD_BYTES..HEAD_BYTES + REMOVAL_BYTES));
    }

    #[test]
    fn few_appends_to_a_full_log_remove_chunks() {
        let end = HEAD_BYTES + TAIL_BYTES;
        let appends = (0..1_000).map(|n| chunk(end + n * 1_000, 1_000));
        let removals = appends.filter(|chunk| removed(chunk).is_some()).count() as u64;
        assert_eq!(removals, 1_000_000 / REMOVAL_BYTES, "one in {REMOVAL_BYTES} bytes");
    }

    #[test]
    fn the_newest_chunk_is_always_kept() {
        let last = chunk(u64::from(u32::MAX), MAX_BATCH_BYTES);
        assert!(removed(&last).unwrap().end < last.start.byte);
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut_line("a\r\n".to_owned()), "a");
        let cut = cut_line("é".repeat(MAX_LINE_BYTES));
        assert_eq!(cut.len(), MAX_LINE_BYTES);
        assert_eq!(cut_line(format!("a{}", "é".repeat(MAX_LINE_BYTES))).len(), MAX_LINE_BYTES - 1);
    }
}
