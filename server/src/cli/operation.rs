//! `operation`: actions on many tasks or runs.

mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use taskcenter_client::resources::{NewOperation, OperationFilter, OperationResource, OperationSelection};
use tokio::time::interval;

use super::client::{Client, for_each_id};
use super::definition::parse_label;
use super::document::DefinitionFile;
use super::exit::{Failure, Thing};
use super::paging::{Paging, PrintedPage};
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::{ids, output, time};
pub use view::format_count;
use view::{format_progress, print_failures, print_held, print_progress, show};

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
1 if an item failed, if the canary failed, or if the operation was aborted.

Examples:
  taskcenter operation create delete --name order.close --dry-run
  taskcenter operation create pause --all --reason 'broker upgrade' --watch
  taskcenter operation create redrive --tag mail --rate 50 --canary 1 --watch
  taskcenter operation create redrive --tag mail --patch '{\"to\": \"mia\"}'
  taskcenter operation create --file operation.yaml --dry-run
  taskcenter operation create edit --name mail --patch '{\"queue\": \"slow\"}'";
const SHOW: &str = "\
Examples:
  taskcenter operation show 019aa4c81b7a7c3e8a51f3d6c2b90417
  taskcenter operation show 019aa4c81b7a7c3e8a51f3d6c2b90417 --watch";

/// Time between two reads of an operation that is watched.
const POLL_PERIOD: Duration = Duration::from_millis(500);
/// Maximum number of rows that the server returns in one page.
const PAGE: u32 = 100;

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
    /// Continue operations whose canary has failed.
    #[command(after_help = "Example:\n  taskcenter operation continue 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Continue {
        /// Ids of the operations, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
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
    #[arg(value_name = "ACTION", required_unless_present = "file", value_parser = [
        "pause", "resume", "cancel", "delete", "trigger", "edit", "redrive", "cancel_runs",
    ])]
    action: Option<String>,
    /// File with the operation, in YAML or JSON, with the fields of the API; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "action", "ids", "name", "tag", "task", "state", "labels", "all", "patch", "reason", "rate", "canary",
    ])]
    file: Option<PathBuf>,
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
    /// What to change, as a JSON merge patch: fields of the tasks for edit, such as '{"queue": "slow"}', or members
    /// of the payloads for redrive, such as '{"to": "mia"}'.
    #[arg(long, value_name = "JSON", value_parser = parse_patch)]
    patch: Option<Map<String, Value>>,
    /// Why, for the list of operations.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Maximum number of tasks or runs per second, 1 to 1000. Default: no limit.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Number of runs that redrive tries first, 1 to 100; the operation continues if all of them succeed. Default: no
    /// canary.
    #[arg(long, value_name = "N")]
    canary: Option<u32>,
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
            Self::Continue { ids } => {
                for_each_id(Thing::Operation, &ids, async |id| {
                    let id = ids::find_operation(client, id).await?;
                    let continued = client.call(client.api.continue_operation(&id)).await?;
                    if continued.is_running() {
                        return print_change(client, &continued);
                    }
                    let why = format!("{id} is {}: only a held operation can continue", continued.state);
                    Err(Failure::WrongState(why))
                })
                .await
            }
            Self::Abort { ids } => {
                for_each_id(Thing::Operation, &ids, async |id| {
                    let id = ids::find_operation(client, id).await?;
                    print_change(client, &client.call(client.api.abort_operation(&id)).await?)
                })
                .await
            }
        }
    }
}

fn print_change(client: &Client, operation: &OperationResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(operation);
    }
    output::print_line(format_args!("{} {}", operation.id, format_progress(operation)))
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let (dry_run, watch) = (self.dry_run, self.watch);
        let file = self.file.as_deref().map(DefinitionFile::read).transpose()?;
        let new = match &file {
            Some(file) => file.typed(Value::Object(file.fields()))?,
            None => self.into_request(client).await?,
        };
        if dry_run || new.dry_run {
            let preview = client.api.preview_operation(&new);
            let preview = DefinitionFile::call(file.as_ref(), client, preview).await?;
            if client.json {
                return output::print_json(&preview);
            }
            let count = format_count(preview.expected, preview.expected_more);
            return output::print_line(format_args!("{} would act on {count} items now", new.action));
        }
        let create = client.api.create_operation(&new);
        let operation = DefinitionFile::call(file.as_ref(), client, create).await?;
        print_created(client, operation, watch).await
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
            action: self.action.unwrap_or_default(),
            select,
            patch: self.patch,
            reason: self.reason,
            rate_per_sec: self.rate,
            canary: self.canary,
            dry_run: false,
        })
    }
}

/// Prints a new operation. With `watch`, shows its progress until it ends.
pub async fn print_created(
    client: &Client,
    operation: OperationResource,
    watch: bool,
) -> Result<(), Failure> {
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
        print_held(&operation)?;
    }
    let is_good = operation.state == "completed" && operation.failed == 0;
    if is_good { Ok(()) } else { Err(Failure::Printed(1)) }
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
