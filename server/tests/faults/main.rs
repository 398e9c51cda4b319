//! Faults on a running task center: real servers, a real MongoDB replica set, Redis and RocketMQ, everything broken in turn, and a
//! checker of what came out. `cargo xtask faults --quick`; docs/reliability.md has what was measured.

mod backends;
mod check;
mod evidence;
mod handlers;
mod house;
mod load;
mod mongo;
mod node;
mod nominal;
mod options;
mod process;
mod proxy;
mod redis;
mod rocketmq;
mod scenarios;
mod self_check;
mod stage;
mod store;
mod time;
mod transitions;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::check::Verdict;
use crate::house::House;
use crate::options::Options;

/// So many findings of a kind are shown; all of them are in the scenario's directory.
const SHOWN: usize = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    quiet_panics();
    tokio::select! {
        outcome = run(&options) => match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        // Dropping the run ends every process that it has started.
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
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
        "self-check: {} kinds of damage were done to sound evidence, and all were found",
        self_check::run()?
    );
    if options.self_check {
        return Ok(true);
    }
    let names = chosen(options)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults");
    let mut house = House::open(&root, options.quick, options.seed)?;
    let root = fs::canonicalize(&root)?;
    let mut lines = Vec::new();
    for (name, says) in names {
        println!("== {name}: {says}");
        // Each scenario has the same dice, whichever others are played.
        house.rng = fastrand::Rng::with_seed(options.seed);
        lines.push(played(name, &mut house, &root).await?);
    }
    Ok(sum_up(&lines, options, &root)?)
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

/// How a scenario ended.
struct Line {
    text: String,
    verdict: Option<Verdict>,
}

impl Line {
    fn is_sound(&self) -> bool {
        self.verdict.as_ref().is_some_and(Verdict::is_sound)
    }
}

/// A scenario that breaks off fails, and the others go on.
async fn played(name: &str, house: &mut House, root: &Path) -> Result<Line> {
    let begun = time::now_ms();
    let outcome = scenarios::play(name, house).await;
    let took = (time::now_ms() - begun) / 1_000;
    let line = match outcome {
        Ok(verdict) => {
            let mark = if verdict.is_sound() { "passed" } else { "FAILED" };
            Line { text: format!("{mark} {name:18} {took:>4} s | {verdict}"), verdict: Some(verdict) }
        }
        Err(error) => {
            // What it has left broken must not break the next one.
            house.backends = None;
            Line { text: format!("BROKE  {name:18} {took:>4} s | {error:#}"), verdict: None }
        }
    };
    println!("{}", line.text);
    if let Some(verdict) = &line.verdict {
        tell(verdict);
        fs::write(root.join(name).join("verdict.json"), serde_json::to_vec_pretty(verdict)?)?;
    }
    Ok(line)
}

fn tell(verdict: &Verdict) {
    for (kind, all) in &verdict.found {
        all.iter().take(SHOWN).for_each(|what| println!("   {kind:?}: {what}"));
        if all.len() > SHOWN {
            println!("   {kind:?}: and {} more", all.len() - SHOWN);
        }
    }
}

fn sum_up(lines: &[Line], options: &Options, root: &Path) -> Result<bool> {
    println!("==");
    lines.iter().for_each(|line| println!("{}", line.text));
    let sound = lines.iter().filter(|line| line.is_sound()).count();
    let sum = |of: fn(&Verdict) -> usize| {
        lines.iter().filter_map(|line| line.verdict.as_ref()).map(of).sum::<usize>()
    };
    let all = format!(
        "{sound} of {} scenarios passed, seed {}: faults {}, tasks {}, runs {}, deliveries {}, effects {}, findings {}",
        lines.len(),
        options.seed,
        sum(|verdict| verdict.figures.faults as usize),
        sum(|verdict| verdict.figures.tasks),
        sum(|verdict| verdict.figures.runs),
        sum(|verdict| verdict.figures.deliveries),
        sum(|verdict| verdict.figures.effects),
        sum(|verdict| verdict.found.values().map(Vec::len).sum()),
    );
    println!("{all}; everything is below {}", root.display());
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).chain([all.as_str()]).collect();
    fs::write(root.join("summary.txt"), texts.join("\n") + "\n")?;
    Ok(sound == lines.len())
}
