//! The creation of a task.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Recipe, Request, Shell, option, words};
use crate::core::calendar::Calendars;
use crate::core::rate::OnExcess;
use crate::core::retry::RetryPolicy;
use crate::core::submission::{Dedup, Submission};
use crate::core::{Moment, Schedule};

/// Longest payload that a text contains, in bytes.
const MAX_COPIED_BYTES: usize = 16 * 1024;

/// Command that reads a file with a task.
const FILE_COMMAND: &str = "taskcenter task add --file task.yaml";

/// Returns the texts that create a task with this definition. `None`: the payload is too large to copy.
pub fn create_task(shell: Shell, title: &str, definition: &Submission) -> Option<Recipe> {
    if definition.data.len() > MAX_COPIED_BYTES {
        return None;
    }
    let document = spec(definition);
    let request = Request { body: Some(&document), ..Request::post("/v1/tasks") };
    let command = add(definition);
    Some(Recipe::new(shell, title, &request, Some(&command)).with_document(&document, FILE_COMMAND))
}

fn instant(at: Moment) -> String {
    Timestamp::from_millisecond(at.ms()).unwrap_or(Timestamp::MAX).to_string()
}

/// Returns the body that creates the task. Defaults are left out.
pub fn spec(definition: &Submission) -> Value {
    let d = definition;
    let mut spec = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        spec.extend(value.map(|value| (name.to_owned(), value)));
    };
    put("name", Some(json!(d.name)));
    put("data", (!d.data.is_empty()).then(|| json!(d.data)));
    put("headers", (!d.headers.is_empty()).then(|| json!(d.headers)));
    put("labels", (!d.labels.is_empty()).then(|| json!(d.labels)));
    put("schedule", schedule(&d.schedule));
    put("start_at", d.start_at.map(|at| json!(instant(at))));
    put("end_at", d.end_at.map(|at| json!(instant(at))));
    put("max_fires", d.max_fires.map(Value::from));
    put("ack", d.ack.then_some(Value::Bool(true)));
    put("max_runtime_sec", d.max_runtime_sec.map(Value::from));
    put("start_within_ms", d.start_within_ms.map(Value::from));
    put("queue", d.queue.as_ref().map(|queue| json!(queue)));
    put("retry", d.retry.as_ref().map(retry));
    put("jitter_ms", d.timing.jitter_ms.map(Value::from));
    put("overlap", d.timing.overlap.map(|overlap| json!(overlap)));
    put("concurrency", (!d.timing.concurrency.is_empty()).then(|| json!(d.timing.concurrency)));
    put("calendars", d.timing.calendars.as_ref().map(|calendars| names(calendars)));
    put("rate", d.timing.rate.as_ref().map(|rate| json!(rate)));
    put("misfire", (!d.timing.misfire.is_default()).then(|| json!(d.timing.misfire)));
    put("dedup_key", dedup_key(d).map(|key| json!(key)));
    Value::Object(spec)
}

/// Returns the names of calendars as the API writes them.
fn names(calendars: &Calendars) -> Value {
    let (only, exclude) = calendars.names();
    let lists = [("only", only), ("exclude", exclude)].into_iter().filter(|(_, names)| !names.is_empty());
    Value::Object(lists.map(|(field, names)| (field.to_owned(), json!(names))).collect())
}

fn retry(retry: &RetryPolicy) -> Value {
    let mut fields = json!(retry);
    if let (Value::Object(fields), false) = (&mut fields, retry.intervals_ms.is_empty()) {
        fields.retain(|name, _| matches!(name.as_str(), "intervals_ms" | "jitter_percent"));
    }
    fields
}

/// Returns the options of a retry policy.
fn retry_options(retry: &RetryPolicy) -> Vec<String> {
    let default = RetryPolicy::default();
    let (factor, jitter) = (retry.factor_percent, retry.jitter_percent);
    let ms = |ms: &u64| format!("{ms}ms");
    let mut options = vec![];
    let mut put = |name: &str, value: Option<String>| options.extend(value.map(|value| option(name, &value)));
    if retry.intervals_ms.is_empty() {
        put("max-attempts", Some(retry.max_attempts.to_string()));
        put("backoff", Some(ms(&retry.backoff_ms)));
        put("max-backoff", Some(ms(&retry.max_backoff_ms)));
        put("backoff-factor", (factor != default.factor_percent).then(|| factor.to_string()));
    } else {
        let pauses: Vec<String> = retry.intervals_ms.iter().map(ms).collect();
        put("retry-intervals", Some(pauses.join(",")));
    }
    put("backoff-jitter", (jitter != default.jitter_percent).then(|| jitter.to_string()));
    options
}

