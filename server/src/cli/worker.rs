//! `worker`: the built-in workers, on another machine than the server.

use clap::Args;
use taskcenter_client::TaskCenter;
use taskcenter_server::workers::directory::Elsewhere;
use taskcenter_server::workers::{Builder, QUEUES};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use super::serve::{self, Source};
use super::signals;
use crate::logging;

const EXAMPLES: &str = "\
Examples:
  taskcenter worker --queues callback,rpc --server http://task.example:8275
  taskcenter worker --queues script --config worker.toml

What it may run and call is in the sections script, callback and workers of the configuration.";

/// What a worker is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Worker {
    #[command(flatten)]
    source: Source,
    /// Which queues, with commas between: callback, rpc, script.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "callback,rpc,script")]
    queues: Vec<String>,
    /// The server to work for.
    #[arg(
        long,
        value_name = "URL",
        env = "TASKCENTER_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8275"
    )]
    server: String,
    /// The token to show there.
    #[arg(long, value_name = "TOKEN", env = "TASKCENTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Worker {
    /// Works until it is told to stop.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.source.load()?;
        if let Some(unknown) = self.queues.iter().find(|queue| !QUEUES.contains(&queue.as_str())) {
            return Err(Failure::Misused(format!("--queues: {unknown:?} is none of {}", QUEUES.join(", "))));
        }
        logging::start(&config.log);
        let center = self.center()?;
        let mut settings = config.workers();
        settings.workers.queues = self.queues;
        serve::threads()?.block_on(async {
            let asked = CancellationToken::new();
            let watched =
                signals::watch(asked.clone()).map_err(|error| Failure::Failed(error.to_string()))?;
            tokio::spawn(watched);
            let directory = Elsewhere::new(center.clone(), &settings.callback.secrets_dir);
            let workers = Builder::new(center, directory, settings).start();
            let workers = workers.map_err(|error| Failure::Misused(error.to_string()))?;
            tracing::info!("working");
            workers.run_until(asked).await;
            Ok(())
        })
    }

    fn center(&self) -> Result<TaskCenter, Failure> {
        let mut center = TaskCenter::builder(&self.server);
        if let Some(token) = &self.token {
            center = center.token(token);
        }
        center.build().map_err(|error| Failure::of_call(&error, &self.server))
    }
}
