//! `cargo xtask fuzz`: fuzz targets and simulator histories with fresh seeds.
//!
//! `cargo xtask test` uses fixed seeds. This command looks for failures that no fixed seed shows.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cargo::{Environment, cargo};
use crate::services::Services;

/// What to run, and for how long.
#[derive(clap::Args)]
pub struct Fuzz {
    /// Minutes until no new round starts; 0 runs one round
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Seed of the first round, to repeat a round that failed. Default: a random seed
    #[arg(long)]
    seed: Option<u64>,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// Damaged inputs for every decoder (server/tests/it/fuzz, client-sdk/rocketmq/tests/fuzz.rs)
    Inputs,
    /// Histories of the simulator (server/tests/sim)
    Histories,
}

/// Multiplies the rounds of each fuzz target, so that the start of the test program costs little.
const TIMES: &str = "10";
/// Steps of the simulator in each round.
const STEPS: &str = "1000000";

/// Runs rounds until the time is over or a round fails.
pub fn run(workspace: &Path, services: &Services, fuzz: &Fuzz) -> Result<()> {
    let has_mongodb = services.running().contains(&"mongo");
    if !has_mongodb {
        println!("Not included: stored rows of MongoDB. To include them: cargo xtask services up");
    }
    let start = Instant::now();
    let mut seed = fuzz.seed.unwrap_or_else(|| RandomState::new().hash_one("cargo xtask fuzz"));
    for round in 1_u64.. {
        println!(
            "== round {round}, seed {seed}; to repeat the round: cargo xtask fuzz --seed {seed} --minutes 0"
        );
        play(workspace, services, fuzz.only, has_mongodb, seed).with_context(|| {
            format!(
                "round {round} failed; seed {seed}. Keep what it found: CONTRIBUTING.md, \"Fixed and fresh seeds\""
            )
        })?;
        if start.elapsed() >= Duration::from_secs(fuzz.minutes * 60) {
            println!("== {round} rounds passed in {:.0} s", start.elapsed().as_secs_f32());
            break;
        }
        seed = next_seed(seed);
    }
    Ok(())
}

fn play(
    workspace: &Path,
    services: &Services,
    only: Option<Part>,
    has_mongodb: bool,
    seed: u64,
) -> Result<()> {
    let seed = seed.to_string();
    if only != Some(Part::Histories) {
        let mut environment = services.environment();
        environment.insert("TASKCENTER_TEST_FUZZ_SEED", seed.clone());
        environment.insert("TASKCENTER_TEST_FUZZ_TIMES", TIMES.to_owned());
        let skip = if has_mongodb { &[][..] } else { &["--skip", "mongodb"] };
        let test = ["test", "--package", "taskcenter-server", "--test", "it", "--locked", "--", "fuzz::"];
        cargo(workspace, &environment, &[&test, skip].concat())?;
        let test = ["test", "--package", "taskcenter-rocketmq", "--test", "fuzz", "--locked"];
        cargo(workspace, &environment, &test)?;
    }
    if only != Some(Part::Inputs) {
        let environment = Environment::from([("SIM_SEED", seed), ("SIM_STEPS", STEPS.to_owned())]);
        let test = ["test", "--package", "taskcenter-server", "--test", "sim", "--locked", "--"];
        cargo(workspace, &environment, &[&test[..], &["a_million_steps_break_no_invariant"]].concat())?;
    }
    Ok(())
}

/// The seed of the next round (SplitMix64). Far from `seed`: the simulator plays consecutive seeds.
fn next_seed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::next_seed;

    #[test]
    fn the_seeds_of_rounds_are_far_apart_and_repeatable() {
        let (first, second) = (next_seed(1), next_seed(2));
        assert!(first.abs_diff(second) > 1_000_000);
        assert_eq!(next_seed(1), first);
    }
}
