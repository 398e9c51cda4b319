//! Context of a handler: the delivery, the shared state, and the result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Timestamp;
use crate::error_text::debug_as_text;
use crate::resources::{LogLevel, Progress};
use crate::run_log::LogBuffer;
use crate::transport::{Delivery, Link};
use crate::wire::property;

/// Maximum size of a result, in bytes of JSON without blanks.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;
/// Maximum length of the text of a progress, in bytes; the server has the same limit.
const MAX_PROGRESS_TEXT_BYTES: usize = 256;
/// Maximum nesting depth of a result, in arrays and objects.
pub const MAX_RESULT_DEPTH: usize = 64;

/// Why [`Context::set_result`] refuses a result.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The result has no JSON form, such as a map whose keys are not strings.
    #[error("the result cannot be encoded as JSON")]
    Json(#[from] serde_json::Error),
    /// The result has too many bytes.
    #[error("the result has {0} bytes of JSON: at most {MAX_RESULT_BYTES} are allowed")]
    TooLong(usize),
    /// The result is nested too deeply.
    #[error("the result is nested {0} levels deep: at most {MAX_RESULT_DEPTH} are allowed")]
    TooDeep(usize),
}

debug_as_text!(ResultError);

/// Returns the nesting depth in arrays and objects; 0 for a scalar.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// One delivery, with the decoded properties of the server.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery,
    pub(crate) run_id: Option<String>,
    pub(crate) number: u32,
    pub(crate) scheduled_at_ms: Option<i64>,
    pub(crate) claim: u64,
    pub(crate) token: Option<String>,
    pub(crate) ack_wanted: bool,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Time limit of the attempt, from its lease.
    pub(crate) max_runtime: Option<Duration>,
    /// When the handler was called; 0 before the call.
    pub(crate) started_at_ms: i64,
    /// Link to the transport.
    pub(crate) link: Link,
    /// Cancelled when the handler should stop.
    pub(crate) cancelled: CancellationToken,
    /// Result that the handler has set.
    pub(crate) result: Mutex<Option<Value>>,
    /// Lines that the handler has written.
    pub(crate) log: LogBuffer,
}

impl Attempt {
    /// Returns when the handler was called. `None`: not yet.
    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        let started = Timestamp::from_millisecond(self.started_at_ms).ok();
        started.filter(|_| self.started_at_ms > 0)
    }

    pub(crate) fn read(delivery: Delivery, log: LogBuffer) -> Self {
        let text = |name: &str| delivery.properties.get(name).filter(|value| !value.is_empty());
        let run_id = text(property::RUN_ID).cloned();
        let number = text(property::ATTEMPT).and_then(|value| value.parse().ok()).unwrap_or(1);
        let scheduled_at_ms = text(property::SCHEDULED_AT).and_then(|value| value.parse().ok());
        let claim = text(property::CLAIM).and_then(|value| value.parse().ok()).unwrap_or(0);
        let token = text(property::TOKEN).cloned();
        let ack_wanted = text(property::ACK).is_some_and(|value| value == property::ACK_WANTED);
        let headers = headers(&delivery);
        let labels = text(property::LABELS).and_then(|labels| serde_json::from_str(labels).ok());
        let labels = labels.unwrap_or_default();
        let max_runtime = text(property::MAX_RUNTIME_MS).and_then(|value| value.parse().ok());
        let max_runtime = max_runtime.map(Duration::from_millis);
        let (started_at_ms, cancelled, result) = (0, CancellationToken::new(), Mutex::new(None));
        Self {
            delivery,
            run_id,
            number,
            scheduled_at_ms,
            claim,
            token,
            ack_wanted,
            headers,
            labels,
            max_runtime,
            started_at_ms,
            link: Link::default(),
            cancelled,
            result,
            log,
        }
    }

    pub(crate) fn take_result(&self) -> Option<Value> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns the properties that are headers of the task.
fn headers(delivery: &Delivery) -> BTreeMap<String, String> {
    let names = delivery.properties.get(property::HEADERS).into_iter().flat_map(|names| names.split(','));
    names.filter_map(|name| Some((name.to_owned(), delivery.properties.get(name)?.clone()))).collect()
}

/// Delivery that a handler processes, with the shared state of the consumer. Cheap to clone.
#[derive(Debug)]
pub struct Context<S = ()> {
    attempt: Arc<Attempt>,
    state: Arc<S>,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { attempt: Arc::clone(&self.attempt), state: Arc::clone(&self.state) }
    }
}

impl<S> Context<S> {
    pub(crate) fn new(attempt: Arc<Attempt>, state: Arc<S>) -> Self {
        Self { attempt, state }
    }

    /// Returns the state that was passed to
    /// [`ConsumerBuilder::state`](crate::ConsumerBuilder::state).
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Returns the id of the task.
    pub fn task_id(&self) -> &str {
        &self.attempt.delivery.task_id
    }

    /// Returns the run id, which is the same for all attempts and redeliveries of one due moment.
    /// Use it as the key of an idempotent handler. `None`: the task center did not publish the
    /// message.
    pub fn run_id(&self) -> Option<&str> {
        self.attempt.run_id.as_deref()
    }

