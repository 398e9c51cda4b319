//! Outcome reports of consumers without leases, such as those on RocketMQ. The reports that gather
//! while requests are under way share the next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Error, TaskCenter};
use crate::error_text::with_causes;
use crate::report::{ReportError, approximate_bytes, refusal};
use crate::resources::{MAX_BATCH, RunAnswer, SettleRequest, Settlement};

/// Maximum number of concurrent requests, so that a repeated request does not delay the others.
const MAX_SENDERS: usize = 4;
/// Approximate maximum size of a request, well below the limit of the server.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

type Reported = Result<(), ReportError>;

struct Waiting {
    settlement: Settlement,
    caller: oneshot::Sender<Reported>,
}

/// Reports that wait for a request.
#[derive(Default)]
pub(super) struct ReportQueue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    senders: usize,
}

impl std::fmt::Debug for ReportQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportQueue").finish_non_exhaustive()
    }
}

impl ReportQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report. Returns a sender if fewer than [`MAX_SENDERS`] exist.
    fn add(self: &Arc<Self>, waiting: Waiting) -> Option<Sender> {
        let mut state = self.state();
        state.waiting.push_back(waiting);
        (state.senders < MAX_SENDERS).then(|| {
            state.senders += 1;
            Sender(Some(Arc::clone(self)))
        })
    }
}

/// Sends batches until no report waits. A sender that is dropped before makes room for another one.
struct Sender(Option<Arc<ReportQueue>>);

impl Sender {
    /// Returns the next batch. `None`: no report waits, and this sender no longer counts.
    fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let queue = self.0.take()?;
        let batch = {
            let mut state = queue.state();
            let batch = first_batch(&mut state.waiting);
            if batch.is_empty() {
                state.senders -= 1;
                return None;
            }
            batch
        };
        self.0 = Some(queue);
        Some(batch)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.state().senders -= 1;
        }
    }
}

fn first_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let Some(next) = waiting.pop_front() else { break };
        bytes += approximate_bytes(&next.settlement.report);
        batch.push(next);
    }
    batch
}

impl TaskCenter {
    /// Reports one outcome. The report may share its request with others.
    pub(super) async fn report_with_others(&self, settlement: Settlement) -> Reported {
        let (caller, reported) = oneshot::channel();
        if let Some(sender) = self.reports.add(Waiting { settlement, caller }) {
            tokio::spawn(self.clone().send_reports(sender));
        }
        let stopped = || Err(ReportError::Undelivered("the runtime of the reporter has stopped".to_owned()));
        reported.await.unwrap_or_else(|_| stopped())
    }

    async fn send_reports(self, mut sender: Sender) {
        while let Some(batch) = sender.next_batch() {
            let left = if batch.len() > 1 { self.send_batch(batch).await } else { batch };
            join_all(left.into_iter().map(|waiting| self.send_one(waiting))).await;
        }
    }

    /// Sends a batch. Returns the reports that need a request of their own.
    async fn send_batch(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        let outcomes = batch.iter().map(|waiting| waiting.settlement.clone()).collect();
        match self.settle(&SettleRequest { outcomes }).await {
            Ok(answers) => complete_answered(batch, &answers.results),
            // One report may be the reason, or an older server has no such route.
            Err(error) if matches!(error.status(), Some(400 | 404 | 405 | 413 | 422)) => batch,
            Err(error) => {
                for waiting in batch {
                    waiting.complete(Err(ReportError::Undelivered(with_causes(&error))));
                }
                Vec::new()
            }
        }
    }

    async fn send_one(&self, waiting: Waiting) {
        let Settlement { run_id, report } = &waiting.settlement;
        let reported = self.report(run_id, report).await.map(drop).map_err(|error| report_error(&error));
        waiting.complete(reported);
    }
}

/// Completes the reports that are stored or refused, and returns the others.
fn complete_answered(batch: Vec<Waiting>, answers: &[RunAnswer]) -> Vec<Waiting> {
    let mut answers = answers.iter();
    let mut left = Vec::new();
    for waiting in batch {
        match answers.next() {
            Some(answer) if answer.status < 400 => waiting.complete(Ok(())),
            Some(answer) if matches!(answer.status, 404 | 409) => waiting.complete(Err(refusal(answer))),
            _ => left.push(waiting),
        }
    }
    left
}

fn report_error(error: &Error) -> ReportError {
    match error.status() {
        Some(404 | 409) => ReportError::Refused(error.to_string()),
        _ => ReportError::Undelivered(with_causes(error)),
    }
}

impl Waiting {
    fn complete(self, reported: Reported) {
        // A caller that no longer waits needs no result.
        let _ = self.caller.send(reported);
    }
}
