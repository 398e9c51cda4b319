//! Threads of the RocketMQ client.

use std::future::Future;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rocketmq_client_rust::{ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::TelemetryRuntimeGuard;
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};
use tokio::runtime::Handle;

use super::{RocketMqError, unavailable};

/// Time limit of an orderly shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Practically unlimited: the time limits of the client must not end a handler.
const UNLIMITED: Duration = Duration::from_hours(240);
/// How long an idle thread is kept.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(500);

/// Runtime of one RocketMQ client. A drop ends its threads.
pub struct RocketMqRuntime {
    client: Arc<ClientRuntime>,
    handle: Handle,
    // The client requires the owner, so it is dropped last.
    _owner: RuntimeOwner,
    _telemetry: TelemetryRuntimeGuard,
}

impl RocketMqRuntime {
    /// Starts the threads, for `handlers` messages at the same time.
    pub async fn start(handlers: usize) -> Result<Self, RocketMqError> {
        install_crypto();
        // The creation blocks for milliseconds, and a runtime cannot block on another one.
        tokio::task::spawn_blocking(move || build(handlers)).await.map_err(unavailable)?
    }

    pub fn client(&self) -> Arc<ClientRuntime> {
        Arc::clone(&self.client)
    }

    /// Runs `work` on the threads of the client. A panic of `work` is returned as an error.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, RocketMqError>> {
        // The futures of the client have tens of kilobytes, so they are boxed and spawned.
        let task = self.handle.spawn(Box::pin(work));
        Box::pin(async { task.await.map_err(|failed| unavailable(format!("the client failed: {failed}"))) })
    }

    /// Shuts the client down in order.
    pub async fn close(&self) {
        let client = self.client();
        let closed = self.run(async move { client.shutdown().await.is_healthy() });
        if !matches!(tokio::time::timeout(SHUTDOWN_TIMEOUT, closed).await, Ok(Ok(true))) {
            tracing::debug!("RocketMQ client did not shut down in order");
        }
    }
}

fn build(handlers: usize) -> Result<RocketMqRuntime, RocketMqError> {
    let owner =
        RuntimeOwner::plan(runtime_config(handlers)).map_err(|why| unavailable(format!("{why:?}")))?;
    let owner = owner.build().map_err(|why| unavailable(format!("{why:?}")))?;
    let telemetry = TelemetryRuntimeGuard::noop();
    let context = owner.root_context().component("taskcenter");
    let client = ClientRuntime::try_new(context, ClientRuntimeConfig::default(), telemetry.handle());
    let client = client.map_err(|why| unavailable(format!("{why:?}")))?;
    let handle = owner.block_on(async { Handle::current() });
    Ok(RocketMqRuntime { client, handle, _owner: owner, _telemetry: telemetry })
}

/// Returns the configuration of the client's runtime, without the client's limits for handlers.
///
/// The client calls handlers on a lane for short reads of metadata. By default, this lane runs 4
/// calls at the same time, and counts a call as failed after 30 s, although the call continues. The
/// SDK has its own limits.
fn runtime_config(handlers: usize) -> RuntimeConfig {
    let parallel = thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4);
    let mut config = RuntimeConfig::for_parallelism("rocketmq", parallel);
    let lane = &mut config.blocking_lane_policies.metadata_io;
    lane.max_concurrency = handlers;
    lane.max_queue_depth = 100_000;
    lane.queue_timeout = UNLIMITED;
    lane.task_timeout = UNLIMITED;
    config.max_blocking_threads = handlers + 16;
    // A stall of the broker starts many threads. With the default of 30 s, a low load keeps all of
    // them alive.
    config.thread_keep_alive = THREAD_KEEP_ALIVE;
    config
}

/// Installs the crypto provider of the process, unless another one is installed.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
