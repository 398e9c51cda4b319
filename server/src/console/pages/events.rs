//! The changes that an open page follows, as server-sent events. Unlike the route of the API, this one admits the
//! session of a browser.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::super::visit::{Fields, Visit};
use crate::core::change::{ChangeFilter, ChangeKind};
use crate::core::{RunId, TaskId};
use crate::engine::service::ServiceError;

pub const PATH: &str = "/console/events";
/// Makes nginx pass on each event at once.
const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub async fn watch(visit: Visit) -> Response {
    let stream = match visit.service.watch_changes(filter(&visit.query())).await {
        Ok(stream) => stream.of_session(visit.session.as_deref()).await,
        // The script of the page asks for the page instead.
        Err(ServiceError::TooManyViewers) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(_) => return StatusCode::FORBIDDEN.into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (PROXY_BUFFERING, "no"),
    ];
    let events = stream::unfold(stream, async |mut stream| {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), stream))
    });
    (headers, Body::from_stream(events)).into_response()
}

/// Reads the filter that [`Frame::events`](super::super::frame::Frame::events) has written. A value that no page
/// writes is ignored.
fn filter(query: &Fields) -> ChangeFilter {
    let kinds = query.get("kind").unwrap_or_default().split(',');
    ChangeFilter {
        kinds: kinds.filter_map(ChangeKind::parse).collect(),
        tag: query.get("tag").map(str::to_owned),
        task_id: query.get("task_id").and_then(TaskId::parse),
        run_id: query.get("run_id").map(RunId::from_text),
    }
}
