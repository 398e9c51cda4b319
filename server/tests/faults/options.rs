//! What the harness can be told.

use std::path::PathBuf;

use clap::Parser;

/// Faults on a running task center, and a checker of what came out.
#[derive(Debug, Clone, Parser)]
#[command(name = "faults")]
pub struct Options {
    /// The short form of every scenario: about ten minutes in all
    #[arg(long)]
    pub quick: bool,
    /// Only the scenarios of these names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Say which scenarios there are, and end
    #[arg(long)]
    pub list: bool,
    /// The server of an earlier release, for the rolling restart; without it, old and new are the same
    #[arg(long, value_name = "FILE")]
    pub old: Option<PathBuf>,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only the checker's check of itself
    #[arg(long)]
    pub self_check: bool,
}
