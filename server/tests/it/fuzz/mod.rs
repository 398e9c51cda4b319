//! Random inputs for every decoder of external data: samples from `corpus` with random damage.
//!
//! The tests use fixed seeds; `cargo xtask fuzz` uses fresh ones. `TASKCENTER_TEST_FUZZ_SEED`
//! repeats one seed, and `TASKCENTER_TEST_FUZZ_TIMES` multiplies the number of rounds.

mod board;
mod config;
mod entries;
mod mutate;
mod records;
pub mod rows;
mod user_text;
mod wire;

/// Durations and moments of the command line. No library exports this module.
#[allow(dead_code, reason = "the tables of the command line use the rest")]
#[path = "../../../src/cli/time.rs"]
mod time;
