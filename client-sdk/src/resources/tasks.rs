//! Tasks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Concurrency, Debounce, Misfire, OnConflict, Overlap, Problem, Rate, Retry, ScheduleSpec, TaskCalendars,
};

/// Definition of a task: what to deliver, when, how often, and what to do after a failure.
///
/// Only `name` is required. Without a schedule the task fires once, immediately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Name of the task, which is the tag of its runs. 1 to 128 bytes, without `|`, `*`, control
    /// characters, and white space at either end.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// Payload. It is delivered byte for byte. At most 4,128,768 bytes. Default: empty.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 4_128_768))]
    pub data: String,
    /// Payload as a JSON value: the server stores its text, without blanks, as `data`. Mutually
    /// exclusive with `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// Headers that every delivery of the runs carries, such as `traceparent`: at most 16, and 4,096
    /// bytes in all names and values. A name has 1 to 64 letters, digits, `-`, `_` and `.`, a letter
    /// first, and at least one lower-case letter. A value has 1 to 1,024 printable ASCII characters.
    /// The names of HTTP connections and the prefixes `tc_`, `tc-`, `taskcenter`, `x-taskcenter` and
    /// `proxy-` are reserved. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Labels, which the runs carry and lists filter by: at most 16. A key has 1 to 63 lower-case letters,
    /// digits, `-`, `_`, `.` and `/`, with a letter or digit at both ends. A value has 1 to 63 characters,
    /// without control characters, and without white space at either end. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the task is due. Default: `{"kind": "once"}`.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Earliest moment of the first fire, between the years 1970 and 9999. A fraction of a
    /// millisecond is rounded up. Mutually exclusive with `delay_ms`. Default: the time of the
    /// request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Earliest moment of the first fire, in milliseconds after the time of the request. Bounds: 0
    /// to 3,162,240,000,000 (100 years). Mutually exclusive with `start_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 3_162_240_000_000_i64))]
    pub delay_ms: Option<u64>,
    /// Latest moment that fires. It must not be in the past or before `start_at`. An instant after
    /// 9999-12-30T22:00:00Z, the last one of the calendar, becomes that instant. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_end")]
    pub end_at: Option<Timestamp>,
    /// Maximum number of fires, at least 1. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64))]
    pub max_fires: Option<u64>,
    /// Whether the server waits for an outcome report for each run that it publishes to the bus,
    /// and owns the retries. Runs in a queue always have an outcome. Default: `false`.
    #[serde(default)]
    pub ack: bool,
    /// Seconds from the publication of a message until its attempt fails without an outcome report.
    /// For the bus only, with `ack`. Bounds: 1 to 31,622,400 (366 days). Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_622_400))]
    pub max_runtime_sec: Option<u64>,
    /// Milliseconds after its moment within which the first attempt of a run must start: a worker leases it, or
    /// the broker confirms its message. Otherwise the run ends as `skipped`. Bounds: 1 to 31,622,400,000 (366
    /// days). Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_622_400_000_i64))]
    pub start_within_ms: Option<u64>,
    /// Queue in which the runs wait for workers; its name follows the rules of `name`. Default: the
    /// bus. On a server without a bus: the queue with the name of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub queue: Option<String>,
    /// Retry policy. Default: `engine.retry` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What happens to moments that are too late. Default: `engine.misfire` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// Longest delay of a moment, in milliseconds, so that many tasks with one schedule do not fire at once. The
    /// delay of a task is the same at each moment, and ends before the next moment. Bounds: 1 to 86,400,000
    /// (24 hours). Default: no delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400_000))]
    pub jitter_ms: Option<u64>,
    /// What happens to a run while an earlier run of the task has started and not ended. Needs a queue, or `ack`.
    /// Default: runs may overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// How many runs may have started and not ended at the same time: at most 3 limits, which must all have room. Two
    /// limits differ in scope or key. Needs a queue, or `ack`. Default: no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 3))]
    pub concurrency: Vec<Concurrency>,
    /// Calendars that limit the moments of a repeating schedule. Default: every moment counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendars: Option<TaskCalendars>,
    /// How many runs may start in a period. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Deduplication key, 1 to 256 bytes: at most one live task per name and key. Default: no
    /// deduplication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256))]
    pub dedup_key: Option<String>,
    /// What happens if a live task has this name and `dedup_key`. Needs `dedup_key`. An edit does not have the
    /// field. Default: `return`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// Fires once for many creates with this name and `dedup_key`. Needs `dedup_key`. For the schedule `once`,
    /// without `start_at`, `delay_ms`, `jitter_ms` and `on_conflict`. An edit does not have the field. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Debounce>,
}

/// Reads an instant. One after the end of the calendar, such as 9999-12-31T23:59:59Z, becomes the end.
fn read_end<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_end(&text)).transpose().map_err(D::Error::custom)
}

/// Parses an instant in RFC 3339. One after the end of the calendar, such as 9999-12-31T23:59:59Z,
/// becomes the end.
///
/// # Errors
/// If the text is not an instant.
pub fn parse_end(text: &str) -> Result<Timestamp, jiff::Error> {
    const LAST_DAYS: Date = Date::constant(9999, 12, 30);
    text.parse().or_else(|error| {
        let is_end = |pieces: Pieces<'_>| {
            pieces.date() >= LAST_DAYS && pieces.time().is_some() && pieces.offset().is_some()
        };
        if Pieces::parse(text).is_ok_and(is_end) { Ok(Timestamp::MAX) } else { Err(error) }
    })
}

