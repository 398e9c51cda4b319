//! Pull transport: takes runs from the queues of the server over HTTP, without a broker.
//!
//! [`Pull`] leases as many runs as handlers are free. If no run is ready, the request waits at the
//! server. The transport renews the leases and reports the outcomes. Leases, renewals and outcome
//! reports are batched. If the server is unreachable, the transport retries until the server is
//! back. A lease request whose answer was lost is repeated with the same request id, and returns the
//! runs that the first request has leased. If the server refuses the token, the transport ends with an error.
//!
//! The transport reports outcomes itself: a consumer does not need
//! [`report_to`](crate::ConsumerBuilder::report_to), and the server owns all retries.
//!
//! ```no_run
//! use std::time::Duration;
//! use taskcenter_client::transport::pull::{Pull, PullConfig};
//! use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};
//!
//! async fn close_order(_: Context, order: u64) -> Result<(), HandlerError> {
//!     println!("order {order} is closed");
//!     Ok(())
//! }
//!
//! # fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let config = PullConfig { lease: Duration::from_secs(60), ..PullConfig::default() };
//! let pull = Pull::new(TaskCenter::new("http://127.0.0.1:8275")?, config);
//! let consumer = Consumer::builder().on("order.close", close_order).transport(pull).start()?;
//! # Ok(())
//! # }
//! ```

mod api;
mod attempt;
mod backoff;
mod capacity;
mod leases;
mod request_id;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

pub use api::{CallError, WorkerApi};
use attempt::unpack;
use backoff::Backoff;
use capacity::{Capacity, Reserved};
use leases::{Leases, millis};
use request_id::RequestId;
use settle::Settler;

use super::{Deliver, Transport, TransportError, Verdict};
use crate::clock::monotonic;
use crate::notice::print_without_log;
use crate::report::Reporter;
use crate::resources::{EVERY_QUEUE, LeaseRequest, LeasedRun, LeasedRuns};
use crate::tag::Subscription;

const DEFAULT_LEASE: Duration = Duration::from_secs(30);
const DEFAULT_WAIT: Duration = Duration::from_secs(20);
/// Maximum length of a worker name, in bytes; the server has the same limit.
const MAX_WORKER_BYTES: usize = 128;
/// First and longest pause after a failed lease request.
const FAILURE_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// First and longest minimum time between two lease requests if the first one returned no runs,
/// because the server may answer immediately.
const EMPTY_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long a shutdown waits for the current lease request. Runs of a later answer are lost until
/// their leases expire. The server leases nothing after it sees the end of the connection.
const LAST_LEASE_TIMEOUT: Duration = Duration::from_millis(250);
/// Settings of [`Pull`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullConfig {
    /// Name of the worker, shown with its runs. 1 to 128 bytes. Default: the host name (environment
    /// variable `HOSTNAME` or `COMPUTERNAME`, otherwise `worker`) and the process id.
    pub worker: String,
    /// Length of a lease, 1 s to 24 h. The transport renews a lease every third of it. When a
    /// worker dies, its attempts fail at the end of the leases. Default: 30 s.
    pub lease: Duration,
    /// Maximum number of leased runs without an outcome, at least 1. A number above the concurrency
    /// makes runs wait in this process, where other workers cannot lease them. Default: the
    /// concurrency of the consumer, and as many runs ahead as its handlers finish within 50 ms, at
    /// most 8 per handler. A run that has waited for a handler for 1 s returns to its queue.
    pub max_in_flight: Option<usize>,
    /// Time that a lease request waits at the server if no run is ready. The server limits it to 20
    /// s and to three quarters of its `server.request_timeout_ms`. Default: 20 s.
    pub wait: Duration,
    /// Queues to lease from, at most 1,000. Default (empty): the queues with the names of the tags
    /// of the handlers; with a handler for `*`, every queue that has the same name as the tag of
    /// its runs.
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

/// Transport that takes runs from the queues of the server. See the [module](self).
pub struct Pull {
    api: Arc<dyn WorkerApi>,
    config: PullConfig,
    leases: Arc<Leases>,
    settler: Arc<Settler>,
}

impl Pull {
    /// Creates the transport. No request is sent before the consumer starts.
    pub fn new(api: impl WorkerApi, config: PullConfig) -> Self {
        let (api, leases): (Arc<dyn WorkerApi>, _) = (Arc::new(api), Arc::new(Leases::default()));
        let settler = Arc::new(Settler::new(Arc::clone(&api), Arc::clone(&leases)));
        Self { api, config, leases, settler }
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
            let lease_loop = LeaseLoop::new(self, &subscription, sink, shutdown);
            let ended = lease_loop.run().await;
            lease_loop.ended.cancel();
            lease_loop.in_flight.close();
            lease_loop.in_flight.wait().await;
            handled.cancel();
            ended
        };
        let renewing = handled.run_until_cancelled(self.leases.keep_renewing(&*self.api, self.config.lease));
        tokio::join!(work, renewing, self.settler.run(&handled)).0
    }

    fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        Some(Arc::clone(&self.settler) as _)
    }
}

/// Loop that leases and delivers runs.
struct LeaseLoop<'a> {
    pull: &'a Pull,
    sink: Arc<dyn Deliver>,
    queues: Vec<String>,
    capacity: Arc<Capacity>,
    in_flight: TaskTracker,
    /// When cancelled, no further runs are leased.
    shutdown: CancellationToken,
    /// When cancelled, the last lease request has ended.
    ended: CancellationToken,
}

