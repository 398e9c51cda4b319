//! The command line's verbs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use taskcenter_server::config::{Config, ConfigError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  taskcenter config check --config config/cluster.toml
  taskcenter serve --config config/cluster.toml
  TASKCENTER__SERVER__LISTEN=0.0.0.0:8275 taskcenter serve --config config/cluster.toml

  curl -d '{\"name\":\"order.close\",\"type\":1,\"data\":\"42\"}' http://127.0.0.1:8275/v1/api/task

Every key of the configuration can be set by the environment: server.listen is TASKCENTER__SERVER__LISTEN.
Exit codes: 0 done, 1 failed while running, 2 wrong arguments or configuration.";

/// Delivers tasks when they are due: once, in a loop or by cron, over RocketMQ.
#[derive(Debug, Parser)]
#[command(name = "taskcenter", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node until SIGTERM or SIGINT; a second signal ends it at once.
    #[command(after_help = EXAMPLES)]
    Serve {
        #[command(flatten)]
        source: Source,
        /// Address and port to listen on, in place of server.listen.
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Look at the configuration without starting anything.
    #[command(subcommand)]
    Config(ConfigVerb),
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Say whether it is valid, and what is wrong if not.
    Check(Source),
    /// Print it as it is in effect, defaults and environment included, secrets left out.
    Print(Source),
}

#[derive(Debug, Args)]
struct Source {
    /// Configuration file (TOML); without one the defaults and the environment hold.
    #[arg(long, value_name = "FILE", env = "TASKCENTER_CONFIG")]
    config: Option<PathBuf>,
}

impl Source {
    fn load(&self) -> Result<Config, ConfigError> {
        load(self.config.as_deref())
    }
}

/// Variables that are not text cannot be ours.
fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let text = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(file, text)
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        match self.verb {
            Verb::Serve { source, listen } => serve(&source, listen),
            Verb::Config(ConfigVerb::Check(source)) => {
                with(&source, |_| println!("the configuration is valid"))
            }
            Verb::Config(ConfigVerb::Print(source)) => with(&source, |config| print!("{}", printed(config))),
        }
    }
}

fn with(source: &Source, show: impl FnOnce(&Config)) -> ExitCode {
    match source.load() {
        Ok(config) => {
            show(&config);
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(MISUSED)
}

/// Serializing redacts: see `config::Secret`.
fn printed(config: &Config) -> String {
    toml::to_string(config).unwrap_or_else(|error| unreachable!("a configuration is TOML: {error}"))
}

fn serve(source: &Source, listen: Option<String>) -> ExitCode {
    let mut config = match source.load() {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if let Some(listen) = listen {
        config.server.listen = listen;
        config.task_center.port = 0;
        if let Err(error) = config.validate() {
            return refuse(&error);
        }
    }
    logging::start(&config.log);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    runtime.block_on(async {
        let address = config.listen();
        let listener =
            TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
        let shutdown = CancellationToken::new();
        tokio::spawn(watch_signals(shutdown.clone())?);
        taskcenter_server::run(config, listener, shutdown).await
    })
}

/// Both signals are caught from here on; the first asks the node to stop, the second does not ask.
fn watch_signals(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut next =
            async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "stopping; the same again ends the process at once");
        shutdown.cancel();
        let signal = next().await;
        tracing::warn!(signal, "ended at once");
        std::process::exit(i32::from(FAILED));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn print_shows_every_section_and_no_secret() {
        let mut config = Config::default();
        config.redis.password = taskcenter_server::config::Secret::new("canary-7f3a");
        config.rocketmq.secret_key = taskcenter_server::config::Secret::new("canary-7f3a");
        config.mongodb.uri = taskcenter_server::config::MongoUri::new("mongodb://app:canary-7f3a@db/");
        let printed = printed(&config);
        assert!(!printed.contains("canary-7f3a"), "{printed}");
        for section in ["[server]", "[mongodb]", "[redis]", "[rocketmq]", "[engine]", "[alerts]", "[log]"] {
            assert!(printed.contains(section), "{section} is missing from\n{printed}");
        }
    }
}