/// Body of `POST /v1/tasks` that creates several tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTasks {
    /// Tasks to create, 1 to 1,000. Each task succeeds or fails on its own.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub tasks: Vec<TaskSpec>,
}

/// Result for one task of a request that creates several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedTask {
    /// 201: the task is stored. 200: a live task with this name and `dedup_key` exists, and `id`
    /// names it. Otherwise: the status of `problem`.
    pub status: u16,
    /// Id of the created or existing task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether the existing task has got this definition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// Ids of runs of earlier definitions of a replaced task that fired before and have not ended, when the answer was
    /// made. At most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_runs: Vec<String>,
    /// Whether more such runs exist than `open_runs` lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_open_runs: bool,
    /// Why the task was not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Answer of `POST /v1/tasks` to a request that creates several tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedTasks {
    /// One result for each task, in the order of the request.
    pub results: Vec<CreatedTask>,
}

/// A stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::struct_excessive_bools, reason = "the fields of the JSON document")]
pub struct TaskResource {
    /// Id of the task: 32 lower-case hexadecimal digits. Ids sort by creation time.
    pub id: String,
    /// Name of the task, which is the tag of its runs.
    pub name: String,
    /// Payload.
    pub data: String,
    /// Headers that every delivery of the runs carries. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Labels. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the task is due.
    pub schedule: ScheduleSpec,
    /// Earliest moment of the first fire; `null`: the creation time.
    pub start_at: Option<Timestamp>,
    /// Latest moment that fires; `null`: no end.
    pub end_at: Option<Timestamp>,
    /// Maximum number of fires; `null`: unlimited.
    pub max_fires: Option<u64>,
    /// Whether the server waits for outcome reports of runs that it publishes to the bus.
    pub ack: bool,
    /// Seconds until an attempt over the bus fails without an outcome report; `null`: 60.
    pub max_runtime_sec: Option<u64>,
    /// Milliseconds after its moment within which the first attempt of a run must start. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_ms: Option<u64>,
    /// Queue of the runs; `null`: the bus.
    pub queue: Option<String>,
    /// Retry policy; `null`: `engine.retry` of the server.
    pub retry: Option<Retry>,
    /// What happens to moments that are too late. Absent: `engine.misfire` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// Longest delay of a moment, in milliseconds. Absent: no delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    /// What happens to a run while an earlier one has not ended. Absent: runs may overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// How many runs may have started and not ended at the same time. Absent: no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<Concurrency>,
    /// Calendars that limit the moments. Absent: every moment of the schedule counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendars: Option<TaskCalendars>,
    /// How many runs may start in a period. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Deduplication key; `null`: none.
    pub dedup_key: Option<String>,
    /// State: `active`, `paused`, `finished` or `cancelled`.
    pub state: String,
    /// Revision: 1 at first, and one more after each edit, pause and resume. In quotes, it is the
    /// `ETag` of the task.
    pub rev: u32,
    /// Creation time.
    pub created_at: Timestamp,
    /// When the next moment fires; `null`: never, or not before its calendars change if the task is active.
    pub next_due_at: Option<Timestamp>,
    /// Nominal moment of `next_due_at`. Only a task with `jitter_ms` has the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_at: Option<Timestamp>,
    /// Last nominal moment that fired or was skipped; `null`: none so far.
    pub last_due_at: Option<Timestamp>,
    /// Number of fires so far. Manual triggers and skipped moments do not count.
    pub fired_count: u64,
    /// Human-readable text: the run that waits for admission, what it waits for, and a run that blocks it. Absent: no run
    /// waits. Only `GET /v1/tasks/{task_id}` has the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Whether the task existed already: a live task has this name and `dedup_key`, and the request
    /// created nothing. Only the answer to the creation of one task has the field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// Whether the request has given the existing task its definition. Only the answer to the creation of one
    /// task has the field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// Ids of runs of earlier definitions of a replaced task that fired before and have not ended, when the answer was
    /// made. At most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_runs: Vec<String>,
    /// Whether more such runs exist than `open_runs` lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_open_runs: bool,
    /// Human-readable notes, such as that no worker takes runs from the queue. Only the answer to
    /// the creation of one task has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Answer of `GET /v1/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    /// Tasks, newest first. A page may have fewer than `limit` tasks, even if more pages follow.
    pub tasks: Vec<TaskResource>,
    /// Value of `cursor` for the next page; `null`: this is the last page.
    pub next_cursor: Option<String>,
}

/// Answer to an edit, pause, resume, cancel or delete of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedTask {
    /// The task after the change; after a delete, the task before it.
    pub task: TaskResource,
    /// Ids of runs of the old definition that fired before the change and have not ended. At most
    /// 1,000.
    pub open_runs: Vec<String>,
    /// Whether more such runs exist than `open_runs` lists. `GET /v1/runs?task_id=...&state=...`
    /// lists all.
    #[serde(default)]
    pub more_open_runs: bool,
}
