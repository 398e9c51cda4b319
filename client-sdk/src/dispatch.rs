//! Dispatch of one delivery: duplicates, concurrency slots, the call, panics, the outcome report.

use std::any::Any;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::task::JoinError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, debug, info_span, warn};

use crate::clock::Clock;
use crate::context::Attempt;
use crate::duplicate_filter::{DuplicateFilter, RunGuard};
use crate::handler::{Disposition, HandlerError};
use crate::outcome::{self, Delivered, Outcome};
use crate::report::{ReportError, Reporter};
use crate::route::{Route, Routes};
use crate::run_log::{LogBuffer, Target};
use crate::transport::{Deliver, Delivery, Link, Verdict};
use crate::wire::{OutcomeReport, ReportedOutcome};

/// Maximum length of a reported message; the server has the same. A longer message is cut, so that
/// every error can be reported.
const MAX_REPORTED_BYTES: usize = 32 * 1024;

/// Time from the time limit of a handler until the handler is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// Dispatches deliveries to handlers.
pub(crate) struct Dispatcher {
    pub(crate) routes: Routes,
    pub(crate) concurrency: usize,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) duplicates: Option<DuplicateFilter>,
    pub(crate) reporter: Option<Arc<dyn Reporter>>,
    /// Receiver of the lines that handlers write.
    pub(crate) logs: Option<Arc<dyn Reporter>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// When cancelled, no further handler is called.
    pub(crate) closing: CancellationToken,
    /// When cancelled, the running handlers are dropped.
    pub(crate) interrupted: CancellationToken,
}

#[async_trait]
impl Deliver for Dispatcher {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        self.dispatch(delivery).await.verdict
    }

    async fn deliver_linked(&self, delivery: Delivery, link: Link) -> Verdict {
        self.dispatch_linked(delivery, link).await.verdict
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }
}

impl Dispatcher {
    /// Returns the number of handlers that run now.
    pub(crate) fn running(&self) -> usize {
        self.concurrency.saturating_sub(self.slots.available_permits())
    }

    pub(crate) async fn dispatch(&self, delivery: Delivery) -> Delivered {
        self.dispatch_linked(delivery, Link::default()).await
    }

    /// Dispatches a delivery, with a link to its transport.
    async fn dispatch_linked(&self, delivery: Delivery, link: Link) -> Delivered {
        // A child, so that a shutdown or a time limit does not count as a lost delivery.
        let lines = LogBuffer::new(Arc::clone(&self.clock));
        let cancelled = link.stopped.child_token();
        let attempt = Attempt { link, cancelled, ..Attempt::read(delivery, lines) };
        let Some(route) = self.routes.find(&attempt.delivery.tag).cloned() else {
            // The broker filters by hash, so a message with another tag can arrive. Another group
            // handles it.
            debug!(
                tag = attempt.delivery.tag,
                task_id = attempt.delivery.task_id,
                "delivery ignored: no handler for its tag"
            );
            return Delivered { outcome: Outcome::Unrouted, verdict: Verdict::Ack, result: None };
        };
        let (attempt, outcome) = self.handle(&route, attempt).await;
        outcome::log(&attempt, &outcome);
        let result = attempt.take_result().filter(|_| outcome == Outcome::Succeeded);
        let verdict = self.settle(&attempt, &outcome, result.clone()).await;
        Delivered { outcome, verdict, result }
    }

    async fn handle(&self, route: &Route, attempt: Attempt) -> (Arc<Attempt>, Outcome) {
        // The guard first and the slot second, so that a waiting duplicate takes no slot.
        let guarded = self.closing.run_until_cancelled(self.guard(&attempt)).await;
        let guard = match guarded {
            Some(Ok(guard)) => guard,
            Some(Err(duplicate)) => return (Arc::new(attempt), duplicate),
            None => return (Arc::new(attempt), Outcome::Released),
        };
        // The slot of the handler first, so that a waiting delivery takes no slot of other handlers.
        let slots = async { (acquire(route.slots.as_deref()).await, self.slots.acquire().await) };
        let Some((Ok(_own), Ok(_slot))) = self.closing.run_until_cancelled(slots).await else {
            return (Arc::new(attempt), Outcome::Released);
        };
        let attempt = Arc::new(Attempt { started_at_ms: self.clock.now_ms(), ..attempt });
        let call = self.call(route, &attempt);
        let outcome = attempt.log.send_during(self.log_target(&attempt), call, &self.interrupted).await;
        if let (Some(guard), Outcome::Succeeded) = (guard, &outcome) {
            guard.succeeded();
        }
        (attempt, outcome)
    }

    fn log_target<'a>(&'a self, attempt: &'a Attempt) -> Option<Target<'a>> {
        let (reporter, run_id) = (self.logs.as_deref()?, attempt.run_id.as_deref()?);
        let token = attempt.token.as_deref().unwrap_or_default();
        Some(Target { reporter, run_id, attempt: attempt.number, token })
    }

    async fn guard(&self, attempt: &Attempt) -> Result<Option<RunGuard>, Outcome> {
        let (Some(filter), Some(run_id)) = (&self.duplicates, &attempt.run_id) else { return Ok(None) };
        filter.begin(run_id).await.map(Some).ok_or(Outcome::Duplicate)
    }

