//! Takes one delivery to its handler and settles it: slots, panics, duplicates, reports.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::context::Attempt;
use crate::handler::{Disposition, HandlerError, HandlerFn};
use crate::report::{ReportError, Reporter};
use crate::route::Routes;
use crate::seen::{Claim, SeenRuns};
use crate::transport::{Deliver, Delivery, Verdict};
use crate::wire::{OutcomeReport, ReportedOutcome};

/// How the handling of a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The handler returned `Ok`.
    Succeeded,
    /// The handler failed or panicked, and is to be called again.
    Failed {
        /// The error with its causes.
        message: String,
        /// The least delay the error asked for.
        retry_after: Option<Duration>,
    },
    /// The handler, or the decoding of its payload, gave the message up.
    Dead {
        /// The error with its causes.
        message: String,
    },
    /// The handler had nothing to do.
    Skipped {
        /// Its reason.
        message: String,
    },
    /// Somebody else says later how the attempt ended.
    Deferred {
        /// Who, as the handler put it.
        message: String,
        /// How long that is waited for.
        within: Duration,
    },
    /// The run has succeeded before; no handler was called.
    Duplicate,
    /// No handler is registered for the tag.
    Unrouted,
    /// The consumer was shut down before the handler had an outcome.
    Interrupted,
    /// The consumer was shut down before a handler was called, or the handler gave it back untried.
    Released,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What became of it.
    pub outcome: Outcome,
    /// What the broker is told.
    pub verdict: Verdict,
    /// What the handler [handed back](crate::Context::set_result), if it succeeded.
    pub result: Option<Value>,
}

/// A reported message is cut here, as the server would: it is for a person, and no error may be too long to be reported.
const MAX_REPORTED_BYTES: usize = 32 * 1024;

/// Everything one delivery needs.
pub(crate) struct Dispatcher {
    pub(crate) routes: Routes,
    pub(crate) concurrency: usize,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) seen: Option<SeenRuns>,
    pub(crate) reporter: Option<Arc<dyn Reporter>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Cancelled: no handler is called any more.
    pub(crate) closing: CancellationToken,
    /// Cancelled: the handlers still running are given up.
    pub(crate) interrupted: CancellationToken,
}

#[async_trait]
impl Deliver for Dispatcher {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        self.dispatch(delivery).await.verdict
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }
}

impl Dispatcher {
    pub(crate) async fn dispatch(&self, delivery: Delivery) -> Delivered {
        let attempt = Attempt::read(delivery);
        let Some(handler) = self.routes.find(&attempt.delivery.tag).cloned() else {
            // A broker filters by hash, so that a foreign tag can slip through; it is not this group's to handle.
            debug!(tag = attempt.delivery.tag, task_id = attempt.delivery.task_id, "no handler for this tag");
            return Delivered { outcome: Outcome::Unrouted, verdict: Verdict::Ack, result: None };
        };
        let (attempt, outcome) = self.handle(&handler, attempt).await;
        log(&attempt, &outcome);
        let result = attempt.take_result().filter(|_| outcome == Outcome::Succeeded);
        let verdict = self.settle(&attempt, &outcome, result.clone()).await;
        Delivered { outcome, verdict, result }
    }

    async fn handle(&self, handler: &HandlerFn, attempt: Attempt) -> (Arc<Attempt>, Outcome) {
        // The run first and the slot second: a duplicate that waits for its twin takes no slot from others.
        let claimed = self.closing.run_until_cancelled(self.claim(&attempt)).await;
        let claim = match claimed {
            Some(Ok(claim)) => claim,
            Some(Err(duplicate)) => return (Arc::new(attempt), duplicate),
            None => return (Arc::new(attempt), Outcome::Released),
        };
        let Some(Ok(_slot)) = self.closing.run_until_cancelled(self.slots.acquire()).await else {
            return (Arc::new(attempt), Outcome::Released);
        };
        let attempt = Arc::new(Attempt { started_at_ms: self.clock.now_ms(), ..attempt });
        let outcome = self.call(handler, &attempt).await;
        if let (Some(claim), Outcome::Succeeded) = (claim, &outcome) {
            claim.succeeded();
        }
        (attempt, outcome)
    }

    async fn claim(&self, attempt: &Attempt) -> Result<Option<Claim>, Outcome> {
        let (Some(seen), Some(run_id)) = (&self.seen, &attempt.run_id) else { return Ok(None) };
        seen.claim(run_id).await.map(Some).ok_or(Outcome::Duplicate)
    }

    /// In a task of its own, so that a panic ends there.
    async fn call(&self, handler: &HandlerFn, attempt: &Arc<Attempt>) -> Outcome {
        let call = tokio::spawn({
            let (handler, attempt) = (handler.clone(), Arc::clone(attempt));
            async move { handler(attempt).await }
        });
        let call = AbortOnDropHandle::new(call);
        match self.interrupted.run_until_cancelled(call).await {
            Some(Ok(Ok(()))) => Outcome::Succeeded,
            Some(Ok(Err(error))) => failed(&error),
            Some(Err(error)) => broken(error),
            None => Outcome::Interrupted,
        }
    }

