//! `schedule explain`: a whole schedule in words, and its next moments.

use std::path::Path;

use serde_json::Value;
use taskcenter_client::resources::{ExcludedMoment, ExplainedMoment, ExplainedSchedule, SchedulePreview};

use super::client::Client;
use super::document::DefinitionFile;
use super::exit::Failure;
use super::table::{Column, Table};
use super::{output, table};

pub const EXAMPLES: &str = "\
The file is one of `taskcenter task add --file`. Only the fields that decide
when the task fires are used.

Examples:
  taskcenter schedule explain task.yaml
  echo '{\"schedule\": {\"kind\": \"cron\", \"cron\": \"@daily\"}}' \\
    | taskcenter schedule explain - --count 3";
/// Fields of a task that decide when it fires.
const FIELDS: [&str; 6] = ["schedule", "start_at", "end_at", "max_fires", "jitter_ms", "calendars"];

/// Prints the explanation of the schedule in a file.
pub async fn explain(client: &Client, file: &Path, count: u32) -> Result<(), Failure> {
    let file = DefinitionFile::read(file)?;
    let mut fields = file.fields();
    fields.retain(|field, _| FIELDS.contains(&field.as_str()));
    let preview: SchedulePreview = file.typed(Value::Object(fields))?;
    let preview = SchedulePreview { count: Some(count), ..preview };
    let explained = client.api.explain_schedule(&preview);
    let explained = DefinitionFile::call(Some(&file), client, explained).await?;
    if client.json { output::print_json(&explained) } else { print(client, &explained) }
}

fn print(client: &Client, explained: &ExplainedSchedule) -> Result<(), Failure> {
    output::print_line(table::escape(&explained.words))?;
    for note in &explained.notes {
        output::print_line(format_args!("note: {}", table::escape(note)))?;
    }
    let columns = vec![
        Column::fixed("TIME"),
        Column::fixed("UTC"),
        Column::fixed("LATEST").optional(),
        Column::fixed("CLOCK").optional(),
    ];
    Table::new(client.screen, columns).print(explained.moments.iter().map(row))?;
    for ExcludedMoment { local, calendar, .. } in &explained.excluded {
        output::print_line(format_args!("excluded by {}: {local}", table::escape(calendar)))?;
    }
    Ok(())
}

fn row(moment: &ExplainedMoment) -> Vec<String> {
    vec![
        moment.local.clone(),
        moment.at.to_string(),
        table::or_dash(moment.latest_at.map(|at| at.to_string())),
        table::or_dash(moment.clock.clone()),
    ]
}
