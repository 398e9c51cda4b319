//! What the example programs share: where the services are, and how a program ends by itself.

use std::env::{args, var};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use taskcenter_client::clock::{Clock, SystemClock};
use taskcenter_client::rocketmq::RocketMqConfig;
use tokio::sync::mpsc;

/// How long a program waits for its story to complete.
const LIMIT: Duration = Duration::from_secs(90);

/// What ended a program early. It shows as one line, which `main` prints before it exits with status 1.
pub struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Where the services are.
pub struct Settings {
    /// The server's URL.
    pub server: String,
    /// RocketMQ's name server, as host:port.
    pub namesrv: String,
    /// The topic the server publishes on.
    pub topic: String,
}

impl Settings {
    /// Reads them from the arguments (server, name server, topic), else from the environment, else takes what the
    /// server listens on by default. Also shows the SDK's log on standard error, as `RUST_LOG` says.
    pub fn read() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let mut args = args().skip(1);
        let mut setting =
            |name, default: &str| args.next().or_else(|| var(name).ok()).unwrap_or(default.to_owned());
        Self {
            server: setting("TASKCENTER_SERVER", "http://127.0.0.1:8275"),
            namesrv: setting("ROCKETMQ_NAMESRV", "127.0.0.1:9876"),
            topic: setting("TASKCENTER_TOPIC", "taskcenter"),
        }
    }

    /// The broker, seen by a consumer group of this name.
    pub fn rocketmq(&self, group: &str) -> RocketMqConfig {
        RocketMqConfig::new(&self.namesrv, &self.topic, group)
    }
}

/// Now, in Unix seconds.
pub fn now_sec() -> i64 {
    SystemClock.now_ms() / 1_000
}

/// Where handlers tell the program which task they have handled.
pub type Told = mpsc::UnboundedSender<String>;

/// Waits until the task has been handled so many times; other tasks with the same tag do not count.
///
/// # Errors
/// When that does not happen in time.
pub async fn handled(
    times: usize,
    task_id: &str,
    told: &mut mpsc::UnboundedReceiver<String>,
) -> anyhow::Result<()> {
    in_time(async {
        let mut seen = 0;
        while seen < times {
            let handled = told.recv().await.context("the consumer is gone")?;
            seen += usize::from(handled == task_id);
        }
        Ok(())
    })
    .await
    .with_context(|| format!("task {task_id} was to be handled {times} times"))
}

async fn in_time(story: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(LIMIT, story).await.with_context(|| format!("not within {} s", LIMIT.as_secs()))?
}
