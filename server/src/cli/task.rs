//! `task`: definitions of tasks.

mod backfill;
mod debounce;
mod revisions;
mod view;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use taskcenter_client::TaskQuery;
use taskcenter_client::resources::{ChangedTask, ScheduleSpec, TaskResource, TaskSpec};

use super::client::{Client, for_each_id};
use super::definition::{Clear, Definition, parse_label};
use super::document::DefinitionFile;
use super::exit::{Failure, Thing};
use super::paging::{Paging, PrintedPage};
use super::payload::PayloadOptions;
use super::table::{self, Table};
use super::{ids, output, run, schedule, time};
use backfill::BackfillOptions;
use debounce::DebounceOptions;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task list --state active
  taskcenter task pause 019aa4c81b7a7c3e8a51f3d6c2b90417";

const ADD: &str = "\
Without --every or --cron, the task fires once: now, or at the time of --at or
--in.

Examples:
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task add ping --every 10s --times 6
  taskcenter task add report --cron '0 9 * * MON-FRI' --zone Asia/Shanghai \\
    --data-file report.json
  taskcenter task add --file task.yaml --queue slow
  id=$(taskcenter task add mail --at 2030-01-31T08:00:00Z \\
    --dedup-key mail-7 --quiet)";
const EDIT: &str = "\
A field without an option keeps its value; the defaults above apply to new
tasks. If another client has changed the task in the meantime, the server
refuses the edit: exit code 4.

Examples:
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 --every 30s --data new
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 --file task.yaml
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 \\
    --clear until --clear times";
const LIST: &str = "\
Examples:
  taskcenter task list
  taskcenter task list --name order.close --state active --all
  taskcenter task list --label team=pay --label tier=1
  taskcenter task list --all --json | jq -r '.tasks[].id'";
const NEXT: &str = "\
Examples:
  taskcenter task next '0 9 * * MON-FRI' --zone Asia/Shanghai
  taskcenter task next '*/5 * * * * *' --count 3";

const DELETE: &str = "\
Runs that wait in a queue are cancelled. Runs that a consumer has already
received continue.

Example:
  taskcenter task delete 019aa4c81b7a7c3e8a51f3d6c2b90417";
const CANCEL: &str = "\
Runs that wait in a queue are cancelled. Runs that a consumer has already
received continue.

Example:
  taskcenter task cancel 019aa4c81b7a7c3e8a51f3d6c2b90417";
const TRIGGER: &str = "\
The payload options are for this run only. The task keeps its own payload.

Examples:
  taskcenter task trigger 019aa4c81b7a7c3e8a51f3d6c2b90417
  taskcenter task trigger 019aa4c81b7a7c3e8a51f3d6c2b90417 --data '{\"id\": 43}'
  jq .order body.json | taskcenter task trigger \\
    019aa4c81b7a7c3e8a51f3d6c2b90417 --data-file -";
const RESUME: &str = "\
The missed moments of the pause become one skipped run. An overdue one-shot task
fires immediately.

