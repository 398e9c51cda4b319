//! Responses: text with status 200 in every case. The page parses JSON in the text itself.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::engine::service::ServiceError;

/// A text with an optional cookie.
#[derive(Debug)]
pub struct Answer {
    body: String,
    cookie: Option<HeaderValue>,
    retry_after_sec: Option<u64>,
}

/// Why a request failed. The texts are defined by the contract.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A parameter is missing or invalid.
    #[error("请求格式不正确")]
    Request,
    /// A write failed.
    #[error("数据库存储失败")]
    Store,
    /// A read failed.
    #[error("数据库查询失败")]
    Query,
    /// No task has this id.
    #[error("任务不存在")]
    NoTask,
    /// Another user has the task.
    #[error("任务已被他人领取")]
    Claimed,
    /// The task is finished.
    #[error("任务已完成")]
    Done,
    /// A session is required.
    #[error("请登录")]
    NoSession,
    /// The user has no permission.
    #[error("没有权限")]
    NotAllowed,
    /// Too many login attempts; the next one is allowed after this number of seconds.
    #[error("登录过于频繁")]
    TooManyAttempts(u64),
}

impl ApiError {
    /// Logs the error of a read.
    #[allow(clippy::needless_pass_by_value, reason = "used in map_err")]
    pub fn query(error: ServiceError) -> Self {
        if let ServiceError::TooManyAttempts { retry_after_sec } = error {
            return Self::TooManyAttempts(retry_after_sec);
        }
        log_failure(&error);
        Self::Query
    }

    /// Logs the error of a write.
    #[allow(clippy::needless_pass_by_value, reason = "used in map_err")]
    pub fn store(error: ServiceError) -> Self {
        log_failure(&error);
        Self::Store
    }

    /// Logs a refusal that the response does not show.
    pub fn log(&self) {
        tracing::debug!(why = %self, "TaskDash request refused");
    }

    /// Returns the number of the error, if it has one.
    const fn number(&self) -> Option<u32> {
        match self {
            Self::Request => Some(1000),
            Self::Store => Some(1001),
            Self::Query => Some(1002),
            Self::NoTask
            | Self::Claimed
            | Self::Done
            | Self::NoSession
            | Self::NotAllowed
            | Self::TooManyAttempts(_) => None,
        }
    }
}

fn log_failure(error: &ServiceError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "TaskDash request failed");
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self::store(error)
    }
}

impl From<ApiError> for Answer {
    fn from(refused: ApiError) -> Self {
        match refused.number() {
            // Formatted here, because the number comes first.
            Some(number) => {
                text(&format!("{{\"errid\":{number},\"errmsg\":{}}}", json!(refused.to_string())))
            }
            None => text(&refused.to_string()),
        }
    }
}

impl Answer {
    /// Adds a cookie.
    pub fn with_cookie(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// Adds the number of seconds until another request is allowed.
    pub fn with_retry_after(self, seconds: u64) -> Self {
        Self { retry_after_sec: Some(seconds), ..self }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
        let mut response = (headers, answer.body).into_response();
        response.headers_mut().extend(answer.cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        let wait = answer.retry_after_sec.map(|seconds| (header::RETRY_AFTER, seconds.into()));
        response.headers_mut().extend(wait);
        response
    }
}

/// Returns a text answer.
pub fn text(body: &str) -> Answer {
    Answer { body: body.to_owned(), cookie: None, retry_after_sec: None }
}

/// Returns `success`.
pub fn done() -> Answer {
    text("success")
}

/// Returns rows as a JSON array.
pub fn rows<T: Serialize>(rows: &[T]) -> Answer {
    // Serialization of strings and numbers does not fail.
    text(&serde_json::to_string(rows).unwrap_or_default())
}
