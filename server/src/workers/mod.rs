//! The built-in workers: `callback`, `rpc` and `script`. Each is a consumer of the SDK on the queue with its
//! name. The same handlers run inside the server and as `taskcenter worker`; only the API calls differ.

pub mod attempt;
pub mod callback;
pub mod directory;
pub mod guard;
pub mod headers;
pub mod health;
pub mod limits;
pub mod local;
pub mod lost_leases;
pub mod outbound;
pub mod routing;
pub mod rpc;
pub mod script;
mod script_lines;
pub mod settings;
pub mod sign;
pub mod slots;
pub mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use taskcenter_client::clock::{Clock, SystemClock};
use taskcenter_client::transport::pull::{Pull, PullConfig, WorkerApi};
use taskcenter_client::{Consumer, ConsumerBuilder, StartError, TransportError};
use tokio_util::sync::CancellationToken;

use crate::core::callback_format::CallbackFormat;
use crate::core::net::InvalidNet;
use callback::Callbacks;
use directory::Directory;
use guard::Guard;
use health::{Health, Watch};
use lost_leases::{Attempts, ObservedApi};
use outbound::{Lookup, Outbound, SystemLookup};
use routing::Router;
use rpc::Rpc;
use script::Script;
use settings::Settings;
use slots::{LEASED_PER_SLOT, Slots};

/// Queues of the built-in workers.
pub const QUEUES: [&str; 3] = [callback::QUEUE, rpc::QUEUE, script::QUEUE];

/// Why workers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// An invalid address range.
    #[error("callback.allow or callback.deny: {0}")]
    Net(#[from] InvalidNet),
    /// The HTTP client cannot be created.
    #[error("cannot create the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    /// Scripts are disabled.
    #[error(
        "scripts are disabled: set script.enabled = true, and script.bin_path to the directory of the scripts"
    )]
    ScriptsDisabled,
    /// The directory of the scripts, or the launcher, cannot be used.
    #[error("cannot use script.bin_path {0:?}: {1}")]
    Directory(String, #[source] io::Error),
    /// No built-in worker has this queue.
    #[error("no built-in worker for the queue {0:?}: use {known}", known = QUEUES.join(", "))]
    NoWorker(String),
}

/// Configures and starts the workers.
pub struct Builder<A> {
    api: A,
    directory: Arc<dyn Directory>,
    settings: Settings,
    lookup: Arc<dyn Lookup>,
    clock: Arc<dyn Clock>,
    launcher: Option<PathBuf>,
    own: Vec<SocketAddr>,
    formats: Vec<Arc<dyn CallbackFormat>>,
    name: Option<String>,
}

/// Returns a client for calls to allowed addresses, for other parts of the server. It reads at most
/// `answer_bytes` of a response. It never calls `own`, the addresses where this server listens.
///
/// # Errors
/// An invalid address range, or an HTTP client that cannot be created.
pub fn outbound(
    settings: &settings::Callback,
    own: &[SocketAddr],
    answer_bytes: usize,
) -> Result<Outbound, WorkersError> {
    outbound_with(settings, Arc::new(SystemLookup), own, answer_bytes)
}

fn outbound_with(
    settings: &settings::Callback,
    lookup: Arc<dyn Lookup>,
    own: &[SocketAddr],
    answer_bytes: usize,
) -> Result<Outbound, WorkersError> {
    let guard = Guard::new(&settings.allow, &settings.deny)?.with_own(own);
    Ok(Outbound::new(guard, lookup, answer_bytes)?)
}

impl<A: WorkerApi + Clone> Builder<A> {
    /// Returns workers that lease runs from `api` and look up services in `directory`.
    pub fn new(api: A, directory: impl Directory, settings: Settings) -> Self {
        let (lookup, clock) = (Arc::new(SystemLookup), Arc::new(SystemClock));
        Self {
            api,
            directory: Arc::new(directory),
            settings,
            lookup,
            clock,
            launcher: None,
            own: Vec::new(),
            formats: Vec::new(),
            name: None,
        }
    }

    /// Replaces the DNS lookup.
    #[must_use]
    pub fn lookup(mut self, lookup: impl Lookup) -> Self {
        self.lookup = Arc::new(lookup);
        self
    }

    /// Sets the `taskcenter` program that starts scripts. Default: the running program.
    #[must_use]
    pub fn launcher(mut self, program: impl Into<PathBuf>) -> Self {
        self.launcher = Some(program.into());
        self
    }

    /// Sets the addresses where this server listens. The workers never call them.
    #[must_use]
    pub fn own_addresses(mut self, own: Vec<SocketAddr>) -> Self {
        self.own = own;
        self
    }

    /// Adds callback formats that jobs select by name.
    #[must_use]
    pub fn callback_formats(mut self, formats: Vec<Arc<dyn CallbackFormat>>) -> Self {
        self.formats = formats;
        self
    }

