//! Faults on a running task center: real servers, a real MongoDB replica set, Redis and RocketMQ, everything broken in turn, and a
//! checker of what came out. `cargo xtask faults --quick`; docs/reliability.md has what was measured.

mod backends;
mod broker;
mod bus;
mod check;
mod evidence;
mod handlers;
mod house;
mod leash;
mod load;
mod mongo;
mod node;
mod nominal;
mod options;
mod ports;
mod process;
mod proxy;
mod redis;
mod rehearsal;
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

use crate::house::House;
use crate::options::Options;
use crate::report::Line;

fn main() -> ExitCode {
    if let Some(error) = leash::become_other() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match harness(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn harness(options: &Options) -> Result<bool> {
    leash::take();
    quiet_panics();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = run(options) => outcome,
        // Dropping the run ends every process that it has started.
        _ = tokio::signal::ctrl_c() => Ok(false),
        _ = terminate.recv() => Ok(false),
    }
}

/// A handler that panics on purpose is no news.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(handlers::ON_PURPOSE) {
            usual(panic);
        }
    }));
}

async fn run(options: &Options) -> Result<bool> {
    if options.list {
        scenarios::ALL.iter().for_each(|(name, says)| println!("{name:18} {says}"));
        return Ok(true);
    }
    println!(
        "self-check: {} kinds of damage were done to sound evidence, {} to a real ledger; all were found",
        self_check::run()?,
        rehearsal::run().await?
    );
    if options.self_check {
        return Ok(true);
    }
    let names = chosen(options)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults");
    fs::create_dir_all(&root)?;
    let root = fs::canonicalize(&root)?;
    let mut house = House::open(&root, options)?;
    let mut lines = Vec::new();
    for (number, (name, says)) in names.iter().enumerate() {
        println!("== {} of {}, {name}: {says}", number + 1, names.len());
        // Each scenario has the same dice, whichever others are played.
        house.rng = fastrand::Rng::with_seed(options.seed);
        lines.push(played(name, &mut house, &root).await?);
    }
    report::sum_up(&lines, options, &root)
}

fn chosen(options: &Options) -> Result<Vec<(&'static str, &'static str)>> {
    for name in &options.only {
        ensure!(
            scenarios::ALL.iter().any(|(known, _)| known == name),
            "there is no scenario {name:?}; see --list"
        );
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    Ok(scenarios::ALL.into_iter().filter(|(name, _)| wanted(name)).collect())
}

/// A scenario that breaks off fails, and the others go on.
async fn played(name: &str, house: &mut House, root: &Path) -> Result<Line> {
    let begun = time::now_ms();
    let outcome = scenarios::play(name, house).await;
    let seconds = (time::now_ms() - begun) / 1_000;
    if outcome.is_err() {
        // What it has left broken must not break the next one.
        house.backends = None;
    }
    let line = Line { name: name.to_owned(), seconds, outcome };
    line.tell(root)?;
    Ok(line)
}
