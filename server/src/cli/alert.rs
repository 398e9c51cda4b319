//! `alert`: raised alerts, silences and channels.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use taskcenter_client::resources::{AlertList, AlertResource, NewSilence, ResolvedAlert, SilenceResource};

use super::client::{Client, for_each_id};
use super::exit::{Failure, Thing};
use super::output;
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::time;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter alert list
  taskcenter alert test ops
  taskcenter alert silence --rule dead_runs --subject 'pay.*' --for 2h
  taskcenter alert silence --subject '*' --for 30m --comment deployment
  taskcenter alert unsilence 5f0c1d2e3a4b5c6d";

#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// List the raised alerts, those that ended within a day, the silences and the channels.
    #[command(after_help = EXAMPLES)]
    List,
    /// Send a test message to channels of the configuration.
    #[command(after_help = EXAMPLES)]
    Test {
        /// Names of the channels.
        #[arg(required = true, value_name = "CHANNEL")]
        channels: Vec<String>,
    },
    /// Suppress the notifications of alerts for some time.
    #[command(after_help = EXAMPLES)]
    Silence(NewSilenceArgs),
    /// End silences.
    #[command(after_help = EXAMPLES)]
    Unsilence {
        /// Ids of the silences.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Suppress the notifications of alerts for some time.
#[derive(Debug, Args)]
pub struct NewSilenceArgs {
    /// Rule, such as dead_runs. Default: every rule.
    #[arg(long, value_name = "RULE", required_unless_present = "subject")]
    rule: Option<String>,
    /// Pattern of tags, queues, groups, back ends or nodes, such as 'pay.*'. Default: every subject,
    /// and the totals.
    #[arg(long, value_name = "PATTERN")]
    subject: Option<String>,
    /// Time until the silence ends, such as 30m or 2h.
    #[arg(long = "for", value_name = "DURATION", value_parser = time::parse_duration_ms,
        required_unless_present = "until", allow_hyphen_values = true)]
    duration_ms: Option<u64>,
    /// Time at which the silence ends, such as 2030-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant, conflicts_with = "duration_ms")]
    until: Option<Timestamp>,
    /// Reason, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

impl NewSilenceArgs {
    fn new_silence(self) -> NewSilence {
        let after = |ms: u64| {
            let end = time::now().as_millisecond().saturating_add_unsigned(ms);
            Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
        };
        let until = self.until.or(self.duration_ms.map(after)).unwrap_or(Timestamp::MAX);
        NewSilence { rule: self.rule, subject: self.subject, until, comment: self.comment }
    }
}

impl AlertCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::List => list(client).await,
            Self::Test { channels } => {
                for_each_id(Thing::Channel, &channels, async |name| test(client, name).await).await
            }
            Self::Silence(args) => {
                print_silence(client, &client.call(client.api.silence_alert(&args.new_silence())).await?)
            }
            Self::Unsilence { ids } => {
                for_each_id(Thing::Silence, &ids, async |id| {
                    print_silence(client, &client.call(client.api.unsilence_alert(id)).await?)
                })
                .await
            }
        }
    }
}

async fn test(client: &Client, name: &str) -> Result<(), Failure> {
    let test = client.call(client.api.test_alert_channel(name)).await?;
    if client.json {
        output::print_json(&test)?;
    } else if test.delivered {
        output::print_line(format_args!("delivered to {}", table::escape(name)))?;
    }
    match test.error {
        Some(error) => Err(Failure::Refused(format!("not delivered: {}", table::escape(&error)))),
        None => Ok(()),
    }
}

