//! Faults on a running system: real servers, a MongoDB replica set, Redis and RocketMQ, and a
//! checker of all tasks, runs and deliveries. Run with `cargo xtask faults --quick`;
//! docs/reliability.md has the results.

mod backends;
mod broker;
mod bus;
mod check;
mod evidence;
mod handlers;
mod harness;
mod ledger_check;
mod load;
mod mongo;
mod node;
mod nominal;
mod options;
mod parent_death;
mod ports;
mod process;
mod proxy;
mod redis;
mod report;
mod rocketmq;
mod scenarios;
mod self_check;
mod stage;
#[path = "../rules/steps.rs"]
mod steps;
mod store;
mod time;
mod transitions;
mod verdict;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::Harness;
use crate::options::Options;
use crate::report::Line;

fn main() -> ExitCode {
    if let Some(error) = parent_death::exec_other_program() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    // The HTTP clients of the harness need a provider of TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run_harness(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run_harness(options: &Options) -> Result<bool> {
    parent_death::end_with_parent();
    hide_intended_panics();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = run(options) => outcome,
        // The drop of `run` ends every process that it started.
        _ = tokio::signal::ctrl_c() => Ok(false),
        _ = terminate.recv() => Ok(false),
    }
}

/// Does not print panics that a handler makes on purpose.
fn hide_intended_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(handlers::INTENDED_PANIC) {
            default(panic);
        }
    }));
}

async fn run(options: &Options) -> Result<bool> {
    if options.list {
        scenarios::ALL.iter().for_each(|(name, description)| println!("{name:18} {description}"));
        return Ok(true);
    }
    println!(
        "self-check: the checker found all {} kinds of damage to evidence and all {} to a real ledger",
        self_check::run()?,
        ledger_check::run().await?
    );
    if options.self_check {
        return Ok(true);
    }
    let names = selected_scenarios(options)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults");
    fs::create_dir_all(&root)?;
    let root = fs::canonicalize(&root)?;
    let mut harness = Harness::open(&root, options)?;
    let mut lines = Vec::new();
    for (number, (name, description)) in names.iter().enumerate() {
        println!("== {} of {}, {name}: {description}", number + 1, names.len());
        // The random choices of a scenario do not depend on the scenarios before it.
        harness.rng = fastrand::Rng::with_seed(options.seed);
        lines.push(play_scenario(name, &mut harness, &root).await?);
    }
    report::print_summary(&lines, options, &root)
}

fn selected_scenarios(options: &Options) -> Result<Vec<(&'static str, &'static str)>> {
    for name in &options.only {
        ensure!(
            scenarios::ALL.iter().any(|(known, _)| known == name),
            "unknown scenario {name:?}: --list shows all scenarios"
        );
    }
    let is_selected = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    Ok(scenarios::ALL.into_iter().filter(|(name, _)| is_selected(name)).collect())
}

/// Plays a scenario. An error fails this scenario only.
async fn play_scenario(name: &str, harness: &mut Harness, root: &Path) -> Result<Line> {
    let started_at = time::now_ms();
    let outcome = scenarios::play(name, harness).await;
    let seconds = (time::now_ms() - started_at) / 1_000;
    if outcome.is_err() {
        // Back ends may still be broken: the next scenario starts new ones.
        harness.backends = None;
    }
    let line = Line { name: name.to_owned(), seconds, outcome };
    line.print(root)?;
    Ok(line)
}
