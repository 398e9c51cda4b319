//! What a handler is told about the delivery it handles.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::transport::Delivery;
use crate::wire::property;

/// The most that a handler can hand back, in bytes of JSON.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;
/// How deeply it may be nested, in arrays and objects.
pub const MAX_RESULT_DEPTH: usize = 64;

/// A result that cannot be handed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// It cannot be written as JSON, such as a map with keys that are no text.
    #[error("the result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// It is too long.
    #[error("the result is {0} bytes of JSON, and {MAX_RESULT_BYTES} is the most")]
    TooLong(usize),
    /// It is nested too deeply.
    #[error("the result has arrays and objects {0} deep in one another, and {MAX_RESULT_DEPTH} is the most")]
    TooDeep(usize),
}

/// Arrays and objects in one another; 0 for what is neither.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// One delivery with the server's properties read out of it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery,
    pub(crate) run_id: Option<String>,
    pub(crate) number: u32,
    pub(crate) scheduled_at_ms: Option<i64>,
    pub(crate) claim: u64,
    pub(crate) token: Option<String>,
    pub(crate) ack_wanted: bool,
    /// When the handler was called; zero until then.
    pub(crate) started_at_ms: i64,
    /// What the handler hands back.
    pub(crate) result: Mutex<Option<Value>>,
}

impl Attempt {
    pub(crate) fn read(delivery: Delivery) -> Self {
        let text = |name: &str| delivery.properties.get(name).filter(|value| !value.is_empty());
        let run_id = text(property::RUN_ID).cloned();
        let number = text(property::ATTEMPT).and_then(|value| value.parse().ok()).unwrap_or(1);
        let scheduled_at_ms = text(property::SCHEDULED_AT).and_then(|value| value.parse().ok());
        let claim = text(property::CLAIM).and_then(|value| value.parse().ok()).unwrap_or(0);
        let token = text(property::TOKEN).cloned();
        let ack_wanted = text(property::ACK).is_some_and(|value| value == property::ACK_WANTED);
        let (started_at_ms, result) = (0, Mutex::new(None));
        Self { delivery, run_id, number, scheduled_at_ms, claim, token, ack_wanted, started_at_ms, result }
    }

    pub(crate) fn take_result(&self) -> Option<Value> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The delivery a handler was called for, and the consumer's shared state. Cheap to clone.
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

    /// The state given to [`ConsumerBuilder::state`](crate::ConsumerBuilder::state).
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The task that fired.
    pub fn task_id(&self) -> &str {
        &self.attempt.delivery.task_id
    }

    /// The run: one due moment of the task, the same on every attempt and redelivery, and so the key to make a handler
    /// idempotent. `None` for a message that the task center did not publish.
    pub fn run_id(&self) -> Option<&str> {
        self.attempt.run_id.as_deref()
    }

    /// The transport's id of this message; another attempt at the run is another message.
    pub fn message_id(&self) -> &str {
        &self.attempt.delivery.message_id
    }

    /// The task's name.
    pub fn tag(&self) -> &str {
        &self.attempt.delivery.tag
    }

    /// The server's attempt at the run, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// How often the transport has delivered this message, from 1.
    pub fn delivery_attempt(&self) -> u32 {
        self.attempt.delivery.delivery_attempt
    }

    /// The moment the run was due, in milliseconds since the Unix epoch. `None` for a message that the task center did
    /// not publish.
    pub fn scheduled_at_ms(&self) -> Option<i64> {
        self.attempt.scheduled_at_ms
    }

    /// How long after its due moment the handler was called, by this machine's clock; never below zero.
    pub fn lateness(&self) -> Option<Duration> {
        let late_ms = self.attempt.started_at_ms.saturating_sub(self.attempt.scheduled_at_ms?);
        Some(Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// How often the run was claimed for publishing: an epoch that only grows, to fence writes with. 0 when unknown.
    pub fn claim(&self) -> u64 {
        self.attempt.claim
    }

    /// Hands something back to whoever looks at the run: it is kept with the run if the handler succeeds and its outcome
    /// is reported, and is dropped otherwise. The last call counts.
    ///
    /// # Errors
    /// [`ResultError`] for what is no JSON, more than [`MAX_RESULT_BYTES`] of it, or nested more than [`MAX_RESULT_DEPTH`] deep; what was set before
    /// stays.
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

    /// A property of the message by name.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.attempt.delivery.properties.get(name).map(String::as_str)
    }
}
