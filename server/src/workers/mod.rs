//! The built-in workers: callback, script, RPC. Each is a consumer of the SDK on the queue with its name, so that the same handlers run
//! inside the server and, as `taskcenter worker`, elsewhere; only the calls go another way.

pub mod attempt;
pub mod guard;
pub mod headers;
pub mod inside;
pub mod outbound;
pub mod rpc;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use taskcenter_client::transport::pull::{Pull, PullConfig, WorkerApi};
use taskcenter_client::{Consumer, ConsumerBuilder, StartError};
use tokio_util::sync::CancellationToken;

use guard::{Guard, InvalidNet};
use outbound::{Lookup, Outbound, SystemLookup};
use rpc::Rpc;
use settings::Settings;

/// The queues that there are workers for.
pub const QUEUES: [&str; 1] = [rpc::QUEUE];

/// Workers that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// A list of addresses is none.
    #[error("callback.allow or callback.deny: {0}")]
    Net(#[from] InvalidNet),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
    /// A consumer cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no worker for the queue.
    #[error("there is no worker for the queue {0:?}; there are workers for {known}", known = QUEUES.join(", "))]
    NoWorker(String),
}

/// Makes the workers.
pub struct Builder<A> {
    api: A,
    settings: Settings,
    lookup: Arc<dyn Lookup>,
}

impl<A: WorkerApi + Clone> Builder<A> {
    /// Workers that take their runs from `api`.
    pub fn new(api: A, settings: Settings) -> Self {
        Self { api, settings, lookup: Arc::new(SystemLookup) }
    }

    /// Finds addresses in another way.
    #[must_use]
    pub fn lookup(mut self, lookup: impl Lookup) -> Self {
        self.lookup = Arc::new(lookup);
        self
    }

    /// Starts them, on the current tokio runtime.
    ///
    /// # Errors
    /// [`WorkersError`] when the settings make no sense.
    pub fn start(self) -> Result<Workers, WorkersError> {
        let outbound = self.outbound()?;
        let mut consumers = Vec::new();
        for queue in &self.settings.workers.queues {
            consumers.extend(self.consumer(queue, &outbound)?);
        }
        Ok(Workers { consumers })
    }

    fn outbound(&self) -> Result<Outbound, WorkersError> {
        let callback = &self.settings.callback;
        let guard = Guard::new(&callback.allow, &callback.deny)?;
        Ok(Outbound::new(guard, Arc::clone(&self.lookup), callback.answer_bytes)?)
    }

    fn consumer(&self, queue: &str, outbound: &Outbound) -> Result<Option<Consumer>, WorkersError> {
        match queue {
            rpc::QUEUE => self.rpc(outbound.clone()).map(Some),
            other => Err(WorkersError::NoWorker(other.to_owned())),
        }
    }

    fn rpc(&self, outbound: Outbound) -> Result<Consumer, WorkersError> {
        let timeout = Duration::from_millis(self.settings.callback.timeout_ms);
        let handlers = Consumer::builder().state(Rpc { outbound, timeout }).on("*", rpc::handle);
        self.on(rpc::QUEUE, handlers)
    }

    /// A consumer of one queue, whatever its runs' tags.
    fn on<S: Send + Sync + 'static>(
        &self,
        queue: &str,
        handlers: ConsumerBuilder<S>,
    ) -> Result<Consumer, WorkersError> {
        let workers = &self.settings.workers;
        let config = PullConfig {
            queues: vec![queue.to_owned()],
            lease: Duration::from_millis(workers.lease_ms),
            ..PullConfig::default()
        };
        let handlers = handlers.concurrency(workers.concurrency).drain_for(Duration::from_millis(workers.drain_ms));
        Ok(handlers.transport(Pull::new(self.api.clone(), config)).start()?)
    }
}

/// Workers that run.
pub struct Workers {
    consumers: Vec<Consumer>,
}

impl Workers {
    /// Works until `stop`; then takes nothing new, and lets what is under way end.
    pub async fn run_until(self, stop: CancellationToken) {
        let each = self.consumers.into_iter().map(|consumer| {
            let stop = stop.clone();
            async move {
                if let Err(error) = consumer.run_until(stop.cancelled_owned()).await {
                    tracing::error!(%error, "a worker broke");
                }
            }
        });
        futures_util::future::join_all(each).await;
    }
}
