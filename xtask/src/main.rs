//! Developer commands: `cargo xtask --help`.
#![allow(clippy::disallowed_methods, reason = "developer commands measure real time")]

mod bench;
mod browser;
mod cargo;
mod catalog;
mod check;
mod deny;
mod dist;
mod docker;
mod download;
mod faults;
mod fuzz;
mod mongo;
mod monitoring;
mod net;
mod process;
mod programs;
mod redis;
mod remoting;
mod rocketmq;
mod services;
mod steps;
mod test;
mod tls;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::catalog::Profile;
use crate::process::Ending;
use crate::services::Services;

/// Developer commands of taskcenter
///
/// While you work:      cargo xtask check      three minutes, no services needed
/// Before you hand in:  cargo xtask test       every kind of test, with real back ends
/// Looking for bugs:    cargo xtask fuzz       fresh seeds until you stop it
///                      cargo xtask faults     an hour of faults on a running system
/// Measuring speed:     cargo xtask bench      limits, this product and other systems in one run
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the speed with the limits of its parts and with other systems, in one run
    ///
    /// Builds release programs, starts what is missing, and measures each work on each subject in each
    /// round. Stops only what it has started, also on Ctrl-C.
    Bench(bench::Bench),
    /// Test the console in Chromium: every page, both languages and themes, by keyboard and on a phone
    ///
    /// Needs Node.js and Chromium; as root on Debian, missing ones are installed. The packages of
    /// server/tests/browser/package-lock.json are installed below target/browser.
    Browser(browser::Browser),
    /// Check format, lints, unit tests, and all tests that need no services
    ///
    /// The store and HTTP tests run in memory and on SQLite. MongoDB, Redis and RocketMQ are not
    /// compiled into these tests (no `cluster` feature).
    Check,
    /// Check licences, banned crates and sources of all dependencies, as deny.toml defines them
    Deny,
    /// Build the files of a release: archives, Debian packages, SBOM, checksums
    ///
    /// Writes static programs with manual pages, completions, a systemd unit and examples of the
    /// configuration to target/dist/files. Installs missing Debian packages as root.
    Dist(dist::Dist),
    /// Inject faults into a running system, and check that nothing is lost, doubled, early or late
    ///
    /// Starts real servers, a MongoDB replica set of three, Redis and RocketMQ below target/faults.
    /// Prints and stores figures for each scenario; docs/reliability.md explains them.
    Faults(faults::Faults),
    /// Run the fuzz targets and the simulator with fresh seeds
    ///
    /// `cargo xtask test` uses fixed seeds, so that it is deterministic. This command draws a seed
    /// for each round and prints it with the command that repeats the round. It ends at the first
    /// failure; CONTRIBUTING.md says how to keep a seed that failed.
    Fuzz(fuzz::Fuzz),
    /// Write the alert rules for Prometheus and the dashboard for Grafana from their table
    ///
    /// The table is xtask/src/monitoring/table.rs, and the files are in deploy.
    Monitoring(monitoring::Monitoring),
    /// Start, stop and inspect the MongoDB, Redis and RocketMQ servers that the tests use
    ///
    /// The servers listen on the loopback interface, on ports that differ from the defaults of the
    /// products, and keep logs and data below target/services. Exceptions, because these ports
    /// cannot be bound to an interface: the replication port of a RocketMQ broker, the one after
    /// its own, and all ports of RocketMQ 4.
    ///
    /// Pinned programs are downloaded once. redis-server, JDK, Go, Maven, pip and Chromium come from the system;
    /// as root on Debian, missing ones are installed. Linux only.
    Services {
        #[command(subcommand)]
        action: Action,
    },
    /// Run every kind of check: licences, format, lints, tests with services, browser, faults
    ///
    /// Starts the services that do not run and stops these at the end. Tests find the services by
    /// TASKCENTER_TEST_* variables. Prints the time of each step and the ten slowest tests. Less
    /// than an hour on two cores.
    ///
    /// `--full` kills a node 100 instead of 25 times at each failpoint, plays all scenarios of
    /// `faults --quick` instead of one of each kind, runs all tests, not only the unit tests, also
    /// without the `cluster` feature, and lives with the package (`dist --check`).
    Test(test::Test),
}

#[derive(Subcommand)]
enum Action {
    /// Start missing services, restart those that do not answer, and wait until all work
    ///
    /// A service works when it completes a majority write (MongoDB), a write (Redis), or a send and
    /// a pull of one message (RocketMQ). Prints the addresses and writes them to
    /// target/services/env.
    Up {
        /// Set of services
        #[arg(long, value_enum, default_value = "plain")]
        profile: Profile,
        /// Use Docker and config/compose.yaml (plain profile) instead of local processes
        #[arg(long, conflicts_with = "profile")]
        docker: bool,
    },
    /// Stop the services that `up` started
    Down {
        /// Also delete data and logs. Downloads stay
        #[arg(long)]
        wipe: bool,
        /// Stop the containers that `up --docker` started
        #[arg(long)]
        docker: bool,
    },
    /// List the services with address and state
    Status,
    /// Start one service and wait until it works
    Start {
        /// Name of the service, as `status` lists it
        name: String,
    },
    /// Stop one service
    Stop {
        /// Name of the service, as `status` lists it
        name: String,
        /// Crash the service (SIGKILL) instead of a clean stop
        #[arg(long)]
        kill: bool,
    },
    /// Stop one service and start it again
    RestartOne {
        /// Name of the service, as `status` lists it
        name: String,
        /// Crash the service (SIGKILL) instead of a clean stop
        #[arg(long)]
        kill: bool,
    },
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    // On one line: the failure, then its causes.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace directory is missing")?;
    let services = Services::new(&workspace.join("target/services"));
    match Arguments::parse().command {
        Command::Bench(bench) => bench::run(workspace, &bench),
        Command::Browser(options) => browser::run(workspace, &options),
        Command::Check => check::run(workspace),
        Command::Dist(dist) => dist::run(workspace, &dist),
        Command::Deny => deny::run(workspace, &workspace.join("target/services")),
        Command::Faults(faults) => faults::run(workspace, &faults),
        Command::Fuzz(fuzz) => fuzz::run(workspace, &services, &fuzz),
        Command::Monitoring(options) => monitoring::run(workspace, &options),
        Command::Services { action } => run_action(action, &services, workspace),
        Command::Test(test) => test::run(workspace, &services, test),
    }
}

fn run_action(action: Action, services: &Services, workspace: &Path) -> Result<()> {
    match action {
        Action::Up { docker: true, .. } => docker::up(workspace).and_then(|()| services.wait_for_plain()),
        Action::Up { profile, .. } => services.up(profile),
        Action::Down { docker: true, wipe } => docker::down(workspace, wipe),
        Action::Down { wipe, .. } => services.down(wipe),
        Action::Status => {
            services.print_status();
            Ok(())
        }
        Action::Start { name } => services.start(&name),
        Action::Stop { name, kill } => services.stop(&name, ending(kill)),
        Action::RestartOne { name, kill } => {
            services.stop(&name, ending(kill))?;
            services.start(&name)
        }
    }
}

fn ending(kill: bool) -> Ending {
    if kill { Ending::Kill } else { Ending::Graceful }
}
