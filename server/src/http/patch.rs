//! An edit of a task's definition: a JSON merge patch (RFC 7396) on its spec.

use serde_json::{Map, Value};
use taskcenter_client::resources::{ScheduleSpec, TaskSpec};

use super::decode::{cut, typed};
use super::error::ApiError;
use super::spec;
use crate::core::Moment;
use crate::core::submission::Submission;

const OF_SCHEDULE: &[&str] = &["kind", "period_ms", "cron", "zone"];
const OF_RETRY: &[&str] = &["max_attempts", "backoff_ms", "max_backoff_ms"];

/// The definition that the patch leaves. What it does not name stays exactly as it is.
///
/// # Errors
/// Names a field that is unknown, or that cannot be what the patch makes of it.
pub fn apply(
    base: Submission,
    patch: &Map<String, Value>,
    zone: &str,
    now: Moment,
) -> Result<Submission, ApiError> {
    refuse_unknown(patch, "schedule", OF_SCHEDULE)?;
    refuse_unknown(patch, "retry", OF_RETRY)?;
    let merged = typed::<TaskSpec>(&merged(spec::of(&base), patch))?;
    let wanted = spec::submission(merged, zone, now)?;
    let mut next = base;
    for field in patch.keys() {
        match field.as_str() {
            "name" => next.name.clone_from(&wanted.name),
            "data" => next.data.clone_from(&wanted.data),
            "schedule" => next.schedule.clone_from(&wanted.schedule),
            "start_at" | "delay_ms" => next.start_at = wanted.start_at,
            "end_at" => next.end_at = wanted.end_at,
            "max_fires" => next.max_fires = wanted.max_fires,
            "ack" => next.ack = wanted.ack,
            "max_runtime_sec" => next.max_runtime_sec = wanted.max_runtime_sec,
            "queue" => next.queue.clone_from(&wanted.queue),
            "retry" => next.retry = wanted.retry,
            "dedup_key" => next.dedup.clone_from(&wanted.dedup),
            // With a value the decoder has refused it; `null` would clear what is not there.
            unknown => return Err(no_such_field(unknown)),
        }
    }
    Ok(next)
}

fn refuse_unknown(patch: &Map<String, Value>, field: &str, known: &[&str]) -> Result<(), ApiError> {
    let Some(Value::Object(inner)) = patch.get(field) else { return Ok(()) };
    match inner.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(no_such_field(&format!("{field}.{unknown}"))),
        None => Ok(()),
    }
}

fn no_such_field(field: &str) -> ApiError {
    ApiError::field(cut(field).to_owned(), "there is no such field")
}

fn merged(base: TaskSpec, patch: &Map<String, Value>) -> Value {
    let names = |field: &str| patch.get(field).is_some_and(|value| !value.is_null());
    let other_kind = patch
        .get("schedule")
        .and_then(|schedule| schedule.get("kind"))
        .filter(|kind| **kind != word(&base.schedule));
    let schedule = if other_kind.is_some() { ScheduleSpec::Once {} } else { base.schedule };
    let start_at = if names("delay_ms") { None } else { base.start_at };
    // A spec is written as an object whatever it holds.
    let mut spec = serde_json::to_value(TaskSpec { schedule, start_at, ..base }).unwrap_or_default();
    for (field, value) in patch {
        merge(&mut spec, field, value);
    }
    spec
}

fn word(schedule: &ScheduleSpec) -> &'static str {
    match schedule {
        ScheduleSpec::Once {} => "once",
        ScheduleSpec::Every { .. } => "every",
        ScheduleSpec::Cron { .. } => "cron",
    }
}

