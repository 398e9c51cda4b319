//! What a handler is and what its error can ask for.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::context::{Attempt, Context};

/// A handler with its state and its payload type bound.
pub(crate) type HandlerFn =
    Arc<dyn Fn(Arc<Attempt>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

/// What is to become of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again, when the retry policy says so.
    Retry,
    /// Try again, no sooner than this from now.
    RetryAfter(Duration),
    /// Give up at once and put the message where a person will look.
    DeadLetter,
    /// Nothing to do: settled, and not as a success.
    Skip,
    /// Somebody else has taken the attempt on, and says within this time how it ended.
    ConfirmLater(Duration),
    /// Not tried: somebody may have it at once, and no attempt is lost.
    Release,
}

/// Why a handler did not succeed, and what to do about it.
///
/// Every error converts into one by `?`, and a plain error retries; so do `anyhow::Error`, `String` and `&str`.
/// To say something else, map the error: `parse(&order).map_err(HandlerError::dead_letter)?`.
///
/// It does not implement [`Error`] itself, which is what makes the conversion from every error possible.
#[derive(Debug)]
pub struct HandlerError {
    disposition: Disposition,
    source: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// Try again when the retry policy says so. The same as a plain error.
    pub fn retry(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Retry, source: source.into() }
    }

    /// Try again no sooner than `after` from now. The server honours it to the millisecond; RocketMQ's own redelivery
    /// rounds it up to one of its levels.
    pub fn retry_after(after: Duration, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::RetryAfter(after), source: source.into() }
    }

    /// Never try again; a person has to look.
    pub fn dead_letter(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::DeadLetter, source: source.into() }
    }

    /// There is nothing to do, for this reason; settle the message.
    pub fn skip(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Skip, source: reason.into() }
    }

    /// The attempt is in somebody else's hands, who [reports](crate::TaskCenter::report) its outcome under the same attempt and token:
    /// nothing is reported now. A run of a queue stays leased for `within` (1 s to a day), after which the attempt has failed; over
    /// RocketMQ the server waits for as long as the task's `max_runtime` says.
    pub fn confirm_later(within: Duration, to_whom: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::ConfirmLater(within), source: to_whom.into() }
    }

    /// What the handler works with is out of order, and not what it was given: the message goes back untried, and no attempt is lost. It may
    /// come again at once, so wait a little before you say so.
    pub fn release(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { disposition: Disposition::Release, source: reason.into() }
    }

    /// What is to become of the message.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// The error and all that caused it, joined by colons.
    pub fn message(&self) -> String {
        with_causes(&*self.source)
    }
}

/// An error and all that caused it, joined by colons.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
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

/// The task's data is not what the handler takes.
#[derive(Debug, thiserror::Error)]
#[error("the payload does not fit the handler: {0}")]
struct PayloadError(#[source] Box<dyn Error + Send + Sync>);

/// A payload that cannot be decoded never becomes good, so it is dead-lettered rather than retried.
fn poison(error: impl Into<Box<dyn Error + Send + Sync>>) -> HandlerError {
    HandlerError::dead_letter(PayloadError(error.into()))
}

/// Binds a handler of a JSON payload.
pub(crate) fn json<S, T, E, F, Fut>(state: Arc<S>, handler: F) -> HandlerFn
where
    S: Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    E: Into<HandlerError>,
    F: Fn(Context<S>, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    bind(handler, move |handler: &F, attempt| {
        let payload = serde_json::from_slice(&attempt.delivery.body).map_err(poison)?;
        Ok(handler(Context::new(attempt, Arc::clone(&state)), payload))
    })
}

/// Binds a handler of the data as it stands.
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

/// Binds a handler of the old client's shape: task id, data, message id.
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
    String::from_utf8(attempt.delivery.body.to_vec()).map_err(poison)
}

/// Decoding and the call both happen when the future is polled, so that a panic in either is caught in one place.
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
        assert_eq!(HandlerError::from("plain words").message(), "plain words");
    }

    #[test]
    fn an_error_says_what_it_wants() {
        let soon = Duration::from_millis(1_500);
        assert_eq!(HandlerError::retry_after(soon, "busy").disposition(), Disposition::RetryAfter(soon));
        assert_eq!(HandlerError::dead_letter("bad").disposition(), Disposition::DeadLetter);
        assert_eq!(HandlerError::skip("done before").disposition(), Disposition::Skip);
        assert_eq!(HandlerError::release("not now").disposition(), Disposition::Release);
        assert_eq!(HandlerError::confirm_later(soon, "taken").disposition(), Disposition::ConfirmLater(soon));
    }
}
