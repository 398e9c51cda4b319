//! Bodies of the resource API, decoded into their wire types. An error names the path of the field.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use super::body::{Fields, OptionalFields, kind};
use super::error::ApiError;

/// Maximum length of a quotation from the request in an error.
const MAX_QUOTED_BYTES: usize = 200;

/// A body that has been decoded into its wire type. Unknown fields are refused.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let fields = Fields::from_request(request, context).await?;
        typed(&Value::Object(fields.into_object())).map(Self)
    }
}

/// Same as [`Body`], for a body that may be absent.
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let OptionalFields(fields) = OptionalFields::from_request(request, context).await?;
        typed(&Value::Object(fields.into_object())).map(Self)
    }
}

/// Decodes a value.
///
/// # Errors
/// An error that names the first field that is missing, unknown or of the wrong type.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        fault(value, if path == "." { "" } else { &path }, &error.inner().to_string())
    })
}

/// Checks that a list has 1 to `most` items.
///
/// # Errors
/// An error that names the bounds.
pub fn bounded(field: &'static str, items: usize, most: usize) -> Result<(), ApiError> {
    let wrong = || ApiError::field(field, format!("{field} should have between 1 and {most} items"));
    (1..=most).contains(&items).then_some(()).ok_or_else(wrong)
}

/// Converts an error of the decoder, whose text names Rust types and quotes whole values.
fn fault(value: &Value, path: &str, text: &str) -> ApiError {
    if last(path) == "schedule" && !at(value, path).is_object() {
        return mismatch(value, path, "an object");
    }
    if let Some(name) = named(text, "missing field `") {
        let field = below(path, name);
        return ApiError::field(field.clone(), format!("{field} is missing"));
    }
    if let Some(name) = named(text, "unknown field `") {
        let field = if last(path) == name { path.to_owned() } else { below(path, name) };
        let known = text.rsplit_once(", expected ").map(|(_, known)| format!("; expected {known}"));
        let why = format!("unknown field{}", known.unwrap_or_default());
        return ApiError::field(cut(&field).to_owned(), why);
    }
    if last(path) == "schedule"
        && let Some((name, expected)) = wrong_in_schedule(at(value, path))
    {
        let field = below(path, name);
        return mismatch(value, &field, expected);
    }
    let expected = if last(path).ends_with("_at") {
        "an instant such as 2030-01-31T08:00:00Z"
    } else {
        text.rsplit_once(", expected ").map_or(text, |(_, expected)| plain(expected))
    };
    mismatch(value, path, cut(expected))
}

/// Creates the error of a value that is not as expected. It names the type of the value, unless the
/// type is right and only the value is invalid.
fn mismatch(value: &Value, path: &str, expected: &str) -> ApiError {
    const OTHER_TYPES: [&str; 4] = ["an integer", "an array", "an object", "true or false"];
    let actual = at(value, path);
    let has_type = match actual {
        Value::Number(number) => !number.is_f64() && expected.contains("integer"),
        Value::String(_) => !OTHER_TYPES.iter().any(|other| expected.starts_with(other)),
        _ => false,
    };
    let got = if has_type { String::new() } else { format!(", got {}", kind(actual)) };
    let hint = if last(path) == "data" { ". Send JSON as a string, or use `json`" } else { "" };
    ApiError::field(path.to_owned(), format!("{path}: expected {expected}{got}{hint}"))
}

/// Returns the name that the decoder quotes after `mark`.
fn named<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    // An unknown name can contain any character, but no wire name contains a backquote.
    text.strip_prefix(mark)?.split('`').next()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Shortens a text of the request for an error.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_QUOTED_BYTES)]
}

/// Translates the type names of the decoder.
fn plain(expected: &str) -> &str {
    match expected {
        "a string" => "a string",
        "u32" => "an integer between 0 and 4294967295",
        "u64" => "an integer of at least 0",
        "i64" => "an integer",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        other if other.starts_with("struct ") || other.contains("tagged enum") => "an object",
        other => other,
    }
}

/// Returns the value at a path such as `tasks[3].schedule`.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    let pointer = path.replace('[', ".").replace(']', "").replace('.', "/");
    value.pointer(&format!("/{pointer}")).unwrap_or(&Value::Null)
}

/// Returns the invalid field of a schedule with its expected type. The decoder reads `kind` first
/// and so loses the path inside a schedule.
fn wrong_in_schedule(schedule: &Value) -> Option<(&'static str, &'static str)> {
    type Fits = fn(&Value) -> bool;
    let kinds: [(&str, &str, Fits); 4] = [
        ("kind", "\"once\", \"every\" or \"cron\"", |value| {
            matches!(value.as_str(), Some("once" | "every" | "cron"))
        }),
        ("period_ms", "an integer", Value::is_i64),
        ("cron", "a string", Value::is_string),
        ("zone", "a string", |value| value.is_string() || value.is_null()),
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
            Err(other) => panic!("the error names no field: {other:?}"),
            Ok(_) => panic!("{value} was accepted"),
        }
    }

    fn task(changes: &Value) -> Value {
        let mut task = json!({"name": "n"});
        task.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"tasks": [{"name": "n"}, task]})
    }

    #[test]
    fn an_error_names_the_path_of_the_field() {
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
            ("tasks".into(), "tasks: expected an array, got a number".into())
        );
    }

    #[test]
    fn an_error_is_plain_and_does_not_contain_the_data() {
        let canary = "canary".repeat(1_000);
        let (_, why) = refused::<CreateTasks>(&task(&json!({"max_fires": canary})));
        assert_eq!(why, "tasks[1].max_fires: expected an integer of at least 0, got a string");
        let (_, why) = refused::<CreateTasks>(&task(&json!({"data": {"id": canary}})));
        assert_eq!(
            why,
            "tasks[1].data: expected a string, got an object. Send JSON as a string, or use `json`"
        );
        let (_, why) = refused::<CreateTasks>(&task(&json!({"end_at": canary})));
        assert_eq!(why, "tasks[1].end_at: expected an instant such as 2030-01-31T08:00:00Z");
        let (field, _) = refused::<CreateTasks>(&task(&json!({&canary: 1})));
        assert!(field.len() <= MAX_QUOTED_BYTES, "{field}");
        let (_, why) =
            refused::<LeaseRequest>(&json!({"worker": "w", "queues": ["q"], "limit": 1_u64 << 40}));
        assert_eq!(why, "limit: expected an integer between 0 and 4294967295");
    }
}