Example:
  taskcenter task resume 019aa4c81b7a7c3e8a51f3d6c2b90417";

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Create a task.
    #[command(after_help = ADD)]
    Add {
        /// Name of the task and tag of its runs: 1 to 128 bytes, without `|`, `*`, control
        /// characters, or leading or trailing blanks. Not needed if --file has a name.
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        /// File with the definition, in YAML or JSON, with the fields of the API; `-` reads standard input. The
        /// options replace its fields.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        definition: Box<Definition>,
        /// What happens if a live task has the name and --dedup-key: return it, reject the new task, or replace
        /// the definition of the live task. Default: return.
        #[arg(
            long,
            value_name = "ACTION",
            value_parser = ["return", "reject", "replace"],
            hide_possible_values = true,
            requires = "dedup_key"
        )]
        on_conflict: Option<String>,
        #[command(flatten)]
        debounce: DebounceOptions,
        /// Print only the id of the task.
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
    },
    /// Show all fields of a task.
    #[command(after_help = "Example:\n  taskcenter task get 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Get {
        /// Id of the task, or its beginning.
        id: String,
    },
    /// List tasks, newest first; cancelled tasks only with --state cancelled.
    #[command(after_help = LIST)]
    List {
        /// Only tasks with this name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Only tasks in this state.
        #[arg(long, value_name = "STATE", value_parser = ["active", "paused", "finished", "cancelled"])]
        state: Option<String>,
        /// Only tasks with this label; can be repeated, and then all must match.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Change the given fields of a task.
    #[command(after_help = EDIT)]
    Edit {
        /// Id of the task, or its beginning.
        id: String,
        /// New name of the task.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// File with the fields to change, in YAML or JSON, named as in the API; `-` reads standard input. The
        /// options replace its fields.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        definition: Box<Definition>,
        /// Field to reset to its default: data, headers, labels, schedule, at, until, times, queue,
        /// max-runtime, dedup-key or retry; can be repeated.
        #[arg(long, value_name = "FIELD", hide_possible_values = true)]
        clear: Vec<Clear>,
    },
    /// Show the definitions of a task over time, latest first.
    #[command(after_help = revisions::EXAMPLES)]
    Revisions {
        /// Id of the task, or its beginning.
        id: String,
        /// Show what changes from revision A to revision B.
        #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["limit", "all"])]
        diff: Option<Vec<u32>>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Cancel tasks and hide them.
    #[command(after_help = DELETE)]
    Delete {
        /// Ids of the tasks, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// End tasks permanently; they stay visible.
    #[command(after_help = CANCEL)]
    Cancel {
        /// Ids of the tasks, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Stop the fires of tasks until they are resumed.
    #[command(after_help = "Example:\n  taskcenter task pause 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Pause {
        /// Ids of the tasks, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Let paused tasks fire again.
    #[command(after_help = RESUME)]
    Resume {
        /// Ids of the tasks, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Fire tasks now, outside their schedules, even if paused or finished.
    #[command(after_help = TRIGGER)]
    Trigger {
        /// Ids of the tasks, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        payload: PayloadOptions,
    },
    /// Create runs for the moments of a task's schedule in a range of the past.
    #[command(after_help = backfill::EXAMPLES)]
    Backfill {
        /// Id of the task, or its beginning.
        id: String,
        #[command(flatten)]
        options: BackfillOptions,
    },
    /// Show the next matches of a cron expression.
    #[command(after_help = NEXT)]
    Next {
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
    },
}

impl TaskCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let api = &client.api;
        match self {
            Self::Add { name, file, definition, on_conflict, debounce, quiet } => {
                let file = file.as_deref().map(DefinitionFile::read).transpose()?;
                let spec = definition.into_spec(name, file.as_ref(), on_conflict)?;
                let spec = debounce.apply(spec);
                add(client, &spec, file.as_ref(), quiet).await
            }
            Self::Get { id } => {
                let task = get(client, &id).await?;
                view::print(client, &task)?;
                if client.json { Ok(()) } else { view::print_last_run(client, &task.id).await }
            }
            Self::List { name, state, labels, paging } => {
                let labels = labels.into_iter().collect();
                list(client, &TaskQuery { name, state, labels, ..TaskQuery::default() }, &paging).await
            }
            Self::Edit { id, name, file, definition, clear } => {
                edit(client, &id, name, file.as_deref(), *definition, &clear).await
            }
            Self::Revisions { id, diff, paging } => match diff.as_deref() {
                Some([before, after]) => revisions::print_diff(client, &id, [*before, *after]).await,
                _ => revisions::list(client, &id, &paging).await,
            },
            Self::Delete { ids } => {
                for_each_task(client, &ids, async |id| {
                    let changed = client.call(api.delete_task(id)).await;
                    print_change(
                        client,
                        "deleted",
                        &changed.map_err(|failure| failure.with_allowed(ENDABLE))?,
                    )
                })
                .await
            }
            Self::Cancel { ids } => {
                for_each_task(client, &ids, async |id| {
                    let changed = client.call(api.cancel_task(id)).await;
                    print_change(
                        client,
                        "cancelled",
                        &changed.map_err(|failure| failure.with_allowed(ENDABLE))?,
                    )
                })
                .await
            }
            Self::Pause { ids } => {
                for_each_task(client, &ids, async |id| {
                    let changed = client.call(api.pause_task(id)).await;
                    print_change(
                        client,
                        "paused",
                        &changed.map_err(|failure| failure.with_allowed(PAUSABLE))?,
                    )
                })
                .await
            }
            Self::Resume { ids } => {
                for_each_task(client, &ids, async |id| {
                    let changed = client.call(api.resume_task(id)).await;
                    print_change(
                        client,
                        "resumed",
                        &changed.map_err(|failure| failure.with_allowed(RESUMABLE))?,
                    )
                })
                .await
            }
            Self::Trigger { ids, payload } => {
                let payload = payload.read()?;
                for_each_task(client, &ids, async |id| {
                    let run = client.call(api.trigger_task_with(id, &payload)).await;
                    let run = run.map_err(|failure| failure.with_allowed(TRIGGERABLE))?;
                    run::print_change(client, "triggered", &run)
                })
                .await
            }
            Self::Backfill { id, options } => options.run(client, &id).await,
            Self::Next { cron, zone, count } => {
                schedule::print_next(client, &cron, zone.as_deref(), count).await
            }
        }
    }
}

async fn add(
    client: &Client,
    spec: &TaskSpec,
    file: Option<&DefinitionFile>,
    quiet: bool,
) -> Result<(), Failure> {
    warn_of_past_start(spec);
    let task = DefinitionFile::call(file, client, client.api.create_task(spec)).await?;
    for warning in task.warnings.iter().filter(|_| !client.json) {
        eprintln!("warning: {}", table::escape(warning));
    }
    if quiet {
        return output::print_line(task.id);
    }
    if client.json {
        return output::print_json(&task);
    }
    let next = match (task.state.as_str(), task.next_due_at) {
        ("active", Some(at)) => format!("fires at {}", time::format_with_distance(at, time::now())),
        ("active", None) => "waits for another version of its calendars".to_owned(),
        ("finished", _) => "has fired".to_owned(),
        (state, _) => format!("is {state}"),
    };
    let name = table::escape(&task.name);
    if task.replaced {
        output::print_line(format_args!("replaced {} {name}, {next}", task.id))?;
        return print_open_runs(&task.id, &task.open_runs, task.more_open_runs);
    }
    if task.existing {
        let schedule = table::escape(&view::format_schedule(&task.schedule));
        return output::print_line(format_args!(
            "exists already {} {name}, {schedule}, {next}; nothing was created. `taskcenter task edit` changes it",
            task.id
        ));
    }
    output::print_line(format_args!("created {} {name}, {next}", task.id))
}

/// Warns that a one-shot whose time has passed fires at once.
fn warn_of_past_start(spec: &TaskSpec) {
    let past = spec.start_at.filter(|at| *at < time::now() && spec.schedule == ScheduleSpec::Once {});
    if let Some(at) = past {
        let distance = time::format_distance(at, time::now());
        eprintln!("warning: --at {at} is in the past ({distance}): the task fires at once");
    }
}

const PAUSABLE: &str = "only an active task can be paused";
const RESUMABLE: &str = "only a paused task can be resumed";
const EDITABLE: &str = "only an active or paused task can be edited";
const ENDABLE: &str = "only an active or paused task can be cancelled";
const TRIGGERABLE: &str = "a cancelled task cannot be triggered";

async fn for_each_task(
    client: &Client,
    texts: &[String],
    act: impl AsyncFn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for_each_id(Thing::Task, texts, async |text| act(&ids::find_task(client, text).await?).await).await
}

async fn get(client: &Client, text: &str) -> Result<TaskResource, Failure> {
    let id = ids::find_task(client, text).await?;
    let found = client.call(client.api.get_task(&id)).await?;
    found.ok_or_else(|| Thing::Task.missing(text))
}

async fn list(client: &Client, query: &TaskQuery, paging: &Paging) -> Result<(), Failure> {
    let mut table = Table::new(client.screen, view::columns());
    let listed = paging.print_pages(async |limit, cursor| {
        let query = TaskQuery { limit: Some(limit), cursor, ..query.clone() };
        let page = client.call(client.api.list_tasks(&query)).await?;
        if client.json {
            output::print_json(&page)?;
        } else {
            table.print(view::rows(client.screen, &page.tasks))?;
        }
        Ok::<PrintedPage, _>((page.tasks.len(), page.next_cursor))
    });
    let listed = listed.await?;
    if !client.json {
        listed.print_note("tasks");
    }
    Ok(())
}

async fn edit(
    client: &Client,
    id: &str,
    name: Option<String>,
    file: Option<&Path>,
    definition: Definition,
    clear: &[Clear],
) -> Result<(), Failure> {
    let file = file.map(DefinitionFile::read).transpose()?;
    let task = get(client, id).await?;
    let patch = definition.into_patch(name, file.as_ref(), &task, clear)?;
    let edit = client.api.edit_task(&task.id, task.rev, &patch);
    let edited = DefinitionFile::call(file.as_ref(), client, edit).await;
    let edited = edited.map_err(|failure| failure.with_allowed(EDITABLE).about(Thing::Task, id))?;
    print_change(client, "edited", &edited)
}

/// Prints what a command did to a task, and the open runs that fired before the change.
fn print_change(client: &Client, verb: &str, changed: &ChangedTask) -> Result<(), Failure> {
    if client.json {
        return output::print_json(changed);
    }
    output::print_line(format_args!("{verb} {} {}", changed.task.id, table::escape(&changed.task.name)))?;
    print_open_runs(&changed.task.id, &changed.open_runs, changed.more_open_runs)
}

fn print_open_runs(task: &str, runs: &[String], more: bool) -> Result<(), Failure> {
    if !runs.is_empty() {
        output::print_line("  These runs fired before and continue. `taskcenter run cancel` cancels them:")?;
    }
    runs.iter().try_for_each(|run| output::print_line(format_args!("  {run}")))?;
    if more {
        output::print_line(format_args!(
            "  There are more: `taskcenter run list --task {task}` shows them."
        ))?;
    }
    Ok(())
}
