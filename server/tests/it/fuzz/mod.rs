//! Inputs that nobody thought of: samples from `corpus`, damaged by chance, for every decoder that reads what comes from outside.
//!
//! A short run is part of the tests. The seed is printed; `TASKCENTER_TEST_FUZZ_SEED` repeats a run, and `TASKCENTER_TEST_FUZZ_TIMES`
//! makes it that many times as long.

mod board;
mod config;
mod entries;
mod mutate;
mod people;
mod records;
mod rows;
mod wire;

/// The command line's reader of durations and moments, which no library exports.
#[allow(dead_code, reason = "half of it writes tables")]
#[path = "../../../src/cli/when.rs"]
mod when;
