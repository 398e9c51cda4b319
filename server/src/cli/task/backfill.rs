//! `task backfill`: runs for the moments of a range of the past.

use clap::Args;
use jiff::Timestamp;
use taskcenter_client::resources::NewBackfill;

use super::super::client::Client;
use super::super::exit::Failure;
use super::super::operation::{format_count, print_created};
use super::super::{ids, output, time};

pub const EXAMPLES: &str = "\
The server creates one run for each moment of the schedule in the range, in the
background, also if this command ends. The task keeps its place in its schedule.
With --watch the exit code is 1 if a run could not be created, or if the
operation was aborted.

Examples:
  taskcenter task backfill 019aa4c81b7a7c3e8a51f3d6c2b90417 \\
    --from 2025-11-01T00:00:00Z --to 2025-11-08T00:00:00Z --dry-run
  taskcenter task backfill 019aa4c81b7a7c3e8a51f3d6c2b90417 \\
    --from 2025-11-01T00:00:00Z --to 2025-11-08T00:00:00Z --rate 5 --watch";

/// The range of a backfill.
#[derive(Debug, Args)]
pub struct BackfillOptions {
    /// First time of the range, such as 2025-11-01T00:00:00Z, or without an offset in local time.
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    from: Timestamp,
    /// End of the range, in the format of --from; a moment at this time gets no run. Not in the future.
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    to: Timestamp,
    /// Maximum number of runs per second, 1 to 1000. Default: no limit.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Why, for the list of operations.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only count the moments.
    #[arg(long)]
    dry_run: bool,
    /// Show the progress until the operation ends.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
}

impl BackfillOptions {
    pub async fn run(self, client: &Client, id: &str) -> Result<(), Failure> {
        let id = ids::find_task(client, id).await?;
        let Self { from, to, rate, reason, dry_run, watch } = self;
        let new = NewBackfill { from, to, rate_per_sec: rate, reason, dry_run };
        if !dry_run {
            let operation = client.call(client.api.backfill_task(&id, &new)).await?;
            return print_created(client, operation, watch).await;
        }
        let preview = client.call(client.api.preview_backfill(&id, &new)).await?;
        if client.json {
            return output::print_json(&preview);
        }
        let count = format_count(preview.expected, preview.expected_more);
        output::print_line(format_args!("backfill would create {count} runs"))
    }
}
