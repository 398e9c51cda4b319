//! Changes as server-sent events.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::error::ApiError;
use super::query::Query;
use super::run_logs::wants_stream;
use crate::core::RunId;
use crate::core::change::{ChangeFilter, ChangeKind};
use crate::engine::service::Service;

/// Makes nginx pass on each event at once.
const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Watches changes of tasks, runs, queues and operations.
///
/// With `Accept: text/event-stream`, which the request must have, the answer is a stream of server-sent events. The name of an event is its `kind`; its data is a JSON object with
/// the ids, the tag, the queue and the state of what has changed, as far as the kind has them, and never a payload.
/// Changes within a quarter of a second arrive together, each thing once with its last state. The stream is lossy:
/// after an event `resync`, and after each connection, read the current state again. An event `alive` arrives every
/// 5 s.
/// The server ends a stream after an hour, and within some seconds after the token was revoked or its rights were
/// changed.
#[utoipa::path(get, path = "/v1/events", operation_id = "watchEvents", tag = "events",
    params(
        ("kind" = Option<String>, Query, pattern = "^((task|run|log|queue|operation)(,(task|run|log|queue|operation))*)?$",
            description = "Kinds of events, separated by commas. Default: all."),
        ("tag" = Option<String>, Query, description = "Only changes of tasks with this name, of their runs, and of the \
            queue with this name."),
        ("task_id" = Option<String>, Query, pattern = "^([0-9a-f]{32})?$",
            description = "Only changes of this task and of its runs."),
        ("run_id" = Option<String>, Query, description = "Only changes of this run."),
        ("Accept" = String, Header, description = "`text/event-stream`."),
    ),
    responses(
        (status = 200, description = "The stream.", content((String = "text/event-stream"))),
        (status = 503, description = "`too_many_viewers`: the node has `server.max_viewers` streams."),
    ))]
pub async fn watch(service: Service, query: Query, headers: HeaderMap) -> Result<Response, ApiError> {
    let filter = read(query)?;
    if !wants_stream(&headers) {
        // Otherwise a client that reads whole answers would wait without end.
        return Err(ApiError::field("Accept", "Accept should be text/event-stream"));
    }
    let stream = service.watch_changes(filter).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (PROXY_BUFFERING, "no"),
    ];
    let events = stream::unfold(stream, async |mut stream| {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), stream))
    });
    Ok((headers, Body::from_stream(events)).into_response())
}

fn read(query: Query) -> Result<ChangeFilter, ApiError> {
    let query = query.only(&["kind", "tag", "task_id", "run_id"])?;
    let words = || ChangeKind::ALL.map(ChangeKind::as_str).join(", ");
    let unknown = || ApiError::field("kind", format!("kind should be a list of {}", words()));
    let kind = |word: &str| ChangeKind::parse(word).ok_or_else(unknown);
    let kinds = query.text("kind").map(|list| list.split(',').map(kind).collect::<Result<Vec<_>, _>>());
    Ok(ChangeFilter {
        kinds: kinds.transpose()?.unwrap_or_default(),
        tag: query.text("tag").map(str::to_owned),
        task_id: query.task_id("task_id")?,
        run_id: query.text("run_id").map(RunId::from_text),
    })
}
