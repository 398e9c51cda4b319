//! Edit of a task: a JSON merge patch (RFC 7396) of its spec.

use std::borrow::Cow;

use serde_json::{Map, Value};
use taskcenter_client::resources::{ScheduleSpec, TaskSpec};

use super::decode::{cut, typed};
use super::error::ApiError;
use super::{calendars, overlap, rate_limit, retry, spec};
use crate::core::Moment;
use crate::core::operation::InvalidOperation;
use crate::core::submission::Submission;

const OF_SCHEDULE: &[&str] = &["kind", "period_ms", "cron", "zone", "also", "dialect", "dst"];
const OF_MISFIRE: &[&str] = &["policy", "grace_ms", "max"];

/// Applies a patch to a definition. Fields that the patch does not name keep their exact values.
///
/// # Errors
/// An error that names an unknown field, or a field that the patch makes invalid.
pub fn apply(
    base: Submission,
    patch: &Map<String, Value>,
    zone: &str,
    now: Moment,
) -> Result<Submission, ApiError> {
    let patch = &*text_of_json(patch)?;
    refuse_unknown(patch, "schedule", OF_SCHEDULE)?;
    refuse_unknown(patch, "retry", retry::FIELDS)?;
    refuse_unknown(patch, "misfire", OF_MISFIRE)?;
    refuse_unknown(patch, "overlap", overlap::FIELDS)?;
    refuse_unknown(patch, "calendars", calendars::FIELDS)?;
    refuse_unknown(patch, "rate", rate_limit::FIELDS)?;
    let merged = typed::<TaskSpec>(&merged(spec::of(&base), patch))?;
    let patched = spec::submission(merged, zone, now)?;
    let mut next = base;
    for field in patch.keys() {
        match field.as_str() {
            "name" => next.name.clone_from(&patched.name),
            "data" => next.data.clone_from(&patched.data),
            "headers" => next.headers.clone_from(&patched.headers),
            "labels" => next.labels.clone_from(&patched.labels),
            "schedule" => next.schedule.clone_from(&patched.schedule),
            "start_at" | "delay_ms" => next.start_at = patched.start_at,
            "end_at" => next.end_at = patched.end_at,
            "max_fires" => next.max_fires = patched.max_fires,
            "ack" => next.ack = patched.ack,
            "start_within_ms" => next.start_within_ms = patched.start_within_ms,
            "max_runtime_sec" => next.max_runtime_sec = patched.max_runtime_sec,
            "queue" => next.queue.clone_from(&patched.queue),
            "retry" => next.retry.clone_from(&patched.retry),
            "jitter_ms" => next.timing.jitter_ms = patched.timing.jitter_ms,
            "overlap" => next.timing.overlap = patched.timing.overlap,
            "concurrency" => next.timing.concurrency.clone_from(&patched.timing.concurrency),
            "calendars" => next.timing.calendars.clone_from(&patched.timing.calendars),
            "rate" => next.timing.rate.clone_from(&patched.timing.rate),
            "misfire" => next.timing.misfire = patched.timing.misfire,
            "dedup_key" => next.dedup.clone_from(&patched.dedup),
            // The decoder refuses an unknown field with a value, but the merge drops one with
            // `null`.
            unknown => return Err(unknown_field(unknown)),
        }
    }
    Ok(next)
}

/// Applies the JSON text of a patch to a definition, for operations.
///
/// # Errors
/// As [`apply`]; the field lies in `patch`. A relative `delay_ms` is refused: an operation may apply a patch
/// to a task more than once.
pub fn patch_definition(
    base: Submission,
    patch: &str,
    zone: &str,
    now: Moment,
) -> Result<Submission, InvalidOperation> {
    let Ok(Value::Object(patch)) = serde_json::from_str(patch) else {
        return Err(InvalidOperation::new("patch", "patch: expected an object"));
    };
    if patch.is_empty() {
        return Err(InvalidOperation::new("patch", "patch should name at least one field"));
    }
    if patch.get("delay_ms").is_some_and(|delay| !delay.is_null()) {
        return Err(InvalidOperation::new(
            "patch.delay_ms",
            "delay_ms is relative to the time of each edit: use start_at",
        ));
    }
    apply(base, &patch, zone, now).map_err(|error| {
        let (field, message) = error.into_field();
        InvalidOperation::new(format!("patch.{field}"), message)
    })
}

/// Replaces `json` by the same payload as `data`. A merge would drop the `null` members of `json`.
fn text_of_json(patch: &Map<String, Value>) -> Result<Cow<'_, Map<String, Value>>, ApiError> {
    let Some(json) = patch.get("json") else { return Ok(Cow::Borrowed(patch)) };
    if !json.is_null() && patch.get("data").is_some_and(|data| !data.is_null()) {
        return Err(ApiError::field("json", "json and data are mutually exclusive: send one of them"));
    }
    let mut patch = patch.clone();
    patch.remove("json");
    if !json.is_null() {
        patch.insert("data".to_owned(), Value::String(json.to_string()));
    }
    Ok(Cow::Owned(patch))
}

