//! A task's spec on the wire, and the submission that it stands for.

use jiff::Timestamp;
use taskcenter_client::resources::{Retry, ScheduleSpec, TaskSpec};

use super::error::ApiError;
use super::view;
use crate::core::retry::RetryPolicy;
use crate::core::submission::{Dedup, Submission};
use crate::core::{Moment, Schedule};
use crate::wire;

/// Longest `delay_ms`: a hundred years.
pub const MAX_DELAY_MS: u64 = 100 * 366 * 86_400_000;

/// What a spec asks for. Its rules are looked at where it is accepted.
///
/// # Errors
/// When it says twice, or impossibly, when it begins.
pub fn submission(spec: TaskSpec, zone: &str, now: Moment) -> Result<Submission, ApiError> {
    let start_at = start(&spec, now)?;
    Ok(Submission {
        name: spec.name,
        data: spec.data,
        schedule: schedule(spec.schedule, zone),
        start_at,
        end_at: spec.end_at.map(moment),
        max_fires: max_fires(spec.max_fires)?,
        ack: spec.ack,
        max_runtime_sec: spec.max_runtime_sec,
        queue: spec.queue,
        retry: spec.retry.map(policy),
        dedup: spec.dedup_key.map_or(Dedup::Nothing, Dedup::Key),
    })
}

fn start(spec: &TaskSpec, now: Moment) -> Result<Option<Moment>, ApiError> {
    match (spec.start_at, spec.delay_ms) {
        (Some(_), Some(_)) => Err(ApiError::field("delay_ms", "delay_ms and start_at exclude each other")),
        (_, Some(delay)) if delay > MAX_DELAY_MS => {
            Err(ApiError::field("delay_ms", format!("delay_ms should be between 0 and {MAX_DELAY_MS}")))
        }
        (None, Some(delay)) => Ok(Some(now.plus_ms(delay as i64))),
        (start_at, None) => Ok(start_at.map(not_before)),
    }
}

/// A task that never fires would not be refused by its schedule, which has moments.
fn max_fires(wanted: Option<u64>) -> Result<Option<u64>, ApiError> {
    let most = i64::MAX as u64;
    let fits = wanted.is_none_or(|fires| (1..=most).contains(&fires));
    let wrong = || ApiError::field("max_fires", format!("max_fires should be between 1 and {most}"));
    fits.then_some(wanted).ok_or_else(wrong)
}

/// An instant, cut to milliseconds.
pub fn moment(at: Timestamp) -> Moment {
    Moment::from_ms(at.as_millisecond())
}

/// An instant before which nothing may be done: what is beyond milliseconds counts as one more.
fn not_before(at: Timestamp) -> Moment {
    moment(at).plus_ms(i64::from(at.subsec_nanosecond() % 1_000_000 > 0))
}

fn schedule(spec: ScheduleSpec, default_zone: &str) -> Schedule {
    match spec {
        ScheduleSpec::Once {} => Schedule::Once,
        ScheduleSpec::Every { period_ms } => Schedule::Every { period_ms },
        ScheduleSpec::Cron { cron, zone } => {
            Schedule::Cron { expression: cron, zone: zone.unwrap_or_else(|| default_zone.to_owned()) }
        }
    }
}

fn policy(retry: Retry) -> RetryPolicy {
    RetryPolicy {
        max_attempts: retry.max_attempts,
        backoff_ms: retry.backoff_ms,
        max_backoff_ms: retry.max_backoff_ms,
    }
}

/// The spec that a definition would be written as.
pub fn of(definition: &Submission) -> TaskSpec {
    TaskSpec {
        name: definition.name.clone(),
        data: definition.data.clone(),
        schedule: view::schedule(definition.schedule.clone()),
        start_at: definition.start_at.map(wire::timestamp),
        delay_ms: None,
        end_at: definition.end_at.map(wire::timestamp),
        max_fires: definition.max_fires,
        ack: definition.ack,
        max_runtime_sec: definition.max_runtime_sec,
        queue: definition.queue.clone(),
        retry: definition.retry.map(view::retry),
        dedup_key: match &definition.dedup {
            Dedup::Key(key) => Some(key.clone()),
            Dedup::Pair | Dedup::Nothing => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    #[test]
    fn a_start_is_given_once_and_never_comes_early() {
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
    fn a_limit_of_no_fires_is_refused() {
        assert!(max_fires(Some(0)).is_err() && max_fires(Some(u64::MAX)).is_err());
        assert_eq!(max_fires(Some(1)).unwrap(), Some(1));
    }
}
