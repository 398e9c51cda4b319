//! Takes runs from the server's queues over HTTP, with no broker.
//!
//! [`Pull`] leases as many runs as there are free handlers, waiting at the server where nothing is ready, renews what it
//! holds and reports outcomes. Leases, renewals and outcomes go in batches. A server that is not there is waited for, at the
//! start and at any time.
//!
//! It owns the outcomes: a consumer on it needs no [`report_to`](crate::ConsumerBuilder::report_to), and the server owns every
//! retry.

mod api;
mod backoff;
mod held;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use api::{CallError, WorkerApi};
use backoff::Backoff;
use held::{HeldRuns, millis};
use settle::Settler;

use super::{Deliver, Delivery, Transport, TransportError, Verdict};
use crate::clock::monotonic;
use crate::report::Reporter;
use crate::resources::{
    EVERY_QUEUE, LeaseRequest, LeasedAttempt, LeasedRun, LeasedRuns, MAX_BATCH, Settlement,
};
use crate::tag::Subscription;
use crate::wire::{OutcomeReport, ReportedOutcome, property};

const DEFAULT_LEASE: Duration = Duration::from_secs(30);
const DEFAULT_WAIT: Duration = Duration::from_secs(20);
/// The longest name that the server takes for a worker, in bytes.
const MAX_WORKER_BYTES: usize = 128;
/// Pauses after a lease that failed.
const TROUBLE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The least time between two leases of which the first brought nothing: the server may answer at once, and often.
const QUIET: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long a shutdown waits for the lease that is under way. What it would have brought later is lost to this worker, and
/// comes to another when the lease has run out; a server that sees the connection end leases nothing.
const LAST_LEASE: Duration = Duration::from_millis(250);
/// Runs whose outcomes are on their way, beside those that are handled.
const MAX_UNSETTLED: usize = MAX_BATCH;

/// How a worker takes runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullConfig {
    /// Who asks, for people to read: 1 to 128 bytes. The machine's name, where it is known, and the process id unless said.
    pub worker: String,
    /// How long the server trusts this worker with a run between two signs of life; 1 s to a day, 30 s unless said. The runs of
    /// a worker that dies come to others after this.
    pub lease: Duration,
    /// Runs held at once and not handled yet; `None`: as many as the consumer's handlers. More of them wait here for a handler,
    /// where other workers cannot have them.
    pub max_in_flight: Option<usize>,
    /// How long to wait at the server where nothing is ready; 20 s unless said.
    pub wait: Duration,
    /// The queues to take from; empty: those with the names of the tags that there are handlers for.
    pub queues: Vec<String>,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self {
            worker: worker_name(),
            lease: DEFAULT_LEASE,
            max_in_flight: None,
            wait: DEFAULT_WAIT,
            queues: Vec::new(),
        }
    }
}

fn worker_name() -> String {
    let machine = std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME"));
    let mut name = machine.unwrap_or_else(|_| "worker".to_owned());
    let process = format!("-{}", std::process::id());
    name.truncate(name.floor_char_boundary(MAX_WORKER_BYTES - process.len()));
    name + &process
}

/// A worker on the server's queues; see the [module](self).
pub struct Pull {
    api: Arc<dyn WorkerApi>,
    config: PullConfig,
    held: Arc<HeldRuns>,
    settler: Arc<Settler>,
}

impl Pull {
    /// A worker that is not started; nothing is sent yet.
    pub fn new(api: impl WorkerApi, config: PullConfig) -> Self {
        let (api, held): (Arc<dyn WorkerApi>, _) = (Arc::new(api), Arc::new(HeldRuns::default()));
        let settler = Arc::new(Settler::new(Arc::clone(&api), Arc::clone(&held)));
        Self { api, config, held, settler }
    }
}

