//! The client's own threads.

use std::future::Future;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rocketmq_client_rust::{ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::TelemetryRuntimeGuard;
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};
use tokio::runtime::Handle;

use super::{RocketMqError, error};

/// Longest orderly end.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// "As long as it takes": the limits below must never cut a handler short.
const FOREVER: Duration = Duration::from_hours(240);
/// How long a thread waits for more work before it ends.
const IDLE_THREAD: Duration = Duration::from_millis(500);

/// A runtime that the client lives on. Its threads end with it.
pub struct Link {
    client: Arc<ClientRuntime>,
    handle: Handle,
    // Dropped last; the client does not work without it.
    _owner: RuntimeOwner,
    _telemetry: TelemetryRuntimeGuard,
}

impl Link {
    /// Starts the threads; `handlers` messages can be handled at the same time.
    pub async fn open(handlers: usize) -> Result<Self, RocketMqError> {
        install_crypto();
        // A runtime cannot be driven from inside another one, and its creation takes milliseconds.
        tokio::task::spawn_blocking(move || build(handlers)).await.map_err(error)?
    }

    pub fn client(&self) -> Arc<ClientRuntime> {
        Arc::clone(&self.client)
    }

    /// Does `work` on the client's threads. A panic in it is an error.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, RocketMqError>> {
        // The client's futures are tens of kilobytes: they live in the task and not in whoever waits for it.
        let task = self.handle.spawn(Box::pin(work));
        Box::pin(async { task.await.map_err(|failed| error(format!("the client failed: {failed}"))) })
    }

    /// Ends the client's tasks in order.
    pub async fn close(&self) {
        let client = self.client();
        let closed = self.run(async move { client.shutdown().await.is_healthy() });
        if !matches!(tokio::time::timeout(SHUTDOWN, closed).await, Ok(Ok(true))) {
            tracing::debug!("the RocketMQ client did not end in order");
        }
    }
}

fn build(handlers: usize) -> Result<Link, RocketMqError> {
    let owner = RuntimeOwner::plan(runtime(handlers)).map_err(|why| error(format!("{why:?}")))?;
    let owner = owner.build().map_err(|why| error(format!("{why:?}")))?;
    let telemetry = TelemetryRuntimeGuard::noop();
    let context = owner.root_context().component("taskcenter");
    let client = ClientRuntime::try_new(context, ClientRuntimeConfig::default(), telemetry.handle());
    let client = client.map_err(|why| error(format!("{why:?}")))?;
    let handle = owner.block_on(async { Handle::current() });
    Ok(Link { client, handle, _owner: owner, _telemetry: telemetry })
}

/// The client calls handlers on its lane for blocking work, with limits meant for short reads of metadata: 4 at a time, and one
/// that takes over 30 s counts as failed while it goes on. Both are lifted here; the SDK has limits of its own.
fn runtime(handlers: usize) -> RuntimeConfig {
    let parallel = thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4);
    let mut config = RuntimeConfig::for_parallelism("rocketmq", parallel);
    let lane = &mut config.blocking_lane_policies.metadata_io;
    lane.max_concurrency = handlers;
    lane.max_queue_depth = 100_000;
    lane.queue_timeout = FOREVER;
    lane.task_timeout = FOREVER;
    config.max_blocking_threads = handlers + 16;
    // A stall of the broker wakes many threads at once; the default of 30 s would keep them all under a steady trickle.
    config.thread_keep_alive = IDLE_THREAD;
    config
}

/// One provider for the whole process; whoever comes first installs it.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
