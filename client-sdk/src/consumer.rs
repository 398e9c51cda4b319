//! Consumer: handlers, limits and a transport.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::connect::{ConnectError, Connection};
use crate::consumer_parts::ConsumerParts;
use crate::context::Context;
use crate::dispatch::Dispatcher;
use crate::error_text::debug_as_text;
use crate::handler::{self, HandlerError, HandlerFn};
use crate::harness::Harness;
use crate::http::Error;
use crate::notice::print_without_log;
use crate::report::Reporter;
use crate::route::{Registration, RouteError};
use crate::signals::StopSignals;
use crate::transport::pull::Pull;
use crate::transport::{Transport, TransportError};

/// Time limit of the transport to return interrupted deliveries and to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a consumer cannot start.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The set of handlers is invalid.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The consumer has no source of deliveries.
    #[error("the consumer has no transport: call `connect` or `transport` before `start`")]
    NoTransport,
}

debug_as_text!(StartError);

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Consumer(error.into())
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Consumer(error.into())
    }
}

/// Builder of a [`Consumer`].
#[must_use = "call `start`"]
pub struct ConsumerBuilder<S = ()> {
    state: Arc<S>,
    parts: ConsumerParts,
}

impl<S: Send + Sync + 'static> ConsumerBuilder<S> {
    /// Sets the shared state ([`Context::state`]) of the handlers that are registered **after**
    /// this call.
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> ConsumerBuilder<T> {
        ConsumerBuilder { state: Arc::new(state), parts: self.parts }
    }

    /// Registers a handler with a JSON payload for one tag (`a`), several tags (`a || b`) or all
    /// tags (`*`).
    ///
    /// An exact tag takes precedence over `*`; two handlers for the same tag are refused by
    /// [`start`](Self::start). If a payload cannot be decoded into `T`, the run is dead without a
    /// retry.
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

    /// Registers a handler that gets the payload as text. Tags are as in [`on`](Self::on).
    pub fn on_text<E, F, Fut>(self, tags: &str, handler: F) -> Self
    where
        E: Into<HandlerError>,
        F: Fn(Context<S>, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let handler = handler::text(Arc::clone(&self.state), handler);
        self.register(tags, handler)
    }

    /// Registers a handler that blocks its thread, with a JSON payload as in [`on`](Self::on). Each
    /// call runs on a thread of its own. An interrupted or timed-out call continues in the
    /// background until it returns, and its outcome is dropped.
    pub fn on_blocking<T, E, F>(self, tags: &str, handler: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        E: Into<HandlerError>,
        F: Fn(Context<S>, T) -> Result<(), E> + Send + Sync + 'static,
    {
        let handler = handler::blocking(Arc::clone(&self.state), handler);
        self.register(tags, handler)
    }

    /// Registers a handler with the arguments of the old client: `(task id, data, message id)`.
    /// Tags are as in [`on`](Self::on).
    pub fn on_raw<E, F, Fut>(self, tags: &str, handler: F) -> Self
    where
        E: Into<HandlerError>,
        F: Fn(String, String, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.register(tags, handler::raw(handler))
    }

    fn register(mut self, tags: &str, handler: HandlerFn) -> Self {
        let tags = tags.to_owned();
        self.parts.handlers.push(Registration { tags, handler, timeout: None, concurrency: None });
        self
    }

    /// Sets the time limit of one call of the handler that was registered last; before the first
    /// handler, of all handlers without their own limit. Default: no limit. A run that was leased from a
    /// queue, and whose task has `max_runtime_sec`, is limited by the shorter of the two times.
    ///
    /// At the end of the time, [`Context::cancelled`] completes. A handler that has not returned one
    /// second later is dropped, and the attempt has failed. A handler of
    /// [`on_blocking`](Self::on_blocking) cannot be dropped: its thread continues.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        match self.parts.handlers.last_mut() {
            Some(last) => last.timeout = Some(limit),
            None => self.parts.handler_timeout = Some(limit),
        }
        self
    }

    /// Sets the maximum number of calls of the handler that was registered last that run at the same
    /// time, at least 1. Further deliveries wait, and each takes a slot of the
    /// [consumer](Self::concurrency). Before the first handler, the call has no effect. Default: the
    /// concurrency of the consumer.
    pub fn handler_concurrency(mut self, calls: usize) -> Self {
        if let Some(last) = self.parts.handlers.last_mut() {
            last.concurrency = Some(calls.clamp(1, Semaphore::MAX_PERMITS));
        }
        self
    }

    /// Sets the maximum number of handlers that run at the same time, at least 1. Default:
    /// [`DEFAULT_CONCURRENCY`](crate::DEFAULT_CONCURRENCY).
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.parts.concurrency = handlers.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the time limit of running handlers after a shutdown has started. A handler that runs
    /// longer is dropped, and its delivery is returned. Default:
    /// [`DEFAULT_DRAIN`](crate::DEFAULT_DRAIN).
    pub fn drain_for(mut self, deadline: Duration) -> Self {
        self.parts.drain = deadline;
        self
    }

    /// Sets the reporter of outcomes, usually a [`TaskCenter`](crate::TaskCenter). Default: no
    /// reports.
    ///
    /// A task with `ack` needs a consumer that reports: without reports, the server fails each
    /// attempt after `max_runtime_sec`. A transport with its own [reporter](Transport::reporter),
    /// such as [`Pull`](crate::transport::pull::Pull), does not use this one.
    pub fn report_to(mut self, reporter: impl Reporter) -> Self {
        self.parts.reporter = Some(Arc::new(reporter));
        self
    }

    /// Drops duplicates of the last `runs` runs (at least 1) that succeeded in this process.
    /// Default: no filter.
    ///
    /// The filter loses its content when the process ends. A process can also end after the effect
    /// of a handler and before the handler returns. So the filter only makes duplicates rare. They
    /// are harmless only if the handler is idempotent or transactional.
    pub fn drop_duplicates(mut self, runs: usize) -> Self {
        self.parts.remembered_runs = Some(runs);
        self
    }

    /// Sets the clock that lateness is measured with. Default:
    /// [`SystemClock`](crate::clock::SystemClock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.parts.clock = Arc::new(clock);
        self
    }

    /// Sets the source of deliveries. [`connect`](Self::connect) does the same from a connection
    /// string.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.parts.transport = Some(Arc::new(transport));
        self
    }

    /// Sets the transport and the reporter from a connection string:
    ///
    /// - `http://host:port` or `https://host:port`: the queues of the server, by [`Pull`]. Optional
    ///   parameters: `token`; `ca_file`; `worker` (name that the server shows, default: host name
    ///   and process id); `queues` (names joined by commas, default: the tags of the handlers);
    ///   `max_in_flight` (at least 1, default: the concurrency); `lease_ms` (1,000 to 86,400,000,
    ///   default: 30,000).
    /// - `rocketmq://ns1:9876,ns2:9876/topic?group=order-service`: RocketMQ, by its name servers.
    ///   Required parameter: `group`. Optional parameters: `access_key` with `secret_key`;
    ///   `tls=true`; `ca_file`; `max_in_flight` (1 to 10,000, default: the concurrency, and at least
    ///   64); `start_from` (where a new group starts: `first`, `last`, or a time such as
    ///   `2026-07-01T00:00:00Z`; default: `first`); `report_to` (URL of the server that gets the
    ///   [outcome reports](Self::report_to)) with `report_token`.
    ///
    /// Values may be percent-encoded. The characters `&`, `#` and `%` must be; `+` stands for
    /// itself.
    ///
    /// # Errors
    /// [`ConnectError`] names the invalid part. The error never contains a value of the string,
    /// because the value may be a secret.
    pub fn connect(self, connection: &str) -> Result<Self, ConnectError> {
        match Connection::parse(connection)? {
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

    /// Sets [`RocketMq`](crate::rocketmq::RocketMq) with this configuration as the
    /// [transport](Self::transport).
    #[cfg(feature = "rocketmq")]
    pub fn rocketmq(self, config: crate::rocketmq::RocketMqConfig) -> Self {
        self.transport(crate::rocketmq::RocketMq::new(config))
    }

    /// Starts the consumer on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if the set of handlers is invalid or the transport is missing. An unreachable
    /// server or broker is not an error here: [`Pull`] waits for the server.
    /// [`Consumer::run_until`] and [`Consumer::shutdown`] return a permanent error, such as an
    /// invalid token.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn start(self) -> Result<Consumer, StartError> {
        let transport = self.parts.transport.clone().ok_or(StartError::NoTransport)?;
        let drain = self.parts.drain;
        let dispatcher = Arc::new(self.parts.dispatcher()?);
        let shutdown = dispatcher.closing.clone().drop_guard();
        let running = tokio::spawn(drive(transport, Arc::clone(&dispatcher), drain));
        Ok(Consumer { shutdown, dispatcher, drain, running })
    }

    /// Builds a [`Harness`] with the same handlers and limits, without a transport.
    ///
    /// # Errors
    /// [`RouteError`] if the set of handlers is invalid.
    pub fn harness(self) -> Result<Harness, RouteError> {
        Harness::new(self.parts)
    }
}

