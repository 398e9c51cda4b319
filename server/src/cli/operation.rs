//! `operation`: actions on many tasks or runs.

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use taskcenter_client::resources::{NewOperation, OperationFilter, OperationResource, OperationSelection};
use tokio::time::interval;

use super::client::{Client, for_each_id};
use super::definition::parse_label;
use super::exit::{Failure, Thing};
use super::paging::{Paging, PrintedPage};
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::{ids, output, time};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter operation create pause --name order.close --dry-run
  taskcenter operation create pause --label team=pay --dry-run
  taskcenter operation create redrive --tag mail --rate 50 --watch
  taskcenter operation list
  taskcenter operation abort 019aa4c81b7a7c3e8a51f3d6c2b90417";

const CREATE: &str = "\
Actions:
  pause, resume, cancel, delete, trigger, edit    for tasks
  redrive (another attempt for dead runs), cancel_runs    for runs

The server works in the background, also if this command ends. A filter acts on
tasks that exist now, or on runs that are due now. With --watch the exit code is
1 if an item failed, or if the operation was aborted.

Examples:
  taskcenter operation create delete --name order.close --dry-run
  taskcenter operation create pause --all --reason 'broker upgrade' --watch
  taskcenter operation create redrive --tag mail --rate 50 --watch
  taskcenter operation create edit --name mail --patch '{\"queue\": \"slow\"}'";
const SHOW: &str = "\
Examples:
  taskcenter operation show 019aa4c81b7a7c3e8a51f3d6c2b90417
  taskcenter operation show 019aa4c81b7a7c3e8a51f3d6c2b90417 --watch";

/// Time between two reads of an operation that is watched.
const POLL_PERIOD: Duration = Duration::from_millis(500);
/// Maximum number of rows that the server returns in one page.
const PAGE: u32 = 100;
/// Characters of the bar.
const BAR_WIDTH: u64 = 10;

#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// Act on many tasks or runs.
    #[command(after_help = CREATE)]
    Create(Box<Create>),
    /// List operations, newest first.
    #[command(after_help = "Example:\n  taskcenter operation list")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an operation with its progress and its failures.
    #[command(after_help = SHOW)]
    Show {
        /// Id of the operation, or its beginning.
        id: String,
        /// Show the progress until the operation ends.
        #[arg(long)]
        watch: bool,
    },
    /// End operations; what they have done stays.
    #[command(after_help = "Example:\n  taskcenter operation abort 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Abort {
        /// Ids of the operations, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// An operation to create.
#[derive(Debug, Args)]
pub struct Create {
    /// What to do with each task or run.
    #[arg(value_name = "ACTION", value_parser = [
        "pause", "resume", "cancel", "delete", "trigger", "edit", "redrive", "cancel_runs",
    ])]
    action: String,
    /// Id of a task or run; can be repeated, at most 1,000 times.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["name", "tag", "task", "state", "labels", "all"])]
    ids: Vec<String>,
    /// All tasks with this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// All runs with this tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// All runs of the task with this id.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only tasks or runs in this state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only tasks or runs with this label; can be repeated, and then all must match.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// All tasks or runs that the action can change.
    #[arg(long)]
    all: bool,
    /// Fields to change, for edit: a JSON merge patch such as '{"queue": "slow"}'.
    #[arg(long, value_name = "JSON", value_parser = parse_patch)]
    patch: Option<Map<String, Value>>,
    /// Why, for the list of operations.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Maximum number of tasks or runs per second, 1 to 1000. Default: no limit.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Only count the tasks or runs.
    #[arg(long)]
    dry_run: bool,
    /// Show the progress until the operation ends.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
}

fn parse_patch(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not a JSON object: {error}"))
}

