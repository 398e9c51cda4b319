//! Documents: flat, readable in a shell, without derived fields except `shard`, `by_tag` and
//! `ended_at`.

mod edited;
mod progress;
mod run;
mod task;

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

pub use self::run::{RunRow, run_update};
pub use self::task::TaskRow;
use crate::core::Moment;
use crate::core::retry::RetryPolicy;
use crate::core::task::SHARDS;

/// Converts a moment to a BSON date.
pub fn date(moment: Moment) -> DateTime {
    DateTime::from_millis(moment.ms())
}

/// Converts a BSON date to a moment.
pub fn moment(date: DateTime) -> Moment {
    Moment::from_ms(date.timestamp_millis())
}

/// Converts shards to BSON integers.
pub fn shard_numbers(shards: &[u16]) -> Vec<i32> {
    shards.iter().map(|shard| i32::from(*shard)).collect()
}

/// Returns every shard, so that a query over all shards can use an index that begins with the
/// shard.
pub fn all_shards() -> Vec<i32> {
    (0..i32::from(SHARDS)).collect()
}

/// A retry policy. BSON has no unsigned integers. A field without a value has its default.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RetryRow {
    max_attempts: i64,
    backoff_ms: i64,
    max_backoff_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor_percent: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter_percent: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    intervals_ms: Vec<i64>,
}

impl From<RetryPolicy> for RetryRow {
    fn from(retry: RetryPolicy) -> Self {
        let default = RetryPolicy::default();
        let unless = |value: u32, default: u32| (value != default).then_some(i64::from(value));
        Self {
            max_attempts: i64::from(retry.max_attempts),
            backoff_ms: retry.backoff_ms as i64,
            max_backoff_ms: retry.max_backoff_ms as i64,
            factor_percent: unless(retry.factor_percent, default.factor_percent),
            jitter_percent: unless(retry.jitter_percent, default.jitter_percent),
            intervals_ms: retry.intervals_ms.into_iter().map(|ms| ms as i64).collect(),
        }
    }
}

impl From<RetryRow> for RetryPolicy {
    fn from(row: RetryRow) -> Self {
        let default = Self::default();
        let or = |value: Option<i64>, default: u32| value.map_or(default, |value| value as u32);
        Self {
            max_attempts: row.max_attempts as u32,
            backoff_ms: row.backoff_ms as u64,
            max_backoff_ms: row.max_backoff_ms as u64,
            factor_percent: or(row.factor_percent, default.factor_percent),
            jitter_percent: or(row.jitter_percent, default.jitter_percent),
            intervals_ms: row.intervals_ms.into_iter().map(|ms| ms as u64).collect(),
        }
    }
}
