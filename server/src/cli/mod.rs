//! Command line: one file per command, and the parts that the commands share.

mod alert;
mod audit;
mod calendar;
mod client;
mod completions;
mod concurrency;
mod config;
mod definition;
mod demo;
mod dev;
mod document;
mod events;
mod exit;
mod expiry;
mod hold;
mod ids;
mod launch;
mod misfire;
mod node;
mod operation;
mod output;
mod overlap;
mod paging;
mod payload;
mod queue;
mod rate;
mod run;
mod run_log;
mod schedule;
mod schedule_explain;
mod screen;
mod serve;
mod service;
mod signals;
mod stat;
mod table;
mod tail;
mod task;
mod task_calendars;
mod time;
mod token;
mod user;
mod worker;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use client::ServerOptions;
use exit::Failure;

const EXAMPLES: &str = "\
Examples:
  taskcenter dev
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task list --state active
  taskcenter tail
  taskcenter serve --config config/cluster.toml

  curl -d '{\"name\":\"order.close\",\"data\":\"42\"}' \\
    http://127.0.0.1:8275/v1/tasks

Configuration:
  Every configuration key has an environment variable. For example,
  TASKCENTER__SERVER__LISTEN sets server.listen.

Exit codes:
  0  done
  1  failed: the server cannot be reached, or an error stopped the command
  2  wrong arguments or configuration
  3  not found
  4  refused by the server: a field is invalid, or the state does not allow it";