fn schedule(schedule: &Schedule) -> Option<Value> {
    match schedule {
        Schedule::Once => None,
        Schedule::Every { period_ms } => Some(json!({"kind": "every", "period_ms": period_ms})),
        Schedule::Cron { expression, zone, options } => {
            let mut cron = Map::from_iter([
                ("kind".to_owned(), json!("cron")),
                ("cron".to_owned(), json!(expression)),
                ("zone".to_owned(), json!(zone)),
            ]);
            // The options are written as the API writes them.
            if let Ok(Value::Object(options)) = serde_json::to_value(options) {
                cron.extend(options);
            }
            Some(Value::Object(cron))
        }
    }
}

fn dedup_key(definition: &Submission) -> Option<&str> {
    match &definition.dedup {
        Dedup::Key(key) => Some(key),
        Dedup::Pair | Dedup::Nothing => None,
    }
}

/// Returns the arguments of `task add`.
fn add(definition: &Submission) -> Vec<String> {
    let d = definition;
    let mut add = words(&["task", "add"]);
    let mut put = |name: &str, value: Option<String>| add.extend(value.map(|value| option(name, &value)));
    put("data", (!d.data.is_empty()).then(|| d.data.clone()));
    match &d.schedule {
        Schedule::Once => {}
        Schedule::Every { period_ms } => put("every", Some(duration(*period_ms))),
        Schedule::Cron { expression, zone, options } => {
            for expression in std::iter::once(expression).chain(&options.also) {
                put("cron", Some(expression.clone()));
            }
            put("zone", (!zone.is_empty()).then(|| zone.clone()));
            put("dialect", (!options.dialect.is_unix()).then(|| options.dialect.as_str().to_owned()));
            put("dst-gap", options.dst.gap.map(|gap| gap.as_str().to_owned()));
            put("dst-repeat", options.dst.repeat.map(|repeat| repeat.as_str().to_owned()));
        }
    }
    put("at", d.start_at.map(instant));
    put("until", d.end_at.map(instant));
    put("times", d.max_fires.map(|fires| fires.to_string()));
    for (name, value) in &d.headers {
        put("header", Some(format!("{name}={value}")));
    }
    for (name, value) in &d.labels {
        put("label", Some(format!("{name}={value}")));
    }
    put("queue", d.queue.clone());
    put("ack", d.ack.then(|| "true".to_owned()));
    put("max-runtime", d.max_runtime_sec.map(|sec| format!("{sec}s")));
    put("start-within", d.start_within_ms.map(|ms| format!("{ms}ms")));
    put("dedup-key", dedup_key(d).map(str::to_owned));
    add.extend(d.retry.iter().flat_map(retry_options));
    let misfire = d.timing.misfire;
    let mut put = |name: &str, value: Option<String>| add.extend(value.map(|value| option(name, &value)));
    put("misfire", misfire.policy.map(|policy| policy.to_string()));
    put("misfire-grace", misfire.grace_ms.map(|ms| format!("{ms}ms")));
    put("misfire-max", misfire.max.map(|max| max.to_string()));
    put("jitter", d.timing.jitter_ms.map(|ms| format!("{ms}ms")));
    // The fields are written as the API writes them.
    for field in ["policy", "keep", "max"] {
        let value = d.timing.overlap.and_then(|overlap| json!(overlap).get(field).cloned());
        let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        put(if field == "policy" { "overlap".to_owned() } else { format!("overlap-{field}") }.as_str(), text);
    }
    for limit in &d.timing.concurrency {
        put("concurrency", Some(limit.to_string()));
    }
    let (only, exclude) = d.timing.calendars.as_ref().map(|calendars| calendars.names()).unwrap_or_default();
    only.into_iter().for_each(|name| put("only-within", Some(name)));
    exclude.into_iter().for_each(|name| put("except", Some(name)));
    if let Some(rate) = &d.timing.rate {
        put("rate", Some(rate.to_string()));
        put("rate-burst", rate.burst.map(|burst| burst.to_string()));
        put("rate-excess", (rate.on_excess == OnExcess::Drop).then(|| "drop".to_owned()));
    }
    // A name may begin with `-`.
    add.extend(["--".to_owned(), d.name.clone()]);
    add
}

fn duration(ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = UNITS.into_iter().find(|(size, _)| ms % size == 0);
    unit.map_or_else(|| format!("{ms}ms"), |(size, unit)| format!("{}{unit}", ms / size))
}
