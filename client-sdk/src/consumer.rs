//! The consumer: handlers, limits and a transport, put together and run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::clock::{Clock, SystemClock};
use crate::connect::{ConnectError, Connection};
use crate::context::Context;
use crate::dispatch::Dispatcher;
use crate::handler::{self, HandlerError, HandlerFn};
use crate::harness::Harness;
use crate::report::Reporter;
use crate::route::{RouteError, Routes};
use crate::seen::SeenRuns;
use crate::transport::pull::Pull;
use crate::transport::{Transport, TransportError};

/// Handlers that run at once, unless [`ConsumerBuilder::concurrency`] says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 32;
/// How long running handlers may go on after a shutdown, unless [`ConsumerBuilder::drain_for`] says otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
/// How long a transport may take to give back what was interrupted and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A consumer that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The handlers do not fit together.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Nothing says where deliveries come from.
    #[error("the consumer has no transport: call `connect` (or `transport`) before `start`")]
    NoTransport,
}

/// Collects what a [`Consumer`] is made of.
#[must_use = "nothing is consumed before `start`"]
pub struct ConsumerBuilder<S = ()> {
    state: Arc<S>,
    parts: Parts,
}

pub(crate) struct Parts {
    handlers: Vec<(String, HandlerFn)>,
    concurrency: usize,
    drain: Duration,
    remembered_runs: Option<usize>,
    reporter: Option<Arc<dyn Reporter>>,
    pub(crate) clock: Arc<dyn Clock>,
    transport: Option<Arc<dyn Transport>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            handlers: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY,
            drain: DEFAULT_DRAIN,
            remembered_runs: None,
            reporter: None,
            clock: Arc::new(SystemClock),
            transport: None,
        }
    }
}

impl<S: Send + Sync + 'static> ConsumerBuilder<S> {
    /// Sets the state that the handlers registered **after** this call share, as [`Context::state`].
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> ConsumerBuilder<T> {
        ConsumerBuilder { state: Arc::new(state), parts: self.parts }
    }

    /// Registers a handler of a JSON payload for a tag, several (`a || b`) or all (`*`).
    ///
    /// An exact tag wins over `*`; the same tag twice is refused at the start. Data that does not decode into `T` is
    /// dead-lettered: it would never become good.
    pub fn on<T, E, F, Fut>(self, tags: &str, handler: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        E: Into<HandlerError>,
        F: Fn(Context<S>, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let handler = handler::json(Arc::clone(&self.state), handler);
        self.register(tags, handler)
    }

    /// Registers a handler that takes the task's data as it stands.
    pub fn on_text<E, F, Fut>(self, tags: &str, handler: F) -> Self
    where
        E: Into<HandlerError>,
        F: Fn(Context<S>, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let handler = handler::text(Arc::clone(&self.state), handler);
        self.register(tags, handler)
    }

    /// Registers a handler of the old client's shape: `(task id, data, message id)`.
    pub fn on_raw<E, F, Fut>(self, tags: &str, handler: F) -> Self
    where
        E: Into<HandlerError>,
        F: Fn(String, String, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.register(tags, handler::raw(handler))
    }

    fn register(mut self, tags: &str, handler: HandlerFn) -> Self {
        self.parts.handlers.push((tags.to_owned(), handler));
        self
    }

    /// How many handlers may run at once; at least one. Default [`DEFAULT_CONCURRENCY`].
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.parts.concurrency = handlers.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long handlers may go on after a shutdown before they are dropped and their messages given back. Default
    /// [`DEFAULT_DRAIN`].
    pub fn drain_for(mut self, deadline: Duration) -> Self {
        self.parts.drain = deadline;
        self
    }

    /// Reports outcomes to the server, which then owns the retries of the tasks created with `ack`. Such a task needs a
    /// consumer that reports: without one the server counts each attempt as failed after its `max_runtime`. A transport
    /// with a [reporter](Transport::reporter) of its own, as [`Pull`](crate::transport::pull::Pull) has, needs no other.
    pub fn report_to(mut self, reporter: impl Reporter) -> Self {
        self.parts.reporter = Some(Arc::new(reporter));
        self
    }

    /// Remembers the last `runs` runs that succeeded in this process and drops their duplicates.
    ///
    /// The memory ends with the process, and a handler can die between its effect and its return: this makes
    /// duplicates rare, while only an idempotent or transactional sink makes them harmless.
    pub fn drop_duplicates(mut self, runs: usize) -> Self {
        self.parts.remembered_runs = Some(runs);
        self
    }

    /// Measures lateness by another clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.parts.clock = Arc::new(clock);
        self
    }

    /// Where deliveries come from.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.parts.transport = Some(Arc::new(transport));
        self
    }

    /// Takes deliveries from where the connection string says, and reports outcomes there:
    ///
    /// - `http://host:port`, `https://…`: the server's queues, by [`Pull`]. Parameters, all optional: `worker` (a name for
    ///   people to read), `queues` (names with commas between; left out: those of the tags), `max_in_flight`, `lease_ms`.
    /// - `rocketmq://ns1:9876,ns2:9876/topic?group=order-service`: RocketMQ, by its name servers. Parameters: `group`;
    ///   optional: `access_key` and `secret_key`, `tls=true`, `ca_file`, and `report_to`, the server's URL, which
    ///   [outcomes are reported to](Self::report_to).
    ///
    /// Values may be percent-encoded, and must be where they hold `&`, `#` or `%`; `+` is a plus. The handlers are the same on
    /// either, and only the string differs.
    ///
    /// # Errors
    /// [`ConnectError`] names the part that is wrong. It never shows what the string says: that may be a secret.
    pub fn connect(self, connection: &str) -> Result<Self, ConnectError> {
        match Connection::read(connection)? {
            Connection::Pull(center, config) => Ok(self.transport(Pull::new(center, config))),
            #[cfg(feature = "rocketmq")]
            Connection::RocketMq(config, report_to) => {
                let builder = self.rocketmq(config);
                Ok(match report_to {
                    Some(center) => builder.report_to(center),
                    None => builder,
                })
            }
        }
    }

    /// Takes deliveries from RocketMQ: [`transport`](Self::transport) with a
    /// [`RocketMq`](crate::rocketmq::RocketMq) made of this configuration.
    #[cfg(feature = "rocketmq")]
    pub fn rocketmq(self, config: crate::rocketmq::RocketMqConfig) -> Self {
        self.transport(crate::rocketmq::RocketMq::new(config))
    }

    /// Starts consuming, on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when the handlers do not fit together or the transport is missing. That a broker cannot be reached
    /// shows later, from [`Consumer::run_until`] or [`Consumer::shutdown`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Consumer, StartError> {
        let transport = self.parts.transport.clone().ok_or(StartError::NoTransport)?;
        let drain = self.parts.drain;
        let dispatcher = Arc::new(self.parts.dispatcher()?);
        let shutdown = dispatcher.closing.clone();
        let running = tokio::spawn(drive(transport, dispatcher, drain));
        Ok(Consumer { shutdown: shutdown.drop_guard(), running })
    }

    /// The same handlers and limits without a broker; see [`Harness`].
    ///
    /// # Errors
    /// [`RouteError`] when the handlers do not fit together.
    pub fn harness(self) -> Result<Harness, RouteError> {
        Harness::new(self.parts)
    }
}

