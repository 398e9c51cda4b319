//! Responses: JSON with status 200 in every case, or text with a meaningful status.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::engine::service::{PortError, ServiceError};

/// Why a request failed. The texts are defined by the contract.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is empty.
    #[error("读取数据出错")]
    NoBody,
    /// A field or parameter is missing or invalid.
    #[error("参数错误")]
    Arguments,
    /// The type does not exist.
    #[error("任务类型不存在: {0}")]
    UnknownType(String),
    /// The name is reserved or in use by another API.
    #[error("任务类型名已保留: {0}")]
    Reserved(String),
    /// No task has this number.
    #[error("任务不存在: {0}")]
    NoTask(i64),
    /// The worker does not hold the task.
    #[error("任务不在该工兵手中: {0}")]
    NotHeld(i64),
    /// The worker is not registered, or its registration has expired.
    #[error("请先打招呼(sayhi): {0}")]
    NotRegistered(String),
    /// A session is required.
    #[error("请登录")]
    NoSession,
    /// Too many login attempts; the next one is allowed after this number of seconds.
    #[error("登录过于频繁")]
    TooManyAttempts(u64),
    /// A command failed. The log has the cause.
    #[error("服务器内部错误")]
    Service(ServiceError),
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) => Self::Arguments,
            ServiceError::TooManyAttempts { retry_after_sec } => Self::TooManyAttempts(retry_after_sec),
            error => Self::Service(error),
        }
    }
}

impl ApiError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoBody | Self::Arguments | Self::Reserved(_) => StatusCode::BAD_REQUEST,
            Self::UnknownType(_) | Self::NoTask(_) => StatusCode::NOT_FOUND,
            Self::NotHeld(_) => StatusCode::CONFLICT,
            Self::NotRegistered(_) => StatusCode::FORBIDDEN,
            Self::NoSession => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Service(ServiceError::Port(PortError::Unavailable(..) | PortError::Interrupted(..))) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Service(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn log(&self) {
        if let Self::Service(error) = self {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "easyTask request failed");
        }
    }
}

/// Returns a JSON response: status 200, 401 without a session, or 429 after too many logins.
pub fn json<T: Serialize>(answer: Result<Option<T>, ApiError>) -> Response {
    match answer {
        Ok(Some(data)) => Json(json!({ "code": 0, "data": data })).into_response(),
        Ok(None) => Json(json!({ "code": 0 })).into_response(),
        Err(refused) => {
            refused.log();
            let has_status = matches!(refused, ApiError::NoSession | ApiError::TooManyAttempts(_));
            let status = if has_status { refused.status() } else { StatusCode::OK };
            let body = Json(json!({ "code": -1, "errmsg": refused.to_string() }));
            let mut response = (status, body).into_response();
            if let ApiError::TooManyAttempts(seconds) = refused {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// Returns a text response: `OK` or the error.
pub fn text(answer: Result<(), ApiError>) -> Response {
    match answer {
        Ok(()) => "OK".into_response(),
        Err(refused) => {
            refused.log();
            (refused.status(), refused.to_string()).into_response()
        }
    }
}
