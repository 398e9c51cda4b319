//! `config`: what a node would be told.

use clap::Subcommand;
use taskcenter_server::config::{Config, StoreKind};

use super::exit::Failure;
use super::out;
use super::serve::Source;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter config check --config config/cluster.toml
  taskcenter config print";

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Say whether it is valid, and what is wrong if not.
    #[command(after_help = EXAMPLES)]
    Check(Source),
    /// Print it as it is in effect, defaults and environment included, secrets left out.
    #[command(after_help = EXAMPLES)]
    Print(Source),
}

impl ConfigVerb {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(source) => source.load().and_then(|_| out::line("the configuration is valid")),
            Self::Print(source) => source.load().and_then(|config| out::line(printed(config).trim_end())),
        }
    }
}

/// Replaces settings that are left empty by the values in effect. Serialization redacts secrets: see `config::Secret`.
fn printed(mut config: Config) -> String {
    let back_ends = config.back_ends();
    config.server.store = Some(back_ends.store);
    config.server.bus = Some(back_ends.bus);
    config.server.lock = Some(back_ends.lock);
    if back_ends.store == StoreKind::Sqlite
        && let Some(directory) = config.embedded.directory()
    {
        config.embedded.data_dir = directory.display().to_string();
    }
    toml::to_string(&config).unwrap_or_else(|error| unreachable!("a configuration is TOML: {error}"))
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
        let printed = printed(config);
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
        let printed = printed(config);
        assert!(
            printed.contains("mode = \"embedded\"") && printed.contains("data_dir = \"somewhere\""),
            "{printed}"
        );
        let back_ends = "store = \"sqlite\"\nbus = \"none\"\nlock = \"local\"";
        assert!(printed.contains(back_ends), "{printed}");
    }
}
