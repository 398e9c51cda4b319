//! The next moments of a whole schedule.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ScheduleSpec, TaskCalendars};

/// Body of `POST /v1/schedule/next`: the fields of a task that decide when it fires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SchedulePreview {
    /// Schedule of the task.
    pub schedule: ScheduleSpec,
    /// Earliest moment. Default: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Latest moment. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// Maximum number of fires, at least 1. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64))]
    pub max_fires: Option<u64>,
    /// Longest delay of a moment, in milliseconds. Bounds: 1 to 86,400,000. Default: no delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400_000))]
    pub jitter_ms: Option<u64>,
    /// Calendars that limit the moments. Default: every moment counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendars: Option<TaskCalendars>,
    /// Maximum number of moments. Bounds: 1 to 100. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub count: Option<u32>,
}

/// Answer of `POST /v1/schedule/next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedSchedule {
    /// The schedule in English words.
    pub words: String,
    /// IANA time zone of `local`: the zone of the schedule, or of the server.
    pub zone: String,
    /// Human-readable notes on the expressions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The next moments, earliest first.
    pub moments: Vec<ExplainedMoment>,
    /// Moments before the last one of `moments` that calendars exclude: the first 100, earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedMoment>,
}

/// A moment of a schedule that a calendar excludes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExcludedMoment {
    /// Moment, in UTC.
    pub at: Timestamp,
    /// Moment in the time zone, with its offset.
    pub local: String,
    /// Name of the calendar.
    pub calendar: String,
}

/// A moment of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedMoment {
    /// Nominal moment, in UTC.
    pub at: Timestamp,
    /// Nominal moment in the time zone, with its offset, such as `2030-01-31T09:00:00+08:00`.
    pub local: String,
    /// Latest time of the fire with the jitter. The id of a task selects its part of the jitter. Absent: no jitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_at: Option<Timestamp>,
    /// `after_gap`: the clocks skip the time of day, and the moment is the first instant after the gap. `first_pass` or
    /// `second_pass`: the clocks show the time of day twice. Absent: the clocks do not change around the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
}
