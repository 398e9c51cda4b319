//! A log as server-sent events.
//!
//! A stream is bounded in time and bytes, so that the rights of the caller are checked again and no stream holds
//! a connection for good. The write timeout of the connection ends the stream of a peer that does not read.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use tokio::time::{Sleep, sleep};

use super::error::ApiError;
use super::view;
use crate::core::RunId;
use crate::engine::service::{LogFollower, LogPage, Service};

/// Longest time of a stream.
const MAX_TIME: Duration = Duration::from_mins(10);
/// Size after which a stream ends, in bytes.
const MAX_BYTES: usize = 16 * 1_024 * 1_024;
/// Time without lines after which the stream shows that it is alive, below the time limits of proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Makes nginx pass on each event at once.
const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

struct Streamed {
    follower: LogFollower,
    end: std::pin::Pin<Box<Sleep>>,
    bytes: usize,
}

/// Answers with the log from the line `from` on, and with the further lines until the run ends.
///
/// # Errors
/// As [`Service::run`], before the stream begins.
pub async fn respond(service: &Service, id: &RunId, from: u64) -> Result<Response, ApiError> {
    let streamed =
        Streamed { follower: service.follow_log(id, from).await?, end: Box::pin(sleep(MAX_TIME)), bytes: 0 };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (PROXY_BUFFERING, "no"),
    ];
    Ok((headers, Body::from_stream(events(streamed))).into_response())
}

fn events(streamed: Streamed) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Some(streamed), async |streamed| {
        let mut streamed = streamed?;
        let page = tokio::select! {
            () = &mut streamed.end => return None,
            page = streamed.follower.next(KEEP_ALIVE) => page,
        };
        let (event, is_last) = match page {
            // A comment, which clients ignore.
            Ok(None) if !streamed.follower.is_stopping() => (": alive\n\n".to_owned(), false),
            Ok(Some(page)) => {
                let is_last = page.end.is_some();
                (event(page), is_last)
            }
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(%error, "stream of a log ended; the client connects again");
                return None;
            }
        };
        streamed.bytes += event.len();
        let goes_on = !is_last && streamed.bytes < MAX_BYTES;
        Some((Ok(Bytes::from(event)), goes_on.then_some(streamed)))
    })
}

fn event(page: LogPage) -> String {
    let name = if page.end.is_some() { "end" } else { "lines" };
    let next = page.next;
    // The page consists of strings and numbers, so the encoding cannot fail. JSON has no line ends.
    let data = serde_json::to_string(&view::log_page(page)).unwrap_or_default();
    format!("id: {next}\nevent: {name}\ndata: {data}\n\n")
}
