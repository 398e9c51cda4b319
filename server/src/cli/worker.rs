//! `worker`: runs the built-in workers for a server on another machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures_util::FutureExt as _;
use taskcenter_client::TaskCenter;
use taskcenter_server::compat::callback_formats;
use taskcenter_server::workers::directory::RemoteDirectory;
use taskcenter_server::workers::{Builder, QUEUES};
use tokio_util::sync::CancellationToken;

use super::client::{ServerOptions, strip_credentials};
use super::exit::Failure;
use super::node;
use super::serve::{self, ConfigSource};
use super::signals;
use crate::logging;

const NOTES: &str = "\
The workers lease runs from the server until SIGTERM or SIGINT. The
configuration sections [script], [callback] and [workers] define which programs
they may run and which addresses they may call.

Examples:
  taskcenter worker --queues callback,rpc --server http://task.example:8275
  taskcenter worker --queues script --config worker.toml";

/// Options of `worker`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct Worker {
    #[command(subcommand)]
    command: Option<WorkerCommand>,
    #[command(flatten)]
    source: ConfigSource,
    /// Queues to work on, separated by commas: callback, rpc, script.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "callback,rpc,script")]
    queues: Vec<String>,
    /// URL of the server.
    #[arg(
        long,
        value_name = "URL",
        env = "TASKCENTER_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8275"
    )]
    server: String,
    /// Access token with the scope run:pull, and task:read for callbacks. Prefer TASKCENTER_TOKEN:
    /// other users of this machine can read program arguments.
    #[arg(long, value_name = "TOKEN", env = "TASKCENTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// PEM file with CA certificates to trust for https, in addition to those of the system.
    #[arg(long, value_name = "FILE", env = "TASKCENTER_CA", hide_env_values = true)]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// List the workers that lease runs or asked for runs in the last ten minutes.
    #[command(after_help = node::WORKER_EXAMPLES)]
    List {
        #[command(flatten)]
        server: ServerOptions,
    },
}

impl Worker {
    /// Lists the workers, or runs the built-in workers until a shutdown signal.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(WorkerCommand::List { server }) => {
                server.run(async |client| node::list_workers(&client).await)
            }
            None => self.work(),
        }
    }

    fn work(self) -> Result<(), Failure> {
        let config = self.source.load()?;
        if let Some(unknown) = self.queues.iter().find(|queue| !QUEUES.contains(&queue.as_str())) {
            return Err(Failure::Misused(format!(
                "unknown queue {unknown:?} in --queues: use {}",
                QUEUES.join(", ")
            )));
        }
        logging::start(&config.log);
        let client = self.client()?;
        let mut settings = config.workers();
        settings.workers.queues = self.queues;
        let work = async {
            let stop = CancellationToken::new();
            let signals = signals::watch(stop.clone()).map_err(|error| Failure::Failed(error.to_string()))?;
            tokio::spawn(signals);
            let directory = RemoteDirectory::new(client.clone(), &settings.callback.secrets_dir);
            let workers =
                Builder::new(client, directory, settings).callback_formats(callback_formats()).start();
            let workers = workers.map_err(|error| Failure::Misused(error.to_string()))?;
            tracing::info!(server = strip_credentials(&self.server), "worker started");
            workers.run_until(stop).await.map_err(|error| Failure::Failed(error.to_string()))
        };
        serve::start_runtime()?.block_on(work.boxed_local())
    }

    fn client(&self) -> Result<TaskCenter, Failure> {
        let mut client = TaskCenter::builder(&self.server);
        if let Some(token) = &self.token {
            client = client.token(token);
        }
        if let Some(file) = &self.ca_file {
            client = client.ca_file(file);
        }
        client.build().map_err(|error| Failure::from_call(&error, &strip_credentials(&self.server)))
    }
}
