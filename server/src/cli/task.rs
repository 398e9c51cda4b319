//! `task`: definitions.

use clap::Subcommand;
use jiff::tz::TimeZone;
use taskcenter_client::TaskQuery;
use taskcenter_client::resources::{ChangedTask, Retry, ScheduleSpec, TaskResource};

use super::definition::{Clear, Definition};
use super::exit::Failure;
use super::paging::{Paging, Shown};
use super::remote::{Center, each};
use super::table::{self, Table};
use super::{out, run, when};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task list --state active
  taskcenter task pause 019aa4c81b7a7c3e8a51f3d6c2b90417";

const ADD: &str = "\
Examples:
  taskcenter task add order.close --data 42 --in 30m
  taskcenter task add ping --every 10s --times 6
  taskcenter task add report --cron '0 9 * * MON-FRI' --zone Asia/Shanghai --data-file report.json
  id=$(taskcenter task add mail --at 2030-01-31T08:00:00Z --dedup-key mail-7 --quiet)";
const EDIT: &str = "\
Examples:
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 --every 30s --data new
  taskcenter task edit 019aa4c81b7a7c3e8a51f3d6c2b90417 --clear until --clear times";
const LIST: &str = "\
Examples:
  taskcenter task list
  taskcenter task list --name order.close --state active --all
  taskcenter task list --all --json | jq -r '.tasks[].id'";
const NEXT: &str = "\
Examples:
  taskcenter task next '0 9 * * MON-FRI' --zone Asia/Shanghai
  taskcenter task next '*/5 * * * * *' --count 3";

#[derive(Debug, Subcommand)]
pub enum TaskVerb {
    /// Create a task.
    #[command(after_help = ADD)]
    Add {
        /// Its name, which is the tag of its runs.
        name: String,
        #[command(flatten)]
        definition: Box<Definition>,
        /// Print the id alone.
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
    },
    /// Show a task in full.
    #[command(after_help = "Example:\n  taskcenter task get 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Get {
        /// The task.
        id: String,
    },
    /// List tasks, newest first.
    #[command(after_help = LIST)]
    List {
        /// Only those of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those in this state.
        #[arg(long, value_parser = ["active", "paused", "finished", "cancelled"])]
        state: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Change a task: what is named changes, everything else stays.
    #[command(after_help = EDIT)]
    Edit {
        /// The task.
        id: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        definition: Box<Definition>,
        /// Take something away; can be given several times.
        #[arg(long, value_name = "WHAT")]
        clear: Vec<Clear>,
    },
    /// Delete tasks. Runs that a consumer already has go on; those that still wait are called off.
    #[command(after_help = "Example:\n  taskcenter task delete 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Delete {
        /// The tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// End tasks for good; they can still be looked at.
    #[command(after_help = "Example:\n  taskcenter task cancel 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Cancel {
        /// The tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Stop the fires of tasks until they are resumed.
    #[command(after_help = "Example:\n  taskcenter task pause 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Pause {
        /// The tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Let paused tasks fire again.
    #[command(after_help = "Example:\n  taskcenter task resume 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Resume {
        /// The tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Fire tasks now, beside their schedules.
    #[command(after_help = "Example:\n  taskcenter task trigger 019aa4c81b7a7c3e8a51f3d6c2b90417")]
    Trigger {
        /// The tasks.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Tell when a cron expression fires next.
    #[command(after_help = NEXT)]
    Next {
        /// The cron expression, in quotes.
        #[arg(value_name = "EXPR")]
        cron: String,
        /// Its time zone; left out: the server's, and the moments are shown in this machine's.
        #[arg(long)]
        zone: Option<String>,
        /// How many moments.
        #[arg(long, value_name = "N", default_value_t = 5)]
        count: u32,
    },
}

impl TaskVerb {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        let calls = &center.calls;
        match self {
            Self::Add { name, definition, quiet } => add(center, name, *definition, quiet).await,
            Self::Get { id } => show(center, &find(center, &id).await?),
            Self::List { name, state, paging } => list(center, name, state, &paging).await,
            Self::Edit { id, name, definition, clear } => edit(center, &id, name, *definition, &clear).await,
            Self::Delete { ids } => {
                each(&ids, async |id| done(center, "deleted", &center.ask(calls.delete_task(id)).await?))
                    .await
            }
            Self::Cancel { ids } => {
                each(&ids, async |id| done(center, "cancelled", &center.ask(calls.cancel_task(id)).await?))
                    .await
            }
            Self::Pause { ids } => {
                each(&ids, async |id| done(center, "paused", &center.ask(calls.pause_task(id)).await?)).await
            }
            Self::Resume { ids } => {
                each(&ids, async |id| done(center, "resumed", &center.ask(calls.resume_task(id)).await?))
                    .await
            }
            Self::Trigger { ids } => {
                each(&ids, async |id| run::told(center, "fired", &center.ask(calls.trigger_task(id)).await?))
                    .await
            }
            Self::Next { cron, zone, count } => next(center, &cron, zone.as_deref(), count).await,
        }
    }
}

async fn add(center: &Center, name: String, definition: Definition, quiet: bool) -> Result<(), Failure> {
    let task = center.ask(center.calls.create_task(&definition.spec(name)?)).await?;
    if quiet {
        return out::line(task.id);
    }
    if center.json {
        return out::json(&task);
    }
    let next = task
        .next_due_at
        .map_or_else(|| "it has fired".to_owned(), |at| format!("due {}", when::both(at, when::now())));
    out::line(format_args!("added {} {}, {next}", task.id, table::clean(&task.name)))
}

