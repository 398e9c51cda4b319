//! `hold`: pauses of queues and tags.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use taskcenter_client::resources::{HoldResource, HoldScope, NewHold};

use super::client::{Client, for_each_id};
use super::exit::{Failure, Thing};
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::{output, time};

pub const EXAMPLES: &str = "\
A hold pauses a queue, or a tag: the tasks with a name. Schedules keep firing,
and the runs wait until the hold ends. Attempts in progress continue.

Examples:
  taskcenter hold add queue mail --reason 'deploy 2.1' --for 30m
  taskcenter hold add tag pay.card pay.refund --reason 'partner is down'
  taskcenter hold list
  taskcenter hold remove tag pay.card pay.refund";

#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Pause queues or tags, or change reason and end of their pauses.
    #[command(after_help = EXAMPLES)]
    Add(AddArgs),
    /// List the holds that have not ended.
    #[command(after_help = EXAMPLES)]
    List,
    /// End holds: the waiting runs go on, in order.
    #[command(after_help = EXAMPLES)]
    Remove {
        /// What the holds pause: queue or tag.
        #[arg(value_parser = parse_scope)]
        scope: HoldScope,
        /// Names of the queues or tags.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Pause queues or tags, or change reason and end of their pauses.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to pause: queue or tag.
    #[arg(value_parser = parse_scope)]
    scope: HoldScope,
    /// Names of the queues or tags.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Reason, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Time until the hold ends, such as 30m. Default: no end.
    #[arg(long = "for", value_name = "DURATION", value_parser = time::parse_duration_ms,
        allow_hyphen_values = true)]
    duration_ms: Option<u64>,
    /// Time at which the hold ends, such as 2030-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant, conflicts_with = "duration_ms")]
    until: Option<Timestamp>,
}

fn parse_scope(text: &str) -> Result<HoldScope, String> {
    let scope = [HoldScope::Queue, HoldScope::Tag].into_iter().find(|scope| scope.as_str() == text);
    scope.ok_or_else(|| "unknown scope: use queue or tag".to_owned())
}

impl AddArgs {
    fn end(&self) -> Option<Timestamp> {
        let after = |ms: u64| {
            let end = time::now().as_millisecond().saturating_add_unsigned(ms);
            Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
        };
        self.until.or(self.duration_ms.map(after))
    }
}

impl HoldCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Add(args) => {
                let until = args.end();
                for_each_id(Thing::Hold, &args.names, async |name| {
                    let (name, reason) = (name.to_owned(), args.reason.clone());
                    let new = NewHold { scope: args.scope, name, reason, until };
                    print_hold(client, &client.call(client.api.add_hold(&new)).await?)
                })
                .await
            }
            Self::List => list(client).await,
            Self::Remove { scope, names } => {
                for_each_id(Thing::Hold, &names, async |name| {
                    print_hold(client, &client.call(client.api.remove_hold(scope, name)).await?)
                })
                .await
            }
        }
    }
}

async fn list(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.holds()).await?;
    if client.json {
        return output::print_json(&list);
    }
    if list.holds.is_empty() {
        eprintln!("nothing is on hold");
    }
    print_holds(client.screen, &list.holds)
}

fn print_hold(client: &Client, hold: &HoldResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(hold);
    }
    print_holds(client.screen, std::slice::from_ref(hold))
}

fn print_holds(screen: Screen, holds: &[HoldResource]) -> Result<(), Failure> {
    let now = time::now();
    let row = |hold: &HoldResource| {
        vec![
            hold.scope.as_str().to_owned(),
            table::truncate(&hold.name),
            screen.format_instant(hold.created_at, now),
            table::or_dash(hold.until.map(|until| screen.format_instant(until, now))),
            table::truncate(&hold.created_by),
            table::truncate(&hold.reason),
        ]
    };
    let columns = vec![
        Column::fixed("HOLD"),
        Column::text("NAME"),
        Column::fixed("CREATED"),
        Column::fixed("UNTIL"),
        Column::text("BY"),
        Column::text("REASON"),
    ];
    Table::new(screen, columns).print(holds.iter().map(row))
}
