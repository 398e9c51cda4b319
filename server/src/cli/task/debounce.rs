//! Options of `task add` that debounce a task.

use clap::Args;
use taskcenter_client::resources::{Debounce, TaskSpec};

use super::super::time;

/// Debounce of a task.
#[derive(Debug, Default, Args)]
pub struct DebounceOptions {
    /// Time without another `task add` of the name and --dedup-key after which the task fires once, with
    /// the last data.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        requires_all = ["dedup_key", "debounce_max"],
        conflicts_with_all = ["at", "delay_ms", "every", "cron", "jitter", "on_conflict"]
    )]
    debounce: Option<u64>,
    /// Time after the first `task add` at which a task with --debounce fires at the latest.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        requires = "debounce"
    )]
    debounce_max: Option<u64>,
}

impl DebounceOptions {
    /// Returns the task with these options.
    pub fn apply(self, spec: TaskSpec) -> TaskSpec {
        let given =
            self.debounce.zip(self.debounce_max).map(|(quiet_ms, max_ms)| Debounce { quiet_ms, max_ms });
        TaskSpec { debounce: given.or(spec.debounce), ..spec }
    }
}