async fn find(center: &Center, id: &str) -> Result<TaskResource, Failure> {
    let found = center.ask(center.calls.get_task(id)).await?;
    found.ok_or_else(|| {
        Failure::NotFound(format!("there is no task {id}: `taskcenter task list` shows those there are"))
    })
}

async fn list(
    center: &Center,
    name: Option<String>,
    state: Option<String>,
    paging: &Paging,
) -> Result<(), Failure> {
    let mut table = Table::new(&["ID", "NAME", "STATE", "SCHEDULE", "NEXT", "FIRED", "DATA"]);
    let walked = paging.walk(async |limit, cursor| {
        let query = TaskQuery { name: name.clone(), state: state.clone(), limit: Some(limit), cursor };
        let page = center.ask(center.calls.list_tasks(&query)).await?;
        if center.json {
            out::json(&page)?;
        } else {
            table.print(&page.tasks.iter().map(row).collect::<Vec<_>>())?;
        }
        Ok::<Shown, _>((page.tasks.len(), page.next_cursor))
    });
    let walked = walked.await?;
    if !center.json {
        walked.tell("tasks");
    }
    Ok(())
}

fn row(task: &TaskResource) -> Vec<String> {
    let next = task.next_due_at.map(|at| when::both(at, when::now()));
    vec![
        task.id.clone(),
        table::short(&task.name),
        task.state.clone(),
        table::short(&schedule(&task.schedule)),
        table::or_dash(next),
        task.fired_count.to_string(),
        table::short(&task.data),
    ]
}

fn schedule(schedule: &ScheduleSpec) -> String {
    match schedule {
        ScheduleSpec::Once {} => "once".to_owned(),
        ScheduleSpec::Every { period_ms } => format!("every {}", when::exactly(*period_ms)),
        ScheduleSpec::Cron { cron, zone: None } => cron.clone(),
        ScheduleSpec::Cron { cron, zone: Some(zone) } => format!("{cron} {zone}"),
    }
}

fn show(center: &Center, task: &TaskResource) -> Result<(), Failure> {
    if center.json {
        return out::json(task);
    }
    let now = when::now();
    let time = |at: Option<_>| table::or_dash(at.map(|at| when::both(at, now)));
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::clean));
    table::facts(&[
        ("id", task.id.clone()),
        ("name", table::clean(&task.name)),
        ("state", task.state.clone()),
        ("schedule", table::clean(&schedule(&task.schedule))),
        ("next", time(task.next_due_at)),
        ("last", time(task.last_due_at)),
        ("fired", task.fired_count.to_string()),
        ("at", time(task.start_at)),
        ("until", time(task.end_at)),
        ("times", table::or_dash(task.max_fires.map(|fires| fires.to_string()))),
        ("queue", text(&task.queue)),
        ("ack", task.ack.to_string()),
        ("max runtime", table::or_dash(task.max_runtime_sec.map(|sec| when::length(sec as i64 * 1_000)))),
        ("retry", table::or_dash(task.retry.map(retry))),
        ("dedup key", text(&task.dedup_key)),
        ("created", time(Some(task.created_at))),
        ("revision", task.rev.to_string()),
        ("data", table::clean(&task.data)),
    ])
}

fn retry(retry: Retry) -> String {
    let (first, longest) = (when::length(retry.backoff_ms as i64), when::length(retry.max_backoff_ms as i64));
    format!("{} attempts, {first} to {longest} apart", retry.max_attempts)
}

async fn edit(
    center: &Center,
    id: &str,
    name: Option<String>,
    definition: Definition,
    clear: &[Clear],
) -> Result<(), Failure> {
    let task = find(center, id).await?;
    let patch = definition.patch(name, &task, clear)?;
    done(center, "changed", &center.ask(center.calls.edit_task(id, task.rev, &patch)).await?)
}

/// Says what became of a task, and which runs the change came too late for.
fn done(center: &Center, what: &str, changed: &ChangedTask) -> Result<(), Failure> {
    if center.json {
        return out::json(changed);
    }
    out::line(format_args!("{what} {} {}", changed.task.id, table::clean(&changed.task.name)))?;
    if !changed.open_runs.is_empty() {
        out::line("  these runs had fired before, and go on; `taskcenter run cancel` calls them off:")?;
    }
    changed.open_runs.iter().try_for_each(|run| out::line(format_args!("  {run}")))?;
    if changed.more_open_runs {
        out::line(format_args!("  and more: `taskcenter run list --task {}` shows them", changed.task.id))?;
    }
    Ok(())
}

async fn next(center: &Center, cron: &str, zone: Option<&str>, count: u32) -> Result<(), Failure> {
    let next = center.ask(center.calls.next_moments(cron, zone, Some(count), None)).await?;
    if center.json {
        return out::json(&next);
    }
    let shown_in = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(TimeZone::system);
    let now = when::now();
    let mut table = Table::new(&["AT", "FROM NOW"]);
    let row = |at| vec![when::in_zone(at, &shown_in), when::relative(at, now)];
    table.print(&next.moments.into_iter().map(row).collect::<Vec<_>>())
}