impl Parts {
    /// Where outcomes go: to the transport, if it owns them.
    pub(crate) fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        let owner = self.transport.as_ref().and_then(|transport| transport.reporter());
        owner.or_else(|| self.reporter.clone())
    }

    /// The same with all reports going to `reporter`.
    pub(crate) fn reporting_to(mut self, reporter: Arc<dyn Reporter>) -> Self {
        (self.transport, self.reporter) = (None, Some(reporter));
        self
    }

    pub(crate) fn dispatcher(self) -> Result<Dispatcher, RouteError> {
        Ok(Dispatcher {
            reporter: self.reporter(),
            routes: Routes::build(self.handlers)?,
            concurrency: self.concurrency,
            slots: Arc::new(Semaphore::new(self.concurrency)),
            seen: self.remembered_runs.map(SeenRuns::new),
            clock: self.clock,
            closing: CancellationToken::new(),
            interrupted: CancellationToken::new(),
        })
    }
}

/// Runs the transport; after a shutdown gives it the drain time, then interrupts what still runs.
async fn drive(
    transport: Arc<dyn Transport>,
    dispatcher: Arc<Dispatcher>,
    drain: Duration,
) -> Result<(), TransportError> {
    let (closing, interrupted) = (dispatcher.closing.clone(), dispatcher.interrupted.clone());
    let subscription = dispatcher.routes.subscription();
    let mut running = transport.run(subscription, dispatcher, closing.clone());
    tokio::select! {
        ended = &mut running => return ended,
        () = closing.cancelled() => {}
    }
    if let Ok(ended) = timeout(drain, &mut running).await {
        return ended;
    }
    warn!(?drain, "handlers still run after the drain time; interrupting them");
    interrupted.cancel();
    let late = || Err(TransportError::new("consumer's", "it did not stop in time"));
    timeout(GOODBYE, running).await.unwrap_or_else(|_| late())
}

/// A running consumer. Dropping it starts a shutdown without waiting for it.
#[must_use = "a dropped consumer shuts down"]
pub struct Consumer {
    shutdown: DropGuard,
    running: JoinHandle<Result<(), TransportError>>,
}

impl Consumer {
    /// Collects handlers.
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder { state: Arc::new(()), parts: Parts::default() }
    }

    /// Consumes until `signal` completes (`tokio::signal::ctrl_c()`, say), then shuts down gracefully and returns what the
    /// signal gave.
    ///
    /// # Errors
    /// [`TransportError`] when the transport breaks before, in which case the signal is dropped, or cannot stop.
    pub async fn run_until<T>(mut self, signal: impl Future<Output = T>) -> Result<T, TransportError> {
        let given = tokio::select! {
            ended = &mut self.running => return Err(flatten(ended).err().unwrap_or_else(ended_early)),
            given = signal => given,
        };
        self.shutdown().await.map(|()| given)
    }

    /// Takes nothing new, lets the running handlers finish within the drain time, and stops. Messages that no handler
    /// has started, or that were interrupted, are given back to be delivered again; on the server's queues the interrupted
    /// ones count as failed.
    ///
    /// # Errors
    /// [`TransportError`] when the transport had broken or cannot stop.
    pub async fn shutdown(self) -> Result<(), TransportError> {
        drop(self.shutdown);
        flatten(self.running.await)
    }
}

fn ended_early() -> TransportError {
    TransportError::new("consumer's", "it ended although nobody asked it to")
}

fn flatten(ended: Result<Result<(), TransportError>, tokio::task::JoinError>) -> Result<(), TransportError> {
    ended.unwrap_or_else(|error| Err(TransportError::new("consumer's", "its task broke").because(error)))
}
