//! `queue`: what waits for workers.

use clap::Subcommand;
use taskcenter_client::resources::QueueResource;

use super::exit::Failure;
use super::out;
use super::remote::Center;
use super::table::{self, Table};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter queue list
  taskcenter queue list --json";

#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// List the queues that hold anything.
    #[command(after_help = EXAMPLES)]
    List,
}

impl QueueVerb {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        let Self::List = self;
        let list = center.ask(center.calls.queues()).await?;
        if center.json {
            return out::json(&list);
        }
        if list.queues.is_empty() {
            eprintln!("no queue holds anything");
        }
        print(&list.queues)
    }
}

/// Queues in columns.
pub fn print(queues: &[QueueResource]) -> Result<(), Failure> {
    let row = |queue: &QueueResource| {
        let counts = [queue.ready, queue.leased, queue.retrying].map(|count| count.to_string());
        [table::short(&queue.queue)].into_iter().chain(counts).collect()
    };
    Table::new(&["QUEUE", "READY", "LEASED", "RETRYING"]).print(&queues.iter().map(row).collect::<Vec<_>>())
}
