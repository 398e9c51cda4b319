//! Conversion between the task spec of the API and the submission of the engine.

use jiff::Timestamp;
use serde_json::Value;
use taskcenter_client::resources::{RunPayload, ScheduleSpec, TaskSpec};

use super::error::ApiError;
use super::{calendars, concurrency, conflict, cron_options, overlap, rate_limit, retry, timing, view};
use crate::core::run::PayloadChange;
use crate::core::submission::{Dedup, Submission};
use crate::core::timing::Timing;
use crate::core::{Moment, Schedule};
use crate::wire;

/// Maximum of `delay_ms`: 100 years of 366 days.
pub const MAX_DELAY_MS: u64 = 100 * 366 * 86_400_000;

/// Converts a spec. The service checks the rules of the submission later.
///
/// # Errors
/// An error if the start or the maximum number of fires is invalid.
pub fn submission(spec: TaskSpec, zone: &str, now: Moment) -> Result<Submission, ApiError> {
    let on_conflict = conflict::on_conflict(&spec)?;
    let start_at = start(&spec, now)?;
    let overlap = spec.overlap.map(overlap::rule).transpose()?.flatten();
    let timing = timing::of_spec(&spec);
    let concurrency = spec.concurrency.into_iter().map(concurrency::limit).collect();
    let calendars = calendars::of_spec(spec.calendars);
    let timing = Timing { overlap, concurrency, calendars, rate: spec.rate.map(rate_limit::rule), ..timing };
    Ok(Submission {
        data: payload(spec.data, spec.json.as_ref())?,
        name: spec.name,
        headers: spec.headers,
        labels: spec.labels,
        schedule: schedule(spec.schedule, zone),
        start_at,
        end_at: spec.end_at.map(wire::moment),
        max_fires: max_fires(spec.max_fires)?,
        ack: spec.ack,
        max_runtime_sec: spec.max_runtime_sec,
        start_within_ms: spec.start_within_ms,
        queue: spec.queue,
        retry: spec.retry.as_ref().map(retry::policy).transpose()?,
        timing,
        dedup: spec.dedup_key.map_or(Dedup::Nothing, Dedup::Key),
        on_conflict,
    })
}

/// Returns the payload: `data`, or the text of `json`.
fn payload(data: String, json: Option<&Value>) -> Result<String, ApiError> {
    match json {
        None => Ok(data),
        Some(json) if data.is_empty() => Ok(json.to_string()),
        Some(_) => Err(exclusive()),
    }
}

/// Converts another payload of a run. The service checks its rules later.
///
/// # Errors
/// An error if it has `data` and `json`.
pub fn payload_change(spec: RunPayload) -> Result<PayloadChange, ApiError> {
    let data = match (spec.data, spec.json) {
        (data, None) => data,
        (None, Some(json)) => Some(json.to_string()),
        (Some(_), Some(_)) => return Err(exclusive()),
    };
    Ok(PayloadChange { data, headers: spec.headers })
}

fn exclusive() -> ApiError {
    ApiError::field("json", "json and data are mutually exclusive: send one of them")
}

fn start(spec: &TaskSpec, now: Moment) -> Result<Option<Moment>, ApiError> {
    if let Some(debounce) = &spec.debounce {
        return Ok(Some(now.plus_ms(debounce.quiet_ms as i64)));
    }
    match (spec.start_at, spec.delay_ms) {
        (Some(_), Some(_)) => {
            Err(ApiError::field("delay_ms", "delay_ms and start_at are mutually exclusive: send one of them"))
        }
        (_, Some(delay)) if delay > MAX_DELAY_MS => {
            Err(ApiError::field("delay_ms", format!("delay_ms should be between 0 and {MAX_DELAY_MS}")))
        }
        (None, Some(delay)) => Ok(Some(now.plus_ms(delay as i64))),
        (start_at, None) => Ok(start_at.map(start_moment)),
    }
}

/// Checks the maximum number of fires. The schedule alone has moments, so it would not refuse 0.
fn max_fires(requested: Option<u64>) -> Result<Option<u64>, ApiError> {
    let most = i64::MAX as u64;
    let fits = requested.is_none_or(|fires| (1..=most).contains(&fires));
    let invalid = || ApiError::field("max_fires", format!("max_fires should be between 1 and {most}"));
    fits.then_some(requested).ok_or_else(invalid)
}

