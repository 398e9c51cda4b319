//! What the front answers: JSON with status 200 whatever happened, or text whose status says what happened.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::engine::service::{PortError, ServiceError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is nothing to read.
    #[error("读取数据出错")]
    NoBody,
    /// Something is missing, or is not what it should be.
    #[error("参数错误")]
    Arguments,
    /// Nobody has created the type.
    #[error("任务类型不存在: {0}")]
    UnknownType(String),
    /// The name belongs to the server's own workers.
    #[error("任务类型名已保留: {0}")]
    Reserved(String),
    /// No task has the number.
    #[error("任务不存在: {0}")]
    NoTask(i64),
    /// Nobody has the task, or somebody else has.
    #[error("任务不在该工兵手中: {0}")]
    NotHeld(i64),
    /// The worker has not said hello, or has been silent for too long.
    #[error("请先打招呼(sayhi): {0}")]
    NotGreeted(String),
    /// Nobody has signed in.
    #[error("请登录")]
    NoSession,
    /// What is told of it is little: the cause is in the log.
    #[error("服务器内部错误")]
    Service(ServiceError),
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) => Self::Arguments,
            error => Self::Service(error),
        }
    }
}

impl Refused {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoBody | Self::Arguments | Self::Reserved(_) => StatusCode::BAD_REQUEST,
            Self::UnknownType(_) | Self::NoTask(_) => StatusCode::NOT_FOUND,
            Self::NotHeld(_) => StatusCode::CONFLICT,
            Self::NotGreeted(_) => StatusCode::FORBIDDEN,
            Self::NoSession => StatusCode::UNAUTHORIZED,
            Self::Service(ServiceError::Port(PortError::Unavailable(..))) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Service(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn log(&self) {
        if let Self::Service(error) = self {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "an easyTask request failed");
        }
    }
}

/// An answer in JSON: always 200, but for those who have not signed in.
pub fn json<T: Serialize>(answer: Result<Option<T>, Refused>) -> Response {
    match answer {
        Ok(Some(data)) => Json(json!({ "code": 0, "data": data })).into_response(),
        Ok(None) => Json(json!({ "code": 0 })).into_response(),
        Err(refused) => {
            refused.log();
            let status =
                if matches!(refused, Refused::NoSession) { refused.status() } else { StatusCode::OK };
            (status, Json(json!({ "code": -1, "errmsg": refused.to_string() }))).into_response()
        }
    }
}

/// An answer in text: `OK`, or what is wrong.
pub fn text(answer: Result<(), Refused>) -> Response {
    match answer {
        Ok(()) => "OK".into_response(),
        Err(refused) => {
            refused.log();
            (refused.status(), refused.to_string()).into_response()
        }
    }
}
