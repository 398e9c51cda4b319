//! The command line: one file a verb, and beside them what they share.

mod config;
mod definition;
mod demo;
mod dev;
mod exit;
mod launch;
mod out;
mod paging;
mod queue;
mod remote;
mod run;
mod serve;
mod signals;
mod stat;
mod table;
mod tail;
mod task;
mod token;
mod user;
mod when;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Failure;
use remote::Remote;

const EXAMPLES: &str = "\
Examples:
  taskcenter dev
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task list --state active
  taskcenter tail
  taskcenter serve --config config/cluster.toml

  curl -d '{\"name\":\"order.close\",\"data\":\"42\"}' http://127.0.0.1:8275/v1/tasks

Every key of the configuration can be set by the environment: server.listen is TASKCENTER__SERVER__LISTEN.

Exit codes:
  0  done
  1  failed: the server cannot be reached, or stopped by an error
  2  wrong arguments or configuration
  3  not found
  4  refused by the server: a field is invalid, or the state does not allow it";

/// Delivers tasks when they are due: once, in a loop or by cron.
#[derive(Debug, Parser)]
#[command(name = "taskcenter", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try it out: a server on this machine that needs nothing else.
    Dev(dev::Dev),
    /// Run a node until SIGTERM or SIGINT; a second signal ends it at once.
    Serve(serve::Serve),
    /// Run the built-in workers for a server on another machine, until SIGTERM or SIGINT.
    Worker(worker::Worker),
    /// Become a program, within limits: how the script worker starts its scripts.
    #[command(hide = true)]
    Launch(launch::Launch),
    /// Look at the configuration without starting anything.
    #[command(subcommand, after_help = config::EXAMPLES)]
    Config(config::ConfigVerb),
    /// Add, list and change tasks.
    #[command(after_help = task::EXAMPLES)]
    Task {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        verb: task::TaskVerb,
    },
    /// Look at runs, retry them, call them off.
    #[command(after_help = run::EXAMPLES)]
    Run {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        verb: run::RunVerb,
    },
    /// Look at what waits for workers.
    #[command(after_help = queue::EXAMPLES)]
    Queue {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        verb: queue::QueueVerb,
    },
    /// Look after the people who sign in to the fronts for older systems' clients.
    #[command(after_help = user::EXAMPLES)]
    User {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        verb: user::UserVerb,
    },
    /// Print each run as it appears and as its state changes, until Ctrl-C.
    #[command(after_help = tail::EXAMPLES)]
    Tail {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        tail: tail::Tail,
    },
    /// Count what fires and what waits, by tag and by queue.
    #[command(after_help = stat::EXAMPLES)]
    Stat {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        stat: stat::Stat,
    },
    /// Make, list and revoke tokens, which calls from other machines need.
    #[command(after_help = token::EXAMPLES)]
    Token {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        verb: token::TokenVerb,
    },
}

impl Cli {
    /// Does what was asked, and says on standard error what could not be done.
    pub fn run(self) -> ExitCode {
        match self.verb.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                failure.tell();
                failure.code().into()
            }
        }
    }
}

impl Verb {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Dev(dev) => dev.run(),
            Self::Serve(serve) => serve.run(),
            Self::Worker(worker) => worker.run(),
            Self::Launch(launch) => launch.run(),
            Self::Config(verb) => verb.run(),
            Self::Task { remote, verb } => remote.run(async |center| verb.run(&center).await),
            Self::Run { remote, verb } => remote.run(async |center| verb.run(&center).await),
            Self::Queue { remote, verb } => remote.run(async |center| verb.run(&center).await),
            Self::User { remote, verb } => remote.run(async |center| verb.run(&center).await),
            Self::Tail { remote, tail } => remote.run(async |center| tail.run(&center).await),
            Self::Stat { remote, stat } => remote.run(async |center| stat.run(&center).await),
            Self::Token { remote, verb } => verb.run(remote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, CommandFactory};

    /// Every verb that can be run, with the words that lead to it.
    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        let path = format!("{path}{}", command.get_name());
        if !command.has_subcommands() {
            found.push((path, command.clone()));
            return;
        }
        for verb in command.get_subcommands() {
            leaves(verb, &format!("{path} "), found);
        }
    }

    fn verbs() -> Vec<(String, Command)> {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 15, "{} are not all verbs", found.len());
        found
    }

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_verb_has_an_example_of_it() {
        for (path, command) in verbs() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  {path}")), "no example of `{path}` in its help: {help:?}");
        }
    }

    #[test]
    fn the_guide_names_every_verb_and_every_option() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        for (path, command) in verbs() {
            assert!(page.contains(&path), "docs/cli.md does not name `{path}`");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(
                    page.contains(&format!("--{option}")),
                    "docs/cli.md does not name `{path} --{option}`"
                );
            }
        }
    }
}
