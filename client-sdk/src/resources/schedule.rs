//! Schedules and retry policies.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When a task is due. Default: `once`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// One moment: `start_at`, or the time of the request.
    Once {},
    /// A fixed grid: `start_at` (default: the time of the request) and every `period_ms` after
    /// that. The grid does not drift.
    Every {
        /// Milliseconds between two moments. Bounds: 1 to 253,402,207,199,999 (the year 9999).
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 253_402_207_199_999_i64))]
        period_ms: i64,
    },
    /// Each moment that matches a cron expression, at or after `start_at` (default: the time of the
    /// request).
    Cron {
        /// Cron expression of at most 1,024 bytes. 5 fields: minute, hour, day of month, month, day
        /// of week. 6 fields: seconds first. 7 fields: seconds first, years last. Macros:
        /// `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`, and `@every 1h30m` for a period.
        /// A prefix `TZ=Area/City` takes precedence over `zone`.
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 1024))]
        cron: String,
        /// IANA time zone, such as `Asia/Shanghai`. Default: `engine.time_zone` of the server. The
        /// task keeps the zone that it was created with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        Self::Once {}
    }
}

/// Retry policy: how many attempts a run has, and the pauses between them. All fields are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Maximum number of attempts, including the first. After the last one has failed, the run is
    /// `dead`. Bounds: 1 to 1,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max_attempts: u32,
    /// Pause after the first failed attempt, in milliseconds. The pause doubles with each further
    /// failure, up to `max_backoff_ms`. Bounds: 0 to 31,622,400,000 (366 days).
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub backoff_ms: u64,
    /// Longest pause, in milliseconds. Bounds: 0 to 31,622,400,000 (366 days).
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub max_backoff_ms: u64,
}

/// Answer of `GET /v1/schedule/next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextMoments {
    /// Next moments of the cron expression, earliest first. At most `count`; fewer if the
    /// expression has no further match.
    pub moments: Vec<Timestamp>,
    /// Human-readable notes on the expression, such as a step that leaves only one value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Answer of `GET /v1/schedule/absence`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AbsencePreview {
    /// Misfire policy: `fire_all`, `fire_last` or `skip`.
    pub policy: String,
    /// Grace period in milliseconds. A moment within the grace period fires under every policy.
    pub grace_ms: i64,
    /// Decisions on the moments of the absence, earliest first; at most 100.
    pub decisions: Vec<AbsenceDecision>,
    /// Whether further decisions follow.
    pub more: bool,
}

/// Decision on one moment, or on several moments that are skipped together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AbsenceDecision {
    /// `fires` or `skipped`.
    pub decision: String,
    /// The moment, or the first of several.
    pub at: Timestamp,
    /// The moment, or the last of several.
    pub until: Timestamp,
    /// Number of moments.
    pub count: u64,
    /// Lateness of `at` when the server is back, in milliseconds.
    pub late_ms: i64,
}
