//! `dev`: runs a local server for development.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use taskcenter_client::{Consumer, Error, TaskCenter};
use taskcenter_server::config::{Config, ENV_PREFIX, Mode, Override};
use taskcenter_server::engine::service::Required;
use tokio::net::{TcpListener, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::exit::{Failure, error_chain};
use super::serve::cannot_listen;
use super::{demo, output, serve, signals};
use crate::logging;

const NOTES: &str = "\
The server stores its data in SQLite. It accepts calls from this machine only,
without a token, and serves all legacy APIs. Use `taskcenter serve` for a server
that other machines can reach.

Environment variables such as TASKCENTER__ENGINE__KEEP_HOURS apply here too.
With TASKCENTER__ACCESS__REQUIRED=always, every call needs a token.

Examples:
  taskcenter dev
  taskcenter dev --demo
  taskcenter dev --listen 127.0.0.1:9000 --data-dir /tmp/taskcenter --log info";

const DEFAULT_ADDRESS: &str = "127.0.0.1:8275";
const READY_POLL: Duration = Duration::from_millis(20);

/// Options of `dev`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct Dev {
    /// Loopback address and port to listen on; port 0 selects a free port. Default: server.listen,
    /// which is 127.0.0.1:8275 unless configured.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Directory for the data, created if missing. Default: `taskcenter` in the data directory of
    /// the user, such as ~/.local/share/taskcenter.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Create three demo tasks, and print each delivery with its lateness.
    #[arg(long)]
    demo: bool,
    /// Log level: error, warn, info, debug or trace. The log goes to standard error. Default: warn.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Dev {
    /// Runs the server until a shutdown signal.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        logging::start(&config.log);
        serve::start_runtime()?.block_on(run_server(config, self.demo).boxed_local())
    }

    /// Options override environment variables, which override the defaults of `dev`.
    fn config(&self) -> Result<Config, Failure> {
        let variable = |key: &str| format!("{ENV_PREFIX}{key}");
        let mut variables = BTreeMap::from([
            (variable("LOG__FORMAT"), "text".into()),
            (variable("LOG__LEVEL"), "warn".into()),
            // Only loopback callers exist, so no call needs a token.
            (variable("ACCESS__REQUIRED"), "off-loopback".into()),
        ]);
        variables.extend(serve::environment());
        variables.insert(variable("SERVER__MODE"), "embedded".into());
        let mut options = self.listen.clone().map(serve::listen_on).unwrap_or_default();
        let log = |text| Override { key: "log.level", option: "--log", text };
        options.extend(self.log.clone().map(log));
        let config = Config::load_with_options(None, variables, options);
        let config = config.map_err(|error| serve::invalid_config(&error))?;
        if self.demo && config.access.required == Required::Always {
            return Err(Failure::Misused(format!(
                "--demo calls the server without a token: unset {}, or omit --demo",
                variable("ACCESS__REQUIRED")
            )));
        }
        Ok(self.adapt(Config { compat: config.compat.clone().all_on(), ..config }))
    }

    fn adapt(&self, mut config: Config) -> Config {
        // Callbacks to this machine are safe where only this machine can create tasks.
        config.callback.allow.extend(["127.0.0.0/8".to_owned(), "::1/128".to_owned()]);
        if let Some(dir) = &self.data_dir {
            config.embedded.data_dir = dir.display().to_string();
        }
        config
    }
}

async fn run_server(config: Config, with_demo: bool) -> Result<(), Failure> {
    debug_assert_eq!(config.server.mode, Mode::Embedded);
    let data_dir = config.embedded.directory().ok_or_else(|| {
        Failure::Misused("this user has no data directory: choose one with --data-dir".into())
    })?;
    let listener = listen(&config.listen()).await?;
    let address = listener.local_addr().map_err(|error| Failure::Failed(error_chain(&error)))?;
    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone()).map_err(|error| Failure::Failed(error_chain(&error)))?;
    tokio::spawn(signals);
    let data_dir = data_dir.display().to_string();
    let shutdown = CancellationToken::new();
    let server = Server {
        running: tokio::spawn(taskcenter_server::run(config, listener, shutdown.clone())),
        shutdown,
        address,
        data_dir,
    };
    server.run(&stop, with_demo).await
}

/// Server inside this process.
struct Server {
    running: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    address: SocketAddr,
    data_dir: String,
}

impl Server {
    /// Runs until `stop` is cancelled, then shuts down the demo and the server.
    async fn run(mut self, stop: &CancellationToken, with_demo: bool) -> Result<(), Failure> {
        let url = self.url();
        let api = TaskCenter::builder(&url).retries(0, READY_POLL).build();
        let api = api.map_err(|error| Failure::from_call(&error, &url))?;
        tokio::select! {
            exit = &mut self.running => return self.unexpected_exit(exit),
            () = wait_until_ready(&api) => {}
            () = stop.cancelled() => return self.stop().await,
        }
        output::print_line(self.banner(&program()))?;
        let consumer = if with_demo { Some(start_demo(&api, &url).await?) } else { None };
        tokio::select! {
            exit = &mut self.running => return self.unexpected_exit(exit),
            () = stop.cancelled() => {}
        }
        let _ = output::print_line("stopping; press Ctrl-C again to stop immediately");
        if let Some(consumer) = consumer {
            consumer.shutdown().await.map_err(|error| Failure::Failed(error_chain(&error)))?;
        }
        self.stop().await?;
        output::print_line("stopped")
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        let exit = (&mut self.running).await;
        self.check_exit(exit)
    }

