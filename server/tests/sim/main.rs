//! The simulator: the engine on a clock that is turned by hand, with back ends in memory that fail, under a seed.
//!
//! `docs/simulator.md` says how it works and how a seed is played again.

mod broken;
mod checker;
mod consumers;
mod gate;
mod life;
mod locks;
mod panics;
mod profile;
#[path = "../rules/steps.rs"]
mod steps;
mod time;
mod users;
mod witness;
mod words;
mod workers;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use broken::Defect;
use world::{Outcome, play};

/// Minimum number of steps of a test run. `SIM_STEPS` overrides it.
const STEPS: u64 = 1_000_000;
/// Histories that are played at the same time.
const THREADS: usize = 2;
/// First of the fixed seeds.
const FIRST_SEED: u64 = 0x7461_736b_0000_0000;
/// Number of fixed seeds. Their histories make more than [`STEPS`] steps.
const HISTORIES: u64 = 48;
/// Seeds whose history once broke an invariant.
const FAILED_SEEDS: [u64; 1] = [8_387_906_143_684_671_136];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} should be a number, not {text:?}")))
}

fn told(outcome: &Outcome) -> String {
    let Outcome { seed, violations, .. } = outcome;
    let name = "a_million_steps_break_no_invariant";
    format!(
        "the history of seed {seed} breaks the invariants:\n  {}\nplay it again: SIM_SEED={seed} SIM_STEPS=1 cargo test -p taskcenter-server --test sim {name}",
        violations.join("\n  ")
    )
}

/// Plays these seeds until the histories have made `steps` steps.
fn play_many(seeds: impl Iterator<Item = u64> + Send, steps: u64) -> Vec<Outcome> {
    let (seeds, made) = (Mutex::new(seeds), AtomicU64::new(0));
    let outcomes = Mutex::new(Vec::new());
    let next = || seeds.lock().expect("no thread panicked").next();
    std::thread::scope(|scope| {
        // One step means one complete history.
        for _ in 0..if steps == 1 { 1 } else { THREADS } {
            scope.spawn(|| {
                while made.load(Ordering::Relaxed) < steps
                    && let Some(seed) = next()
                {
                    let outcome = play(seed, None);
                    made.fetch_add(outcome.steps, Ordering::Relaxed);
                    outcomes.lock().expect("no thread panicked").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no thread panicked")
}

/// Without `SIM_SEED`, always the same seeds: the tests are deterministic.
fn play_chosen() -> Vec<Outcome> {
    match (number("SIM_SEED"), number("SIM_STEPS")) {
        (None, None) => {
            let fixed = FIRST_SEED..FIRST_SEED + HISTORIES;
            play_many(FAILED_SEEDS.into_iter().chain(fixed), u64::MAX)
        }
        (first, steps) => play_many(first.unwrap_or(FIRST_SEED).., steps.unwrap_or(STEPS)),
    }
}

#[test]
fn a_million_steps_break_no_invariant() {
    let outcomes = play_chosen();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{} histories, {} steps, {} tasks, {} runs, {} crashes, {} freezes",
        outcomes.len(),
        sum(|outcome| outcome.steps),
        sum(|outcome| outcome.tasks as u64),
        sum(|outcome| outcome.runs as u64),
        sum(|outcome| outcome.crashes as u64),
        sum(|outcome| outcome.freezes as u64),
    );
    let wrong: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).map(told).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let steps = sum(|outcome| outcome.steps);
    assert!(number("SIM_STEPS").is_some() || steps >= STEPS, "{steps} steps: raise HISTORIES");
}

#[test]
fn a_seed_is_a_history() {
    const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;
    let mut hashes: Vec<u64> = SEEDS
        .map(|seed| {
            let (once, again) = (play(seed, None), play(seed, None));
            assert_eq!((once.steps, once.hash), (again.steps, again.hash), "seed {seed}");
            once.hash
        })
        .collect();
    hashes.dedup();
    assert_eq!(hashes.len(), SEEDS.count(), "each is a history of its own");
}

/// Plays histories with a defect until the checker speaks of it.
fn is_caught(defect: Defect, rules: &[&str]) {
    const SEEDS: u64 = 100;
    let mut said = Vec::new();
    for seed in 1..=SEEDS {
        said = play(seed, Some(defect)).violations;
        if said.iter().any(|line| rules.iter().any(|rule| line.contains(rule))) {
            return;
        }
    }
    panic!("{defect:?} was not caught; the last history: {said:#?}");
}

#[test]
fn an_acknowledged_task_that_is_dropped_is_caught() {
    is_caught(Defect::DropsATask, &["an acknowledged task is not there"]);
}

#[test]
fn a_doubled_row_is_caught() {
    is_caught(Defect::DoublesARow, &["a moment has two rows"]);
}

#[test]
fn an_early_message_is_caught() {
    is_caught(Defect::FiresEarly, &["a run was handed over before its moment"]);
}

#[test]
fn a_forced_transition_is_caught() {
    is_caught(Defect::ForcesATransition, &["a transition that is not in the table"]);
}

#[test]
fn a_step_of_another_revision_is_caught() {
    is_caught(Defect::IgnoresTheRevision, &["a moment has no run"]);
}

#[test]
fn a_write_of_another_version_is_caught() {
    is_caught(
        Defect::IgnoresTheVersion,
        &["a transition that is not in the table", "a run's numbers are wrong"],
    );
}

#[test]
fn a_lost_write_is_caught() {
    is_caught(Defect::LosesAWrite, &["a run was given to one who does not hold it", "an answer names a run"]);
}

#[test]
fn a_lost_outcome_is_caught() {
    is_caught(Defect::LosesAnOutcome, &["an acknowledged outcome is not there"]);
}

#[test]
fn a_panic_of_a_loop_is_caught() {
    is_caught(Defect::Panics, &["a panic: "]);
}

#[test]
fn a_miscounted_fire_is_caught() {
    is_caught(Defect::MiscountsAFire, &["a row does not say what was decided"]);
}

#[test]
fn a_forgotten_task_is_caught() {
    is_caught(Defect::ForgetsATask, &["a due moment was never looked at"]);
}
