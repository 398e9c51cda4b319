//! The one place that knows status codes. Callers hear what they did wrong; what went wrong with us is logged and hidden.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskcenter_client::wire::ErrorReply;

use crate::core::submission::InvalidSubmission;
use crate::core::tag::InvalidTag;
use crate::engine::service::PortError;
use crate::engine::service::ServiceError;

/// Why a request was not done.
#[derive(Debug)]
pub enum ApiError {
    /// A field is wrong.
    Field {
        /// The field.
        field: &'static str,
        /// The message, which old clients match on.
        msg: Cow<'static, str>,
        /// More for a person.
        detail: Option<String>,
    },
    /// The thing asked for is not there.
    NotFound,
    /// No such route.
    NoRoute,
    /// The route is there, not with this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is over the limit of so many bytes.
    BodyTooLarge(usize),
    /// A report on an attempt that is not the current one.
    Stale(String),
    /// The work took too long.
    Timeout,
    /// A back end is away.
    Unavailable(PortError),
    /// Anything else that is not the caller's fault.
    Internal(String),
}

impl ApiError {
    /// A field with a message.
    pub fn field(field: &'static str, msg: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field, msg: msg.into(), detail: None }
    }

    /// What the contract calls undecodable, with the field at fault.
    pub fn format(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Field { field, msg: Cow::Borrowed("request body format error"), detail: Some(detail.into()) }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Field { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stale(_) => StatusCode::CONFLICT,
            Self::Timeout | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn reply(self) -> ErrorReply {
        let err = i32::from(self.status().as_u16());
        let (msg, field, detail): (Cow<'static, str>, _, _) = match self {
            Self::Field { field, msg, detail } => (msg, Some(field.to_owned()), detail),
            Self::NotFound => ("not found".into(), None, None),
            Self::NoRoute => ("no such route".into(), None, None),
            Self::MethodNotAllowed => ("method not allowed".into(), None, None),
            Self::BodyTimeout => ("the request body did not arrive in time".into(), None, None),
            Self::BodyTooLarge(limit) => {
                (format!("the request body is over {limit} bytes").into(), None, None)
            }
            Self::Stale(why) => (format!("stale: {why}").into(), None, None),
            Self::Timeout => {
                ("the request took too long; it may or may not have been done: repeat it".into(), None, None)
            }
            Self::Unavailable(_) => {
                ("the store is unavailable; it may or may not have been done: repeat it".into(), None, None)
            }
            Self::Internal(_) => ("internal error".into(), None, None),
        };
        ErrorReply { err, msg: msg.into_owned(), field, detail }
    }

    fn log(&self) {
        match self {
            Self::Unavailable(error) => tracing::warn!(cause = chain(error), "a back end is unavailable"),
            Self::Internal(cause) => tracing::error!(cause, "a request failed"),
            _ => {}
        }
    }
}

/// An error and all that caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let mut response = (status, Json(self.reply())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
            // The rest of the body is not read, so nothing more can follow on this connection.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(invalid) => invalid.into(),
            ServiceError::NotFound => Self::NotFound,
            ServiceError::Stale(why) => Self::Stale(why),
            ServiceError::Port(error @ PortError::Unavailable(..)) => Self::Unavailable(error),
            ServiceError::Port(error) => Self::Internal(chain(&error)),
        }
    }
}

impl From<InvalidSubmission> for ApiError {
    fn from(invalid: InvalidSubmission) -> Self {
        use InvalidSubmission as I;
        let text = invalid.to_string();
        let (field, contract) = match invalid {
            I::Name(InvalidTag::Empty) => ("name", Some("name should not be empty")),
            I::Name(_) => ("name", None),
            I::DataTooLong(_) => ("data", None),
            I::Cron(_) => ("crontab", Some("params cron invalid")),
            I::Period => ("loop_time", Some("params loop_time invalid")),
            I::Start => ("start_time", None),
            I::EndPassed => ("end_time", Some("end_time should large than current timestamp")),
            I::EndBeforeStart | I::NeverDue => ("end_time", None),
            I::MaxRuntime => ("max_runtime", None),
            I::DedupKey => ("dedup_key", None),
        };
        match contract {
            Some(msg) => Self::Field { field, msg: msg.into(), detail: Some(text) },
            None => Self::field(field, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn what_went_wrong_with_us_is_not_told() {
        let unavailable = || PortError::Unavailable("MongoDB", CANARY.into());
        for error in [
            ApiError::from(ServiceError::Port(unavailable())),
            ApiError::from(ServiceError::Port(PortError::Refused("MongoDB", CANARY.into()))),
            ApiError::from(ServiceError::Port(PortError::Corrupt("MongoDB", CANARY.into()))),
        ] {
            let text = serde_json::to_string(&error.reply()).unwrap();
            assert!(!text.contains(CANARY), "{text}");
        }
    }

    #[test]
    fn an_absent_store_is_worth_another_try() {
        let error = ServiceError::Port(PortError::Unavailable("MongoDB", "no primary".into()));
        let response = ApiError::from(error).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn every_broken_rule_names_its_field() {
        let field = |invalid: InvalidSubmission| ApiError::from(invalid).reply().field.unwrap();
        assert_eq!(field(InvalidTag::Untrimmed.into()), "name");
        assert_eq!(field(InvalidSubmission::DataTooLong(1)), "data");
        assert_eq!(field(InvalidSubmission::Period), "loop_time");
        assert_eq!(field(InvalidSubmission::Start), "start_time");
        assert_eq!(field(InvalidSubmission::EndBeforeStart), "end_time");
        assert_eq!(field(InvalidSubmission::NeverDue), "end_time");
        assert_eq!(field(InvalidSubmission::MaxRuntime), "max_runtime");
        assert_eq!(field(InvalidSubmission::DedupKey), "dedup_key");
    }
}