/// Delayed and scheduled task delivery: once, at a fixed period or by cron.
#[derive(Debug, Parser)]
#[command(name = "taskcenter", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a local server to try the product; it needs no other program.
    Dev(dev::Dev),
    /// Run a server node until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Run the built-in workers for a server on another machine, or list the workers.
    Worker(Box<worker::Worker>),
    /// List the nodes of the server.
    #[command(after_help = node::EXAMPLES)]
    Node {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: node::NodeCommand,
    },
    /// Set resource limits, then become a program; for the built-in worker `script`.
    #[command(hide = true)]
    Launch(launch::Launch),
    /// Check or print the configuration of a server.
    #[command(subcommand, after_help = config::EXAMPLES)]
    Config(config::ConfigCommand),
    /// Create, list, edit and control tasks.
    #[command(after_help = task::EXAMPLES)]
    Task {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: task::TaskCommand,
    },
    /// List, show, retry and cancel runs.
    #[command(after_help = run::EXAMPLES)]
    Run {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: run::RunCommand,
    },
    /// Show what a schedule would do.
    #[command(after_help = schedule::EXAMPLES)]
    Schedule {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: schedule::ScheduleCommand,
    },
    /// Act on many tasks or runs, with progress.
    #[command(after_help = operation::EXAMPLES)]
    Operation {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: operation::OperationCommand,
    },
    /// List the queues in which runs wait for workers.
    #[command(after_help = queue::EXAMPLES)]
    Queue {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: queue::QueueCommand,
    },
    /// Pause queues and tags, and end the pauses.
    #[command(after_help = hold::EXAMPLES)]
    Hold {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: hold::HoldCommand,
    },
    /// Manage the services that the built-in worker `callback` calls.
    #[command(after_help = service::EXAMPLES)]
    Service {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: service::ServiceCommand,
    },
    /// Manage calendars: days and hours to which tasks limit their moments.
    #[command(after_help = calendar::EXAMPLES)]
    Calendar {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: calendar::CalendarCommand,
    },
    /// Manage users of the legacy APIs.
    #[command(after_help = user::EXAMPLES)]
    User {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Show who changed what, newest first.
    #[command(after_help = audit::EXAMPLES)]
    Audit {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        audit: audit::AuditCommand,
    },
    /// Print each new run and each change of its state, until Ctrl-C.
    #[command(after_help = tail::EXAMPLES)]
    Tail {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        tail: tail::Tail,
    },
    /// Print each change of a task, run, queue or operation, until Ctrl-C.
    #[command(after_help = events::EXAMPLES)]
    Events {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        events: events::Events,
    },
    /// Show raised alerts, test channels, and silence alerts.
    #[command(after_help = alert::EXAMPLES)]
    Alert {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: alert::AlertCommand,
    },
    /// Show fires and backlog by tag and by queue.
    #[command(after_help = stat::EXAMPLES)]
    Stat {
        #[command(flatten)]
        server: ServerOptions,
        #[command(flatten)]
        stat: stat::Stat,
    },
    /// Create, list and revoke the tokens that calls from other machines need.
    #[command(after_help = token::EXAMPLES)]
    Token {
        #[command(flatten)]
        server: ServerOptions,
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// Print a script that completes the commands in a shell.
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command, and prints a failure on standard error.
    pub fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                failure.print();
                failure.code().into()
            }
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Dev(dev) => dev.run(),
            Self::Serve(serve) => serve.run(),
            Self::Worker(worker) => worker.run(),
            Self::Node { server, command } => server.run(async |client| command.run(&client).await),
            Self::Launch(launch) => launch.run(),
            Self::Config(command) => command.run(),
            Self::Task { server, command } => server.run(async |client| command.run(&client).await),
            Self::Run { server, command } => server.run(async |client| command.run(&client).await),
            Self::Schedule { server, command } => server.run(async |client| command.run(&client).await),
            Self::Operation { server, command } => server.run(async |client| command.run(&client).await),
            Self::Queue { server, command } => server.run(async |client| command.run(&client).await),
            Self::Hold { server, command } => server.run(async |client| command.run(&client).await),
            Self::Service { server, command } => server.run(async |client| command.run(&client).await),
            Self::Calendar { server, command } => server.run(async |client| command.run(&client).await),
            Self::User { server, command } => server.run(async |client| command.run(&client).await),
            Self::Alert { server, command } => server.run(async |client| command.run(&client).await),
            Self::Audit { server, audit } => server.run(async |client| audit.run(&client).await),
            Self::Tail { server, tail } => server.run(async |client| tail.run(&client).await),
            Self::Events { server, events } => server.run(async |client| events.run(&client).await),
            Self::Stat { server, stat } => server.run(async |client| stat.run(&client).await),
            Self::Token { server, command } => command.run(server),
            Self::Completions(completions) => completions.run(Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects every command without subcommands, with its full name.
    fn collect_leaves(command: &clap::Command, parent: &str, found: &mut Vec<(String, clap::Command)>) {
        let path = format!("{parent}{}", command.get_name());
        if !command.has_subcommands() {
            found.push((path, command.clone()));
            return;
        }
        for subcommand in command.get_subcommands() {
            collect_leaves(subcommand, &format!("{path} "), found);
        }
    }

    fn leaf_commands() -> Vec<(String, clap::Command)> {
        let mut found = Vec::new();
        collect_leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 15, "found only {} commands", found.len());
        found
    }

    #[test]
    fn argument_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        for (path, command) in leaf_commands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  {path}")), "no example of `{path}` in its help: {help:?}");
        }
    }

    /// A longer line would wrap on a terminal of 80 columns, and could not be pasted.
    #[test]
    fn examples_fit_80_columns() {
        for (path, command) in leaf_commands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "too long in the help of `{path}`: {line:?}");
            }
        }
    }

    #[test]
    fn the_guide_names_every_command_and_every_option() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let page = std::fs::read_to_string(page).expect("docs/cli.md exists");
        for (path, command) in leaf_commands() {
            assert!(page.contains(&path), "docs/cli.md does not name `{path}`");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(
                    page.contains(&format!("--{option}")),
                    "docs/cli.md does not name `{path} --{option}`"
                );
            }
        }
    }

    /// Splits a line into words as a shell does, up to a comment, a pipe or a redirection. Knows
    /// quotes, but no escapes.
    fn shell_words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                ('#', None) if word.is_none() => break,
                ('|' | '<', None) => break,
                (' ', None) => words.extend(word.take()),
                _ => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_line_in_the_documents_is_valid() {
        let mut checked = 0;
        for page in [
            "README.md",
            "README.zh-CN.md",
            "docs/access.md",
            "docs/bulk.md",
            "docs/cli.md",
            "docs/history.md",
            "docs/operations.md",
            "docs/zh/quickstart.md",
        ] {
            let path = format!("{}/../{page}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("the page exists");
            let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
            for line in blocks.flat_map(str::lines) {
                let line = line.strip_prefix("./target/release/").unwrap_or(line);
                if line.starts_with("taskcenter ") {
                    let parsed = Cli::try_parse_from(shell_words(line));
                    assert!(parsed.is_ok(), "{page}: {line}\n{}", parsed.unwrap_err());
                    checked += 1;
                }
            }
        }
        assert!(checked > 30, "found only {checked} command lines");
    }
}
