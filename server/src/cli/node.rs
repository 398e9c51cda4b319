//! `node` and `worker list`: nodes of the server, and workers with what they hold.

use clap::Subcommand;
use taskcenter_client::resources::{NodeResource, WorkerResource};

use super::client::Client;
use super::exit::Failure;
use super::table::{self, Column, Table};
use super::{output, time};

pub const EXAMPLES: &str = "\
Columns:
  ROLE    the leader counts the backlog and sends the alerts
  SHARDS  number of shards of the tasks that the node watches, of 64
  CLOCK   difference between the clocks of the node and of the store
  CHECKS  back ends that do not answer, as the node sees them

Examples:
  taskcenter node list
  taskcenter node list --json";

pub const WORKER_EXAMPLES: &str = "\
Columns:
  LEASED      runs that the worker holds
  SINCE       when the worker leased the oldest of them
  WAITING     lease requests that wait for runs
  LAST SEEN   when the worker last asked for runs

Examples:
  taskcenter worker list
  taskcenter worker list --json | jq '.workers[] | select(.leased > 0)'";

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes, longest running first.
    #[command(after_help = EXAMPLES)]
    List,
}

impl NodeCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let Self::List = self;
        let list = client.call(client.api.nodes()).await?;
        if client.json {
            return output::print_json(&list);
        }
        let fixed = ["VERSION", "ROLE", "SHARDS", "CLOCK", "STARTED"].map(Column::fixed);
        let columns = [Column::text("NODE")].into_iter().chain(fixed).chain([Column::text("CHECKS")]);
        Table::new(client.screen, columns.collect())
            .print(list.nodes.iter().map(|node| node_row(client, node)))?;
        if !list.complete {
            eprintln!("other nodes are unknown: the lock service does not answer");
        }
        Ok(())
    }
}

fn node_row(client: &Client, node: &NodeResource) -> Vec<String> {
    let failed = node.checks.iter().filter(|(_, state)| *state != "ok");
    let failed: Vec<String> = failed.map(|(name, state)| format!("{name}: {state}")).collect();
    vec![
        table::truncate(&node.name),
        table::escape(&node.version),
        table::escape(&node.role),
        node.shards.len().to_string(),
        table::or_dash(node.clock_ahead_ms.map(|ms| format!("{ms:+}ms"))),
        client.screen.format_instant(node.started_at, time::now()),
        if failed.is_empty() { "ok".to_owned() } else { table::truncate(&failed.join("; ")) },
    ]
}

/// Lists the workers.
pub async fn list_workers(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.workers()).await?;
    if client.json {
        return output::print_json(&list);
    }
    if list.workers.is_empty() {
        eprintln!("no workers");
    }
    let fixed = ["LEASED", "SINCE", "WAITING", "LAST SEEN"].map(Column::fixed);
    let columns = [Column::text("WORKER"), Column::text("QUEUES")].into_iter().chain(fixed);
    let rows = list.workers.iter().map(|worker| worker_row(client, worker));
    Table::new(client.screen, columns.collect()).print(rows)?;
    if !list.complete {
        eprintln!("the list is incomplete: too many leases, or the lock service does not answer");
    }
    Ok(())
}

fn worker_row(client: &Client, worker: &WorkerResource) -> Vec<String> {
    let instant = |at: Option<_>| table::or_dash(at.map(|at| client.screen.format_instant(at, time::now())));
    vec![
        table::truncate(&worker.name),
        table::truncate(&worker.queues.join(", ")),
        worker.leased.to_string(),
        instant(worker.oldest_lease_at),
        worker.waiting.to_string(),
        instant(worker.last_seen_at),
    ]
}
