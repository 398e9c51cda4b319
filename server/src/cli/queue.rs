//! `queue`: queues and their backlog.

use clap::Subcommand;
use taskcenter_client::resources::{LimitUse, QueueResource};

use super::client::Client;
use super::exit::Failure;
use super::output;
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::time;

pub const EXAMPLES: &str = "\
Columns:
  HELD      runs that wait for admission: overlap policy, limit or hold
  READY     runs that wait for a worker
  LEASED    runs that a worker has leased
  RETRYING  failed runs that wait for their next attempt
  OLDEST    moment of the ready run that has waited longest
  RATE      leases in the last minute, through the answering node

Examples:
  taskcenter queue list
  taskcenter queue list --json";

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the queues that have open runs.
    #[command(after_help = EXAMPLES)]
    List,
}

impl QueueCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let Self::List = self;
        let list = client.call(client.api.queues()).await?;
        if client.json {
            return output::print_json(&list);
        }
        if list.queues.is_empty() {
            eprintln!("no queue has open runs");
        }
        print_table(client.screen, &list.queues)
    }
}

/// Prints the queues as a table.
pub fn print_table(screen: Screen, queues: &[QueueResource]) -> Result<(), Failure> {
    let row = |queue: &QueueResource| {
        let counts = [queue.held, queue.ready, queue.leased, queue.retrying].map(|count| count.to_string());
        let oldest = queue.oldest_ready_at.map_or_else(|| "-".to_owned(), time::format_local);
        let rest = [oldest, queue.leases_per_minute.to_string()];
        [table::truncate(&queue.queue)].into_iter().chain(counts).chain(rest).collect::<Vec<_>>()
    };
    let counts = ["HELD", "READY", "LEASED", "RETRYING", "OLDEST", "RATE"].map(Column::fixed);
    let columns = [Column::text("QUEUE")].into_iter().chain(counts).collect();
    Table::new(screen, columns).print(queues.iter().map(row))?;
    for queue in queues {
        if let Some(waits_for) = &queue.waits_for {
            let name = table::escape(&queue.queue);
            output::print_line(format_args!("queue {name} waits for {}", table::escape(waits_for)))?;
        }
        for limit in &queue.limits {
            let name = table::escape(&queue.queue);
            output::print_line(format_args!("queue {name}: {}", limit_line(limit)))?;
        }
    }
    Ok(())
}

/// Describes a limit for which runs wait.
fn limit_line(limit: &LimitUse) -> String {
    let LimitUse { scope, of, key, max, used, waiting } = limit;
    let parts = [Some(scope.as_str()), of.as_deref(), key.as_deref()];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(":");
    format!("limit {}: {used} of {max} slots are in use, {waiting} runs wait", table::escape(&name))
}
