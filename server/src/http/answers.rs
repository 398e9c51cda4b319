//! Budget of the memory for answers.
//!
//! A caller that does not read its answer keeps the answer in memory. So all large answers share
//! one budget: a request that may have one waits for room before it reads the store, and the answer
//! keeps its room until it has been sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Context;
use super::error::ApiError;

/// Unit of the budget in bytes.
const UNIT: usize = 1_024;
/// Bytes of the large answers under way whose requests reserve room.
const RESERVED: usize = 144 * 1_024 * 1_024;
/// Bytes of the other large answers under way. Readers of pages cannot take them, so that a worker gets its
/// runs while many pages are read.
const UNRESERVED: usize = 48 * 1_024 * 1_024;
/// Size up to which an answer is not counted, in bytes. The number of connections limits these.
const SMALL: usize = 64 * 1_024;
/// Room for a page and for the rows that it is made of, in bytes.
const PAGE: usize = 24 * 1_024 * 1_024;
/// Room for a task or a run, in bytes.
const ROW: usize = 8 * 1_024 * 1_024;
/// Largest part of an answer that is given to a connection at a time, in bytes.
const PART: usize = 64 * 1_024;
/// Number of write timeouts within which a large answer must be read.
const WRITE_TIMEOUTS: u32 = 4;

/// Routes of GET requests whose answers may be large, with the room for one answer.
const LARGE: [(&str, usize); 12] = [
    ("/v1/tasks", PAGE),
    ("/v1/tasks/{task_id}", ROW),
    ("/v1/tasks/{task_id}/revisions", PAGE),
    ("/v1/tasks/{task_id}/revisions/{rev}", ROW),
    ("/v1/audit", ROW),
    ("/v1/runs", PAGE),
    ("/v1/runs/{run_id}", ROW),
    ("/v1/runs/{run_id}/log", ROW),
    ("/v1/api/query-task-by-name", PAGE),
    ("/v1/api/query-task-by-id", ROW),
    ("/api/v1/query-task-by-name", PAGE),
    ("/api/v1/query-task-by-id", ROW),
];

/// Ends the connection of a request.
#[derive(Clone, Default)]
pub struct CutOff(pub CancellationToken);

/// Budget of one HTTP server.
pub struct AnswerBudget {
    /// Room of the requests that reserve, and of other answers that do not fit into `unreserved`.
    free: Arc<Semaphore>,
    /// Room of the answers to other requests.
    unreserved: Arc<Semaphore>,
    /// Further routes whose answers may be as large as a page.
    pages: Vec<&'static str>,
}

impl AnswerBudget {
    /// Creates a budget. `pages` are the routes outside this module whose answers may be large.
    pub fn new(pages: Vec<&'static str>) -> Self {
        let semaphore = |bytes| Arc::new(Semaphore::new(bytes / UNIT));
        Self { free: semaphore(RESERVED), unreserved: semaphore(UNRESERVED), pages }
    }

    /// Returns the room in bytes that a request needs before its answer is known.
    fn room(&self, request: &Request) -> usize {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let own = LARGE.iter().find(|(path, _)| is_read && *path == route).map(|(_, room)| *room);
        own.unwrap_or(if self.pages.contains(&route) { PAGE } else { 0 })
    }

    async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_many_owned(units(bytes)).await.ok()
    }

    /// Returns the room for an answer of this size. `None`: the budget has no more.
    fn resize(&self, reserved: Option<OwnedSemaphorePermit>, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = units(bytes);
        let Some(mut room) = reserved else {
            let take = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_many_owned(wanted).ok();
            return take(&self.unreserved).or_else(|| take(&self.free));
        };
        let has = u32::try_from(room.num_permits()).unwrap_or(u32::MAX);
        if has >= wanted {
            return room.split(wanted as usize);
        }
        room.merge(Arc::clone(&self.free).try_acquire_many_owned(wanted - has).ok()?);
        Some(room)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.min(RESERVED).div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Waits for the room of an answer, and keeps the room until the answer has been sent.
pub async fn bound(context: &Context, request: Request, next: Next) -> Response {
    let room = context.answers.room(&request);
    let reserved = if room > 0 { context.answers.reserve(room).await } else { None };
    let cut_off = request.extensions().get::<CutOff>().cloned().unwrap_or_default();
    let response = next.run(request).await;
    let size = response.body().size_hint();
    let size = usize::try_from(size.upper().unwrap_or(size.lower())).unwrap_or(usize::MAX);
    if size <= SMALL {
        return response;
    }
    let Some(room) = context.answers.resize(reserved, size) else {
        return ApiError::Timeout.into_response();
    };
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => {
            let within = context.limits.write_timeout.saturating_mul(WRITE_TIMEOUTS);
            let sent = cut_off_after(within, cut_off);
            Response::from_parts(
                head,
                Body::new(LargeBody { rest: body.to_bytes(), _room: room, _sent: sent }),
            )
        }
        Err(error) => ApiError::Internal(format!("the answer failed: {error}")).into_response(),
    }
}

/// Ends the connection after this time, unless the returned guard is dropped before.
fn cut_off_after(time: Duration, cut_off: CutOff) -> DropGuard {
    let sent = CancellationToken::new();
    let guard = sent.clone().drop_guard();
    tokio::spawn(async move {
        if sent.run_until_cancelled(tokio::time::sleep(time)).await.is_some() {
            tracing::debug!("connection ended: the peer reads a large answer too slowly");
            cut_off.0.cancel();
        }
    });
    guard
}

/// Answer that is sent in parts and keeps its room of the budget.
struct LargeBody {
    rest: Bytes,
    _room: OwnedSemaphorePermit,
    _sent: DropGuard,
}

impl HttpBody for LargeBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = self.rest.len().min(PART);
        if length == 0 {
            return Poll::Ready(None);
        }
        let part = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_only_its_size_of_the_budget() {
        let budget = AnswerBudget::new(Vec::new());
        let reserved = budget.reserve(PAGE).await;
        let room = budget.resize(reserved, 2 * SMALL).expect("the page was reserved");
        assert_eq!(budget.free.available_permits(), (RESERVED - 2 * SMALL) / UNIT);
        drop(room);
        assert_eq!(budget.free.available_permits(), RESERVED / UNIT);
    }

    #[tokio::test]
    async fn an_answer_without_room_is_refused() {
        let budget = AnswerBudget::new(Vec::new());
        let most = budget.reserve(RESERVED - PAGE).await;
        let others = budget.resize(None, UNRESERVED);
        let page = budget.resize(None, PAGE);
        assert!(others.is_some() && page.is_some() && budget.resize(None, SMALL).is_none());
        drop(page);
        let reserved = budget.reserve(ROW).await;
        assert!(budget.resize(reserved, PAGE).is_some(), "an answer larger than its room takes more");
        drop(most);
        assert_eq!(budget.free.available_permits(), RESERVED / UNIT);
    }

    #[tokio::test]
    async fn readers_of_pages_leave_room_for_other_answers() {
        let budget = AnswerBudget::new(Vec::new());
        let _pages = budget.reserve(RESERVED).await;
        assert!(budget.resize(None, UNRESERVED).is_some());
    }
}
