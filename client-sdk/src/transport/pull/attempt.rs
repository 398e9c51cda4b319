//! Conversion of leased runs to deliveries, and of verdicts to outcomes.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::{Delivery, Verdict};
use crate::resources::{LeasedAttempt, LeasedRun, Settlement};
use crate::wire::{OutcomeReport, ReportedOutcome, property};

/// Identity of an attempt, for its outcome.
pub(super) struct Attempt {
    pub(super) run_id: String,
    pub(super) number: u32,
    pub(super) token: String,
}

impl Attempt {
    /// Returns the attempt as a request names it.
    pub(super) fn leased(self) -> LeasedAttempt {
        LeasedAttempt { run_id: self.run_id, attempt: self.number, token: self.token, progress: None }
    }

    /// Returns the outcome of an attempt that the consumer has not reported.
    pub(super) fn settlement(self, verdict: Verdict) -> Settlement {
        let (outcome, message) = match verdict {
            Verdict::Release => (ReportedOutcome::Released, None),
            Verdict::HandOver { .. } => unreachable!("a handed-over attempt is not settled here"),
            Verdict::Ack => (ReportedOutcome::Failed, Some("the worker has no handler for the tag")),
            Verdict::Retry { .. } => {
                (ReportedOutcome::Failed, Some("the worker was shut down before the handler ended"))
            }
            Verdict::DeadLetter => (ReportedOutcome::Dead, None),
        };
        let report = OutcomeReport {
            attempt: self.number,
            token: self.token,
            outcome,
            message: message.map(str::to_owned),
            retry_after_ms: None,
            result: None,
            started_at: None,
        };
        Settlement { run_id: self.run_id, report }
    }
}

/// Converts a leased run to a delivery.
pub(super) fn unpack(run: LeasedRun) -> (Attempt, Delivery) {
    let mut properties = HashMap::from([
        (property::RUN_ID.to_owned(), run.run_id.clone()),
        (property::ATTEMPT.to_owned(), run.attempt.to_string()),
        (property::SCHEDULED_AT.to_owned(), run.scheduled_at.as_millisecond().to_string()),
        (property::NUMBER.to_owned(), run.number.to_string()),
        (property::CLAIM.to_owned(), run.claim.to_string()),
        (property::TOKEN.to_owned(), run.token.clone()),
        (property::ACK.to_owned(), property::ACK_WANTED.to_owned()),
    ]);
    properties
        .extend(run.max_runtime_ms.map(|limit| (property::MAX_RUNTIME_MS.to_owned(), limit.to_string())));
    if !run.headers.is_empty() {
        let names: Vec<&str> = run.headers.keys().map(String::as_str).collect();
        properties.insert(property::HEADERS.to_owned(), names.join(","));
        properties.extend(run.headers);
    }
    if !run.labels.is_empty() {
        properties.insert(property::LABELS.to_owned(), serde_json::json!(run.labels).to_string());
    }
    let delivery = Delivery {
        message_id: format!("{}-{}", run.run_id, run.claim),
        task_id: run.task_id,
        tag: run.tag,
        body: Bytes::from(run.data),
        properties,
        delivery_attempt: 1,
    };
    (Attempt { run_id: run.run_id, number: run.attempt, token: run.token }, delivery)
}
