//! `serve`: a node.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use taskcenter_server::config::{Config, ConfigError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use super::signals;
use crate::logging;

const EXAMPLES: &str = "\
Examples:
  taskcenter serve
  taskcenter serve --config config/cluster.toml
  TASKCENTER__SERVER__LISTEN=0.0.0.0:8275 taskcenter serve --config config/cluster.toml";

/// What a node is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    source: Source,
    /// Address and port to listen on, in place of server.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct Source {
    /// Configuration file (TOML); without one the defaults and the environment hold.
    #[arg(long, value_name = "FILE", env = "TASKCENTER_CONFIG")]
    config: Option<PathBuf>,
}

impl Source {
    /// Reads it.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), environment()).map_err(|error| misconfigured(&error))
    }
}

/// The variables that can be ours: those that are text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A configuration that cannot be used.
pub fn misconfigured(error: &ConfigError) -> Failure {
    Failure::Misused(error.to_string())
}

/// Threads for a server.
pub fn threads() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("no threads to run on: {error}")))
}

impl Serve {
    /// Runs the node until it is told to stop.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        logging::start(&config.log);
        threads()?.block_on(serve(config)).map_err(|error| {
            let error = format!("{error:#}");
            tracing::error!(error, "stopped");
            Failure::Failed(error)
        })
    }

    fn config(self) -> Result<Config, Failure> {
        let mut config = self.source.load()?;
        if let Some(listen) = self.listen {
            config.server.listen = listen;
            config.task_center.port = 0;
            config.validate().map_err(|error| misconfigured(&error))?;
        }
        Ok(config)
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let address = config.listen();
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
    let shutdown = CancellationToken::new();
    tokio::spawn(signals::watch(shutdown.clone())?);
    taskcenter_server::run(config, listener, shutdown).await
}
