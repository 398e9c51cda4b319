//! Calendars: days and hours to which tasks limit their moments.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Calendars of a task. A moment is a moment only if all calendars of `only` contain it, and no calendar of
/// `exclude` does. At most 4 calendars, each named once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskCalendars {
    /// Names of the calendars that must contain a moment. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 4))]
    pub only: Vec<String>,
    /// Names of the calendars that must not contain a moment. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 4))]
    pub exclude: Vec<String>,
}

/// A calendar to create or replace. It contains the hours of `weekly` without the hours of `exclude`, and all hours
/// of `include`. At most 200 entries of at most 64 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CalendarSpec {
    /// Name: 1 to 63 lower-case letters, digits, `-`, `_` and `.`. It begins with a letter or a digit.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9][a-z0-9._-]*$")
    )]
    pub name: String,
    /// Human-readable text, at most 500 bytes. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub description: String,
    /// IANA time zone of the entries. Default: `engine.time_zone` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Hours of days of the week, such as `mon-fri 09:00-12:00,13:00-18:00` or `sat,sun`. Without hours, an entry has
    /// whole days. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 200))]
    pub weekly: Vec<String>,
    /// Dates to add, such as `2026-10-10 09:00-18:00`, `2026-12-24` or `2026-12-24/2026-12-31`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 200))]
    pub include: Vec<String>,
    /// Dates to remove from the weekly hours, in the form of `include`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 200))]
    pub exclude: Vec<String>,
}

/// A stored calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalendarResource {
    /// Name of the calendar.
    pub name: String,
    /// Human-readable text. Absent: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// IANA time zone of the entries.
    pub zone: String,
    /// Hours of days of the week.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekly: Vec<String>,
    /// Dates that are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Dates that are removed from the weekly hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Number of the content: 1 at first, and one more after each change.
    pub version: u64,
    /// Whether every task with the calendar is known to have this version. `false`: the server gives the version to
    /// the tasks, which takes some minutes at most.
    pub settled: bool,
    /// When the version was stored.
    pub changed_at: Timestamp,
    /// Name of the caller that stored the version. Empty: a caller without a token.
    pub changed_by: String,
    /// Ids of active and paused tasks with the calendar, at most 100. Only `GET /v1/calendars/{name}` has the field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

/// Answer of `GET /v1/calendars`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CalendarList {
    /// All calendars, by name.
    pub calendars: Vec<CalendarResource>,
}