impl OperationCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(client).await,
            Self::List { paging } => list(client, &paging).await,
            Self::Show { id, watch } => {
                let operation = get(client, &id).await?;
                if watch { follow(client, operation).await } else { show(client, &operation) }
            }
            Self::Abort { ids } => {
                for_each_id(Thing::Operation, &ids, async |id| {
                    let id = ids::find_operation(client, id).await?;
                    let aborted = client.call(client.api.abort_operation(&id)).await?;
                    if client.json {
                        return output::print_json(&aborted);
                    }
                    output::print_line(format_args!("{} {}", aborted.id, format_progress(&aborted)))
                })
                .await
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let (dry_run, watch) = (self.dry_run, self.watch);
        let new = self.into_request(client).await?;
        if dry_run {
            let preview = client.call(client.api.preview_operation(&new)).await?;
            if client.json {
                return output::print_json(&preview);
            }
            let count = format_count(preview.expected, preview.expected_more);
            return output::print_line(format_args!("{} would act on {count} items now", new.action));
        }
        let operation = client.call(client.api.create_operation(&new)).await?;
        if client.json && !watch {
            return output::print_json(&operation);
        }
        if !client.json {
            let count = format_count(operation.expected, operation.expected_more);
            let created = format_args!("created {} {}, {count} items", operation.id, operation.action);
            output::print_line(created)?;
        }
        if watch { follow(client, operation).await } else { Ok(()) }
    }

    async fn into_request(self, client: &Client) -> Result<NewOperation, Failure> {
        let parts = [&self.name, &self.tag, &self.task, &self.state];
        let has_filter = !self.labels.is_empty() || parts.iter().any(|part| part.is_some());
        let select = if !self.ids.is_empty() {
            OperationSelection { ids: Some(self.ids), filter: None }
        } else if has_filter || self.all {
            let task_id = ids::find_optional_task(client, self.task).await?;
            let labels = self.labels.into_iter().collect();
            let (name, tag, state) = (self.name, self.tag, self.state);
            OperationSelection {
                ids: None,
                filter: Some(OperationFilter { name, tag, task_id, state, labels }),
            }
        } else {
            return Err(Failure::Misused(
                "select the items: use --id, a filter such as --name or --tag, or --all".to_owned(),
            ));
        };
        Ok(NewOperation {
            action: self.action,
            select,
            patch: self.patch,
            reason: self.reason,
            rate_per_sec: self.rate,
            dry_run: false,
        })
    }
}

async fn get(client: &Client, text: &str) -> Result<OperationResource, Failure> {
    let id = ids::find_operation(client, text).await?;
    let found = client.call(client.api.get_operation(&id)).await?;
    found.ok_or_else(|| Thing::Operation.missing(text))
}

/// Shows the progress of an operation until it ends: on a terminal as one line that changes, otherwise as one line
/// for each change.
async fn follow(client: &Client, mut operation: OperationResource) -> Result<(), Failure> {
    let mut ticks = interval(POLL_PERIOD);
    let mut printed = String::new();
    loop {
        let line = format_progress(&operation);
        if !client.json && line != printed {
            print_progress(client.screen, &line, !operation.is_running())?;
            printed = line;
        }
        if !operation.is_running() {
            break;
        }
        ticks.tick().await;
        operation = get(client, &operation.id.clone()).await?;
    }
    if client.json {
        output::print_json(&operation)?;
    } else {
        print_failures(client.screen, &operation)?;
    }
    let is_good = operation.state == "completed" && operation.failed == 0;
    if is_good { Ok(()) } else { Err(Failure::Printed(1)) }
}

fn print_progress(screen: Screen, line: &str, is_last: bool) -> Result<(), Failure> {
    let Some(width) = screen.width else { return output::print_line(line) };
    // The code clears the rest of the line.
    let line = format!("\r{}\x1b[K", table::truncate_to(line, width.saturating_sub(1)));
    if is_last {
        return output::print_line(line);
    }
    let mut out = std::io::stdout().lock();
    let written = write!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Failure::Failed(format!("cannot write to standard output: {error}")))
}

/// Formats the state and the counts, with a bar if the number of items is known.
fn format_progress(operation: &OperationResource) -> String {
    let processed = operation.processed();
    let total = if operation.is_running() { operation.expected.max(processed) } else { processed };
    let of = if operation.is_running() {
        format!("{processed} of {}", format_count(total, operation.expected_more))
    } else {
        processed.to_string()
    };
    let bar = match processed.saturating_mul(BAR_WIDTH).checked_div(total) {
        Some(filled) if operation.is_running() && !operation.expected_more => {
            let filled = filled.min(BAR_WIDTH) as usize;
            format!("[{}{}] ", "#".repeat(filled), "-".repeat(BAR_WIDTH as usize - filled))
        }
        _ => String::new(),
    };
    format!(
        "{} {} {bar}{of}: {} done, {} failed, {} skipped",
        operation.action, operation.state, operation.done, operation.failed, operation.skipped
    )
}

