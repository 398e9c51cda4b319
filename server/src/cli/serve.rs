//! `serve`: runs a server node.

use std::io::{ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use futures_util::FutureExt as _;
use taskcenter_server::config::{Config, ConfigError, Override};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use super::signals;
use crate::logging;

const NOTES: &str = "\
Environment variables override the configuration file; options override both.
`taskcenter config print` shows the result.

The first signal stops the node after the requests in progress, at most
server.shutdown_grace_ms later. A second signal ends the process immediately.

Examples:
  taskcenter serve
  taskcenter serve --listen 0.0.0.0:8275
  taskcenter serve --config config/cluster.toml
  TASKCENTER__LOG__LEVEL=debug taskcenter serve --config config/cluster.toml";

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct Serve {
    #[command(flatten)]
    source: ConfigSource,
    /// Address and port to listen on, such as 0.0.0.0:8275. Overrides server.listen, which is
    /// 127.0.0.1:8275 by default.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Directory of the data of the store `sqlite`. Overrides embedded.data_dir.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

/// Source of the configuration.
#[derive(Debug, Args)]
pub struct ConfigSource {
    /// Configuration file (TOML). Default: no file, only defaults and environment variables.
    #[arg(long, value_name = "FILE", env = "TASKCENTER_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

impl ConfigSource {
    /// Returns the configuration file, if one was named.
    pub fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Loads and validates the configuration.
    pub fn load(&self) -> Result<Config, Failure> {
        self.load_with_options(Vec::new())
    }

    fn load_with_options(&self, options: Vec<Override>) -> Result<Config, Failure> {
        let config = Config::load_with_options(self.config.as_deref(), environment(), options);
        config.map_err(|error| invalid_config(&error))
    }
}

/// Returns the environment variables that are valid Unicode.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Converts a configuration error.
pub fn invalid_config(error: &ConfigError) -> Failure {
    Failure::Misused(error.to_string())
}

/// Starts the async runtime of a server or worker.
pub fn start_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start the async runtime: {error}")))
}

impl Serve {
    /// Runs the node until a shutdown signal.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        logging::start(&config.log);
        start_runtime()?.block_on(serve(config).boxed_local()).map_err(|error| {
            let error = Failure::Failed(format!("{error:#}"));
            // A person reads a line, and a collector of logs reads the event.
            let Failure::Failed(message) = &error else { return error };
            if std::io::stderr().is_terminal() || !tracing::enabled!(tracing::Level::ERROR) {
                return error;
            }
            tracing::error!(error = message, "server failed");
            Failure::Printed(error.code())
        })
    }

    fn config(self) -> Result<Config, Failure> {
        let mut options = self.listen.map(listen_on).unwrap_or_default();
        let data_dir = |text| Override { key: "embedded.data_dir", option: "--data-dir", text };
        options.extend(self.data_dir.map(data_dir));
        self.source.load_with_options(options)
    }
}

/// Returns the settings of `--listen`, which also overrides the port of the Go predecessor.
pub fn listen_on(address: String) -> Vec<Override> {
    let option = "--listen";
    vec![
        Override { key: "server.listen", option, text: address },
        Override { key: "task_center.port", option, text: "0".to_owned() },
    ]
}

/// Says why the address cannot be used, and what to do.
pub fn cannot_listen(address: &str, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{address} is in use, perhaps by another taskcenter: stop that program, or use a free port with `--listen 127.0.0.1:0`"
        ),
        ErrorKind::PermissionDenied => {
            anyhow!("cannot listen on {address}: {error}: use a port above 1023 with `--listen`")
        }
        ErrorKind::AddrNotAvailable => {
            anyhow!("cannot listen on {address}: {error}: use an address of this machine with `--listen`")
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let address = config.listen();
    let listener = TcpListener::bind(&address).await.map_err(|error| cannot_listen(&address, &error))?;
    let shutdown = CancellationToken::new();
    tokio::spawn(signals::watch(shutdown.clone())?);
    taskcenter_server::run(config, listener, shutdown).await
}