    /// Exactly one side owns the retry: the server where it waits for a report that reaches it, else the broker.
    async fn settle(&self, attempt: &Attempt, outcome: &Outcome, result: Option<Value>) -> Verdict {
        let Some((reporter, run_id, report)) = self.report_of(attempt, outcome, result) else {
            return broker_verdict(outcome);
        };
        let answer = tokio::select! {
            // The report first: what has an outcome is handed to the reporter even when nobody waits for the answer.
            biased;
            answer = reporter.report(run_id, report) => answer,
            () = self.interrupted.cancelled() => return Verdict::Retry { after: None },
        };
        match answer {
            Ok(()) => Verdict::Ack,
            Err(ReportError::Refused(reason)) => {
                warn!(
                    run_id,
                    attempt = attempt.number,
                    reason,
                    "outcome report refused; the run is no longer ours"
                );
                Verdict::Ack
            }
            Err(ReportError::Undelivered(reason)) => {
                warn!(
                    run_id,
                    attempt = attempt.number,
                    reason,
                    "outcome report not delivered; the run comes again"
                );
                Verdict::Retry { after: None }
            }
        }
    }

    fn report_of<'a>(
        &'a self,
        attempt: &'a Attempt,
        outcome: &Outcome,
        result: Option<Value>,
    ) -> Option<(&'a dyn Reporter, &'a str, OutcomeReport)> {
        let (reporter, true) = (self.reporter.as_deref()?, attempt.ack_wanted) else { return None };
        let (Some(run_id), Some(token)) = (attempt.run_id.as_deref(), attempt.token.clone()) else {
            warn!(
                task_id = attempt.delivery.task_id,
                "a report is wanted, but the message has no run id or token"
            );
            return None;
        };
        let (outcome, message, retry_after) = reported(outcome)?;
        let message = message.map(|mut message| {
            message.truncate(message.floor_char_boundary(MAX_REPORTED_BYTES));
            message
        });
        let retry_after_ms = retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        Some((
            reporter,
            run_id,
            OutcomeReport { attempt: attempt.number, token, outcome, message, retry_after_ms, result },
        ))
    }
}

fn reported(outcome: &Outcome) -> Option<(ReportedOutcome, Option<String>, Option<Duration>)> {
    match outcome {
        // Reporting a success twice is harmless, and the first report may have been lost.
        Outcome::Succeeded | Outcome::Duplicate => Some((ReportedOutcome::Succeeded, None, None)),
        Outcome::Failed { message, retry_after } => {
            Some((ReportedOutcome::Failed, Some(message.clone()), *retry_after))
        }
        Outcome::Dead { message } => Some((ReportedOutcome::Dead, Some(message.clone()), None)),
        Outcome::Skipped { message } => Some((ReportedOutcome::Skipped, Some(message.clone()), None)),
        Outcome::Unrouted | Outcome::Deferred { .. } | Outcome::Interrupted | Outcome::Released => None,
    }
}

fn broker_verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Succeeded | Outcome::Skipped { .. } | Outcome::Duplicate | Outcome::Unrouted => Verdict::Ack,
        Outcome::Failed { retry_after, .. } => Verdict::Retry { after: *retry_after },
        Outcome::Dead { .. } => Verdict::DeadLetter,
        Outcome::Interrupted => Verdict::Retry { after: None },
        Outcome::Released => Verdict::Release,
        Outcome::Deferred { within, .. } => Verdict::HandOver { within: *within },
    }
}

fn failed(error: &HandlerError) -> Outcome {
    let message = error.message();
    match error.disposition() {
        Disposition::Retry => Outcome::Failed { message, retry_after: None },
        Disposition::RetryAfter(after) => Outcome::Failed { message, retry_after: Some(after) },
        Disposition::DeadLetter => Outcome::Dead { message },
        Disposition::Skip => Outcome::Skipped { message },
        Disposition::ConfirmLater(within) => Outcome::Deferred { message, within },
        Disposition::Release => Outcome::Released,
    }
}

/// A panic is an error like another; a task that was cancelled went down with its runtime.
fn broken(error: JoinError) -> Outcome {
    match error.try_into_panic() {
        Ok(panic) => Outcome::Failed { message: panic_message(panic.as_ref()), retry_after: None },
        Err(_cancelled) => Outcome::Interrupted,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("with something that is no text"))
}

fn log(attempt: &Attempt, outcome: &Outcome) {
    let run_id = attempt.run_id.as_deref().unwrap_or_default();
    let (tag, task_id, attempt) = (&attempt.delivery.tag, &attempt.delivery.task_id, attempt.number);
    match outcome {
        Outcome::Succeeded => debug!(tag, task_id, run_id, attempt, "handled"),
        Outcome::Failed { message, .. } => warn!(tag, task_id, run_id, attempt, message, "handler failed"),
        Outcome::Dead { message } => error!(tag, task_id, run_id, attempt, message, "message given up"),
        Outcome::Skipped { message } => {
            info!(tag, task_id, run_id, attempt, message, "skipped by the handler");
        }
        Outcome::Deferred { message, .. } => {
            debug!(tag, task_id, run_id, attempt, message, "to be confirmed by somebody else");
        }
        Outcome::Duplicate => {
            info!(tag, task_id, run_id, attempt, "duplicate of a run that succeeded, dropped");
        }
        Outcome::Unrouted => {}
        Outcome::Interrupted => {
            warn!(tag, task_id, run_id, attempt, "shut down before an outcome; given back");
        }
        Outcome::Released => {
            debug!(tag, task_id, run_id, attempt, "not tried; given back");
        }
    }
}
