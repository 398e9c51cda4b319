//! `task`: definitions of tasks.

use clap::Subcommand;
use jiff::tz::TimeZone;
use taskcenter_client::resources::{ChangedTask, Retry, ScheduleSpec, TaskResource, TaskSpec};
use taskcenter_client::{RunQuery, TaskQuery};

use super::client::{Client, for_each_id};
use super::definition::{Clear, Definition};
use super::exit::Failure;
use super::paging::{Paging, PrintedPage};
use super::table::{self, Table};
use super::{output, run, time};

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
  id=$(taskcenter task add mail --at 2030-01-31T08:00:00Z \\
    --dedup-key mail-7 --quiet)";
const EDIT: &str = "\
A field without an option keeps its value; the defaults above apply to new
tasks. If another client has changed the task in the meantime, the server
refuses the edit: exit code 4.

Examples:
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 --every 30s --data new
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 \\
    --clear until --clear times";
const LIST: &str = "\
Examples:
  taskcenter task list
  taskcenter task list --name order.close --state active --all
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
        /// characters, or leading or trailing blanks.
        name: String,
        #[command(flatten)]
        definition: Box<Definition>,
        /// Print only the id of the task.
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
    },
    /// Show all fields of a task.
    #[command(after_help = "Example:\n  taskcenter task get 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Get {
        /// Id of the task.
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
        #[command(flatten)]
        paging: Paging,
    },
    /// Change the given fields of a task.
    #[command(after_help = EDIT)]
    Edit {
        /// Id of the task.
        id: String,
        /// New name of the task.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        definition: Box<Definition>,
        /// Field to reset to its default: data, schedule, at, until, times, queue, max-runtime,
        /// dedup-key or retry; can be repeated.
        #[arg(long, value_name = "FIELD", hide_possible_values = true)]
        clear: Vec<Clear>,
    },
    /// Cancel tasks and hide them.
    #[command(after_help = DELETE)]
    Delete {
        /// Ids of the tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// End tasks permanently; they stay visible.
    #[command(after_help = CANCEL)]
    Cancel {
        /// Ids of the tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Stop the fires of tasks until they are resumed.
    #[command(after_help = "Example:\n  taskcenter task pause 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Pause {
        /// Ids of the tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Let paused tasks fire again.
    #[command(after_help = RESUME)]
    Resume {
        /// Ids of the tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Fire tasks now, outside their schedules, even if paused or finished.
    #[command(after_help = "Example:\n  taskcenter task trigger 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Trigger {
        /// Ids of the tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
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
            Self::Add { name, definition, quiet } => add(client, name, *definition, quiet).await,
            Self::Get { id } => {
                print_task(client, &get(client, &id).await?)?;
                if client.json { Ok(()) } else { print_last_run(client, &id).await }
            }
            Self::List { name, state, paging } => list(client, name, state, &paging).await,
            Self::Edit { id, name, definition, clear } => edit(client, &id, name, *definition, &clear).await,
            Self::Delete { ids } => {
                for_each_id(&ids, async |id| {
                    print_change(client, "deleted", &client.call(api.delete_task(id)).await?)
                })
                .await
            }
            Self::Cancel { ids } => {
                for_each_id(&ids, async |id| {
                    print_change(client, "cancelled", &client.call(api.cancel_task(id)).await?)
                })
                .await
            }
            Self::Pause { ids } => {
                for_each_id(&ids, async |id| {
                    print_change(client, "paused", &client.call(api.pause_task(id)).await?)
                })
                .await
            }
            Self::Resume { ids } => {
                for_each_id(&ids, async |id| {
                    print_change(client, "resumed", &client.call(api.resume_task(id)).await?)
                })
                .await
            }
            Self::Trigger { ids } => {
                for_each_id(&ids, async |id| {
                    run::print_change(client, "triggered", &client.call(api.trigger_task(id)).await?)
                })
                .await
            }
            Self::Next { cron, zone, count } => next(client, &cron, zone.as_deref(), count).await,
        }
    }
}

