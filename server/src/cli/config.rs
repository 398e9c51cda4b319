//! `config`: checks or prints the configuration of a node.

use clap::Subcommand;
use serde::Serialize;
use taskcenter_server::adapters::zones;
use taskcenter_server::config::{Config, StoreKind};

use super::exit::Failure;
use super::output;
use super::serve::ConfigSource;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter config check --config config/cluster.toml
  taskcenter config print
  TASKCENTER__SERVER__LISTEN=0.0.0.0:8275 taskcenter config print";

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Validate the configuration and report every error.
    #[command(after_help = EXAMPLES)]
    Check(ConfigSource),
    /// Print the effective configuration as TOML, without secrets.
    #[command(after_help = EXAMPLES)]
    Print(ConfigSource),
}

impl ConfigCommand {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(source) => {
                source.load().and_then(|config| output::print_line(describe_valid(&source, &config)))
            }
            Self::Print(source) => {
                let config = source.load()?;
                let zones = zones::newest(&config.zones.path);
                let zones = zones.map_err(|error| Failure::Misused(error.to_string()))?;
                output::print_line(format_args!("# time zone database: {}", zones.version))?;
                output::print_line(to_toml(config).trim_end())
            }
        }
    }
}

/// Says what was checked, so that a forgotten file is noticed.
fn describe_valid(source: &ConfigSource, config: &Config) -> String {
    let origin = source.file().map_or_else(
        || "no file, only defaults and environment variables".to_owned(),
        |file| file.display().to_string(),
    );
    let back_ends = config.back_ends();
    format!(
        "the configuration is valid ({origin}): store {}, bus {}, lock {}",
        word(&back_ends.store),
        word(&back_ends.bus),
        word(&back_ends.lock)
    )
}

/// The word for a back end in a configuration file.
fn word(back_end: &impl Serialize) -> String {
    let word = toml::Value::try_from(back_end).ok();
    word.as_ref().and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}

/// Serializes the configuration without secrets (see `config::Secret`). Absent settings get the
/// values that the node would use.
fn to_toml(mut config: Config) -> String {
    let back_ends = config.back_ends();
    config.server.store = Some(back_ends.store);
    config.server.bus = Some(back_ends.bus);
    config.server.lock = Some(back_ends.lock);
    if back_ends.store == StoreKind::Sqlite
        && let Some(directory) = config.embedded.directory()
    {
        config.embedded.data_dir = directory.display().to_string();
    }
    toml::to_string(&config)
        .unwrap_or_else(|error| unreachable!("a configuration can be written as TOML: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskcenter_server::config::{MongoUri, Secret};

    #[test]
    fn print_shows_every_section_and_no_secret() {
        let mut config = Config::default();
        config.redis.password = Secret::new("canary-7f3a");
        config.rocketmq.secret_key = Secret::new("canary-7f3a");
        config.mongodb.uri = MongoUri::new("mongodb://app:canary-7f3a@db/");
        let printed = to_toml(config);
        assert!(!printed.contains("canary-7f3a"), "{printed}");
        for section in
            ["[server]", "[embedded]", "[mongodb]", "[redis]", "[rocketmq]", "[engine]", "[alerts]", "[log]"]
        {
            assert!(printed.contains(section), "{section} is missing from\n{printed}");
        }
    }

    #[test]
    fn print_shows_the_effective_back_ends_and_the_data_directory() {
        let mut config = Config::default();
        "somewhere".clone_into(&mut config.embedded.data_dir);
        let printed = to_toml(config);
        assert!(
            printed.contains("mode = \"embedded\"") && printed.contains("data_dir = \"somewhere\""),
            "{printed}"
        );
        let back_ends = "store = \"sqlite\"\nbus = \"none\"\nlock = \"local\"";
        assert!(printed.contains(back_ends), "{printed}");
    }
}