/// Converts a start. A fraction of a millisecond is rounded up, so that nothing fires early.
fn start_moment(at: Timestamp) -> Moment {
    wire::moment(at).plus_ms(i64::from(at.subsec_nanosecond() % 1_000_000 > 0))
}

/// Converts a schedule. A cron expression without a zone has `default_zone`.
pub fn schedule(spec: ScheduleSpec, default_zone: &str) -> Schedule {
    match spec {
        ScheduleSpec::Once {} => Schedule::Once,
        ScheduleSpec::Every { period_ms } => Schedule::Every { period_ms },
        ScheduleSpec::Cron { cron, zone, also, dialect, dst } => Schedule::Cron {
            expression: cron,
            zone: zone.unwrap_or_else(|| default_zone.to_owned()),
            options: cron_options::options(also, dialect, dst),
        },
    }
}

/// Converts a definition to the spec that creates it.
pub fn of(definition: &Submission) -> TaskSpec {
    TaskSpec {
        name: definition.name.clone(),
        data: definition.data.clone(),
        headers: definition.headers.clone(),
        labels: definition.labels.clone(),
        json: None,
        schedule: view::schedule(definition.schedule.clone()),
        start_at: definition.start_at.map(wire::timestamp),
        delay_ms: None,
        end_at: definition.end_at.map(wire::timestamp),
        max_fires: definition.max_fires,
        ack: definition.ack,
        max_runtime_sec: definition.max_runtime_sec,
        start_within_ms: definition.start_within_ms,
        queue: definition.queue.clone(),
        retry: definition.retry.clone().map(retry::resource),
        misfire: timing::misfire(definition.timing.misfire),
        jitter_ms: timing::jitter_ms(&definition.timing),
        overlap: definition.timing.overlap.map(overlap::of),
        concurrency: concurrency::of(&definition.timing.concurrency),
        calendars: calendars::of(definition.timing.calendars.as_deref()),
        rate: definition.timing.rate.as_ref().map(rate_limit::of),
        dedup_key: match &definition.dedup {
            Dedup::Key(key) => Some(key.clone()),
            Dedup::Pair | Dedup::Nothing => None,
        },
        on_conflict: None,
        debounce: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    #[test]
    fn a_start_is_never_early_and_excludes_a_delay() {
        let at: Timestamp = "1970-01-01T01:00:00.0001Z".parse().unwrap();
        let read = |start_at, delay_ms| {
            submission(TaskSpec { start_at, delay_ms, ..TaskSpec::default() }, "UTC", NOW)
                .map(|task| task.start_at)
        };
        assert_eq!(read(None, None).unwrap(), None);
        assert_eq!(read(Some(at), None).unwrap(), Some(Moment::from_ms(3_600_001)));
        assert_eq!(read(None, Some(5)).unwrap(), Some(NOW.plus_ms(5)));
        assert!(read(Some(at), Some(5)).is_err());
        assert!(read(None, Some(MAX_DELAY_MS + 1)).is_err() && read(None, Some(u64::MAX)).is_err());
    }

    #[test]
    fn json_becomes_its_text_and_excludes_data() {
        let read = |spec: Value| {
            let spec = serde_json::from_value::<TaskSpec>(spec).unwrap();
            submission(spec, "UTC", NOW).map(|task| task.data)
        };
        assert_eq!(read(json!({"name": "n", "json": {"id": 7}})).unwrap(), r#"{"id":7}"#);
        assert_eq!(read(json!({"name": "n", "json": "text"})).unwrap(), r#""text""#);
        assert_eq!(read(json!({"name": "n", "json": null, "data": "d"})).unwrap(), "d");
        assert!(read(json!({"name": "n", "json": 7, "data": "d"})).is_err());
    }

    #[test]
    fn max_fires_zero_is_refused() {
        assert!(max_fires(Some(0)).is_err() && max_fires(Some(u64::MAX)).is_err());
        assert_eq!(max_fires(Some(1)).unwrap(), Some(1));
    }
}
