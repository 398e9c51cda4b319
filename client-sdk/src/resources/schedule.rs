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
        /// Further expressions, at most 15. A moment that any of the expressions selects is due, once. `@every` has no
        /// further expressions. Default: none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "openapi", schema(max_items = 15))]
        also: Vec<String>,
        /// Meaning of the fields. Default: `unix`.
        #[serde(default, skip_serializing_if = "CronDialect::is_unix")]
        dialect: CronDialect,
        /// What happens when clocks change. Default: the expression decides.
        #[serde(default, skip_serializing_if = "CronDst::is_default")]
        dst: CronDst,
    },
}

impl ScheduleSpec {
    /// Returns the schedule of one cron expression.
    pub fn cron(cron: impl Into<String>, zone: Option<String>) -> Self {
        let (also, dialect, dst) = (Vec::new(), CronDialect::Unix, CronDst::default());
        Self::Cron { cron: cron.into(), zone, also, dialect, dst }
    }
}

/// Meaning of the fields of a cron expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CronDialect {
    /// Crontabs: 5 to 7 fields; Sunday is 0 or 7.
    #[default]
    Unix,
    /// Quartz: 6 or 7 fields, seconds first; Sunday is 1. One of the day fields is `?`.
    Quartz,
}

impl CronDialect {
    /// Returns whether this is the default.
    pub fn is_unix(&self) -> bool {
        *self == Self::Unix
    }
}

/// What happens to a match of a cron expression when clocks change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CronDst {
    /// What happens to a match that the clock skips. Default: `skip` if the expression has an open step or a `*` in
    /// second, minute or hour, else `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<CronGap>,
    /// Which passes of a repeated match are moments. Default: `both` if the expression has an open step or a `*` in
    /// second, minute or hour, else `first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<CronRepeat>,
}

impl CronDst {
    /// Returns whether the expression decides.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to a match that the clock skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CronGap {
    /// The match is no moment.
    Skip,
    /// The moment is the first instant after the gap.
    After,
}

/// Which passes of a repeated match are moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CronRepeat {
    /// The first pass.
    First,
    /// The second pass.
    Last,
    /// Both passes.
    Both,
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        Self::Once {}
    }
}

/// Retry policy: how many attempts a run has, and the pauses between them. Either `intervals_ms`; or
/// `max_attempts`, `backoff_ms` and `max_backoff_ms`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Maximum number of attempts, including the first. After the last one has failed, the run is
    /// `dead`. Bounds: 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max_attempts: Option<u32>,
    /// Pause after the first failed attempt, in milliseconds. The pause grows by `factor_percent` with each
    /// further failure, up to `max_backoff_ms`. Bounds: 0 to 31,622,400,000 (366 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub backoff_ms: Option<u64>,
    /// Longest pause, in milliseconds. Bounds: 0 to 31,622,400,000 (366 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub max_backoff_ms: Option<u64>,
    /// Length of each further pause, in percent of the pause before. 100: all pauses are equal. Bounds: 100 to
    /// 1,000. Default: 200, the pause doubles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 100, maximum = 1000))]
    pub factor_percent: Option<u32>,
    /// Largest part of a pause that is left out at random, in percent, so that many runs that failed together
    /// do not start together again. Bounds: 0 to 100. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 100))]
    pub jitter_percent: Option<u32>,
    /// Pauses after the first, the second and each further failure, in milliseconds; the last attempt follows
    /// the last pause. 1 to 100 pauses of 0 to 31,622,400,000 (366 days). Mutually exclusive with the other
    /// fields, except `jitter_percent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 100))]
    pub intervals_ms: Option<Vec<u64>>,
}

impl Retry {
    /// Creates a policy with these pauses between the attempts, in milliseconds.
    ///
    /// ```
    /// use taskcenter_client::resources::{Retry, TaskSpec};
    ///
    /// let mail = TaskSpec::once("mail").with_retry(Retry::intervals([10_000, 60_000, 600_000]));
    /// assert_eq!(mail.retry.unwrap().intervals_ms.unwrap().len(), 3);
    /// ```
    pub fn intervals(intervals_ms: impl Into<Vec<u64>>) -> Self {
        Self { intervals_ms: Some(intervals_ms.into()), ..Self::default() }
    }

    /// Creates a policy of pauses that double from `backoff_ms` to `max_backoff_ms` milliseconds.
    pub fn doubling(max_attempts: u32, backoff_ms: u64, max_backoff_ms: u64) -> Self {
        let (max_attempts, backoff_ms, max_backoff_ms) =
            (Some(max_attempts), Some(backoff_ms), Some(max_backoff_ms));
        Self { max_attempts, backoff_ms, max_backoff_ms, ..Self::default() }
    }

    /// Creates a policy of equal pauses of `pause_ms` milliseconds.
    pub fn fixed(max_attempts: u32, pause_ms: u64) -> Self {
        Self { factor_percent: Some(100), ..Self::doubling(max_attempts, pause_ms, pause_ms) }
    }

    /// Sets the largest part of a pause that is left out at random, in percent.
    #[must_use]
    pub fn with_jitter_percent(self, jitter_percent: u32) -> Self {
        Self { jitter_percent: Some(jitter_percent), ..self }
    }
}

/// Misfire policy: what happens to moments of a repeating task that are later than the grace period, such as
/// after an outage. What is absent has the value of `engine.misfire` of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Misfire {
    /// Policy for moments later than the grace period. Default: `engine.misfire.policy` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<MisfirePolicy>,
    /// Grace period in milliseconds. A moment within the grace period fires under every policy. Bounds: 0 to
    /// 31,622,400,000 (366 days). Default: `engine.misfire.grace_ms` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 31_622_400_000_i64))]
    pub grace_ms: Option<u64>,
    /// Number of late moments that fire under `fire_all`: the last ones. Earlier ones are skipped, in one run.
    /// Bounds: 1 to 1,000. Default: all fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max: Option<u32>,
}

/// What happens to late moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// Every moment fires, late.
    FireAll,
    /// Only the last moment fires, late. The others are skipped.
    FireLast,
    /// Every moment is skipped.
    Skip,
}

impl MisfirePolicy {
    /// Returns the policy as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FireAll => "fire_all",
            Self::FireLast => "fire_last",
            Self::Skip => "skip",
        }
    }
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
    /// Number of late moments that fire under `fire_all`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
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
