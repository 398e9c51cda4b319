//! JSON body of a request, decoded field by field. An error names the first invalid field.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;

/// Fields of a JSON object. The Content-Type is ignored, and a `null` field counts as absent.
pub struct Fields(Map<String, Value>);

/// Whether the body of a request is still being received. It decides between 408 and 503 at the
/// time limit.
#[derive(Debug, Clone, Default)]
pub struct BodyArrives(Arc<AtomicBool>);

impl BodyArrives {
    /// Returns whether the body is still being received.
    pub fn is_awaited(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, awaited: bool) {
        self.0.store(awaited, Ordering::Relaxed);
    }
}

impl FromRequest<Context> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        Self::decode(&read(request, context.limits.body_limit_bytes).await?)
    }
}

/// The bytes of a body.
pub struct Raw(pub Bytes);

impl FromRequest<Context> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        read(request, context.limits.body_limit_bytes).await.map(Self)
    }
}

/// Fields of an optional JSON object. A request without a body has none.
pub struct OptionalFields(pub Fields);

impl FromRequest<Context> for OptionalFields {
    type Rejection = ApiError;

    async fn from_request(request: Request, context: &Context) -> Result<Self, ApiError> {
        let body = read(request, context.limits.body_limit_bytes).await?;
        if matches!(body.trim_ascii(), b"" | b"null") {
            return Ok(Self(Fields(Map::new())));
        }
        Fields::decode(&body).map(Self)
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    if announced_length(&request).is_some_and(|length| length > limit as u64) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    let arrives = request.extensions().get::<BodyArrives>().cloned().unwrap_or_default();
    arrives.set(true);
    let bytes = axum::body::to_bytes(request.into_body(), limit).await;
    arrives.set(false);
    bytes.map_err(|error| refused(&error, limit))
}

fn announced_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refused(error: &axum::Error, limit: usize) -> ApiError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return ApiError::BodyTooLarge(limit);
        }
        cause = error.source();
    }
    ApiError::format("body", "the body ended before it was complete")
}

impl Fields {
    /// Decodes a body.
    ///
    /// # Errors
    /// An error if the body is not a JSON object.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(ApiError::format("body", format!("expected an object, got {}", kind(&other)))),
            Err(error) => Err(ApiError::format("body", error.to_string())),
        }
    }

    /// Returns all fields.
    pub fn into_object(self) -> Map<String, Value> {
        self.0
    }

    fn get(&self, field: &'static str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Returns a string field.
    ///
    /// # Errors
    /// An error if the value is not a string.
    pub fn text(&self, field: &'static str) -> Result<Option<&str>, ApiError> {
        self.read(field, "a string", Value::as_str)
    }

    /// Returns an integer field.
    ///
    /// # Errors
    /// An error if the value is not an integer; a number in quotes is not.
    pub fn int(&self, field: &'static str) -> Result<Option<i64>, ApiError> {
        self.read(field, "an integer", Value::as_i64)
    }

    /// Returns a boolean field.
    ///
    /// # Errors
    /// An error if the value is not a boolean.
    pub fn flag(&self, field: &'static str) -> Result<Option<bool>, ApiError> {
        self.read(field, "true or false", Value::as_bool)
    }

    /// Returns an array of strings.
    ///
    /// # Errors
    /// An error if the value is not an array of strings.
    pub fn texts(&self, field: &'static str) -> Result<Vec<&str>, ApiError> {
        let texts = |value: &'_ Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        self.read(field, "an array of strings", texts)?;
        let items = self.get(field).and_then(Value::as_array);
        Ok(items.into_iter().flatten().filter_map(Value::as_str).collect())
    }

    fn read<'a, T>(
        &'a self,
        field: &'static str,
        expected: &str,
        as_kind: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let invalid =
            || ApiError::format(field, format!("{field}: expected {expected}, got {}", kind(value)));
        as_kind(value).map(Some).ok_or_else(invalid)
    }
}

/// Names the JSON type of a value. An error never contains the value, because it may be
/// confidential.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::decode(json.as_bytes()).ok().unwrap()
    }

    fn detail<T>(result: Result<T, ApiError>) -> String {
        match result {
            Err(ApiError::Format { field, detail }) => format!("{field}|{detail}"),
            _ => "no format error".to_owned(),
        }
    }

    #[test]
    fn a_null_field_is_absent() {
        let fields = fields(r#"{"a":null}"#);
        assert_eq!(fields.text("a").unwrap(), None);
        assert_eq!(fields.int("b").unwrap(), None);
        assert!(fields.texts("a").unwrap().is_empty());
    }

    #[test]
    fn an_error_names_the_expected_and_the_actual_type() {
        let fields = fields(r#"{"t":1,"i":"7","f":1.0,"b":0,"l":["a",2],"big":99999999999999999999}"#);
        assert_eq!(detail(fields.text("t")), "t|t: expected a string, got a number");
        assert_eq!(detail(fields.int("i")), "i|i: expected an integer, got a string");
        assert!(detail(fields.int("f")).ends_with("got a fraction"));
        assert!(detail(fields.int("big")).starts_with("big|"));
        assert!(detail(fields.flag("b")).starts_with("b|"));
        assert!(detail(fields.texts("l")).starts_with("l|"));
    }

    #[test]
    fn a_body_that_is_not_an_object_is_refused() {
        for body in ["", "[]", "7", "{", "{} {}", "{\"a\":1}x", "\u{feff}{}"] {
            assert!(detail(Fields::decode(body.as_bytes())).starts_with("body|"), "{body}");
        }
        assert!(detail(Fields::decode(b"{\"a\":\"\xff\"}")).starts_with("body|"));
    }

    #[test]
    fn deep_nesting_is_refused_before_it_exhausts_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(detail(Fields::decode(deep.as_bytes())).contains("recursion limit"));
    }
}