#[async_trait]
impl Transport for Pull {
    async fn run(
        &self,
        subscription: Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Result<(), TransportError> {
        let handled = CancellationToken::new();
        let work = async {
            let leasing = Leasing::new(self, &subscription, sink, shutdown);
            leasing.run().await;
            leasing.over.cancel();
            leasing.in_flight.close();
            leasing.in_flight.wait().await;
            handled.cancel();
        };
        let renewing = handled.run_until_cancelled(self.held.keep(&*self.api, self.config.lease));
        tokio::join!(work, renewing, self.settler.run(&handled));
        Ok(())
    }

    fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        Some(Arc::clone(&self.settler) as _)
    }
}

/// The loop that leases.
struct Leasing<'a> {
    pull: &'a Pull,
    sink: Arc<dyn Deliver>,
    queues: Vec<String>,
    /// One a run that no outcome is known of.
    slots: Arc<Semaphore>,
    /// One a run that is not settled.
    places: Arc<Semaphore>,
    in_flight: TaskTracker,
    /// Cancelled: nothing new is leased.
    shutdown: CancellationToken,
    /// Cancelled: the last lease is answered, too.
    over: CancellationToken,
}

impl<'a> Leasing<'a> {
    fn new(
        pull: &'a Pull,
        subscription: &Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Self {
        let in_flight = pull.config.max_in_flight.unwrap_or_else(|| sink.concurrency());
        let in_flight = in_flight.clamp(1, Semaphore::MAX_PERMITS - MAX_UNSETTLED);
        let slots = Arc::new(Semaphore::new(in_flight));
        let places = Arc::new(Semaphore::new(in_flight + MAX_UNSETTLED));
        let queues = queues(&pull.config, subscription);
        let (in_flight, over) = (TaskTracker::new(), CancellationToken::new());
        Self { pull, sink, queues, slots, places, in_flight, shutdown, over }
    }

    /// Leases and delivers until the shutdown.
    async fn run(&self) {
        let mut trouble = Backoff::new(TROUBLE.0, TROUBLE.1);
        let mut quiet = Backoff::new(QUIET.0, QUIET.1);
        while let Some(room) = self.shutdown.run_until_cancelled(self.room()).await {
            // From before the request: only an answer that comes sooner is waited after.
            let pause = sleep(quiet.next());
            let Some(answered) = self.lease(room.limit()).await else { return };
            if answered.is_ok() && trouble.reset() {
                info!("the server is back; leasing again");
            }
            let pause = match answered {
                Ok(runs) if runs.is_empty() => pause,
                Ok(runs) => {
                    quiet.reset();
                    self.take(runs, room);
                    continue;
                }
                Err(why) => {
                    complain(&why, trouble.is_first());
                    sleep(trouble.next())
                }
            };
            self.shutdown.run_until_cancelled(pause).await;
        }
    }

    /// Waits for room, and takes all that there is.
    async fn room(&self) -> Room {
        let slot = acquire(&self.slots, 1).await;
        let place = acquire(&self.places, 1).await;
        let more = self.slots.available_permits().min(self.places.available_permits()).min(MAX_BATCH - 1);
        let mut room = Room { slots: slot, places: place };
        // Nobody else takes any, so that this does not wait.
        room.slots.merge(acquire(&self.slots, more).await);
        room.places.merge(acquire(&self.places, more).await);
        room
    }

    /// `None`: shut down, with nothing leased that is known of.
    async fn lease(&self, limit: usize) -> Option<Result<Vec<LeasedRun>, CallError>> {
        let config = &self.pull.config;
        let request = LeaseRequest {
            worker: config.worker.clone(),
            queues: self.queues.clone(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            lease_ms: millis(config.lease),
            wait_ms: millis(config.wait),
        };
        let call = self.pull.api.lease(request);
        tokio::pin!(call);
        let answered = tokio::select! {
            answered = &mut call => answered,
            () = self.shutdown.cancelled() => timeout(LAST_LEASE, call).await.ok()?,
        };
        Some(answered.map(|LeasedRuns { runs }| runs))
    }

    /// Delivers runs, each beside the others; gives them back once nothing new is to begin.
    fn take(&self, runs: Vec<LeasedRun>, mut room: Room) {
        for run in runs {
            match room.split() {
                Some(room) if !self.shutdown.is_cancelled() => self.deliver(run, room),
                _ => self.give_back(run),
            }
        }
    }

    fn deliver(&self, run: LeasedRun, Room { slots: slot, places: place }: Room) {
        let until = monotonic() + self.pull.config.lease;
        self.pull.held.take_on(&run, until, slot);
        let (sink, held) = (Arc::clone(&self.sink), Arc::clone(&self.pull.held));
        let (settler, api) = (Arc::clone(&self.pull.settler), Arc::clone(&self.pull.api));
        let (shutdown, over) = (self.shutdown.clone(), self.over.clone());
        self.in_flight.spawn(async move {
            let (run, delivery) = unpack(run);
            let verdict = sink.deliver(delivery).await;
            if verdict == Verdict::Release && shutdown.is_cancelled() {
                // Else the lease that is under way would bring it here again.
                over.cancelled().await;
            }
            // Still held: it has not been reported.
            match (held.let_go(&run.token), verdict) {
                (Some(until), Verdict::HandOver { within }) => {
                    held::hand_over(&*api, run.held(), within, until).await;
                }
                (Some(until), verdict) => settler.tell(run.unreported(verdict), until),
                (None, _) => {}
            }
            drop(place);
        });
    }

    fn give_back(&self, run: LeasedRun) {
        let until = monotonic() + self.pull.config.lease;
        self.pull.settler.tell(unpack(run).0.unreported(Verdict::Release), until);
    }
}

/// A server that is away is told of once; one that does not take the request, each time.
fn complain(why: &CallError, first: bool) {
    if first || matches!(why, CallError::Refused(_)) {
        warn!(%why, "no runs can be leased; trying again until they can");
    } else {
        debug!(%why, "still no runs can be leased");
    }
}

fn queues(config: &PullConfig, subscription: &Subscription) -> Vec<String> {
    match subscription {
        _ if !config.queues.is_empty() => config.queues.clone(),
        Subscription::All => vec![EVERY_QUEUE.to_owned()],
        Subscription::Tags(tags) => tags.iter().cloned().collect(),
    }
}

/// Room for runs.
struct Room {
    slots: OwnedSemaphorePermit,
    places: OwnedSemaphorePermit,
}

impl Room {
    fn limit(&self) -> usize {
        self.slots.num_permits()
    }

    /// The room for one of them; `None` when there is none left.
    fn split(&mut self) -> Option<Self> {
        Some(Self { slots: self.slots.split(1)?, places: self.places.split(1)? })
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let acquired = Arc::clone(semaphore).acquire_many_owned(permits).await;
    acquired.unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
}

/// What an outcome needs of its attempt.
struct Attempt {
    run_id: String,
    number: u32,
    token: String,
}

impl Attempt {
    fn held(self) -> LeasedAttempt {
        LeasedAttempt { run_id: self.run_id, attempt: self.number, token: self.token }
    }

    /// The outcome of an attempt that the consumer has not reported.
    fn unreported(self, verdict: Verdict) -> Settlement {
        let (outcome, message) = match verdict {
            Verdict::Release => (ReportedOutcome::Released, None),
            Verdict::HandOver { .. } => unreachable!("it is handed over, and not settled"),
            Verdict::Ack => (ReportedOutcome::Failed, Some("the worker has no handler for the tag")),
            Verdict::Retry { .. } => {
                (ReportedOutcome::Failed, Some("the worker was shut down before the handler had ended"))
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
        };
        Settlement { run_id: self.run_id, report }
    }
}

/// A run as a message of a broker would have it.
fn unpack(run: LeasedRun) -> (Attempt, Delivery) {
    let properties = HashMap::from([
        (property::RUN_ID.to_owned(), run.run_id.clone()),
        (property::ATTEMPT.to_owned(), run.attempt.to_string()),
        (property::SCHEDULED_AT.to_owned(), run.scheduled_at.as_millisecond().to_string()),
        (property::NUMBER.to_owned(), run.number.to_string()),
        (property::CLAIM.to_owned(), run.claim.to_string()),
        (property::TOKEN.to_owned(), run.token.clone()),
        (property::ACK.to_owned(), property::ACK_WANTED.to_owned()),
    ]);
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