    fn check_exit(&self, exit: ServerExit) -> Result<(), Failure> {
        match exit {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Failed(self.error_message(&error))),
            Err(error) => Err(Failure::Failed(format!("the server crashed: {error}"))),
        }
    }

    fn unexpected_exit(&self, exit: ServerExit) -> Result<(), Failure> {
        self.check_exit(exit)?;
        Err(Failure::Failed("the server stopped unexpectedly: run it with --log info to see why".to_owned()))
    }

    /// A root cause that names the data directory is a complete message. Any other error is printed
    /// with its causes and the data directory.
    fn error_message(&self, error: &anyhow::Error) -> String {
        let cause = error.root_cause().to_string();
        if cause.contains(&self.data_dir) {
            cause
        } else {
            format!("{error:#} (data directory: {})", self.data_dir)
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// First steps, as commands to paste into a second terminal.
    fn banner(&self, program: &str) -> String {
        let (url, data_dir) = (self.url(), &self.data_dir);
        let is_default = self.address.to_string() == DEFAULT_ADDRESS;
        let server = if is_default { String::new() } else { format!(" --server {url}") };
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "\
taskcenter {version} is ready

  address   {url}
  console   {url}/
  API docs  {url}/docs
  data      {data_dir}

Run these commands in a second terminal.

Create a task that fires in 5 seconds:
  curl -d '{{\"name\":\"hello\",\"data\":\"world\",\"delay_ms\":5000}}' \\
    {url}/v1/tasks

Watch the task fire. Its run then waits in the queue \"hello\" for a worker:
  {program} tail{server}

Press Ctrl-C to stop.
"
        )
    }
}

type ServerExit = Result<anyhow::Result<()>, tokio::task::JoinError>;

/// Returns the command that starts this program from any directory.
fn program() -> String {
    let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    // A bare name was found in PATH, and a second terminal finds it there too.
    let is_bare = name.parent() == Some(Path::new(""));
    let path = if is_bare { name } else { std::env::current_exe().unwrap_or(name) };
    quote(&path.display().to_string())
}

/// Quotes a word for a POSIX shell, where it needs quotes.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Binds the address. `dev` requires no token, so that it accepts loopback addresses only.
async fn listen(address: &str) -> Result<TcpListener, Failure> {
    let resolved: Vec<SocketAddr> = match lookup_host(address).await {
        Ok(resolved) => resolved.collect(),
        Err(error) => {
            return Err(Failure::Misused(format!(
                "cannot listen on {address}: {error}; use an address such as {DEFAULT_ADDRESS}"
            )));
        }
    };
    if !resolved.iter().all(|address| address.ip().is_loopback()) {
        return Err(Failure::Misused(format!(
            "other machines can reach {address}, and dev requires no token: use `taskcenter serve --listen {address}`, \
             or a loopback address such as {DEFAULT_ADDRESS}"
        )));
    }
    let bound = TcpListener::bind(&*resolved).await;
    bound.map_err(|error| Failure::Failed(cannot_listen(address, &error).to_string()))
}

async fn wait_until_ready(api: &TaskCenter) {
    let mut ticks = interval(READY_POLL);
    loop {
        ticks.tick().await;
        // A server that requires a token is ready as soon as it asks for one.
        if let Ok(_) | Err(Error::Refused { status: 401, .. }) = api.statistics().await {
            return;
        }
    }
}

/// Starts the consumer before it creates the tasks, so that the first delivery is not late.
async fn start_demo(api: &TaskCenter, url: &str) -> Result<Consumer, Failure> {
    let consumer = demo::start_consumer(url)?;
    demo::create_tasks(api, url).await?;
    Ok(consumer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dev_listens_on_loopback_only() {
        assert!(listen("127.0.0.1:0").await.is_ok());
        let refused = listen("0.0.0.0:0").await.unwrap_err();
        assert!(matches!(&refused, Failure::Misused(why) if why.contains("taskcenter serve")), "{refused:?}");
        let taken = listen("127.0.0.1:0").await.unwrap();
        let again = listen(&taken.local_addr().unwrap().to_string()).await.unwrap_err();
        assert!(matches!(&again, Failure::Failed(why) if why.contains("is in use")), "{again:?}");
    }

    #[test]
    fn the_program_is_quoted_for_a_shell() {
        for (word, quoted) in [
            ("taskcenter", "taskcenter"),
            ("/opt/任务/taskcenter", "/opt/任务/taskcenter"),
            ("/my tools/it's", r"'/my tools/it'\''s'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