fn refuse_unknown(patch: &Map<String, Value>, field: &str, known: &[&str]) -> Result<(), ApiError> {
    let Some(Value::Object(inner)) = patch.get(field) else { return Ok(()) };
    match inner.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(unknown_field(&format!("{field}.{unknown}"))),
        None => Ok(()),
    }
}

fn unknown_field(field: &str) -> ApiError {
    ApiError::field(cut(field).to_owned(), "unknown field")
}

fn merged(base: TaskSpec, patch: &Map<String, Value>) -> Value {
    let names = |field: &str| patch.get(field).is_some_and(|value| !value.is_null());
    let other_kind = patch
        .get("schedule")
        .and_then(|schedule| schedule.get("kind"))
        .filter(|kind| **kind != kind_of(&base.schedule));
    let schedule = if other_kind.is_some() { ScheduleSpec::Once {} } else { base.schedule };
    let start_at = if names("delay_ms") { None } else { base.start_at };
    let retry = base.retry.filter(|base| retry::has_form(base, patch.get("retry")));
    // The encoding of a spec cannot fail.
    let mut spec = serde_json::to_value(TaskSpec { schedule, start_at, retry, ..base }).unwrap_or_default();
    for (field, value) in patch {
        merge(&mut spec, field, value);
    }
    spec
}

fn kind_of(schedule: &ScheduleSpec) -> &'static str {
    match schedule {
        ScheduleSpec::Once {} => "once",
        ScheduleSpec::Every { .. } => "every",
        ScheduleSpec::Cron { .. } => "cron",
    }
}

