//! Logs of runs.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Level of a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Finest details.
    Trace,
    /// Details for developers.
    Debug,
    /// Normal progress, and the standard output of a script.
    Info,
    /// Something unexpected that the handler can cope with.
    Warn,
    /// A failure, and the standard error of a script.
    Error,
}

impl LogLevel {
    /// Returns the level as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A line that a worker writes to the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// When the line was written, by the clock of the worker.
    pub at: Timestamp,
    /// Level of the line.
    pub level: LogLevel,
    /// Text. The server removes the line end and cuts a text of more than 4,096 bytes.
    pub text: String,
}

/// Body of `POST /v1/runs/{run_id}/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogBatch {
    /// 1-based number of the attempt.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Attempt token, from the lease or from the message.
    pub token: String,
    /// Id of this batch, unique within the run. 1 to 64 visible ASCII characters. If the answer is lost,
    /// repeat the batch with the same id: the server stores a batch once.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$"))]
    pub batch_id: String,
    /// Lines, 1 to 500. The size of a batch is 256 bytes, and for each line its text and 32 bytes; at most
    /// 65,536 bytes are allowed.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 500))]
    pub lines: Vec<LogEntry>,
}

/// Answer of `POST /v1/runs/{run_id}/log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogReceipt {
    /// Whether this request stored the batch. `false`: the batch was stored before.
    pub stored: bool,
}

/// A line of the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunLogLine {
    /// Number of the line, from 0, across all attempts of the run. A gap between the numbers of two lines
    /// means that the server has removed the lines between them, because the log is too long.
    pub line: u64,
    /// 1-based number of the attempt.
    pub attempt: u32,
    /// When the line was written, by the clock of the worker.
    pub at: Timestamp,
    /// Level of the line.
    pub level: LogLevel,
    /// Text, without a line end.
    pub text: String,
}

/// Answer of `GET /v1/runs/{run_id}/log`: a page of the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunLogPage {
    /// Lines in order, about 128 KiB at most.
    pub lines: Vec<RunLogLine>,
    /// `from` of the next page.
    pub next_from: u64,
    /// Whether the next page already has lines.
    pub has_more: bool,
    /// State of the run, if it has ended and no line will follow this page. `null`: lines may follow.
    pub end_state: Option<String>,
}
