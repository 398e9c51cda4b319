//! What a create does if a live task has the deduplication key.

use serde::{Deserialize, Serialize};

/// Debounce of a one-shot task: creates with one name and deduplication key become one fire.
///
/// Each create while the task waits moves its moment to `quiet_ms` after the create, and replaces the definition:
/// the last payload is delivered. The moment is at most `max_ms` after the first create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Debounce {
    /// Milliseconds without another create after which the task fires. Bounds: 1 to 31,622,400,000 (366 days).
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_622_400_000_i64))]
    pub quiet_ms: u64,
    /// Milliseconds after the first create at which the task fires at the latest. Bounds: `quiet_ms` to
    /// 31,622,400,000 (366 days).
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_622_400_000_i64))]
    pub max_ms: u64,
}

/// What a create does if a live task has its name and deduplication key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Returns the live task, and changes nothing.
    Return,
    /// Fails with 409 `duplicate`, which names the live task.
    Reject,
    /// Gives the live task the new definition, as an edit.
    Replace,
}
