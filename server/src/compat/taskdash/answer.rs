//! What the front answers: text with status 200, whatever happened; the page reads the JSON in it by itself.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::engine::service::ServiceError;

/// A text, and the cookie that goes with it.
#[derive(Debug)]
pub struct Answer {
    body: String,
    cookie: Option<HeaderValue>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something is missing, or is not what it should be.
    #[error("请求格式不正确")]
    Request,
    /// It could not be stored.
    #[error("数据库存储失败")]
    Store,
    /// It could not be looked up.
    #[error("数据库查询失败")]
    Query,
    /// No task has the id.
    #[error("任务不存在")]
    NoTask,
    /// Somebody else has the task.
    #[error("任务已被他人领取")]
    Claimed,
    /// The task is past that.
    #[error("任务已完成")]
    Done,
    /// Nobody has signed in.
    #[error("请登录")]
    NoSession,
    /// The caller may not do that.
    #[error("没有权限")]
    NotAllowed,
}

impl Refused {
    /// A command that reads has failed.
    #[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
    pub fn query(error: ServiceError) -> Self {
        logged(&error);
        Self::Query
    }

    /// A command that writes has failed.
    #[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
    pub fn store(error: ServiceError) -> Self {
        logged(&error);
        Self::Store
    }

    /// For an answer that does not tell.
    pub fn log(&self) {
        tracing::debug!(why = %self, "a TaskDash request was refused");
    }

    /// The number of an error that has one.
    const fn number(&self) -> Option<u32> {
        match self {
            Self::Request => Some(1000),
            Self::Store => Some(1001),
            Self::Query => Some(1002),
            Self::NoTask | Self::Claimed | Self::Done | Self::NoSession | Self::NotAllowed => None,
        }
    }
}

fn logged(error: &ServiceError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a TaskDash request failed");
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self::store(error)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused.number() {
            // Written out: the document has the number first.
            Some(number) => {
                text(&format!("{{\"errid\":{number},\"errmsg\":{}}}", json!(refused.to_string())))
            }
            None => text(&refused.to_string()),
        }
    }
}

impl Answer {
    /// The same, with a cookie.
    pub fn with(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        ];
        let mut response = (headers, answer.body).into_response();
        response.headers_mut().extend(answer.cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        response
    }
}

/// Any text.
pub fn text(body: &str) -> Answer {
    Answer { body: body.to_owned(), cookie: None }
}

/// It was done.
pub fn done() -> Answer {
    text("success")
}

/// Rows as a JSON array.
pub fn rows<T: Serialize>(rows: &[T]) -> Answer {
    // They are made of texts and numbers: nothing in them cannot be written.
    Answer { body: serde_json::to_string(rows).unwrap_or_default(), cookie: None }
}
