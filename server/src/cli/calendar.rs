//! `calendar`: days and hours to which tasks limit their moments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;
use taskcenter_client::resources::{CalendarResource, CalendarSpec};

use super::client::{Client, for_each_id};
use super::document::DefinitionFile;
use super::exit::{Failure, Thing};
use super::output;
use super::table::{self, Column, Table};

pub const EXAMPLES: &str = "\
A calendar contains its weekly hours without the excluded dates, and all
included dates. A task limits its moments to a calendar with --only-within, or
excludes it with --except. After a change, the tasks with the calendar get
other moments.

Examples:
  taskcenter calendar put workdays --zone Asia/Shanghai --weekly mon-fri \\
    --exclude 2026-10-01/2026-10-07 --include 2026-10-10
  taskcenter calendar put --file workdays.yaml
  taskcenter calendar get workdays
  taskcenter calendar list
  taskcenter calendar delete workdays";

#[derive(Debug, Subcommand)]
pub enum CalendarCommand {
    /// Create a calendar, or replace the calendar with the same name.
    #[command(after_help = EXAMPLES)]
    Put(Put),
    /// Show all fields of a calendar, and the tasks that have it.
    #[command(after_help = EXAMPLES)]
    Get {
        /// Name of the calendar.
        name: String,
    },
    /// List all calendars.
    #[command(after_help = EXAMPLES)]
    List,
    /// Delete calendars that no active or paused task has.
    #[command(after_help = EXAMPLES)]
    Delete {
        /// Names of the calendars.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Arguments of `calendar put`.
#[derive(Debug, Args)]
pub struct Put {
    /// Name of the calendar. Required without --file.
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// File with the calendar, in YAML or JSON; `-` reads standard input. The
    /// options replace its fields.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Description, at most 500 bytes.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// IANA time zone. Default: engine.time_zone of the server.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Weekly hours, such as "mon-fri 09:00-17:00" or sat,sun. Repeat the option.
    #[arg(long, value_name = "ENTRY")]
    weekly: Vec<String>,
    /// Date to add, such as 2026-10-10 or "2026-10-10 09:00-17:00". Repeat it.
    #[arg(long, value_name = "ENTRY")]
    include: Vec<String>,
    /// Date to remove, such as 2026-10-01/2026-10-07. Repeat the option.
    #[arg(long, value_name = "ENTRY")]
    exclude: Vec<String>,
}

impl Put {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let Self { name, file, description, zone, weekly, include, exclude } = self;
        let file = file.map(|path| DefinitionFile::read(&path)).transpose()?;
        let options = [
            ("name", name.map(Value::from)),
            ("description", description.map(Value::from)),
            ("zone", zone.map(Value::from)),
            ("weekly", entries(weekly)),
            ("include", entries(include)),
            ("exclude", entries(exclude)),
        ];
        let mut fields = file.as_ref().map(DefinitionFile::fields).unwrap_or_default();
        fields.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let spec: CalendarSpec = match &file {
            Some(file) => file.typed(Value::Object(fields))?,
            None => serde_json::from_value(Value::Object(fields))
                .map_err(|error| Failure::Misused(format!("invalid calendar: {error}")))?,
        };
        let stored = DefinitionFile::call(file.as_ref(), client, client.api.put_calendar(&spec)).await?;
        // The answer to a change does not name the tasks.
        print_calendar(client, &stored, vec![])
    }
}

impl CalendarCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let api = &client.api;
        match self {
            Self::Put(put) => put.run(client).await,
            Self::Get { name } => {
                let found = client.call(api.calendar(&name)).await;
                let calendar = found.map_err(|failure| failure.about(Thing::Calendar, &name))?;
                print_calendar(client, &calendar, vec![("tasks", joined(&calendar.tasks))])
            }
            Self::List => list(client).await,
            Self::Delete { names } => {
                for_each_id(Thing::Calendar, &names, async |name| {
                    let deleted = client.call(api.delete_calendar(name)).await?;
                    if client.json {
                        return output::print_json(&deleted);
                    }
                    output::print_line(format_args!("deleted {}", table::escape(&deleted.name)))
                })
                .await
            }
        }
    }
}

fn entries(entries: Vec<String>) -> Option<Value> {
    (!entries.is_empty()).then(|| Value::from(entries))
}

async fn list(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.calendars()).await?;
    if client.json {
        return output::print_json(&list);
    }
    if list.calendars.is_empty() {
        eprintln!("no calendars");
    }
    let row = |calendar: &CalendarResource| {
        let dates = calendar.include.len() + calendar.exclude.len();
        vec![
            table::truncate(&calendar.name),
            calendar.version.to_string(),
            table::truncate(&calendar.zone),
            dates.to_string(),
            table::truncate(&calendar.weekly.join("; ")),
        ]
    };
    let columns = vec![
        Column::text("NAME"),
        Column::fixed("VERSION"),
        Column::text("ZONE"),
        Column::fixed("DATES"),
        Column::text("WEEKLY"),
    ];
    Table::new(client.screen, columns).print(list.calendars.iter().map(row))
}

fn joined(entries: &[String]) -> String {
    table::or_dash((!entries.is_empty()).then(|| table::escape(&entries.join("; "))))
}

fn print_calendar(
    client: &Client,
    calendar: &CalendarResource,
    more: Vec<(&str, String)>,
) -> Result<(), Failure> {
    if client.json {
        return output::print_json(calendar);
    }
    let text = |text: &str| table::or_dash((!text.is_empty()).then(|| table::escape(text)));
    let mut fields = vec![
        ("name", table::escape(&calendar.name)),
        ("description", text(&calendar.description)),
        ("zone", table::escape(&calendar.zone)),
        ("weekly", joined(&calendar.weekly)),
        ("include", joined(&calendar.include)),
        ("exclude", joined(&calendar.exclude)),
        ("version", calendar.version.to_string()),
        ("settled", calendar.settled.to_string()),
        ("changed", calendar.changed_at.to_string()),
        ("changed by", text(&calendar.changed_by)),
    ];
    fields.extend(more);
    table::print_fields(&fields)
}