/// Runs the transport. After the start of a shutdown, waits for the drain time or an interrupt, and
/// then interrupts the running handlers.
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
    tokio::select! {
        biased;
        ended = &mut running => return ended,
        () = interrupted.cancelled() => {}
        () = sleep(drain) => warn!(?drain, "drain time exceeded; interrupting the running handlers"),
    }
    interrupted.cancel();
    let late = || Err(TransportError::new("consumer's", "it did not stop in time"));
    timeout(STOP_TIMEOUT, running).await.unwrap_or_else(|_| late())
}

/// A running consumer. A drop starts a shutdown and does not wait for its end.
#[must_use = "a dropped consumer shuts down"]
pub struct Consumer {
    shutdown: DropGuard,
    dispatcher: Arc<Dispatcher>,
    drain: Duration,
    running: JoinHandle<Result<(), TransportError>>,
}

impl Consumer {
    /// Returns a builder without handlers and without a transport.
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder { state: Arc::new(()), parts: ConsumerParts::default() }
    }

    /// Consumes until Ctrl-C (SIGINT) or SIGTERM, then shuts down gracefully, as
    /// [`shutdown`](Self::shutdown) does. A second signal interrupts the running handlers: the
    /// consumer stops within 5 s.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until), or [`TransportError`] if the process cannot receive
    /// signals.
    pub async fn run_until_signal(self) -> Result<(), TransportError> {
        let signals = StopSignals::listen()
            .map_err(|error| TransportError::new("consumer's", "it cannot receive signals").because(error))?;
        self.run_until_signals(signals).await
    }

    async fn run_until_signals(mut self, mut signals: StopSignals) -> Result<(), TransportError> {
        tokio::select! {
            ended = &mut self.running => return Err(flatten(ended).err().unwrap_or_else(ended_early)),
            () = signals.next() => {}
        }
        let (running, drain) = (self.dispatcher.running(), self.drain);
        info!(running, ?drain, "shutdown signal received; waiting for the running handlers");
        print_without_log(format_args!(
            "shutting down: waiting at most {drain:?} for {running} running handlers; a second signal stops them"
        ));
        drop(self.shutdown);
        tokio::select! {
            ended = &mut self.running => return flatten(ended),
            () = signals.next() => {}
        }
        warn!("second shutdown signal received; interrupting the running handlers");
        print_without_log(format_args!("second signal: interrupting the running handlers"));
        self.dispatcher.interrupted.cancel();
        flatten(self.running.await)
    }

    /// Consumes until `signal` completes. Then shuts down gracefully, as
    /// [`shutdown`](Self::shutdown) does, and returns the output of the signal. Programs use
    /// [`run_until_signal`](Self::run_until_signal).
    ///
    /// # Errors
    /// [`TransportError`] if the transport fails before the signal, or does not stop in time.
    pub async fn run_until<T>(mut self, signal: impl Future<Output = T>) -> Result<T, TransportError> {
        let output = tokio::select! {
            ended = &mut self.running => return Err(flatten(ended).err().unwrap_or_else(ended_early)),
            output = signal => output,
        };
        self.shutdown().await.map(|()| output)
    }

    /// Shuts down gracefully: takes no new deliveries, waits up to the drain time for the running
    /// handlers, and stops.
    ///
    /// Deliveries that no handler has begun, and those of interrupted handlers, are returned and
    /// come again. On a queue, the attempt of an interrupted handler has failed.
    ///
    /// # Errors
    /// [`TransportError`] if the transport has failed or does not stop in time.
    pub async fn shutdown(self) -> Result<(), TransportError> {
        drop(self.shutdown);
        flatten(self.running.await)
    }
}

fn ended_early() -> TransportError {
    TransportError::new("consumer's", "it ended without a shutdown")
}

fn flatten(ended: Result<Result<(), TransportError>, tokio::task::JoinError>) -> Result<(), TransportError> {
    ended.unwrap_or_else(|error| Err(TransportError::new("consumer's", "its task failed").because(error)))
}
