//! The resource API's bodies: decoded into their wire types, and where that fails the field is named by its path.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use super::body::Fields;
use super::error::ApiError;

/// Longest part of a decoder's text that is handed on: it may quote the caller's own data.
const MAX_QUOTED_BYTES: usize = 200;

/// A JSON object of the wire type's fields and no others.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let fields = Fields::from_request(request, context).await?;
        typed(&Value::Object(fields.into_object())).map(Self)
    }
}

/// Decodes a value.
///
/// # Errors
/// Names the first field that is missing, unknown or of the wrong kind.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        fault(value, if path == "." { "" } else { &path }, &error.inner().to_string())
    })
}

/// Whether a list has between one item and so many.
///
/// # Errors
/// Names the bounds when it has not.
pub fn bounded(field: &'static str, items: usize, most: usize) -> Result<(), ApiError> {
    let wrong = || ApiError::field(field, format!("{field} should have between 1 and {most} items"));
    (1..=most).contains(&items).then_some(()).ok_or_else(wrong)
}

/// The decoder's text, turned into ours: it speaks of Rust's types, and quotes whole values.
fn fault(value: &Value, path: &str, text: &str) -> ApiError {
    if last(path) == "schedule" && !at(value, path).is_object() {
        return ApiError::field(path.to_owned(), format!("{path} should be an object"));
    }
    if let Some(name) = named(text, "missing field `") {
        let field = below(path, name);
        return ApiError::field(field.clone(), format!("{field} is missing"));
    }
    if let Some(name) = named(text, "unknown field `") {
        let field = if last(path) == name { path.to_owned() } else { below(path, name) };
        let known = text.rsplit_once(", expected ").map(|(_, known)| format!("; expected {known}"));
        let why = format!("there is no such field{}", known.unwrap_or_default());
        return ApiError::field(cut(&field).to_owned(), why);
    }
    if last(path) == "schedule"
        && let Some((name, expected)) = wrong_in_schedule(at(value, path))
    {
        let field = below(path, name);
        return ApiError::field(field.clone(), format!("{field} should be {expected}"));
    }
    let expected = if last(path).ends_with("_at") {
        "a moment such as 2030-01-31T08:00:00Z"
    } else {
        text.rsplit_once(", expected ").map_or(text, |(_, expected)| plain(expected))
    };
    ApiError::field(path.to_owned(), format!("{path} should be {}", cut(expected)))
}

/// What stands in the decoder's quotes.
fn named<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    // A name of the caller's own making may hold anything; no wire name holds a quote.
    text.strip_prefix(mark)?.split('`').next()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The beginning of what a caller wrote, to be named again.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_QUOTED_BYTES)]
}

/// A decoder's name for a kind, in words.
fn plain(expected: &str) -> &str {
    match expected {
        "a string" => "text",
        "u32" => "a whole number between 0 and 4294967295",
        "u64" => "a whole number from 0",
        "i64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other.contains("tagged enum") => "an object",
        other => other,
    }
}

/// The value at a path of ours.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    let pointer = path.replace('[', ".").replace(']', "").replace('.', "/");
    value.pointer(&format!("/{pointer}")).unwrap_or(&Value::Null)
}

/// The decoder loses its path inside a schedule, since it looks at the kind first.
fn wrong_in_schedule(schedule: &Value) -> Option<(&'static str, &'static str)> {
    type Fits = fn(&Value) -> bool;
    let kinds: [(&str, &str, Fits); 4] = [
        ("kind", "once, every or cron", |value| matches!(value.as_str(), Some("once" | "every" | "cron"))),
        ("period_ms", "a whole number", Value::is_i64),
        ("cron", "text", Value::is_string),
        ("zone", "text", |value| value.is_string() || value.is_null()),
    ];
    let wrong = kinds.iter().find(|(name, _, fits)| schedule.get(name).is_some_and(|value| !fits(value)));
    wrong.map(|(name, expected, _)| (*name, *expected))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taskcenter_client::resources::{CreateTasks, LeaseRequest};

    use super::*;

    fn refused<T: DeserializeOwned>(value: &Value) -> (String, String) {
        match typed::<T>(value) {
            Err(ApiError::Field { field, msg, .. }) => (field.into_owned(), msg.into_owned()),
            Err(other) => panic!("{other:?} names no field"),
            Ok(_) => panic!("{value} is taken"),
        }
    }

    fn task(changes: &Value) -> Value {
        let mut task = json!({"name": "n"});
        task.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"tasks": [{"name": "n"}, task]})
    }

    #[test]
    fn a_field_is_named_by_its_path() {
        for (change, field) in [
            (json!({"name": 7}), "name"),
            (json!({"nam": "n"}), "nam"),
            (json!({"max_fires": -1}), "max_fires"),
            (json!({"max_fires": 1.5}), "max_fires"),
            (json!({"max_fires": 1e300}), "max_fires"),
            (json!({"start_at": "soon"}), "start_at"),
            (json!({"start_at": 7}), "start_at"),
            (json!({"ack": "yes"}), "ack"),
            (json!({"schedule": "daily"}), "schedule"),
            (json!({"schedule": {}}), "schedule.kind"),
            (json!({"schedule": {"kind": "daily"}}), "schedule.kind"),
            (json!({"schedule": {"kind": 7}}), "schedule.kind"),
            (json!({"schedule": {"kind": "cron"}}), "schedule.cron"),
            (json!({"schedule": {"kind": "cron", "cron": 7}}), "schedule.cron"),
            (json!({"schedule": {"kind": "cron", "cron": "@daily", "zone": 7}}), "schedule.zone"),
            (json!({"schedule": {"kind": "every", "period_ms": "7"}}), "schedule.period_ms"),
            (json!({"schedule": {"kind": "every", "period_ms": 7, "cron": "x"}}), "schedule.cron"),
            (json!({"schedule": {"kind": "once", "at": 7}}), "schedule.at"),
            (json!({"retry": {"max_attempts": 1}}), "retry.backoff_ms"),
            (
                json!({"retry": {"max_attempts": 1, "backoff_ms": 1, "max_backoff_ms": "1"}}),
                "retry.max_backoff_ms",
            ),
        ] {
            assert_eq!(refused::<CreateTasks>(&task(&change)).0, format!("tasks[1].{field}"), "{change}");
        }
        assert_eq!(refused::<CreateTasks>(&json!({})).0, "tasks");
        assert_eq!(refused::<CreateTasks>(&json!({"tasks": [], "more": 1})).0, "more");
        assert_eq!(
            refused::<CreateTasks>(&json!({"tasks": 7})),
            ("tasks".into(), "tasks should be a list".into())
        );
    }

    #[test]
    fn the_caller_is_told_in_words_and_never_hears_its_data_again() {
        let canary = "canary".repeat(1_000);
        let (_, why) = refused::<CreateTasks>(&task(&json!({"max_fires": canary})));
        assert_eq!(why, "tasks[1].max_fires should be a whole number from 0");
        let (_, why) = refused::<CreateTasks>(&task(&json!({"end_at": canary})));
        assert_eq!(why, "tasks[1].end_at should be a moment such as 2030-01-31T08:00:00Z");
        let (field, _) = refused::<CreateTasks>(&task(&json!({&canary: 1})));
        assert!(field.len() <= MAX_QUOTED_BYTES, "{field}");
        let (_, why) =
            refused::<LeaseRequest>(&json!({"worker": "w", "queues": ["q"], "limit": 1_u64 << 40}));
        assert_eq!(why, "limit should be a whole number between 0 and 4294967295");
    }
}
