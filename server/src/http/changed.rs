//! Answer to a change of a task.

use axum::Json;
use axum::response::{IntoResponse, Response};

use super::headers::etag;
use super::view;
use crate::engine::service::Changed;

/// Returns the answer with the changed task, and its revision as the `ETag`.
pub fn answer(changed: Changed) -> Response {
    (etag(changed.task.rev), Json(view::changed(changed))).into_response()
}
