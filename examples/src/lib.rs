//! Shared code of the example programs: settings, and the end of a program.
//!
//! Without arguments, an example uses the server that `taskcenter dev` starts. Arguments:
//!
//! - `--connect STRING`, or the environment variable `TASKCENTER_CONNECT`: connection string of the
//!   consumer. [`ConsumerBuilder::connect`](taskcenter_client::ConsumerBuilder::connect) describes
//!   it.
//! - Or up to three positional arguments: URL of the server, RocketMQ name server, topic. Their
//!   environment variables are `TASKCENTER_SERVER`, `ROCKETMQ_NAMESRV` and `TASKCENTER_TOPIC`.
//!
//! `RUST_LOG=info` shows the log of the SDK on standard error.

use std::env::{args, var};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use taskcenter_client::clock::{Clock, SystemClock};
use tokio::sync::mpsc;

/// Time limit of an example program.
const LIMIT: Duration = Duration::from_secs(90);

/// Error of an example program. `main` prints it as one line and exits with status 1.
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

/// Settings of an example program.
pub struct Settings {
    /// URL of the server.
    pub server: String,
    /// Connection string of the consumer, if given.
    connect: Option<String>,
    /// RocketMQ name server as `host:port`. Without it, the consumer takes runs from the queues of
    /// the server.
    namesrv: Option<String>,
    /// Topic that the server publishes to.
    topic: String,
}

impl Settings {
    /// Reads the settings from the arguments, then from the environment. Default: the address that
    /// the server listens on by default. Also starts the log on standard error, filtered by
    /// `RUST_LOG`.
    pub fn read() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let mut args: Vec<String> = args().skip(1).collect();
        let flag = args.iter().position(|argument| argument == "--connect");
        let named = flag.and_then(|flag| args.drain(flag..args.len().min(flag + 2)).nth(1));
        let connect = named.or_else(|| var("TASKCENTER_CONNECT").ok());
        let mut args = args.into_iter();
        let mut setting = |name| args.next().or_else(|| var(name).ok());
        let server = setting("TASKCENTER_SERVER").unwrap_or_else(|| "http://127.0.0.1:8275".to_owned());
        Self {
            server: connect.as_deref().and_then(server_url).unwrap_or(server),
            connect,
            namesrv: setting("ROCKETMQ_NAMESRV"),
            topic: setting("TASKCENTER_TOPIC").unwrap_or_else(|| "taskcenter".to_owned()),
        }
    }

    /// Returns the connection string of the consumer: the given one, otherwise RocketMQ with this
    /// consumer group, otherwise the server.
    pub fn connection(&self, group: &str) -> String {
        let Self { server, connect, namesrv, topic } = self;
        let rocketmq = |namesrv| format!("rocketmq://{namesrv}/{topic}?group={group}&report_to={server}");
        connect.clone().or_else(|| namesrv.as_ref().map(rocketmq)).unwrap_or_else(|| server.clone())
    }
}

/// Returns the URL of the server if the connection string is one; the tasks are then created there,
/// too.
fn server_url(connect: &str) -> Option<String> {
    connect.starts_with("http").then(|| connect.split('?').next().unwrap_or(connect).to_owned())
}

/// Returns the current time in Unix seconds.
pub fn now_sec() -> i64 {
    SystemClock.now_ms() / 1_000
}

/// Channel on which the handlers send the ids of the tasks that they have handled.
pub type HandledTasks = mpsc::UnboundedSender<String>;

/// Waits until the task has been handled `times` times. Other tasks with the same tag do not count.
///
/// # Errors
/// An error after 90 s, or if the consumer has ended.
pub async fn wait_until_handled(
    times: usize,
    task_id: &str,
    handled_tasks: &mut mpsc::UnboundedReceiver<String>,
) -> anyhow::Result<()> {
    in_time(async {
        let mut count = 0;
        while count < times {
            let handled = handled_tasks.recv().await.context("the consumer has ended")?;
            count += usize::from(handled == task_id);
        }
        Ok(())
    })
    .await
    .with_context(|| format!("task {task_id} was not handled {times} times"))
}

async fn in_time(wait: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let waited = tokio::time::timeout(LIMIT, wait).await;
    waited.with_context(|| format!("time limit of {} s exceeded", LIMIT.as_secs()))?
}
