//! Delivers to a consumer's own handlers with no broker, for tests.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::clock::{Clock, ManualClock};
use crate::consumer::Parts;
use crate::dispatch::{Delivered, Dispatcher};
use crate::report::{ReportError, Reporter};
use crate::route::RouteError;
use crate::tag::Subscription;
use crate::transport::Delivery;
use crate::wire::{OutcomeReport, property};

/// What the harness's clock shows at first: 2026-01-01 00:00 UTC.
pub const HARNESS_EPOCH_MS: i64 = 1_767_225_600_000;

/// A consumer without a broker. Made by [`ConsumerBuilder::harness`](crate::ConsumerBuilder::harness), it applies all
/// that the builder says; the clock stands still, and reports (if the builder asks for them) are recorded, not sent.
pub struct Harness {
    dispatcher: Arc<Dispatcher>,
    clock: Arc<ManualClock>,
    reports: Arc<RecordedReports>,
}

#[derive(Default)]
struct RecordedReports(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    reports: Vec<(String, OutcomeReport)>,
    failure: Option<ReportError>,
}

struct SharedClock(Arc<ManualClock>);

impl Clock for SharedClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
}

#[async_trait]
impl Reporter for Arc<RecordedReports> {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.reports.push((run_id.to_owned(), report));
        ledger.failure.clone().map_or(Ok(()), Err)
    }
}

impl Harness {
    pub(crate) fn new(mut parts: Parts) -> Result<Self, RouteError> {
        let clock = Arc::new(ManualClock::new(HARNESS_EPOCH_MS));
        let reports = Arc::new(RecordedReports::default());
        parts.clock = Arc::new(SharedClock(Arc::clone(&clock)));
        if parts.reporter().is_some() {
            parts = parts.reporting_to(Arc::new(Arc::clone(&reports)));
        }
        Ok(Self { dispatcher: Arc::new(parts.dispatcher()?), clock, reports })
    }

    /// A delivery with this tag, to be filled in and awaited.
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

    /// What the broker would be asked for.
    pub fn subscription(&self) -> Subscription {
        self.dispatcher.routes.subscription()
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.clock.set(now_ms);
    }

    /// The reports made so far, each with its run id; also those that were answered by an error.
    pub fn reports(&self) -> Vec<(String, OutcomeReport)> {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).reports.clone()
    }

    /// Answers reports with this error from now on; `None` accepts them again.
    pub fn fail_reports(&self, failure: Option<ReportError>) {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).failure = failure;
    }
}

/// A delivery in the making: `harness.deliver("order.close").json(&order).attempt(2).await`.
#[must_use = "nothing is delivered before it is awaited"]
pub struct TestDelivery {
    dispatcher: Arc<Dispatcher>,
    delivery: Delivery,
}

impl TestDelivery {
    /// The payload, as JSON.
    ///
    /// # Panics
    /// When the payload cannot be written as JSON.
    pub fn json(self, payload: &impl Serialize) -> Self {
        self.body(serde_json::to_vec(payload).expect("the payload can be written as JSON"))
    }

    /// The payload as it stands.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.delivery.body = body.into();
        self
    }

    /// The task's id; `task-1` unless said.
    pub fn task_id(mut self, task_id: &str) -> Self {
        task_id.clone_into(&mut self.delivery.task_id);
        self
    }

    /// The message's id; `message-1` unless said.
    pub fn message_id(mut self, message_id: &str) -> Self {
        message_id.clone_into(&mut self.delivery.message_id);
        self
    }

    /// The transport's attempt; 1 unless said.
    pub fn delivery_attempt(mut self, delivery_attempt: u32) -> Self {
        self.delivery.delivery_attempt = delivery_attempt;
        self
    }

    /// The run's id; `run-1` unless said.
    pub fn run_id(self, run_id: &str) -> Self {
        self.property(property::RUN_ID, run_id)
    }

    /// The server's attempt; 1 unless said.
    pub fn attempt(self, attempt: u32) -> Self {
        self.property(property::ATTEMPT, &attempt.to_string())
    }

    /// The due moment, in milliseconds since the Unix epoch; the harness's now unless said.
    pub fn scheduled_at_ms(self, at_ms: i64) -> Self {
        self.property(property::SCHEDULED_AT, &at_ms.to_string())
    }

    /// The run's claim count.
    pub fn claim(self, claim: u64) -> Self {
        self.property(property::CLAIM, &claim.to_string())
    }

    /// The server waits for a report with this token.
    pub fn ack(self, token: &str) -> Self {
        self.property(property::ACK, property::ACK_WANTED).property(property::TOKEN, token)
    }

    /// Sets any property of the message.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.delivery.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a property away, as in a message from elsewhere.
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
