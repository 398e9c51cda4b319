//! Takes outcomes to the server, many in one request.

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
use super::held::HeldRuns;
use crate::clock::monotonic;
use crate::report::{ReportError, Reporter};
use crate::resources::{MAX_BATCH, RunAnswer, SettleRequest, Settlement};
use crate::wire::OutcomeReport;

/// How long an outcome waits for others to share its request.
const LINGER: Duration = Duration::from_millis(3);
/// A request is sent once it is about this long, well below what the server takes.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;
/// What an outcome takes beside its message and its result.
const ENVELOPE_BYTES: usize = 256;
/// Requests under way at once: one that has to be repeated holds up no other.
const MAX_REQUESTS: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the last outcomes may take, once all handlers have ended.
const LAST_WORD: Duration = Duration::from_secs(3);

/// What became of one outcome.
type Settled = Result<(), ReportError>;

/// An outcome on its way.
struct Pending {
    settlement: Settlement,
    /// When the lease runs out: it is tried at least once, and not again after this.
    until: Instant,
    /// Who waits for the answer.
    waiting: Option<oneshot::Sender<Settled>>,
}

/// The consumer's reporter: each report waits for its answer while it shares its request with others.
pub(super) struct Settler {
    api: Arc<dyn WorkerApi>,
    held: Arc<HeldRuns>,
    sender: mpsc::UnboundedSender<Pending>,
    receiver: Mutex<mpsc::UnboundedReceiver<Pending>>,
}

#[async_trait]
impl Reporter for Settler {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Settled {
        // An attempt that is not held has lost its lease, and the server shall say so.
        let until = self.held.let_go(&report.token).unwrap_or_else(monotonic);
        let (waiting, settled) = oneshot::channel();
        self.send(Settlement { run_id: run_id.to_owned(), report }, until, Some(waiting));
        settled.await.unwrap_or_else(|_| Err(undelivered("the transport has stopped")))
    }
}

impl Settler {
    pub(super) fn new(api: Arc<dyn WorkerApi>, held: Arc<HeldRuns>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { api, held, sender, receiver: Mutex::new(receiver) }
    }

    /// Sends an outcome that nobody waits for.
    pub(super) fn tell(&self, settlement: Settlement, until: Instant) {
        self.send(settlement, until, None);
    }

    fn send(&self, settlement: Settlement, until: Instant, waiting: Option<oneshot::Sender<Settled>>) {
        // The receiver is beside the sender, and lives as long.
        let _ = self.sender.send(Pending { settlement, until, waiting });
    }

    /// Sends what comes until `ended`, and then what is left.
    pub(super) async fn run(&self, ended: &CancellationToken) {
        let late = async {
            ended.cancelled().await;
            sleep(LAST_WORD).await;
        };
        tokio::select! {
            () = self.send_all(ended) => {}
            () = late => warn!("the last outcomes could not be reported; their runs come again"),
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

/// `None` once all is sent.
async fn next_batch(
    receiver: &mut mpsc::UnboundedReceiver<Pending>,
    ended: &CancellationToken,
) -> Option<Vec<Pending>> {
    let first = ended.run_until_cancelled(receiver.recv()).await.flatten();
    let first = first.or_else(|| receiver.try_recv().ok())?;
    let mut bytes = size(&first);
    let mut batch = vec![first];
    let linger = sleep(LINGER);
    tokio::pin!(linger);
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let next = tokio::select! {
            biased;
            Some(next) = receiver.recv() => next,
            () = &mut linger => break,
        };
        bytes += size(&next);
        batch.push(next);
    }
    Some(batch)
}

fn size(pending: &Pending) -> usize {
    let report = &pending.settlement.report;
    let message = report.message.as_ref().map_or(0, String::len);
    let result = report.result.as_ref().map_or(0, |result| result.to_string().len());
    ENVELOPE_BYTES + message + result
}

/// Repeats the request until all of it is answered or no lease is left. The server knows a repeated outcome again by its token.
fn settle(api: Arc<dyn WorkerApi>, mut batch: Vec<Pending>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let outcomes = batch.iter().map(|pending| pending.settlement.clone()).collect();
            let why = match api.settle(SettleRequest { outcomes }).await {
                Ok(answers) => {
                    batch = unanswered(batch, &answers.results);
                    "the server could not settle it".to_owned()
                }
                Err(CallError::Refused(why)) => return settle_apart(api, batch, &why).await,
                Err(CallError::Unavailable(why)) => why,
            };
            batch = in_time(batch, &why);
            if batch.is_empty() {
                return;
            }
            debug!(outcomes = batch.len(), why, "outcomes could not be reported; trying again");
            sleep(pauses.next()).await;
        }
    })
}

/// One outcome that the server does not take must not cost the others theirs.
async fn settle_apart(api: Arc<dyn WorkerApi>, mut batch: Vec<Pending>, why: &str) {
    if batch.len() > 1 {
        let half = batch.split_off(batch.len() / 2);
        settle(Arc::clone(&api), batch).await;
        settle(api, half).await;
    } else {
        for pending in batch {
            pending.end(Err(ReportError::Refused(why.to_owned())));
        }
    }
}

/// Ends what has its answer and gives back the rest.
fn unanswered(batch: Vec<Pending>, answers: &[RunAnswer]) -> Vec<Pending> {
    let mut answers = answers.iter();
    let mut left = Vec::new();
    for pending in batch {
        match answers.next() {
            Some(answer) if answer.status < 400 => pending.end(Ok(())),
            Some(answer) if answer.status < 500 && answer.status != 429 => {
                pending.end(Err(ReportError::Refused(reason(answer))));
            }
            _ => left.push(pending),
        }
    }
    left
}

fn reason(answer: &RunAnswer) -> String {
    let problem = answer.problem.as_ref().map(|problem| problem.detail.as_str());
    format!("{} {}", answer.status, problem.unwrap_or_default()).trim_end().to_owned()
}

/// Gives up what has no lease left.
fn in_time(batch: Vec<Pending>, why: &str) -> Vec<Pending> {
    let now = monotonic();
    let (left, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|pending| pending.until > now);
    for pending in late {
        pending.end(Err(undelivered(why)));
    }
    left
}

fn undelivered(why: &str) -> ReportError {
    ReportError::Undelivered(why.to_owned())
}

impl Pending {
    /// Tells whoever waits; where nobody does, the log.
    fn end(self, settled: Settled) {
        let run_id = self.settlement.run_id;
        let untold = match self.waiting {
            Some(waiting) => waiting.send(settled).err(),
            None => Some(settled),
        };
        if let Some(Err(why)) = untold {
            warn!(run_id, %why, "an outcome is lost; the run is another's, or comes again");
        }
    }
}