fn format_count(count: u64, more: bool) -> String {
    if more { format!("more than {count}") } else { count.to_string() }
}

async fn list(client: &Client, paging: &Paging) -> Result<(), Failure> {
    let columns = vec![
        Column::fixed("ID"),
        Column::fixed("ACTION"),
        Column::state(),
        Column::fixed("DONE"),
        Column::fixed("FAILED"),
        Column::fixed("SKIPPED").optional(),
        Column::fixed("CREATED"),
        Column::text("REASON").optional(),
    ];
    let mut table = Table::new(client.screen, columns);
    let listed = paging.print_pages(async |limit, cursor| {
        let page = client.api.list_operations(Some(limit.min(PAGE)), cursor.as_deref());
        let page = client.call(page).await?;
        if client.json {
            output::print_json(&page)?;
        } else {
            table.print(rows(client.screen, &page.operations))?;
        }
        Ok::<PrintedPage, _>((page.operations.len(), page.next_cursor))
    });
    let listed = listed.await?;
    if !client.json {
        listed.print_note("operations");
    }
    Ok(())
}

fn rows(screen: Screen, operations: &[OperationResource]) -> Vec<Vec<String>> {
    let ids: Vec<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    let row = |(id, operation): (String, &OperationResource)| {
        vec![
            id,
            operation.action.clone(),
            operation.state.clone(),
            operation.done.to_string(),
            operation.failed.to_string(),
            operation.skipped.to_string(),
            screen.format_instant(operation.created_at, time::now()),
            table::or_dash(operation.reason.as_deref().map(table::truncate)),
        ]
    };
    ids::shorten_all(screen, &ids).into_iter().zip(operations).map(row).collect()
}

fn show(client: &Client, operation: &OperationResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(operation);
    }
    let now = time::now();
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::escape));
    table::print_fields(&[
        ("operation", operation.id.clone()),
        ("action", operation.action.clone()),
        ("state", client.screen.paint_state(&operation.state)),
        ("message", text(&operation.message)),
        ("reason", text(&operation.reason)),
        ("items", format_selection(operation)),
        (
            "patch",
            table::or_dash(
                operation.patch.clone().map(|patch| table::escape(&Value::Object(patch).to_string())),
            ),
        ),
        ("rate", table::or_dash(operation.rate_per_sec.map(|rate| format!("{rate} per second")))),
        ("expected", format_count(operation.expected, operation.expected_more)),
        ("found", operation.matched.to_string()),
        ("done", operation.done.to_string()),
        ("failed", operation.failed.to_string()),
        ("skipped", operation.skipped.to_string()),
        ("created", time::format_with_distance(operation.created_at, now)),
        ("created by", table::escape(&operation.created_by)),
        ("ended", table::or_dash(operation.ended_at.map(|at| time::format_with_distance(at, now)))),
    ])?;
    print_failures(client.screen, operation)
}

fn format_selection(operation: &OperationResource) -> String {
    let Some(filter) = &operation.filter else {
        return format!("{} ids", operation.ids.unwrap_or_default());
    };
    let parts =
        [("name", &filter.name), ("tag", &filter.tag), ("task", &filter.task_id), ("state", &filter.state)];
    let parts =
        parts.iter().filter_map(|(name, part)| Some(format!("{name} {}", table::escape(part.as_ref()?))));
    let parts = parts.collect::<Vec<_>>().join(", ");
    if parts.is_empty() { "all".to_owned() } else { parts }
}

fn print_failures(screen: Screen, operation: &OperationResource) -> Result<(), Failure> {
    if operation.failures.is_empty() {
        return Ok(());
    }
    let columns = vec![Column::fixed("ID"), Column::text("ERROR")];
    let row = |failure: &taskcenter_client::resources::OperationFailure| {
        vec![failure.id.clone(), table::escape(&failure.error)]
    };
    Table::new(screen, columns).print(operation.failures.iter().map(row))?;
    let more = operation.failed.saturating_sub(operation.failures.len() as u64);
    if more > 0 {
        output::print_line(format_args!("{more} more failures are not kept"))?;
    }
    Ok(())
}
