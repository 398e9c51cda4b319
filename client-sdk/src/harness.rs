//! Test harness: deliveries to the handlers of a consumer, without a broker and without a server.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::clock::{Clock, ManualClock};
use crate::consumer_parts::ConsumerParts;
use crate::dispatch::Dispatcher;
use crate::outcome::Delivered;
use crate::report::{ReportError, Reporter};
use crate::resources::{LogBatch, LogEntry};
use crate::route::RouteError;
use crate::tag::Subscription;
use crate::transport::Delivery;
use crate::wire::{OutcomeReport, property};

/// Initial time of the clock of a [`Harness`]: 2026-01-01 00:00 UTC.
pub const HARNESS_EPOCH_MS: i64 = 1_767_225_600_000;

/// A consumer for tests, without a transport.
/// [`ConsumerBuilder::harness`](crate::ConsumerBuilder::harness) creates it with all settings of
/// the builder.
///
/// The clock shows [`HARNESS_EPOCH_MS`] until [`set_now_ms`](Self::set_now_ms). Outcome reports are
/// recorded and not sent, if the consumer reports at all.
///
/// ```
/// use taskcenter_client::{Consumer, Context, HandlerError, Outcome};
///
/// async fn greet(_: Context, name: String) -> Result<(), HandlerError> {
///     if name.is_empty() { Err("no name".into()) } else { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let harness = Consumer::builder().on("greet", greet).harness()?;
/// assert_eq!(harness.deliver("greet").json(&"Li").await.outcome, Outcome::Succeeded);
/// let failed = harness.deliver("greet").json(&"").await.outcome;
/// assert_eq!(failed, Outcome::Failed { message: "no name".to_owned(), retry_after: None });
/// # Ok(())
/// # }
/// ```
pub struct Harness {
    dispatcher: Arc<Dispatcher>,
    clock: Arc<ManualClock>,
    reports: Arc<ReportRecorder>,
}

#[derive(Default)]
struct ReportRecorder(Mutex<RecordedReports>);

#[derive(Default)]
struct RecordedReports {
    reports: Vec<(String, OutcomeReport)>,
    failure: Option<ReportError>,
    log: Vec<(String, LogEntry)>,
}

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
}

#[async_trait]
impl Reporter for Arc<ReportRecorder> {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError> {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.reports.push((run_id.to_owned(), report));
        recorded.failure.clone().map_or(Ok(()), Err)
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Result<(), ReportError> {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.log.extend(batch.lines.into_iter().map(|line| (run_id.to_owned(), line)));
        Ok(())
    }
}

impl Harness {
    pub(crate) fn new(mut parts: ConsumerParts) -> Result<Self, RouteError> {
        let clock = Arc::new(ManualClock::new(HARNESS_EPOCH_MS));
        let reports = Arc::new(ReportRecorder::default());
        parts.clock = Arc::new(SharedClock(Arc::clone(&clock)));
        if parts.reporter().is_some() {
            parts = parts.reporting_to(Arc::new(Arc::clone(&reports)));
        }
        let mut dispatcher = parts.dispatcher()?;
        dispatcher.logs = Some(Arc::new(Arc::clone(&reports)));
        Ok(Self { dispatcher: Arc::new(dispatcher), clock, reports })
    }

    /// Returns a delivery with this tag. Set its fields, then await it.
    pub fn deliver(&self, tag: &str) -> TestDelivery {
        let delivery = Delivery {
            message_id: "message-1".to_owned(),
            task_id: "task-1".to_owned(),
            tag: tag.to_owned(),
            body: Bytes::new(),
            properties: HashMap::new(),
            delivery_attempt: 1,
        };
        let delivery = TestDelivery { dispatcher: Arc::clone(&self.dispatcher), delivery };
        delivery.run_id("run-1").attempt(1).scheduled_at_ms(self.clock.now_ms())
    }

    /// Returns the subscription of the consumer.
    pub fn subscription(&self) -> Subscription {
        self.dispatcher.routes.subscription()
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.clock.set(now_ms);
    }

    /// Returns all recorded outcome reports with their run ids, including those that
    /// [`fail_reports`](Self::fail_reports) failed.
    pub fn reports(&self) -> Vec<(String, OutcomeReport)> {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).reports.clone()
    }

    /// Returns all lines that handlers have [written](crate::Context::log), with their run ids.
    pub fn log(&self) -> Vec<(String, LogEntry)> {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).log.clone()
    }

    /// Fails all further outcome reports with this error. `None`: accepts them again.
    pub fn fail_reports(&self, failure: Option<ReportError>) {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).failure = failure;
    }
}

/// Builder of a test delivery: `harness.deliver("order.close").json(&order).attempt(2).await`.
#[must_use = "await the delivery"]
pub struct TestDelivery {
    dispatcher: Arc<Dispatcher>,
    delivery: Delivery,
}

impl TestDelivery {
    /// Sets the payload, encoded as JSON. Default: empty.
    ///
    /// # Panics
    /// Panics if the payload has no JSON form.
    pub fn json(self, payload: &impl Serialize) -> Self {
        self.body(serde_json::to_vec(payload).expect("the payload has a JSON form"))
    }

    /// Sets the payload, byte for byte. Default: empty.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.delivery.body = body.into();
        self
    }

    /// Sets the task id. Default: `task-1`.
    pub fn task_id(mut self, task_id: &str) -> Self {
        task_id.clone_into(&mut self.delivery.task_id);
        self
    }

    /// Sets the message id. Default: `message-1`.
    pub fn message_id(mut self, message_id: &str) -> Self {
        message_id.clone_into(&mut self.delivery.message_id);
        self
    }

    /// Sets the 1-based number of the transport's delivery. Default: 1.
    pub fn delivery_attempt(mut self, delivery_attempt: u32) -> Self {
        self.delivery.delivery_attempt = delivery_attempt;
        self
    }

    /// Sets the run id. Default: `run-1`.
    pub fn run_id(self, run_id: &str) -> Self {
        self.property(property::RUN_ID, run_id)
    }

    /// Sets the 1-based number of the server's attempt. Default: 1.
    pub fn attempt(self, attempt: u32) -> Self {
        self.property(property::ATTEMPT, &attempt.to_string())
    }

    /// Sets the nominal moment, in milliseconds since the Unix epoch. Default: the time of the
    /// harness.
    pub fn scheduled_at_ms(self, at_ms: i64) -> Self {
        self.property(property::SCHEDULED_AT, &at_ms.to_string())
    }

    /// Sets the claim count. Default: unknown.
    pub fn claim(self, claim: u64) -> Self {
        self.property(property::CLAIM, &claim.to_string())
    }

    /// Makes the delivery request an outcome report with this attempt token. Default: no report.
    pub fn ack(self, token: &str) -> Self {
        self.property(property::ACK, property::ACK_WANTED).property(property::TOKEN, token)
    }

    /// Sets a property of the message.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.delivery.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes a property, for a message that the task center did not publish.
    pub fn without(mut self, name: &str) -> Self {
        self.delivery.properties.remove(name);
        self
    }
}

impl IntoFuture for TestDelivery {
    type Output = Delivered;
    type IntoFuture = BoxFuture<'static, Delivered>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.dispatcher.dispatch(self.delivery).await })
    }
}
