//! Outcomes of deliveries.

use std::time::Duration;

use serde_json::Value;
use tracing::{debug, error, info, warn};

use crate::context::Attempt;
use crate::notice::print_without_log;
use crate::transport::Verdict;

/// Outcome of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The handler returned `Ok`.
    Succeeded,
    /// The handler failed or panicked. The delivery is retried.
    Failed {
        /// Error with its causes.
        message: String,
        /// Earliest delay of the retry, if the error set one.
        retry_after: Option<Duration>,
    },
    /// The handler gave the run up, or the payload could not be decoded. There is no retry.
    Dead {
        /// Error with its causes.
        message: String,
    },
    /// The handler had nothing to do.
    Skipped {
        /// Reason that the handler returned.
        message: String,
    },
    /// Another system reports the outcome.
    Deferred {
        /// Name of the other system.
        message: String,
        /// Time limit of the report.
        within: Duration,
    },
    /// The run has already succeeded in this process. No handler was called.
    Duplicate,
    /// No handler is registered for the tag.
    Unrouted,
    /// The consumer was shut down before the handler had an outcome.
    Interrupted,
    /// The consumer was shut down before the call of the handler, or the handler released the
    /// delivery.
    Released,
    /// The handler released the delivery until a later time.
    Postponed {
        /// Reason that the handler returned.
        message: String,
        /// Earliest delay of the next delivery.
        after: Duration,
    },
}

/// Result of a delivery: the outcome, and how the transport settles the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Outcome of the delivery.
    pub outcome: Outcome,
    /// Verdict for the transport.
    pub verdict: Verdict,
    /// [Result](crate::Context::set_result) of the handler, if it succeeded.
    pub result: Option<Value>,
}

/// Logs how a delivery ended.
pub(crate) fn log(attempt: &Attempt, outcome: &Outcome) {
    let run_id = attempt.run_id.as_deref().unwrap_or_default();
    let (tag, task_id, attempt) = (&attempt.delivery.tag, &attempt.delivery.task_id, attempt.number);
    let run = format_args!("run {run_id}, attempt {attempt}");
    match outcome {
        Outcome::Succeeded => debug!(tag, task_id, run_id, attempt, "handler succeeded"),
        Outcome::Failed { message, .. } => {
            warn!(tag, task_id, run_id, attempt, message, "handler failed");
            print_without_log(format_args!("handler failed: {message} (tag {tag}, {run})"));
        }
        Outcome::Dead { message } => {
            error!(tag, task_id, run_id, attempt, message, "run is dead: the handler gave it up");
            print_without_log(format_args!("run is dead: {message} (tag {tag}, {run})"));
        }
        Outcome::Skipped { message } => {
            info!(tag, task_id, run_id, attempt, message, "run skipped by the handler");
        }
        Outcome::Deferred { message, .. } => {
            debug!(tag, task_id, run_id, attempt, message, "outcome left to another system");
        }
        Outcome::Duplicate => {
            info!(tag, task_id, run_id, attempt, "duplicate dropped: the run has succeeded");
        }
        Outcome::Unrouted => {}
        Outcome::Interrupted => {
            warn!(tag, task_id, run_id, attempt, "handler interrupted by the shutdown");
        }
        Outcome::Released => {
            debug!(tag, task_id, run_id, attempt, "delivery released untried");
        }
        Outcome::Postponed { message, .. } => {
            info!(tag, task_id, run_id, attempt, message, "delivery postponed");
        }
    }
}