/// One member of a merge patch, as RFC 7396 has it.
fn merge(target: &mut Value, field: &str, patch: &Value) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    match patch {
        Value::Null => drop(members.remove(field)),
        Value::Object(inner) => {
            let member = members.entry(field).or_insert(Value::Null);
            if !member.is_object() {
                *member = Value::Object(Map::new());
            }
            for (name, value) in inner {
                merge(member, name, value);
            }
        }
        value => drop(members.insert(field.to_owned(), value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::Schedule;
    use crate::core::retry::RetryPolicy;
    use crate::core::submission::Dedup;

    const NOW: Moment = Moment::from_sec(1_000);

    fn base() -> Submission {
        Submission {
            schedule: Schedule::Cron { expression: "@daily".into(), zone: "Asia/Shanghai".into() },
            start_at: Some(Moment::from_sec(2_000)),
            end_at: Some(Moment::from_ms(i64::MAX)),
            max_fires: Some(9),
            ack: true,
            max_runtime_sec: Some(30),
            queue: Some("q".into()),
            retry: Some(RetryPolicy { max_attempts: 3, backoff_ms: 1, max_backoff_ms: 2 }),
            ..Submission::named("n", "d")
        }
    }

    fn apply(patch: &Value) -> Result<Submission, ApiError> {
        super::apply(base(), patch.as_object().unwrap(), "UTC", NOW)
    }

    fn field_at_fault(patch: &Value) -> String {
        match apply(patch) {
            Err(ApiError::Field { field, .. }) => field.into_owned(),
            other => panic!("{patch} left {other:?}"),
        }
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        assert_eq!(apply(&json!({})).unwrap(), base());
        // The spec could not hold this end, nor that name and data tell the task.
        let next = apply(&json!({"data": "other"})).unwrap();
        assert_eq!(next, Submission { data: "other".into(), ..base() });
        assert_eq!(next.dedup, Dedup::Pair);
    }

    #[test]
    fn null_clears() {
        let cleared = json!({
            "data": null, "schedule": null, "start_at": null, "end_at": null, "max_fires": null, "ack": null,
            "max_runtime_sec": null, "queue": null, "retry": null, "dedup_key": null,
        });
        let wanted = Submission { dedup: Dedup::Nothing, ..Submission::named("n", "") };
        assert_eq!(apply(&cleared).unwrap(), wanted);
        assert_eq!(field_at_fault(&json!({"name": null})), "name");
    }

    #[test]
    fn an_inner_field_is_merged_and_another_kind_begins_anew() {
        let cron = |expression: &str, zone: &str| Schedule::Cron {
            expression: expression.into(),
            zone: zone.into(),
        };
        let schedule = |patch: Value| apply(&json!({"schedule": patch})).unwrap().schedule;
        assert_eq!(schedule(json!({"cron": "@hourly"})), cron("@hourly", "Asia/Shanghai"));
        assert_eq!(schedule(json!({"zone": null})), cron("@daily", "UTC"));
        assert_eq!(schedule(json!({"kind": "every", "period_ms": 5})), Schedule::Every { period_ms: 5 });
        assert_eq!(schedule(json!({"kind": "once"})), Schedule::Once);
        let retry = apply(&json!({"retry": {"max_attempts": 5}})).unwrap().retry;
        assert_eq!(retry, Some(RetryPolicy { max_attempts: 5, backoff_ms: 1, max_backoff_ms: 2 }));
    }

    #[test]
    fn a_delay_takes_the_starts_place() {
        assert_eq!(apply(&json!({"delay_ms": 5})).unwrap().start_at, Some(NOW.plus_ms(5)));
        assert_eq!(apply(&json!({"delay_ms": null})).unwrap().start_at, base().start_at);
        assert_eq!(field_at_fault(&json!({"delay_ms": 5, "start_at": "2030-01-01T00:00:00Z"})), "delay_ms");
    }

    #[test]
    fn what_is_unknown_is_named_even_where_it_is_to_be_cleared() {
        for (patch, field) in [
            (json!({"nam": "n"}), "nam"),
            (json!({"nam": null}), "nam"),
            (json!({"state": "paused"}), "state"),
            (json!({"schedule": {"at": null}}), "schedule.at"),
            (json!({"retry": {"attempts": null}}), "retry.attempts"),
            (json!({"schedule": {"period_ms": 5}}), "schedule.period_ms"),
            (json!({"retry": {"max_attempts": null}}), "retry.max_attempts"),
            (json!({"schedule": []}), "schedule"),
        ] {
            assert_eq!(field_at_fault(&patch), field, "{patch}");
        }
    }

    #[test]
    fn every_field_of_a_spec_can_be_patched() {
        let spec = TaskSpec { delay_ms: Some(5), dedup_key: Some("k".into()), ..spec::of(&base()) };
        let fields = serde_json::to_value(spec).unwrap();
        let fields = fields.as_object().unwrap();
        assert_eq!(fields.len(), 12);
        for (field, value) in fields {
            let patch = Map::from_iter([(field.clone(), value.clone())]);
            assert!(super::apply(base(), &patch, "UTC", NOW).is_ok(), "{field}");
        }
    }
}