    /// Calls the handler in a separate task, so that a panic ends only that task. The task has a span
    /// of the run.
    async fn call(&self, route: &Route, attempt: &Arc<Attempt>) -> Outcome {
        let span = info_span!(
            "run",
            run_id = attempt.run_id.as_deref().unwrap_or_default(),
            task_id = attempt.delivery.task_id,
            tag = attempt.delivery.tag,
            attempt = attempt.number
        );
        let call = (route.handler)(Arc::clone(attempt));
        let call = AbortOnDropHandle::new(tokio::spawn(call.instrument(span)));
        let limit = [route.timeout, attempt.max_runtime].into_iter().flatten().min();
        let call = self.limit(call, limit, attempt);
        match self.interrupted.run_until_cancelled(call).await {
            Some(Ok(Ok(Ok(())))) => Outcome::Succeeded,
            Some(Ok(Ok(Err(error)))) => failed(&error),
            Some(Ok(Err(error))) => ended_without_result(error),
            Some(Err(limit)) => Outcome::Failed {
                message: format!("the handler exceeded its time limit of {limit:?}"),
                retry_after: None,
            },
            None => Outcome::Interrupted,
        }
    }

    /// Waits for a call. At the time limit or the start of a shutdown, cancels the token of the
    /// attempt. Returns the limit as an error if the call exceeds the limit and its grace period.
    async fn limit<T>(
        &self,
        call: impl Future<Output = T>,
        limit: Option<Duration>,
        attempt: &Attempt,
    ) -> Result<T, Duration> {
        tokio::pin!(call);
        let expired = async {
            match limit {
                Some(limit) => {
                    sleep(limit).await;
                    attempt.cancelled.cancel();
                    sleep(CANCEL_GRACE).await;
                    limit
                }
                None => pending().await,
            }
        };
        let closing = async {
            self.closing.cancelled().await;
            attempt.cancelled.cancel();
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            ended = &mut call => Ok(ended),
            limit = expired => Err(limit),
            () = closing => unreachable!("this future never completes"),
        }
    }

    /// Reports the outcome and returns the verdict. Exactly one side owns the retry: the server if
    /// it gets the report that it waits for, otherwise the broker.
    async fn settle(&self, attempt: &Attempt, outcome: &Outcome, result: Option<Value>) -> Verdict {
        let Some((reporter, run_id, report)) = self.report_of(attempt, outcome, result) else {
            return broker_verdict(outcome);
        };
        let answer = tokio::select! {
            // The report is polled first, so that the reporter gets every outcome, also after an
            // interrupt.
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
                    "outcome report refused; another attempt owns the run"
                );
                Verdict::Ack
            }
            Err(ReportError::Undelivered(reason)) => {
                warn!(
                    run_id,
                    attempt = attempt.number,
                    reason,
                    "outcome report not delivered; the run will be retried"
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
                "outcome report not sent: the message has no run id or no token"
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
            OutcomeReport {
                attempt: attempt.number,
                token,
                outcome,
                message,
                retry_after_ms,
                result,
                started_at: attempt.started_at(),
            },
        ))
    }
}

/// Acquires a slot of a handler. A handler without its own limit needs none.
async fn acquire(slots: Option<&Semaphore>) -> Result<Option<SemaphorePermit<'_>>, AcquireError> {
    match slots {
        Some(slots) => slots.acquire().await.map(Some),
        None => Ok(None),
    }
}

fn reported(outcome: &Outcome) -> Option<(ReportedOutcome, Option<String>, Option<Duration>)> {
    match outcome {
        // A repeated report of a success changes nothing, and the first report may have been lost.
        Outcome::Succeeded | Outcome::Duplicate => Some((ReportedOutcome::Succeeded, None, None)),
        Outcome::Failed { message, retry_after } => {
            Some((ReportedOutcome::Failed, Some(message.clone()), *retry_after))
        }
        Outcome::Dead { message } => Some((ReportedOutcome::Dead, Some(message.clone()), None)),
        Outcome::Skipped { message } => Some((ReportedOutcome::Skipped, Some(message.clone()), None)),
        Outcome::Postponed { message, after } => {
            Some((ReportedOutcome::Released, Some(message.clone()), Some(*after)))
        }
        Outcome::Unrouted | Outcome::Deferred { .. } | Outcome::Interrupted | Outcome::Released => None,
    }
}

fn broker_verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Succeeded | Outcome::Skipped { .. } | Outcome::Duplicate | Outcome::Unrouted => Verdict::Ack,
        Outcome::Failed { retry_after, .. } => Verdict::Retry { after: *retry_after },
        Outcome::Postponed { after, .. } => Verdict::Retry { after: Some(*after) },
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
        Disposition::ReleaseAfter(after) => Outcome::Postponed { message, after },
    }
}

/// A panic counts as a failure. A cancelled task means that its runtime has stopped.
fn ended_without_result(error: JoinError) -> Outcome {
    match error.try_into_panic() {
        Ok(panic) => Outcome::Failed { message: panic_message(panic.as_ref()), retry_after: None },
        Err(_cancelled) => Outcome::Interrupted,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("the panic value is not a string"))
}
