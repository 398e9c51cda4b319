//! Handlers and their errors.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::context::{Attempt, Context};
use crate::error_text::with_causes;

/// A handler with bound state and payload type.
pub(crate) type HandlerFn =
    Arc<dyn Fn(Arc<Attempt>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

/// What a [`HandlerError`] does with the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// The attempt failed. The retry policy decides when the next attempt starts.
    Retry,
    /// The attempt failed. The next attempt starts at least this long from now.
    RetryAfter(Duration),
    /// The run is dead, and a message goes to the dead-letter queue. There is no further attempt.
    DeadLetter,
    /// There is nothing to do. The run ends as `skipped`.
    Skip,
    /// Another system finishes the attempt and reports its outcome within this time.
    ConfirmLater(Duration),
    /// The attempt did not begin and does not count. The run is available again immediately.
    Release,
    /// The attempt did not begin and does not count. The run is available again after this time.
    ReleaseAfter(Duration),
}

/// Error of a handler, with what to do next.
///
/// The operator `?` converts every error, `anyhow::Error`, `String` and `&str` into a
/// `HandlerError` that retries. For another [`Disposition`], map the error:
/// `parse(&order).map_err(HandlerError::dead_letter)?`.
///
/// `HandlerError` does not implement [`Error`]; otherwise the conversion from every error would not
/// compile.
#[derive(Debug)]
pub struct HandlerError {
    disposition: Disposition,
    source: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// Retries as the retry policy says, like any other error.
    pub fn retry(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Retry, source: source.into() }
    }

    /// Retries at the earliest `after` from now: at most 366 days on a queue, with a precision of
    /// one millisecond. RocketMQ rounds the delay up to one of its levels, at most 2 h.
    pub fn retry_after(after: Duration, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::RetryAfter(after), source: source.into() }
    }

    /// Gives the run up: there is no further attempt.
    pub fn dead_letter(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::DeadLetter, source: source.into() }
    }

    /// Ends the run as `skipped`, with this reason: there is nothing to do.
    pub fn skip(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Skip, source: reason.into() }
    }

    /// Hands the attempt to another system, which [reports](crate::TaskCenter::report) the outcome
    /// with the attempt number and token of this delivery. The consumer reports nothing.
    ///
    /// A run from a queue stays leased for `within` (limited to 1 s to 24 h) and fails after that.
    /// Over RocketMQ, the server waits for the `max_runtime_sec` of the task. `system` names the
    /// other system in the log.
    pub fn confirm_later(within: Duration, system: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::ConfirmLater(within), source: system.into() }
    }

    /// Returns the delivery untried, because the handler cannot work now for a reason outside the
    /// payload, such as a broken database connection. The attempt does not count.
    ///
    /// The delivery may come again immediately: see [`release_after`](Self::release_after).
    pub fn release(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Release, source: reason.into() }
    }

    /// Returns the delivery untried, to be delivered again at the earliest `after` from now. The attempt
    /// does not count. The reason is shown with the waiting run. RocketMQ redelivers the message with the
    /// delay of [`retry_after`](Self::retry_after), and counts the redelivery.
    pub fn release_after(after: Duration, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::ReleaseAfter(after), source: reason.into() }
    }

    /// Returns what the error does with the delivery.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// Returns the text of the error and of all its causes, joined by colons.
    pub fn message(&self) -> String {
        with_causes(&*self.source)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// The payload cannot be decoded into the type of the handler.
#[derive(Debug, thiserror::Error)]
#[error("the payload cannot be decoded for the handler")]
struct PayloadError(#[source] Box<dyn Error + Send + Sync>);

/// A repetition cannot make the payload valid, so the run is dead without a retry.
fn invalid_payload(error: impl Into<Box<dyn Error + Send + Sync>>) -> HandlerError {
    HandlerError::dead_letter(PayloadError(error.into()))
}

/// Binds a handler with a JSON payload.
pub(crate) fn json<S, T, E, F, Fut>(state: Arc<S>, handler: F) -> HandlerFn
where
    S: Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    E: Into<HandlerError>,
    F: Fn(Context<S>, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    bind(handler, move |handler: &F, attempt| {
        let payload = serde_json::from_slice(&attempt.delivery.body).map_err(invalid_payload)?;
        Ok(handler(Context::new(attempt, Arc::clone(&state)), payload))
    })
}

/// Binds a blocking handler with a JSON payload.
pub(crate) fn blocking<S, T, E, F>(state: Arc<S>, handler: F) -> HandlerFn
where
    S: Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    E: Into<HandlerError>,
    F: Fn(Context<S>, T) -> Result<(), E> + Send + Sync + 'static,
{
    bind(Arc::new(handler), move |handler: &Arc<F>, attempt| {
        let payload = serde_json::from_slice(&attempt.delivery.body).map_err(invalid_payload)?;
        let (handler, context) = (Arc::clone(handler), Context::new(attempt, Arc::clone(&state)));
        Ok(on_own_thread(move || handler(context, payload).map_err(Into::into)))
    })
}

/// Runs `work` on a thread of its own. A thread of the runtime would keep the process from ending.
async fn on_own_thread(
    work: impl FnOnce() -> Result<(), HandlerError> + Send + 'static,
) -> Result<(), HandlerError> {
    let (sender, ended) = oneshot::channel();
    let span = tracing::Span::current();
    let thread = std::thread::Builder::new().name("taskcenter-handler".to_owned());
    thread.spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| span.in_scope(work)));
        // An error means that the call was interrupted.
        let _ = sender.send(result);
    })?;
    match ended.await? {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

/// Binds a handler with a text payload.
pub(crate) fn text<S, E, F, Fut>(state: Arc<S>, handler: F) -> HandlerFn
where
    S: Send + Sync + 'static,
    E: Into<HandlerError>,
    F: Fn(Context<S>, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    bind(handler, move |handler: &F, attempt| {
        let data = body_text(&attempt)?;
        Ok(handler(Context::new(attempt, Arc::clone(&state)), data))
    })
}

/// Binds a handler with the arguments of the old client: task id, data, message id.
pub(crate) fn raw<E, F, Fut>(handler: F) -> HandlerFn
where
    E: Into<HandlerError>,
    F: Fn(String, String, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    bind(handler, |handler: &F, attempt| {
        let data = body_text(&attempt)?;
        Ok(handler(attempt.delivery.task_id.clone(), data, attempt.delivery.message_id.clone()))
    })
}

fn body_text(attempt: &Attempt) -> Result<String, HandlerError> {
    String::from_utf8(attempt.delivery.body.to_vec()).map_err(invalid_payload)
}

/// Decodes and calls inside the future, so that one place catches a panic of either.
fn bind<E, F, Fut, C>(handler: F, call: C) -> HandlerFn
where
    E: Into<HandlerError>,
    F: Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    C: Fn(&F, Arc<Attempt>) -> Result<Fut, HandlerError> + Send + Sync + 'static,
{
    let bound = Arc::new((handler, call));
    Arc::new(move |attempt| {
        let bound = Arc::clone(&bound);
        Box::pin(async move {
            let (handler, call) = &*bound;
            call(handler, attempt)?.await.map_err(Into::into)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    fn question_mark() -> Result<(), HandlerError> {
        "x".parse::<i32>().map_err(Outer)?;
        Ok(())
    }

    #[test]
    fn any_error_converts_and_retries_with_its_causes() {
        let error = question_mark().unwrap_err();
        assert_eq!(error.disposition(), Disposition::Retry);
        assert_eq!(error.message(), "outer: invalid digit found in string");
        assert_eq!(HandlerError::from("plain text").message(), "plain text");
    }

    #[test]
    fn each_constructor_sets_its_disposition() {
        let soon = Duration::from_millis(1_500);
        assert_eq!(HandlerError::retry_after(soon, "busy").disposition(), Disposition::RetryAfter(soon));
        assert_eq!(HandlerError::dead_letter("bad").disposition(), Disposition::DeadLetter);
        assert_eq!(HandlerError::skip("already done").disposition(), Disposition::Skip);
        assert_eq!(HandlerError::release("not now").disposition(), Disposition::Release);
        assert_eq!(
            HandlerError::release_after(soon, "not now").disposition(),
            Disposition::ReleaseAfter(soon)
        );
        assert_eq!(HandlerError::confirm_later(soon, "shop").disposition(), Disposition::ConfirmLater(soon));
    }
}
