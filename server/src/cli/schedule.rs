//! `schedule`: what a schedule would do.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::tz::TimeZone;
use taskcenter_client::Timestamp;
use taskcenter_client::resources::{AbsenceDecision, Misfire};

use super::client::Client;
use super::exit::Failure;
use super::table::{Column, Table};
use super::{misfire, output, schedule_explain, table, time};

pub const EXAMPLES: &str = "\
Example:
  taskcenter schedule preview '0 9 * * MON-FRI' --zone Asia/Shanghai";

const PREVIEW: &str = "\
With --away-from and --away-to, also shows what the server would do with the
moments of a time in which no node runs.

Examples:
  taskcenter schedule preview '0 9 * * MON-FRI' --zone Asia/Shanghai
  taskcenter schedule preview '*/5 * * * *' --policy skip \\
    --away-from 2030-01-31T08:00:00Z --away-to 2030-01-31T10:00:00Z";

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Explain the whole schedule of a task definition: words, and the next moments with their marks.
    #[command(after_help = schedule_explain::EXAMPLES)]
    Explain {
        /// File with the definition, in YAML or JSON, with the fields of the API; `-` reads standard input.
        file: PathBuf,
        /// Number of moments, 1 to 100.
        #[arg(long, value_name = "N", default_value_t = 5)]
        count: u32,
    },
    /// Show the next matches of a cron expression, and what an absence of the server would do.
    #[command(after_help = PREVIEW)]
    Preview {
        /// Cron expression, in quotes: 5 fields, 6 with seconds first, 7 with years last, or a name
        /// such as @daily.
        #[arg(value_name = "EXPR")]
        cron: String,
        /// Time zone of the expression, as an IANA name such as Asia/Shanghai. Default:
        /// engine.time_zone of the server; the times are then shown in local time.
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Number of matches, 1 to 100.
        #[arg(long, value_name = "N", default_value_t = 5)]
        count: u32,
        /// When the last node stops, such as 2030-01-31T08:00:00Z. A time without an offset is local
        /// time.
        #[arg(long, value_name = "TIME", value_parser = time::parse_instant, requires = "away_to")]
        away_from: Option<Timestamp>,
        /// When a node runs again.
        #[arg(long, value_name = "TIME", value_parser = time::parse_instant, requires = "away_from")]
        away_to: Option<Timestamp>,
        /// Misfire policy: fire_all, fire_last or skip. Default: engine.misfire.policy of the server.
        #[arg(
            long,
            value_name = "POLICY",
            value_parser = ["fire_all", "fire_last", "skip"],
            hide_possible_values = true,
            requires = "away_to"
        )]
        policy: Option<String>,
        /// Grace period. Default: engine.misfire.grace_ms of the server.
        #[arg(
            long,
            value_name = "DURATION",
            value_parser = time::parse_duration_ms, allow_hyphen_values = true,
            requires = "away_to"
        )]
        grace: Option<u64>,
        /// Number of late moments that fire under fire_all, 1 to 1,000. Default: all.
        #[arg(long, value_name = "N", requires = "away_to")]
        max_late: Option<u32>,
    },
}

impl ScheduleCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        if let Self::Explain { file, count } = &self {
            return schedule_explain::explain(client, file, *count).await;
        }
        let Self::Preview { cron, zone, count, away_from, away_to, policy, grace, max_late } = self else {
            return Ok(());
        };
        let zone = zone.as_deref();
        print_next(client, &cron, zone, count).await?;
        let Some((from, to)) = away_from.zip(away_to) else { return Ok(()) };
        let policy = policy.as_deref().and_then(misfire::parse_policy);
        let misfire = Misfire { policy, grace_ms: grace, max: max_late };
        let after = client.call(client.api.preview_absence(&cron, zone, from, to, misfire)).await?;
        if client.json {
            return output::print_json(&after);
        }
        let grace = time::format_duration(after.grace_ms);
        output::print_line(format_args!("\npolicy {}, grace period {grace}", after.policy))?;
        let shown_in = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(TimeZone::system);
        let columns = ["TIME", "DECISION", "MOMENTS", "UNTIL", "LATE"].map(Column::fixed);
        Table::new(client.screen, columns.into())
            .print(after.decisions.iter().map(|decision| row(decision, &shown_in)))?;
        if after.more { output::print_line("More decisions follow.") } else { Ok(()) }
    }
}

fn row(decision: &AbsenceDecision, zone: &TimeZone) -> Vec<String> {
    let fires = decision.decision == "fires";
    vec![
        time::format_in_zone(decision.at, zone),
        decision.decision.clone(),
        decision.count.to_string(),
        if fires { "-".to_owned() } else { time::format_in_zone(decision.until, zone) },
        if fires { time::format_duration(decision.late_ms) } else { "-".to_owned() },
    ]
}

/// Prints the next matches of a cron expression.
pub async fn print_next(client: &Client, cron: &str, zone: Option<&str>, count: u32) -> Result<(), Failure> {
    let next = client.call(client.api.next_moments(cron, zone, Some(count), None)).await?;
    if client.json {
        return output::print_json(&next);
    }
    let shown_in = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(TimeZone::system);
    let now = time::now();
    for note in &next.notes {
        output::print_line(format_args!("note: {}", table::escape(note)))?;
    }
    let mut table = Table::new(client.screen, ["TIME", "FROM NOW"].map(Column::fixed).into());
    let row = |at| vec![time::format_in_zone(at, &shown_in), time::format_distance(at, now)];
    table.print(next.moments.into_iter().map(row))
}