async fn add(client: &Client, name: String, definition: Definition, quiet: bool) -> Result<(), Failure> {
    let spec = definition.into_spec(name)?;
    warn_of_past_start(&spec);
    let task = client.call(client.api.create_task(&spec)).await?;
    for warning in task.warnings.iter().filter(|_| !client.json) {
        eprintln!("warning: {}", table::escape(warning));
    }
    if quiet {
        return output::print_line(task.id);
    }
    if client.json {
        return output::print_json(&task);
    }
    let next = task.next_due_at.map_or_else(
        || "has fired".to_owned(),
        |at| format!("fires at {}", time::format_with_distance(at, time::now())),
    );
    let name = table::escape(&task.name);
    if task.existing {
        let schedule = table::escape(&format_schedule(&task.schedule));
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

async fn get(client: &Client, id: &str) -> Result<TaskResource, Failure> {
    let found = client.call(client.api.get_task(id)).await?;
    found.ok_or_else(|| {
        Failure::NotFound(format!("no task has the id {id:?}: `taskcenter task list` shows the tasks"))
    })
}

async fn list(
    client: &Client,
    name: Option<String>,
    state: Option<String>,
    paging: &Paging,
) -> Result<(), Failure> {
    let mut table = Table::new(&["ID", "NAME", "STATE", "SCHEDULE", "NEXT FIRE", "FIRES", "DATA"]);
    let listed = paging.print_pages(async |limit, cursor| {
        let query = TaskQuery { name: name.clone(), state: state.clone(), limit: Some(limit), cursor };
        let page = client.call(client.api.list_tasks(&query)).await?;
        if client.json {
            output::print_json(&page)?;
        } else {
            table.print(&page.tasks.iter().map(row).collect::<Vec<_>>())?;
        }
        Ok::<PrintedPage, _>((page.tasks.len(), page.next_cursor))
    });
    let listed = listed.await?;
    if !client.json {
        listed.print_note("tasks");
    }
    Ok(())
}

fn row(task: &TaskResource) -> Vec<String> {
    let next = task.next_due_at.map(|at| time::format_with_distance(at, time::now()));
    vec![
        task.id.clone(),
        table::truncate(&task.name),
        task.state.clone(),
        table::truncate(&format_schedule(&task.schedule)),
        table::or_dash(next),
        task.fired_count.to_string(),
        table::truncate(&task.data),
    ]
}

fn format_schedule(schedule: &ScheduleSpec) -> String {
    match schedule {
        ScheduleSpec::Once {} => "once".to_owned(),
        ScheduleSpec::Every { period_ms } => format!("every {}", time::format_exact_duration(*period_ms)),
        ScheduleSpec::Cron { cron, zone: None } => cron.clone(),
        ScheduleSpec::Cron { cron, zone: Some(zone) } => format!("{cron} {zone}"),
    }
}

fn print_task(client: &Client, task: &TaskResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(task);
    }
    let now = time::now();
    let instant = |at: Option<_>| table::or_dash(at.map(|at| time::format_with_distance(at, now)));
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::escape));
    table::print_fields(&[
        ("id", task.id.clone()),
        ("name", table::escape(&task.name)),
        ("state", task.state.clone()),
        ("schedule", table::escape(&format_schedule(&task.schedule))),
        ("next fire", instant(task.next_due_at)),
        ("last fire", instant(task.last_due_at)),
        ("fires", task.fired_count.to_string()),
        ("start at", instant(task.start_at)),
        ("end at", instant(task.end_at)),
        ("max fires", table::or_dash(task.max_fires.map(|fires| fires.to_string()))),
        ("queue", text(&task.queue)),
        ("ack", task.ack.to_string()),
        (
            "max runtime",
            table::or_dash(task.max_runtime_sec.map(|sec| time::format_duration(sec as i64 * 1_000))),
        ),
        ("retry", table::or_dash(task.retry.map(format_retry))),
        ("headers", table::or_dash((!task.headers.is_empty()).then(|| format_headers(task)))),
        ("dedup key", text(&task.dedup_key)),
        ("created", instant(Some(task.created_at))),
        ("revision", task.rev.to_string()),
        ("data", table::escape(&task.data)),
    ])
}

fn format_headers(task: &TaskResource) -> String {
    let headers = task.headers.iter().map(|(name, value)| format!("{name}={value}"));
    table::escape(&headers.collect::<Vec<_>>().join("; "))
}

/// Prints the latest run of a task, and what it waits for.
async fn print_last_run(client: &Client, id: &str) -> Result<(), Failure> {
    let query = RunQuery { task_id: Some(id.to_owned()), limit: Some(1), ..RunQuery::default() };
    let Some(last) = client.call(client.api.list_runs(&query)).await?.runs.pop() else { return Ok(()) };
    let run = client.call(client.api.get_run(&last.run_id)).await?.unwrap_or(last);
    let waits_for = run.waits_for.as_deref().map(|text| format!("; waits for {}", table::escape(text)));
    table::print_fields(&[(
        "last run   ",
        format!("{} {}{}", run.run_id, run.state, waits_for.unwrap_or_default()),
    )])
}

fn format_retry(retry: Retry) -> String {
    let (first, longest) =
        (time::format_duration(retry.backoff_ms as i64), time::format_duration(retry.max_backoff_ms as i64));
    format!("{} attempts, pauses of {first} to {longest}", retry.max_attempts)
}

async fn edit(
    client: &Client,
    id: &str,
    name: Option<String>,
    definition: Definition,
    clear: &[Clear],
) -> Result<(), Failure> {
    let task = get(client, id).await?;
    let patch = definition.into_patch(name, &task, clear)?;
    print_change(client, "edited", &client.call(client.api.edit_task(id, task.rev, &patch)).await?)
}

/// Prints what a command did to a task, and the open runs that fired before the change.
fn print_change(client: &Client, verb: &str, changed: &ChangedTask) -> Result<(), Failure> {
    if client.json {
        return output::print_json(changed);
    }
    output::print_line(format_args!("{verb} {} {}", changed.task.id, table::escape(&changed.task.name)))?;
    if !changed.open_runs.is_empty() {
        output::print_line("  These runs fired before and continue. `taskcenter run cancel` cancels them:")?;
    }
    changed.open_runs.iter().try_for_each(|run| output::print_line(format_args!("  {run}")))?;
    if changed.more_open_runs {
        output::print_line(format_args!(
            "  There are more: `taskcenter run list --task {}` shows them.",
            changed.task.id
        ))?;
    }
    Ok(())
}

async fn next(client: &Client, cron: &str, zone: Option<&str>, count: u32) -> Result<(), Failure> {
    let next = client.call(client.api.next_moments(cron, zone, Some(count), None)).await?;
    if client.json {
        return output::print_json(&next);
    }
    let shown_in = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(TimeZone::system);
    let now = time::now();
    for note in &next.notes {
        output::print_line(format_args!("note: {}", table::escape(note)))?;
    }
    let mut table = Table::new(&["TIME", "FROM NOW"]);
    let row = |at| vec![time::format_in_zone(at, &shown_in), time::format_distance(at, now)];
    table.print(&next.moments.into_iter().map(row).collect::<Vec<_>>())
}
