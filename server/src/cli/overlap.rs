//! Options about runs of one task that would overlap.

use clap::Args;
use serde_json::{Value, json};
use taskcenter_client::resources::{Overlap, OverlapKeep};

/// Heading of the options about runs that wait for others.
pub const OVERLAPS: &str = "Overlapping runs";

/// Options of a task about overlapping runs.
#[derive(Debug, Default, Args)]
pub struct OverlapOptions {
    /// What happens to a run while an earlier one has not ended: allow, skip, queue_one, queue_all or
    /// cancel_previous. Default: allow.
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = ["allow", "skip", "queue_one", "queue_all", "cancel_previous"],
        hide_possible_values = true,
        help_heading = OVERLAPS
    )]
    overlap: Option<String>,
    /// Which run keeps the one place of queue_one: first or latest. Default: first.
    #[arg(
        long,
        value_name = "WHICH",
        value_parser = ["first", "latest"],
        hide_possible_values = true,
        requires = "overlap",
        help_heading = OVERLAPS
    )]
    overlap_keep: Option<String>,
    /// Number of runs that wait under queue_all; 1 to 1,000. Default: 100.
    #[arg(long, value_name = "N", requires = "overlap", help_heading = OVERLAPS)]
    overlap_max: Option<u32>,
}

impl OverlapOptions {
    /// Returns the policy as the API reads it, complete. `None`: no option is given.
    pub fn field(&self) -> Option<Value> {
        let policy = self.overlap.as_deref()?;
        Some(json!({ "policy": policy, "keep": self.overlap_keep, "max": self.overlap_max }))
    }
}

/// Formats the policy of a task.
pub fn format(overlap: Overlap) -> String {
    let keep = overlap.keep.map(|keep| match keep {
        OverlapKeep::First => ", keeps the first".to_owned(),
        OverlapKeep::Latest => ", keeps the latest".to_owned(),
    });
    let max = overlap.max.map(|max| format!(", at most {max} runs wait"));
    format!("{}{}", overlap.policy.as_str(), keep.or(max).unwrap_or_default())
}
