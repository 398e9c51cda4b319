//! Developer chores: `cargo xtask --help`.
#![allow(clippy::disallowed_methods, reason = "a developer's chore measures real time")]

mod cargo;
mod catalog;
mod deny;
mod docker;
mod download;
mod faults;
mod mongo;
mod net;
mod process;
mod redis;
mod remoting;
mod rocketmq;
mod services;
mod test;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::catalog::Profile;
use crate::process::Ending;
use crate::services::Services;

/// Developer chores of the task center.
///
/// Start with `cargo xtask test`: it starts the real back-ends, runs every check, and cleans up.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Measure, with a release build
    Bench {
        #[command(subcommand)]
        benchmark: Benchmark,
    },
    /// Check licences, banned crates and sources of everything that comes from outside, as deny.toml says
    Deny,
    /// Break a running system in every way, and check that nothing was lost, doubled, early or late
    ///
    /// Real servers on a MongoDB replica set of three, Redis and RocketMQ of their own, all below target/faults. Shows and keeps
    /// figures for each scenario; docs/reliability.md explains them.
    Faults(faults::Faults),
    /// Start, stop and inspect the real MongoDB, Redis and RocketMQ that tests run against
    ///
    /// They listen on the loopback interface only, on ports that are no product's default, and keep their logs and data
    /// below target/services. One exception: a RocketMQ broker's replication port, the one after its own, cannot be
    /// bound to an interface.
    ///
    /// Programs are downloaded once, in pinned versions; redis-server, Java, Maven and pip come from the system (root on
    /// Debian gets missing ones installed). Linux only.
    Services {
        #[command(subcommand)]
        action: Action,
    },
    /// Run every check: services up, format, lint, all tests, services down, `faults --quick`
    ///
    /// Services that ran before are left running. Tests find the services by TASKCENTER_TEST_* variables.
    Test {
        /// Leave the services running afterwards, for a quick next time
        #[arg(long)]
        keep: bool,
    },
}

#[derive(Subcommand)]
enum Benchmark {
    /// The embedded node: memory with many pending tasks, start-up with them, rates beside SQLite alone
    Embedded {
        /// Pending tasks
        #[arg(long, default_value_t = 1_000_000)]
        tasks: usize,
    },
}

#[derive(Subcommand)]
enum Action {
    /// Start what does not run, restart what does not answer, return when all work
    ///
    /// Working means: a majority write in MongoDB, a write in Redis, a message sent to and pulled from RocketMQ.
    /// The addresses are printed and written to target/services/env.
    Up {
        /// Which services
        #[arg(long, value_enum, default_value = "plain")]
        profile: Profile,
        /// Use Docker and config/compose.yaml (plain profile) instead of local processes
        #[arg(long, conflicts_with = "profile")]
        docker: bool,
    },
    /// Stop what `up` started, and nothing else
    Down {
        /// Also delete data and logs; downloads stay
        #[arg(long)]
        wipe: bool,
        /// Stop the containers that `up --docker` started
        #[arg(long)]
        docker: bool,
    },
    /// Show each service, its address and whether it works
    Status,
    /// Start one service and wait until it works
    Start {
        /// The service's name, as `status` shows it
        name: String,
    },
    /// Stop one service, e.g. to see what its users do without it
    Stop {
        /// The service's name, as `status` shows it
        name: String,
        /// A crash (SIGKILL) instead of a clean end
        #[arg(long)]
        kill: bool,
    },
    /// Stop one service and start it again
    RestartOne {
        /// The service's name, as `status` shows it
        name: String,
        /// A crash (SIGKILL) instead of a clean end
        #[arg(long)]
        kill: bool,
    },
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    // One line: what failed, then why.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let services = Services::new(&workspace.join("target/services"));
    match Arguments::parse().chore {
        Chore::Services { action } => act(action, &services, workspace),
        Chore::Bench { benchmark: Benchmark::Embedded { tasks } } => bench_embedded(workspace, tasks),
        Chore::Deny => deny::run(workspace, &workspace.join("target/services")),
        Chore::Faults(faults) => faults::run(workspace, &faults),
        Chore::Test { keep } => test::run(workspace, &services, keep),
    }
}

fn act(action: Action, services: &Services, workspace: &Path) -> Result<()> {
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

fn bench_embedded(workspace: &Path, tasks: usize) -> Result<()> {
    let tasks = tasks.to_string();
    let bench = [
        "bench",
        "--package",
        "taskcenter-server",
        "--bench",
        "embedded",
        "--locked",
        "--",
        "--tasks",
        &tasks,
    ];
    cargo::cargo(workspace, &BTreeMap::new(), &bench)
}

fn ending(kill: bool) -> Ending {
    if kill { Ending::Kill } else { Ending::Graceful }
}
