//! Settings of a consumer, shared by [`Consumer`](crate::Consumer) and [`Harness`](crate::Harness).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::dispatch::Dispatcher;
use crate::duplicate_filter::DuplicateFilter;
use crate::report::Reporter;
use crate::route::{Registration, RouteError, Routes};
use crate::transport::Transport;

/// Default of [`ConsumerBuilder::concurrency`](crate::ConsumerBuilder::concurrency): 32 handlers.
pub const DEFAULT_CONCURRENCY: usize = 32;
/// Default of [`ConsumerBuilder::drain_for`](crate::ConsumerBuilder::drain_for): 30 s.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Settings of a consumer, without its state.
pub(crate) struct ConsumerParts {
    pub(crate) handlers: Vec<Registration>,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) concurrency: usize,
    pub(crate) drain: Duration,
    pub(crate) remembered_runs: Option<usize>,
    pub(crate) reporter: Option<Arc<dyn Reporter>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl Default for ConsumerParts {
    fn default() -> Self {
        Self {
            handlers: Vec::new(),
            handler_timeout: None,
            concurrency: DEFAULT_CONCURRENCY,
            drain: DEFAULT_DRAIN,
            remembered_runs: None,
            reporter: None,
            clock: Arc::new(SystemClock),
            transport: None,
        }
    }
}

impl ConsumerParts {
    /// Returns the reporter: the transport's own, if it has one, takes precedence.
    pub(crate) fn reporter(&self) -> Option<Arc<dyn Reporter>> {
        let owner = self.transport.as_ref().and_then(|transport| transport.reporter());
        owner.or_else(|| self.reporter.clone())
    }

    /// Replaces every reporter by `reporter`, and drops the transport.
    pub(crate) fn reporting_to(mut self, reporter: Arc<dyn Reporter>) -> Self {
        (self.transport, self.reporter) = (None, Some(reporter));
        self
    }

    pub(crate) fn dispatcher(self) -> Result<Dispatcher, RouteError> {
        Ok(Dispatcher {
            reporter: self.reporter(),
            logs: self.reporter(),
            routes: Routes::build(self.handlers, self.handler_timeout)?,
            concurrency: self.concurrency,
            slots: Arc::new(Semaphore::new(self.concurrency)),
            duplicates: self.remembered_runs.map(DuplicateFilter::new),
            clock: self.clock,
            closing: CancellationToken::new(),
            interrupted: CancellationToken::new(),
        })
    }
}