/// Applies one field of a merge patch, as in RFC 7396.
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
    use std::str::FromStr as _;

    use serde_json::json;

    use super::*;
    use crate::core::Schedule;
    use crate::core::calendar::Calendars;
    use crate::core::concurrency::{Limit, Scope};
    use crate::core::headers::Headers;
    use crate::core::labels::Labels;
    use crate::core::misfire::{MisfirePolicy, MisfireRule};
    use crate::core::overlap::Overlap;
    use crate::core::rate::Rate;
    use crate::core::retry::RetryPolicy;
    use crate::core::submission::Dedup;
    use crate::core::timing::Timing;

    const NOW: Moment = Moment::from_sec(1_000);

    fn base() -> Submission {
        Submission {
            schedule: Schedule::cron("@daily", "Asia/Shanghai"),
            start_at: Some(Moment::from_sec(2_000)),
            end_at: Some(Moment::from_ms(i64::MAX)),
            max_fires: Some(9),
            ack: true,
            max_runtime_sec: Some(30),
            start_within_ms: Some(500),
            headers: Headers::from([("a".into(), "1".into()), ("b".into(), "2".into())]),
            labels: Labels::from([("team".into(), "pay".into()), ("tier".into(), "1".into())]),
            queue: Some("q".into()),
            retry: Some(RetryPolicy::doubling(3, 1, 2)),
            timing: Timing {
                misfire: MisfireRule { max: Some(7), ..MisfireRule::default() },
                jitter_ms: Some(9),
                overlap: Some(Overlap::QueueAll { max: 7 }),
                concurrency: vec![Limit { max: 2, scope: Scope::Tag, key: None }],
                calendars: Calendars::named(vec!["workdays".into()], Vec::new()),
                rate: Some("9/2s:tag:k".parse().unwrap()),
            },
            ..Submission::named("n", "d")
        }
    }

    fn apply(patch: &Value) -> Result<Submission, ApiError> {
        super::apply(base(), patch.as_object().unwrap(), "UTC", NOW)
    }

    fn invalid_field(patch: &Value) -> String {
        match apply(patch) {
            Err(ApiError::Field { field, .. }) => field.into_owned(),
            other => panic!("{patch} resulted in {other:?}"),
        }
    }

    #[test]
    fn a_field_that_is_not_named_keeps_its_value() {
        assert_eq!(apply(&json!({})).unwrap(), base());
        // A spec cannot express this end, nor deduplication by name and data.
        let next = apply(&json!({"data": "other"})).unwrap();
        assert_eq!(next, Submission { data: "other".into(), ..base() });
        assert_eq!(next.dedup, Dedup::Pair);
    }

    #[test]
    fn null_clears_a_field() {
        let cleared = json!({
            "data": null, "headers": null, "labels": null, "schedule": null, "start_at": null, "end_at": null, "max_fires": null, "ack": null,
            "max_runtime_sec": null, "start_within_ms": null, "queue": null, "retry": null, "misfire": null, "jitter_ms": null,
            "overlap": null, "concurrency": null, "calendars": null, "rate": null, "dedup_key": null,
        });
        let expected = Submission { dedup: Dedup::Nothing, ..Submission::named("n", "") };
        assert_eq!(apply(&cleared).unwrap(), expected);
        assert_eq!(invalid_field(&json!({"name": null})), "name");
    }

    #[test]
    fn an_inner_field_is_merged_and_another_kind_replaces_the_schedule() {
        let cron = |expression: &str, zone: &str| Schedule::cron(expression, zone);
        let schedule = |patch: Value| apply(&json!({"schedule": patch})).unwrap().schedule;
        assert_eq!(schedule(json!({"cron": "@hourly"})), cron("@hourly", "Asia/Shanghai"));
        assert_eq!(schedule(json!({"zone": null})), cron("@daily", "UTC"));
        assert_eq!(schedule(json!({"kind": "every", "period_ms": 5})), Schedule::Every { period_ms: 5 });
        assert_eq!(schedule(json!({"kind": "once"})), Schedule::Once);
        let headers = apply(&json!({"headers": {"a": null, "b": "3", "c": "4"}})).unwrap().headers;
        assert_eq!(headers, Headers::from([("b".into(), "3".into()), ("c".into(), "4".into())]));
        let labels = apply(&json!({"labels": {"team": null, "tier": "2"}})).unwrap().labels;
        assert_eq!(labels, Labels::from([("tier".into(), "2".into())]));
        let retry = apply(&json!({"retry": {"max_attempts": 5}})).unwrap().retry;
        let misfire = apply(&json!({"misfire": {"policy": "skip"}})).unwrap().timing.misfire;
        let policy = Some(MisfirePolicy::Skip);
        let rate = apply(&json!({"rate": {"limit": 7, "key": null, "burst": 2}})).unwrap().timing.rate;
        assert_eq!(rate, Some(Rate { burst: Some(2), ..Rate::from_str("7/2s:tag").unwrap() }));
        assert_eq!(misfire, MisfireRule { policy, grace_ms: None, max: Some(7) });
        assert_eq!(retry, Some(RetryPolicy::doubling(5, 1, 2)));
    }

    #[test]
    fn json_replaces_the_data_by_its_text() {
        let data = |patch: &Value| apply(patch).unwrap().data;
        assert_eq!(data(&json!({"json": {"a": null, "b": [1]}})), r#"{"a":null,"b":[1]}"#);
        assert_eq!(data(&json!({"json": [], "data": null})), "[]");
        assert_eq!(data(&json!({"json": null})), "d");
        assert_eq!(invalid_field(&json!({"json": {}, "data": "x"})), "json");
    }

    #[test]
    fn a_delay_replaces_the_start() {
        assert_eq!(apply(&json!({"delay_ms": 5})).unwrap().start_at, Some(NOW.plus_ms(5)));
        assert_eq!(apply(&json!({"delay_ms": null})).unwrap().start_at, base().start_at);
        assert_eq!(invalid_field(&json!({"delay_ms": 5, "start_at": "2030-01-01T00:00:00Z"})), "delay_ms");
    }

    #[test]
    fn an_unknown_field_is_refused_even_with_null() {
        for (patch, field) in [
            (json!({"nam": "n"}), "nam"),
            (json!({"nam": null}), "nam"),
            (json!({"state": "paused"}), "state"),
            (json!({"schedule": {"at": null}}), "schedule.at"),
            (json!({"retry": {"attempts": null}}), "retry.attempts"),
            (json!({"calendars": {"name": null}}), "calendars.name"),
            (json!({"misfire": {"grace": null}}), "misfire.grace"),
            (json!({"rate": {"units": null}}), "rate.units"),
            (json!({"rate": {"period_ms": null}}), "rate.period_ms"),
            (json!({"misfire": {"policy": "all"}}), "misfire.policy"),
            (json!({"concurrency": [{"most": null}]}), "concurrency[0].most"),
            (json!({"concurrency": [{"scope": "task"}]}), "concurrency[0].max"),
            (json!({"schedule": {"period_ms": 5}}), "schedule.period_ms"),
            (json!({"retry": {"max_attempts": null}}), "retry.max_attempts"),
            (json!({"schedule": []}), "schedule"),
        ] {
            assert_eq!(invalid_field(&patch), field, "{patch}");
        }
    }

    #[test]
    fn every_field_of_a_spec_can_be_patched() {
        let spec = TaskSpec { delay_ms: Some(5), dedup_key: Some("k".into()), ..spec::of(&base()) };
        let fields = serde_json::to_value(spec).unwrap();
        let fields = fields.as_object().unwrap();
        assert_eq!(fields.len(), 21);
        for (field, value) in fields {
            let patch = Map::from_iter([(field.clone(), value.clone())]);
            assert!(super::apply(base(), &patch, "UTC", NOW).is_ok(), "{field}");
        }
    }
}
