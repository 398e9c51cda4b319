//! The log of a run: its last lines, or older ones.

use super::super::html::count;
use super::super::problem::Result;
use super::super::visit::Visit;
use super::super::words::fill;
use super::rows::run_href;
use crate::core::run_log::LogLevel;
use crate::core::{Moment, Run};
use crate::engine::service::{LogTail, NumberedLine};

/// Lines of a page.
const LINES: u64 = 100;

/// A line of the log.
pub struct LogRow {
    pub at: Moment,
    pub level: &'static str,
    pub text: String,
    pub attempt: u32,
    pub begins_attempt: bool,
    /// Whether lines before this one are not kept.
    pub follows_gap: bool,
}

/// Lines of a log, and where others are.
pub struct Log {
    pub rows: Vec<LogRow>,
    pub range: String,
    /// Path of the first lines. `None`: they are here.
    pub first: Option<String>,
    /// Path of the lines before these.
    pub older: Option<String>,
    /// Path of the last lines. `None`: they are here.
    pub newest: Option<String>,
    written: u64,
}

impl Log {
    /// Reads the lines before the line that the URL names, or else the last ones.
    pub async fn read(visit: &Visit, run: &Run) -> Result<Self> {
        let before = visit.param("log", &visit.lang.words().allowed_number, |line| line.parse().ok());
        let tail = visit.service.log_tail(&run.id, before, LINES).await?;
        let page = |before: u64| format!("{}?log={before}#log", run_href(run));
        let has_older = tail.first > 0;
        let numbers = [tail.first + 1, tail.end, tail.written].map(count);
        let range = fill(&visit.lang.words().log_range, &numbers.each_ref().map(String::as_str));
        Ok(Self {
            rows: rows(&tail),
            range: if tail.end > tail.first { range } else { String::new() },
            first: has_older.then(|| page(LINES)),
            older: has_older.then(|| page(tail.first)),
            newest: (tail.end < tail.written).then(|| format!("{}#log", run_href(run))),
            written: tail.written,
        })
    }

    /// Returns whether the run has written no line.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }
}

fn rows(tail: &LogTail) -> Vec<LogRow> {
    let mut attempt = 0;
    let mut expected = tail.first;
    let row = |line: &NumberedLine| {
        let row = LogRow {
            at: line.line.at,
            level: level(line.line.level),
            text: line.line.text.clone(),
            attempt: line.attempt,
            begins_attempt: line.attempt != attempt,
            follows_gap: line.number != expected,
        };
        attempt = line.attempt;
        expected = line.number + 1;
        row
    };
    tail.lines.iter().map(row).collect()
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}
