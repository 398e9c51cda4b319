//! `stat`: fires and backlog.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::TagStat;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;
use super::exit::Failure;
use super::table::{self, Column, Table};
use super::{output, queue, time};

pub const EXAMPLES: &str = "\
Columns by tag:
  FIRES THIS MINUTE  fires since the start of the current minute
  DUE                moments that are due and have not fired yet
  UNREPORTED         runs that have fired and wait for an outcome report
  HELD               runs that wait for admission: overlap policy or limit

Columns by queue:
  HELD      runs that wait for admission: overlap policy or limit
  READY     runs that wait for a worker
  LEASED    runs that a worker has leased
  RETRYING  failed runs that wait for their next attempt
  OLDEST    moment of the ready run that has waited longest
  RATE      leases in the last minute, through the answering node

Examples:
  taskcenter stat
  taskcenter stat --watch";

const PERIOD: Duration = Duration::from_secs(2);
/// Clears a terminal and moves the cursor to the first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[derive(Debug, Args)]
#[group(skip)]
pub struct Stat {
    /// Repeat every 2 seconds until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

impl Stat {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        if !self.watch {
            return print(client).await;
        }
        tokio::select! {
            result = print_repeatedly(client) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }
}

async fn print_repeatedly(client: &Client) -> Result<(), Failure> {
    let clears = std::io::stdout().is_terminal() && !client.json;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if clears {
            let now = time::format_local(time::now());
            output::print_line(format_args!("{CLEAR}{now}  {}", client.address))?;
        }
        print(client).await?;
    }
}

async fn print(client: &Client) -> Result<(), Failure> {
    let stat = client.call(client.api.statistics()).await?;
    if client.json {
        return output::print_json(&stat);
    }
    if stat.tags.is_empty() && stat.queues.is_empty() {
        eprintln!("no recent fires and no backlog");
    }
    let row = |stat: &TagStat| {
        let counts =
            [stat.fires_this_minute, stat.due, stat.unreported, stat.held].map(|count| count.to_string());
        [table::truncate(&stat.tag)].into_iter().chain(counts).collect::<Vec<_>>()
    };
    let counts = ["FIRES THIS MINUTE", "DUE", "UNREPORTED", "HELD"].map(Column::fixed);
    let columns = [Column::text("TAG")].into_iter().chain(counts).collect();
    Table::new(client.screen, columns).print(stat.tags.iter().map(row))?;
    if !stat.tags.is_empty() && !stat.queues.is_empty() {
        output::print_line("")?;
    }
    queue::print_table(client.screen, &stat.queues)?;
    output::print_line(format_args!("time zone database: {}", table::escape(&stat.zone_database)))
}
