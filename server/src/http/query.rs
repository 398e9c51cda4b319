//! Query strings and path segments of the resource API. An unknown query parameter is refused.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;

use super::decode::cut;
use super::error::ApiError;
use crate::core::TaskId;
use crate::core::hold::HoldScope;
use crate::core::labels::{self, InvalidLabels, Labels};

/// Beginning of the parameters that filter by a label: `label.KEY=VALUE`.
const LABEL: &str = "label.";
/// Name of these parameters in the list of known parameters.
pub const LABELS: &str = "label.key";

/// Parameters of a query string.
pub struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    #[allow(clippy::disallowed_types, reason = "the rejection becomes an error of the API")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(params) =
            query.map_err(|error| ApiError::format("query", error.body_text()))?;
        Ok(Self(params))
    }
}

impl Query {
    /// Checks that only `known` parameters occur, each at most once.
    ///
    /// # Errors
    /// An error that names the first unknown or repeated parameter.
    pub fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        let mut seen = Vec::new();
        for (name, _) in &self.0 {
            let is_label = name.starts_with(LABEL) && known.contains(&LABELS);
            if !is_label && !known.contains(&name.as_str()) {
                let why = format!("unknown parameter; expected one of {}", known.join(", "));
                return Err(ApiError::field(cut(name).to_owned(), why));
            }
            if seen.contains(&name) {
                return Err(ApiError::field(name.clone(), format!("{name} should be given once")));
            }
            seen.push(name);
        }
        Ok(self)
    }

    /// Returns a parameter. An empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        let param = self.0.iter().find(|(param, value)| param == name && !value.is_empty());
        param.map(|(_, value)| value.as_str())
    }

    /// Returns the parameters `label.KEY=VALUE`. An empty one counts as absent.
    ///
    /// # Errors
    /// An error that names an invalid label, or says that there are too many.
    pub fn labels(&self) -> Result<Labels, ApiError> {
        let given = self.0.iter().filter(|(_, value)| !value.is_empty());
        let given = given.filter_map(|(name, value)| Some((name.strip_prefix(LABEL)?, value)));
        let labels: Labels = given.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        labels::check(&labels)
            .map_err(|invalid| ApiError::field(label_field(&invalid), invalid.to_string()))?;
        Ok(labels)
    }

    /// Returns an integer parameter between 1 and `most`.
    ///
    /// # Errors
    /// An error that names the bounds.
    pub fn number(&self, name: &'static str, default: u32, most: u32) -> Result<u32, ApiError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| ApiError::field(name, format!("{name} should be between 1 and {most}")))
    }

    /// Returns an integer parameter of at least 0.
    ///
    /// # Errors
    /// An error if the parameter is no such integer.
    pub fn unsigned(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let invalid = || ApiError::field(name, format!("{name} should be an integer of at least 0"));
        self.text(name).map(|text| text.parse().map_err(|_| invalid())).transpose()
    }

    /// Returns the value of `all` that the parameter names.
    ///
    /// # Errors
    /// An error that lists the allowed values.
    pub fn one_of<T: ToString + Copy>(&self, name: &'static str, all: &[T]) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = all.iter().find(|one| one.to_string() == text);
        let words = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let none = || ApiError::field(name, format!("{name} should be one of {}", words()));
        found.copied().map(Some).ok_or_else(none)
    }

    /// Returns a task id.
    ///
    /// # Errors
    /// An error if the id is malformed.
    pub fn task_id(&self, name: &'static str) -> Result<Option<TaskId>, ApiError> {
        let malformed = || ApiError::field(name, format!("{name} is malformed"));
        self.text(name).map(|text| TaskId::parse(text).ok_or_else(malformed)).transpose()
    }
}

/// Returns the parameter of an invalid label.
fn label_field(invalid: &InvalidLabels) -> String {
    match invalid {
        InvalidLabels::TooMany(_) => LABELS.to_owned(),
        InvalidLabels::Key(key) | InvalidLabels::Value(key) => format!("{LABEL}{key}"),
    }
}

/// The only parameter of a path, decoded. A segment that is not valid percent-encoded UTF-8 is
/// refused with the name of the parameter.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    #[allow(clippy::disallowed_types, reason = "the rejection becomes an error of the API")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segment = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        segment.map(|axum::extract::Path(segment)| Self(segment)).map_err(|error| undecodable(&error))
    }
}

fn undecodable(error: &PathRejection) -> ApiError {
    let PathRejection::FailedToDeserializePathParams(error) = error else {
        return ApiError::Internal(error.to_string());
    };
    match error.kind() {
        ErrorKind::InvalidUtf8InPathParam { key } => {
            let why = format!("{key} in the path is not valid percent-encoded UTF-8");
            ApiError::field(key.clone(), why)
        }
        other => ApiError::Internal(other.to_string()),
    }
}

/// Id of a task in the path. A malformed id counts as unknown.
pub struct TaskOf(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        TaskId::parse(&text).map(Self).ok_or_else(ApiError::not_found)
    }
}

/// Id and revision of a task in the path. Malformed ones count as unknown.
pub struct RevisionOf(pub TaskId, pub u32);

impl<S: Send + Sync> FromRequestParts<S> for RevisionOf {
    type Rejection = ApiError;

    #[allow(clippy::disallowed_types, reason = "the rejection becomes an error of the API")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segments = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let axum::extract::Path((id, rev)) = segments.map_err(|error| undecodable(&error))?;
        let parsed = TaskId::parse(&id).zip(rev.parse().ok());
        parsed.map(|(id, rev)| Self(id, rev)).ok_or_else(ApiError::not_found)
    }
}

/// Scope and name of a hold in the path.
pub struct HoldOf(pub HoldScope, pub String);

impl<S: Send + Sync> FromRequestParts<S> for HoldOf {
    type Rejection = ApiError;

    #[allow(clippy::disallowed_types, reason = "the rejection becomes an error of the API")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segments = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let axum::extract::Path((scope, name)) = segments.map_err(|error| undecodable(&error))?;
        let unknown = || ApiError::field("scope", format!("unknown scope {scope:?}: use queue or tag"));
        HoldScope::parse(&scope).ok_or_else(unknown).map(|scope| Self(scope, name))
    }
}
