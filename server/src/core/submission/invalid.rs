//! Why a definition is invalid.

use super::{LAST_SEC, MAX_DATA_BYTES, MAX_KEY_BYTES, MAX_RUNTIME_SEC, MAX_START_WITHIN_MS};
use crate::core::calendar::InvalidCalendars;
use crate::core::concurrency::InvalidLimits;
use crate::core::cron::InvalidCron;
use crate::core::headers::InvalidHeaders;
use crate::core::invalid_timing::InvalidTiming;
use crate::core::labels::InvalidLabels;
use crate::core::rate::InvalidRate;
use crate::core::retry::InvalidRetry;
use crate::core::tag::InvalidTag;

/// Why a submission is invalid. Every variant belongs to one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubmission {
    /// Not a valid tag.
    #[error(transparent)]
    Name(#[from] InvalidTag),
    /// More than [`MAX_DATA_BYTES`]; the actual length.
    #[error("data should be at most {MAX_DATA_BYTES} bytes, and has {0}")]
    DataTooLong(usize),
    /// Invalid headers.
    #[error(transparent)]
    Headers(#[from] InvalidHeaders),
    /// Invalid labels.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// Not a valid cron expression.
    #[error("{0}")]
    Cron(#[from] InvalidCron),
    /// Not between 1 ms and [`LAST_SEC`].
    #[error("the period should be above 0 and below {LAST_SEC} seconds")]
    Period,
    /// Start before 1970 or after [`LAST_SEC`].
    #[error("start_time should be a unix time in seconds")]
    Start,
    /// End in the past.
    #[error("end_time should be later than now")]
    EndPassed,
    /// End before start.
    #[error("end_time should not be before start_time")]
    EndBeforeStart,
    /// The schedule has no moment between start and end.
    #[error("the schedule has no moment before end_time")]
    NeverDue,
    /// Invalid calendars.
    #[error(transparent)]
    Calendars(#[from] InvalidCalendars),
    /// Not between 1 and [`MAX_RUNTIME_SEC`].
    #[error("max_runtime should be between 1 and {MAX_RUNTIME_SEC} seconds")]
    MaxRuntime,
    /// Not between 1 and [`MAX_START_WITHIN_MS`].
    #[error("start_within_ms should be between 1 and {MAX_START_WITHIN_MS}")]
    StartWithin,
    /// The task has already fired this number of times.
    #[error("max_fires should be above {0}, the fires so far")]
    MaxFiresReached(u64),
    /// Not a valid tag: a queue's name follows the same rules.
    #[error("{}", .0.to_string().replacen("name", "queue", 1))]
    Queue(InvalidTag),
    /// Retry policy out of bounds.
    #[error(transparent)]
    Retry(#[from] InvalidRetry),
    /// Rule about moments out of bounds.
    #[error(transparent)]
    Timing(#[from] InvalidTiming),
    /// Invalid concurrency limits.
    #[error(transparent)]
    Concurrency(#[from] InvalidLimits),
    /// Invalid rate limit.
    #[error(transparent)]
    Rate(#[from] InvalidRate),
    /// An overlap policy or concurrency limits for runs whose ends the server does not know. The value is the field.
    #[error("{0} needs a queue, or ack: without outcome reports the server does not know when a run ends")]
    WithoutOutcome(&'static str),
    /// A rule about a conflict of keys, without a key.
    #[error("on_conflict needs dedup_key: without a key, every request creates a task")]
    ConflictWithoutKey,
    /// Empty, or longer than 256 bytes.
    #[error("dedup_key should have between 1 and {MAX_KEY_BYTES} bytes")]
    DedupKey,
}
