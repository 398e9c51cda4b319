//! Command line of the harness.

use std::path::PathBuf;

use clap::Parser;

/// Injects faults into a running system and checks all tasks, runs and deliveries.
#[derive(Debug, Clone, Parser)]
#[command(name = "faults")]
pub struct Options {
    /// Short form of every scenario: about ten minutes in total
    #[arg(long)]
    pub quick: bool,
    /// Only these scenarios
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// List the scenarios
    #[arg(long)]
    pub list: bool,
    /// Server program of an earlier release, for the rolling restart. Default: the current program
    #[arg(long, value_name = "FILE")]
    pub old: Option<PathBuf>,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Run only the self-check of the checker
    #[arg(long)]
    pub self_check: bool,
}
