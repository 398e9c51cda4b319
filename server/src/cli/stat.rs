//! `stat`: what fires and what waits.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::TagStat;
use tokio::time::{MissedTickBehavior, interval};

use super::exit::Failure;
use super::remote::Center;
use super::table::{self, Table};
use super::{out, queue, when};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter stat
  taskcenter stat --watch";

const EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[derive(Debug, Args)]
#[group(skip)]
pub struct Stat {
    /// Again every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

impl Stat {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        if !self.watch {
            return once(center).await;
        }
        tokio::select! {
            ended = again_and_again(center) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }
}

async fn again_and_again(center: &Center) -> Result<(), Failure> {
    let clears = std::io::stdout().is_terminal() && !center.json;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if clears {
            out::line(format_args!("{CLEAR}{}  {}", when::local(when::now()), center.address))?;
        }
        once(center).await?;
    }
}

async fn once(center: &Center) -> Result<(), Failure> {
    let stat = center.ask(center.calls.statistics()).await?;
    if center.json {
        return out::json(&stat);
    }
    if stat.tags.is_empty() && stat.queues.is_empty() {
        eprintln!("nothing fires and nothing waits");
    }
    let row = |stat: &TagStat| {
        let counts = [stat.fires_this_minute, stat.due, stat.unreported].map(|count| count.to_string());
        [table::short(&stat.tag)].into_iter().chain(counts).collect()
    };
    let rows: Vec<_> = stat.tags.iter().map(row).collect();
    Table::new(&["TAG", "FIRES THIS MINUTE", "DUE", "UNREPORTED"]).print(&rows)?;
    if !stat.tags.is_empty() && !stat.queues.is_empty() {
        out::line("")?;
    }
    queue::print(&stat.queues)
}