    /// Sets the name under which the workers hold runs. Default: host name and process id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts the workers on the current tokio runtime.
    ///
    /// # Errors
    /// [`WorkersError`] for invalid settings.
    pub fn start(self) -> Result<Workers, WorkersError> {
        let (outbound, health) = (self.outbound()?, Arc::new(Health::default()));
        let mut workers = Workers { consumers: Vec::new(), watch: None };
        for queue in &self.settings.workers.queues {
            workers.consumers.push(match queue.as_str() {
                rpc::QUEUE => self.rpc(outbound.clone())?,
                script::QUEUE => self.script()?,
                callback::QUEUE => {
                    workers.watch = Some(self.watch(outbound.clone(), Arc::clone(&health)));
                    self.callback(outbound.clone(), Arc::clone(&health))?
                }
                other => return Err(WorkersError::NoWorker(other.to_owned())),
            });
        }
        Ok(workers)
    }

    fn outbound(&self) -> Result<Outbound, WorkersError> {
        let callback = &self.settings.callback;
        outbound_with(callback, Arc::clone(&self.lookup), &self.own, callback.answer_bytes)
    }

    fn rpc(&self, outbound: Outbound) -> Result<Consumer, WorkersError> {
        let timeout = Duration::from_millis(self.settings.callback.timeout_ms);
        let handlers =
            Consumer::builder().state(Rpc { outbound, timeout, slots: self.slots() }).on("*", rpc::handle);
        self.consume(rpc::QUEUE, handlers)
    }

    fn script(&self) -> Result<Consumer, WorkersError> {
        let settings = &self.settings.script;
        if !settings.enabled {
            return Err(WorkersError::ScriptsDisabled);
        }
        let unusable = |error| WorkersError::Directory(settings.bin_path.clone(), error);
        let launcher = self.launcher.clone().map_or_else(std::env::current_exe, Ok).map_err(unusable)?;
        let attempts = Attempts::default();
        let script = Script::new(settings, launcher, self.slots(), attempts.clone()).map_err(unusable)?;
        let api = ObservedApi { api: self.api.clone(), attempts };
        self.consume_from(api, script::QUEUE, Consumer::builder().state(script).on("*", script::handle))
    }

    fn callback(&self, outbound: Outbound, health: Arc<Health>) -> Result<Consumer, WorkersError> {
        let settings = &self.settings.callback;
        let state = Callbacks {
            directory: Arc::clone(&self.directory),
            health,
            router: Router::new(self.clock.now_ms() as u64 ^ u64::from(std::process::id())),
            outbound,
            clock: Arc::clone(&self.clock),
            formats: self.formats.clone(),
            timeout: Duration::from_millis(settings.timeout_ms),
            slots: self.slots(),
            confirm_within: Duration::from_millis(settings.confirm_within_ms),
        };
        self.consume(callback::QUEUE, Consumer::builder().state(state).on("*", callback::handle))
    }

    fn watch(&self, outbound: Outbound, health: Arc<Health>) -> Watch {
        Watch {
            health,
            directory: Arc::clone(&self.directory),
            outbound,
            interval: Duration::from_millis(self.settings.callback.health_interval_ms),
            clock: Arc::clone(&self.clock),
            slots: health::Slots::default(),
        }
    }

    fn slots(&self) -> Slots {
        Slots::new(self.settings.workers.concurrency)
    }

    fn consume<S: Send + Sync + 'static>(
        &self,
        queue: &str,
        handlers: ConsumerBuilder<S>,
    ) -> Result<Consumer, WorkersError> {
        self.consume_from(self.api.clone(), queue, handlers)
    }

    /// Starts a consumer of every tag of a queue.
    fn consume_from<S: Send + Sync + 'static>(
        &self,
        api: impl WorkerApi,
        queue: &str,
        handlers: ConsumerBuilder<S>,
    ) -> Result<Consumer, WorkersError> {
        let workers = &self.settings.workers;
        let default = PullConfig::default();
        let config = PullConfig {
            worker: self.name.clone().unwrap_or_else(|| default.worker.clone()),
            queues: vec![queue.to_owned()],
            lease: Duration::from_millis(workers.lease_ms),
            ..default
        };
        let drain = Duration::from_millis(workers.drain_ms);
        // Most handlers only wait for a slot.
        let handlers = handlers.concurrency(workers.concurrency * LEASED_PER_SLOT).drain_for(drain);
        Ok(handlers.transport(Pull::new(api, config)).start()?)
    }
}

/// Running workers.
pub struct Workers {
    consumers: Vec<Consumer>,
    watch: Option<Watch>,
}

impl Workers {
    /// Works until `stop`, then finishes the runs in progress. If the server refuses the token, the
    /// workers end before `stop`.
    ///
    /// # Errors
    /// The first error of a worker.
    pub async fn run_until(self, stop: CancellationToken) -> Result<(), TransportError> {
        let stop = stop.child_token();
        let watched = async {
            if let Some(watch) = self.watch {
                stop.run_until_cancelled(watch.run()).await;
            }
        };
        let consumed = self.consumers.into_iter().map(|consumer| {
            let stop = stop.clone();
            async move {
                let ended = consumer.run_until(stop.clone().cancelled_owned()).await;
                if let Err(error) = &ended {
                    tracing::error!(%error, "worker stopped");
                    stop.cancel();
                }
                ended
            }
        });
        let ((), ended) = tokio::join!(watched, futures_util::future::join_all(consumed));
        ended.into_iter().collect()
    }
}