    /// Returns the transport's id of the message. Each attempt of a run is another message.
    pub fn message_id(&self) -> &str {
        &self.attempt.delivery.message_id
    }

    /// Returns the tag, which is the name of the task.
    pub fn tag(&self) -> &str {
        &self.attempt.delivery.tag
    }

    /// Returns the 1-based number of the server's attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// Returns the 1-based number of the transport's delivery of this message.
    pub fn delivery_attempt(&self) -> u32 {
        self.attempt.delivery.delivery_attempt
    }

    /// Returns the nominal moment of the run, in milliseconds since the Unix epoch. `None`: the
    /// task center did not publish the message.
    pub fn scheduled_at_ms(&self) -> Option<i64> {
        self.attempt.scheduled_at_ms
    }

    /// Returns the time from the nominal moment to the call of the handler, by the clock of this
    /// machine. Zero if the clock is behind. `None`: the task center did not publish the message.
    pub fn lateness(&self) -> Option<Duration> {
        let late_ms = self.attempt.started_at_ms.saturating_sub(self.attempt.scheduled_at_ms?);
        Some(Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// Returns the number of times that the run has been claimed. The number only grows: use it as
    /// a fencing token of writes. 0: unknown.
    pub fn claim(&self) -> u64 {
        self.attempt.claim
    }

    /// Completes when the handler should stop: the consumer shuts down, the worker has lost the lease
    /// of the run, a user has cancelled the run, or the shorter of two time limits has passed: the
    /// [limit of the handler](crate::ConsumerBuilder::handler_timeout), and the limit of the run, which
    /// its task sets with `max_runtime_sec`. The handler may still return its outcome; after a lost
    /// lease, the server refuses the outcome. The worker learns of a cancelled run with its next renewal, a
    /// third of [the lease](crate::transport::pull::PullConfig::lease) at the latest. From then on, the handler
    /// has `engine.cancel_grace_ms` of the server, 10 s by default: `Ok` ends the run as `succeeded`, any
    /// error as `cancelled`. Over RocketMQ, a lost lease, a cancelled run and the limit
    /// of the run are unknown.
    pub async fn cancelled(&self) {
        self.attempt.cancelled.cancelled().await;
    }

    /// Returns whether [`cancelled`](Self::cancelled) has completed.
    pub fn is_cancelled(&self) -> bool {
        self.attempt.cancelled.is_cancelled()
    }

    /// Sets how far the handler has come: percent of the work, at most 100, and one line for users, cut at 256
    /// bytes. The worker sends the last progress with the next renewal of the lease, every third of
    /// [the lease](crate::transport::pull::PullConfig::lease), and the run shows it. A later call replaces the
    /// progress. Over RocketMQ, there are no renewals: the progress is dropped.
    pub fn set_progress(&self, percent: u8, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_PROGRESS_TEXT_BYTES));
        self.attempt.link.set_progress(Progress { percent: percent.min(100), text });
    }

    /// Sets the result of the run. The server stores it with the run if the handler succeeds and
    /// the outcome is reported; otherwise it is dropped. A later call replaces the result.
    ///
    /// # Errors
    /// [`ResultError`] if the result has no JSON form, more than [`MAX_RESULT_BYTES`], or more than
    /// [`MAX_RESULT_DEPTH`] levels. An earlier result then stays.
    pub fn set_result(&self, result: &impl Serialize) -> Result<(), ResultError> {
        let written = serde_json::to_string(result)?;
        if written.len() > MAX_RESULT_BYTES {
            return Err(ResultError::TooLong(written.len()));
        }
        let result = serde_json::from_str(&written)?;
        match depth(&result) {
            ..=MAX_RESULT_DEPTH => {}
            levels => return Err(ResultError::TooDeep(levels)),
        }
        *self.attempt.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        Ok(())
    }

    /// Writes lines to the log of the run: `taskcenter run log` and `GET /v1/runs/{run_id}/log` show them
    /// while the handler runs. A text of several lines becomes several lines.
    ///
    /// The call only adds to a buffer of 256 KiB, which is sent every 200 ms or 64 lines, and before the
    /// outcome. So a log delays an outcome by at most 1 s, and never fails a run. When the server is
    /// unreachable and the buffer is full, the oldest lines are dropped, and a line says how many. A line is
    /// cut after 4,096 bytes. Over RocketMQ, the consumer needs a
    /// [reporter](crate::ConsumerBuilder::report_to); otherwise the lines are dropped.
    pub fn log(&self, level: LogLevel, text: impl AsRef<str>) {
        self.attempt.log.write(level, text.as_ref());
    }

    /// [Writes](Self::log) with the level `debug`.
    pub fn debug(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Debug, text);
    }

    /// [Writes](Self::log) with the level `info`.
    pub fn info(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Info, text);
    }

    /// [Writes](Self::log) with the level `warn`.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Warn, text);
    }

    /// [Writes](Self::log) with the level `error`.
    pub fn error(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Error, text);
    }

    /// Returns the headers of the task by name, such as `traceparent`.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.attempt.headers
    }

    /// Returns the labels that the task had when it fired, by key.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.attempt.labels
    }

    /// Returns a property of the message. [`wire::property`](crate::wire::property) has the names.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.attempt.delivery.properties.get(name).map(String::as_str)
    }
}