async fn list(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.alerts()).await?;
    if client.json {
        return output::print_json(&list);
    }
    print_alerts(client.screen, &list)?;
    if !list.resolved.is_empty() {
        output::print_line("")?;
        print_resolved(client.screen, &list.resolved)?;
    }
    if !list.silences.is_empty() {
        output::print_line("")?;
        print_silences(client.screen, &list.silences)?;
    }
    if list.channels.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let columns = vec![
        Column::text("CHANNEL"),
        Column::fixed("KIND"),
        Column::fixed("FROM"),
        Column::text("RULES"),
        Column::text("TAGS"),
        Column::fixed("DELIVERED"),
        Column::text("LAST ERROR"),
    ];
    let now = time::now();
    let all = |items: &[String]| if items.is_empty() { "all".to_owned() } else { items.join(" ") };
    let rows = list.channels.iter().map(|channel| {
        let (rules, tags) = (table::truncate(&all(&channel.rules)), table::truncate(&all(&channel.tags)));
        let error = channel.last_error.as_deref().map(table::truncate);
        let level = channel.min_severity.clone();
        let delivered = channel.last_delivered_at.map(|at| client.screen.format_instant(at, now));
        let (delivered, error) = (table::or_dash(delivered), table::or_dash(error));
        vec![channel.name.clone(), channel.kind.clone(), level, rules, tags, delivered, error]
    });
    Table::new(client.screen, columns).print(rows)
}

fn print_alerts(screen: Screen, list: &AlertList) -> Result<(), Failure> {
    if list.alerts.is_empty() {
        eprintln!("no alert is raised");
        return Ok(());
    }
    let now = time::now();
    let row = |alert: &AlertResource| {
        vec![
            alert.severity.clone(),
            alert.rule.clone(),
            table::truncate(alert.subject.as_deref().unwrap_or("all")),
            alert.value.to_string(),
            alert.threshold.to_string(),
            screen.format_instant(alert.since, now),
            table::or_dash(alert.silenced_by.clone()),
        ]
    };
    let columns = vec![
        Column::fixed("SEVERITY"),
        Column::fixed("RULE"),
        Column::text("SUBJECT"),
        Column::fixed("VALUE"),
        Column::fixed("THRESHOLD"),
        Column::fixed("SINCE"),
        Column::fixed("SILENCE"),
    ];
    Table::new(screen, columns).print(list.alerts.iter().map(row))?;
    let hidden = list.total.saturating_sub(list.alerts.len() as u64);
    if hidden > 0 {
        eprintln!("{hidden} more alerts are raised");
    }
    Ok(())
}

fn print_resolved(screen: Screen, resolved: &[ResolvedAlert]) -> Result<(), Failure> {
    let now = time::now();
    let row = |alert: &ResolvedAlert| {
        vec![
            alert.severity.clone(),
            alert.rule.clone(),
            table::truncate(alert.subject.as_deref().unwrap_or("all")),
            screen.format_instant(alert.since, now),
            screen.format_instant(alert.resolved_at, now),
        ]
    };
    let columns = vec![
        Column::fixed("RESOLVED"),
        Column::fixed("RULE"),
        Column::text("SUBJECT"),
        Column::fixed("SINCE"),
        Column::fixed("UNTIL"),
    ];
    Table::new(screen, columns).print(resolved.iter().map(row))
}

fn print_silence(client: &Client, silence: &SilenceResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(silence);
    }
    print_silences(client.screen, std::slice::from_ref(silence))
}

fn print_silences(screen: Screen, silences: &[SilenceResource]) -> Result<(), Failure> {
    let now = time::now();
    let row = |silence: &SilenceResource| {
        vec![
            silence.id.clone(),
            silence.rule.clone().unwrap_or_else(|| "all".to_owned()),
            table::truncate(silence.subject.as_deref().unwrap_or("all")),
            screen.format_instant(silence.until, now),
            table::truncate(&silence.created_by),
            table::truncate(&silence.comment),
        ]
    };
    let columns = vec![
        Column::fixed("SILENCE"),
        Column::fixed("RULE"),
        Column::text("SUBJECT"),
        Column::fixed("UNTIL"),
        Column::text("BY"),
        Column::text("COMMENT"),
    ];
    Table::new(screen, columns).print(silences.iter().map(row))
}