impl<'a> LeaseLoop<'a> {
    fn new(
        pull: &'a Pull,
        subscription: &Subscription,
        sink: Arc<dyn Deliver>,
        shutdown: CancellationToken,
    ) -> Self {
        let capacity = Arc::new(Capacity::new(sink.concurrency(), pull.config.max_in_flight));
        let queues = queues(&pull.config, subscription);
        let (in_flight, ended) = (TaskTracker::new(), CancellationToken::new());
        Self { pull, sink, queues, capacity, in_flight, shutdown, ended }
    }

    /// Leases and delivers until the shutdown, or until the server refuses the caller.
    async fn run(&self) -> Result<(), TransportError> {
        let mut failures = Backoff::new(FAILURE_PAUSES.0, FAILURE_PAUSES.1);
        let mut empty = Backoff::new(EMPTY_PAUSES.0, EMPTY_PAUSES.1);
        let mut request_id = RequestId::default();
        let mut speed = self.capacity.speed();
        while let Some(reserved) = self.shutdown.run_until_cancelled(self.capacity.reserve(&mut speed)).await
        {
            // Started before the request, so that the wait at the server counts as part of the
            // pause.
            let pause = sleep(empty.next());
            let Some(answered) = self.lease(reserved.runs(), request_id.current()).await else {
                return Ok(());
            };
            request_id.note(&answered);
            if answered.is_ok() && failures.reset() {
                info!("server reachable again; leasing runs");
                print_without_log(format_args!("the server is reachable again"));
            }
            let pause = match answered {
                Ok(runs) if runs.is_empty() => pause,
                Ok(runs) => {
                    empty.reset();
                    self.deliver_all(runs, reserved);
                    continue;
                }
                Err(CallError::Denied(why)) => return Err(self.end_denied(why)),
                Err(why) => {
                    log_failure(&why, failures.is_first());
                    sleep(failures.next())
                }
            };
            self.shutdown.run_until_cancelled(pause).await;
        }
        Ok(())
    }

    /// Ends the consumer, because a repetition cannot make the token valid. The shutdown limits the
    /// time of the running handlers.
    fn end_denied(&self, why: String) -> TransportError {
        error!(why, "lease request denied; the consumer ends");
        self.shutdown.cancel();
        TransportError::new("pull", why)
    }

    /// Sends one lease request. `None`: a shutdown has ended the wait for the answer.
    async fn lease(
        &self,
        limit: usize,
        request_id: Option<String>,
    ) -> Option<Result<Vec<LeasedRun>, CallError>> {
        let config = &self.pull.config;
        let request = LeaseRequest {
            worker: config.worker.clone(),
            queues: self.queues.clone(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            lease_ms: millis(config.lease),
            wait_ms: millis(config.wait),
            request_id,
        };
        let call = self.pull.api.lease(request);
        tokio::pin!(call);
        let answered = tokio::select! {
            answered = &mut call => answered,
            () = self.shutdown.cancelled() => timeout(LAST_LEASE_TIMEOUT, call).await.ok()?,
        };
        Some(answered.map(|LeasedRuns { runs }| runs))
    }

    /// Delivers runs concurrently. After the start of a shutdown, releases them instead.
    fn deliver_all(&self, runs: Vec<LeasedRun>, mut reserved: Reserved) {
        for run in runs {
            match reserved.split_one() {
                Some((running, unsettled)) if !self.shutdown.is_cancelled() => {
                    self.deliver(run, running, unsettled);
                }
                _ => self.release(run),
            }
        }
    }

    fn deliver(&self, run: LeasedRun, running: OwnedSemaphorePermit, unsettled: OwnedSemaphorePermit) {
        let until = monotonic() + self.pull.config.lease;
        let link = self.pull.leases.add(&run, until, running);
        let (sink, leases) = (Arc::clone(&self.sink), Arc::clone(&self.pull.leases));
        let (settler, api) = (Arc::clone(&self.pull.settler), Arc::clone(&self.pull.api));
        let (shutdown, ended, capacity) =
            (self.shutdown.clone(), self.ended.clone(), Arc::clone(&self.capacity));
        self.in_flight.spawn(async move {
            let (attempt, delivery) = unpack(run);
            let verdict = match shutdown.run_until_cancelled(capacity.handler()).await {
                Some(Ok(handler)) => {
                    leases.start(&attempt.token, handler);
                    sink.deliver_linked(delivery, link).await
                }
                Some(Err(())) | None => Verdict::Release,
            };
            if verdict == Verdict::Release && shutdown.is_cancelled() {
                // Otherwise the current lease request could lease the run to this worker again.
                ended.cancelled().await;
            }
            // A lease that still exists means that the outcome has not been reported.
            match (leases.remove(&attempt.token), verdict) {
                (Some(until), Verdict::HandOver { within }) => {
                    leases::hand_over(&*api, attempt.leased(), within, until).await;
                }
                (Some(until), verdict) => settler.report_later(attempt.settlement(verdict), until),
                (None, _) => {}
            }
            drop(unsettled);
        });
    }

    fn release(&self, run: LeasedRun) {
        let until = monotonic() + self.pull.config.lease;
        self.pull.settler.report_later(unpack(run).0.settlement(Verdict::Release), until);
    }
}

/// Warns of an unreachable server once, and of a refused request each time.
fn log_failure(why: &CallError, first: bool) {
    if first || matches!(why, CallError::Refused(_)) {
        warn!(%why, "lease request failed; retrying");
        print_without_log(format_args!("lease request failed; retrying: {why}"));
    } else {
        debug!(%why, "lease request failed again; retrying");
    }
}

fn queues(config: &PullConfig, subscription: &Subscription) -> Vec<String> {
    match subscription {
        _ if !config.queues.is_empty() => config.queues.clone(),
        Subscription::All => vec![EVERY_QUEUE.to_owned()],
        Subscription::Tags(tags) => tags.iter().cloned().collect(),
    }
}
