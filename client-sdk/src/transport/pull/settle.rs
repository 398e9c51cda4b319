//! Settlement: reports outcomes to the server in batches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::api::{CallError, WorkerApi};
use super::backoff::Backoff;
use super::leases::Leases;
use crate::clock::monotonic;
use crate::report::{ReportError, Reporter, approximate_bytes, refusal};
use crate::resources::{LogBatch, MAX_BATCH, RunAnswer, SettleRequest, Settlement};
use crate::wire::OutcomeReport;

/// How long an outcome waits for others, to share one request with them.
const LINGER: Duration = Duration::from_millis(3);
/// Approximate maximum size of a request, well below the limit of the server.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Maximum number of concurrent requests, so that a repeated request does not delay the others.
const MAX_REQUESTS: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Time limit of the last outcomes, after all handlers have ended.
const FINAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Result of one report.
type Reported = Result<(), ReportError>;

/// An outcome that the server has not acknowledged.
struct Pending {
    settlement: Settlement,
    /// End of the lease. The report is sent at least once, and not repeated after this instant.
    until: Instant,
    /// Receiver of the result, if a caller waits for it.
    waiting: Option<oneshot::Sender<Reported>>,
}

/// Reporter of the consumer. Each report waits for its own result, and shares its request with
/// others.
pub(super) struct Settler {
    api: Arc<dyn WorkerApi>,
    leases: Arc<Leases>,
    sender: mpsc::UnboundedSender<Pending>,
    receiver: Mutex<mpsc::UnboundedReceiver<Pending>>,
}

#[async_trait]
impl Reporter for Settler {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Reported {
        // Without a lease the report is sent once, and the server decides.
        let until = self.leases.remove(&report.token).unwrap_or_else(monotonic);
        let (waiting, reported) = oneshot::channel();
        self.enqueue(Settlement { run_id: run_id.to_owned(), report }, until, Some(waiting));
        reported.await.unwrap_or_else(|_| Err(undelivered("the transport has stopped")))
    }

    async fn append_log(&self, run_id: &str, batch: LogBatch) -> Reported {
        self.api.append_log(run_id, batch).await.map_err(|error| match error {
            CallError::Unavailable(why) => ReportError::Undelivered(why),
            CallError::Refused(why) | CallError::Denied(why) => ReportError::Refused(why),
        })
    }
}

impl Settler {
    pub(super) fn new(api: Arc<dyn WorkerApi>, leases: Arc<Leases>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { api, leases, sender, receiver: Mutex::new(receiver) }
    }

    /// Reports an outcome without waiting for the result.
    pub(super) fn report_later(&self, settlement: Settlement, until: Instant) {
        self.enqueue(settlement, until, None);
    }

    fn enqueue(&self, settlement: Settlement, until: Instant, waiting: Option<oneshot::Sender<Reported>>) {
        // This cannot fail: the receiver is in `self`, too.
        let _ = self.sender.send(Pending { settlement, until, waiting });
    }

    /// Sends outcomes until `ended`, and then the remaining ones.
    pub(super) async fn run(&self, ended: &CancellationToken) {
        let late = async {
            ended.cancelled().await;
            sleep(FINAL_TIMEOUT).await;
        };
        tokio::select! {
            () = self.send_all(ended) => {}
            () = late => warn!("last outcomes not reported in time; their runs will be retried"),
        }
    }

    async fn send_all(&self, ended: &CancellationToken) {
        let mut receiver = self.receiver.lock().await;
        let mut under_way = JoinSet::new();
        while let Some(batch) = next_batch(&mut receiver, ended).await {
            while under_way.len() >= MAX_REQUESTS {
                under_way.join_next().await;
            }
            under_way.spawn(settle(Arc::clone(&self.api), batch));
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }
}

/// Returns the next batch. `None`: all outcomes have been sent.
async fn next_batch(
    receiver: &mut mpsc::UnboundedReceiver<Pending>,
    ended: &CancellationToken,
) -> Option<Vec<Pending>> {
    let first = ended.run_until_cancelled(receiver.recv()).await.flatten();
    let first = first.or_else(|| receiver.try_recv().ok())?;
    let mut bytes = approximate_bytes(&first.settlement.report);
    let mut batch = vec![first];
    let linger = sleep(LINGER);
    tokio::pin!(linger);
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let next = tokio::select! {
            biased;
            Some(next) = receiver.recv() => next,
            () = &mut linger => break,
        };
        bytes += approximate_bytes(&next.settlement.report);
        batch.push(next);
    }
    Some(batch)
}

/// Repeats the request until each outcome has a result or its lease has ended. The server
/// recognizes a repeated outcome by its token.
fn settle(api: Arc<dyn WorkerApi>, mut batch: Vec<Pending>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let outcomes = batch.iter().map(|pending| pending.settlement.clone()).collect();
            let why = match api.settle(SettleRequest { outcomes }).await {
                Ok(answers) => {
                    batch = complete_answered(batch, &answers.results);
                    "the server could not settle the run".to_owned()
                }
                Err(CallError::Refused(why)) => return settle_halves(api, batch, &why).await,
                Err(CallError::Unavailable(why) | CallError::Denied(why)) => why,
            };
            batch = fail_expired(batch, &why);
            if batch.is_empty() {
                return;
            }
            debug!(outcomes = batch.len(), why, "outcome reports failed; retrying");
            sleep(pauses.next()).await;
        }
    })
}

/// Splits a refused batch, so that one invalid outcome does not fail the others.
async fn settle_halves(api: Arc<dyn WorkerApi>, mut batch: Vec<Pending>, why: &str) {
    if batch.len() > 1 {
        let half = batch.split_off(batch.len() / 2);
        settle(Arc::clone(&api), batch).await;
        settle(api, half).await;
    } else {
        for pending in batch {
            pending.complete(Err(ReportError::Refused(why.to_owned())));
        }
    }
}

/// Completes the outcomes with a final answer and returns the others.
fn complete_answered(batch: Vec<Pending>, answers: &[RunAnswer]) -> Vec<Pending> {
    let mut answers = answers.iter();
    let mut left = Vec::new();
    for pending in batch {
        match answers.next() {
            Some(answer) if answer.status < 400 => pending.complete(Ok(())),
            Some(answer) if answer.status < 500 && answer.status != 429 => {
                pending.complete(Err(refusal(answer)));
            }
            _ => left.push(pending),
        }
    }
    left
}

/// Fails the outcomes whose lease has ended and returns the others.
fn fail_expired(batch: Vec<Pending>, why: &str) -> Vec<Pending> {
    let now = monotonic();
    let (left, expired): (Vec<_>, Vec<_>) = batch.into_iter().partition(|pending| pending.until > now);
    for pending in expired {
        pending.complete(Err(undelivered(why)));
    }
    left
}

fn undelivered(why: &str) -> ReportError {
    ReportError::Undelivered(why.to_owned())
}

impl Pending {
    /// Passes the result to the waiting caller; without one, logs a failure.
    fn complete(self, reported: Reported) {
        let run_id = self.settlement.run_id;
        let unreceived = match self.waiting {
            Some(waiting) => waiting.send(reported).err(),
            None => Some(reported),
        };
        if let Some(Err(why)) = unreceived {
            warn!(run_id, %why, "outcome not reported; another worker has the run, or it will be retried");
        }
    }
}
