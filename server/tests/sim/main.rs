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

/// Steps of a run of the tests, where `SIM_STEPS` says nothing else.
const STEPS: u64 = 1_000_000;
/// Histories that are played at the same time.
const THREADS: usize = 2;
/// Where fresh seeds begin; the time is added.
const FIRST_SEED: u64 = 0x7461_736b_0000_0000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} should be a number, not {text:?}")))
}

#[allow(clippy::disallowed_methods, reason = "every run of the tests looks at other histories")]
fn fresh_seed() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    FIRST_SEED.wrapping_add(since_epoch.as_millis() as u64 * 1_000)
}

fn told(outcome: &Outcome) -> String {
    let Outcome { seed, violations, .. } = outcome;
    let name = "a_million_steps_break_no_invariant";
    format!(
        "the history of seed {seed} breaks the invariants:\n  {}\nplay it again: SIM_SEED={seed} SIM_STEPS=1 cargo test -p taskcenter-server --test sim {name}",
        violations.join("\n  ")
    )
}

/// Plays seeds from `first` on until so many steps are made.
fn play_many(first: u64, steps: u64) -> Vec<Outcome> {
    let (next, made) = (AtomicU64::new(first), AtomicU64::new(0));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // One step asks for one history, whole.
        for _ in 0..if steps == 1 { 1 } else { THREADS } {
            scope.spawn(|| {
                while made.load(Ordering::Relaxed) < steps {
                    let outcome = play(next.fetch_add(1, Ordering::Relaxed), None);
                    made.fetch_add(outcome.steps, Ordering::Relaxed);
                    outcomes.lock().expect("the other thread is well").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("both threads are well")
}

#[test]
fn a_million_steps_break_no_invariant() {
    let (first, steps) =
        (number("SIM_SEED").unwrap_or_else(fresh_seed), number("SIM_STEPS").unwrap_or(STEPS));
    println!("the first seed is {first}");
    let outcomes = play_many(first, steps);
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
