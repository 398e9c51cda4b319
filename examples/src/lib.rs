//! What the example programs share: where the services are, and how a program ends by itself.
//!
//! Arguments of each: `--connect STRING`, or `TASKCENTER_CONNECT` in the environment, says where its deliveries come from, as
//! [`connect`](taskcenter_client::ConsumerBuilder::connect) reads it; or the server's URL, and where deliveries come over
//! RocketMQ its name server and topic (else `TASKCENTER_SERVER`, `ROCKETMQ_NAMESRV`, `TASKCENTER_TOPIC`). With nothing at all it is
//! the server that `taskcenter dev` starts.

use std::env::{args, var};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use taskcenter_client::clock::{Clock, SystemClock};
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
    /// Where deliveries come from, as somebody wrote it.
    connect: Option<String>,
    /// Else: RocketMQ's name server, as host:port. With none, the server is asked for work.
    namesrv: Option<String>,
    /// The topic the server publishes on.
    topic: String,
}

impl Settings {
    /// Reads them from the arguments, else from the environment, else takes what the server listens on by default. Also
    /// shows the SDK's log on standard error, as `RUST_LOG` says.
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
            server: connect.as_deref().and_then(server_of).unwrap_or(server),
            connect,
            namesrv: setting("ROCKETMQ_NAMESRV"),
            topic: setting("TASKCENTER_TOPIC").unwrap_or_else(|| "taskcenter".to_owned()),
        }
    }

    /// What a consumer connects to: what was written, or RocketMQ with a consumer group of this name, or the server.
    pub fn connection(&self, group: &str) -> String {
        let Self { server, connect, namesrv, topic } = self;
        let rocketmq = |namesrv| format!("rocketmq://{namesrv}/{topic}?group={group}&report_to={server}");
        connect.clone().or_else(|| namesrv.as_ref().map(rocketmq)).unwrap_or_else(|| server.clone())
    }
}

/// Where consumers pull from the server, tasks are created there, too.
fn server_of(connect: &str) -> Option<String> {
    connect.starts_with("http").then(|| connect.split('?').next().unwrap_or(connect).to_owned())
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
