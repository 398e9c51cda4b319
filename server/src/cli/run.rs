//! `run`: what became of due moments.

use clap::Subcommand;
use taskcenter_client::RunQuery;
use taskcenter_client::resources::RunResource;

use super::exit::Failure;
use super::paging::{Paging, Shown};
use super::remote::{Center, each};
use super::table::{self, Table};
use super::{out, when};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter run list --state dead
  taskcenter run retry 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000";

const LIST: &str = "\
Examples:
  taskcenter run list
  taskcenter run list --tag order.close --state dead
  taskcenter run list --task 019aa4c81b7a7c3e8a51f3d6c2b90417 --all --json";

#[derive(Debug, Subcommand)]
pub enum RunVerb {
    /// List runs, latest moment first.
    #[command(after_help = LIST)]
    List {
        /// Only those of this task.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// Only those of tasks with this name.
        #[arg(long)]
        tag: Option<String>,
        /// Only those in this state.
        #[arg(long, value_parser = [
            "firing", "fired", "ready", "leased", "retrying", "succeeded", "dead", "skipped", "cancelled",
        ])]
        state: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a run in full.
    #[command(after_help = "Example:\n  taskcenter run get 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000")]
    Get {
        /// The run.
        id: String,
    },
    /// Bring dead runs back, or have the next attempt of those that wait for it begin now.
    #[command(
        after_help = "Example:\n  taskcenter run retry 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000"
    )]
    Retry {
        /// The runs.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Call runs off. What a handler has begun goes on, and its outcome is refused.
    #[command(
        after_help = "Example:\n  taskcenter run cancel 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000"
    )]
    Cancel {
        /// The runs.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

impl RunVerb {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        let calls = &center.calls;
        match self {
            Self::List { task, tag, state, paging } => {
                list(center, &RunQuery { task_id: task, tag, state, ..RunQuery::default() }, &paging).await
            }
            Self::Get { id } => get(center, &id).await,
            Self::Retry { ids } => {
                each(&ids, async |id| told(center, "retried", &center.ask(calls.retry_run(id)).await?)).await
            }
            Self::Cancel { ids } => {
                each(&ids, async |id| told(center, "cancelled", &center.ask(calls.cancel_run(id)).await?))
                    .await
            }
        }
    }
}

/// Says what became of a run.
pub fn told(center: &Center, what: &str, run: &RunResource) -> Result<(), Failure> {
    if center.json {
        return out::json(run);
    }
    out::line(format_args!("{what} {} {}, now {}", run.run_id, table::clean(&run.tag), run.state))
}

async fn list(center: &Center, query: &RunQuery, paging: &Paging) -> Result<(), Failure> {
    let mut table = Table::new(&["RUN", "TAG", "STATE", "DUE", "LATE", "ATTEMPT", "REASON"]);
    let walked = paging.walk(async |limit, cursor| {
        let query = RunQuery { limit: Some(limit), cursor, ..query.clone() };
        let page = center.ask(center.calls.list_runs(&query)).await?;
        if center.json {
            out::json(&page)?;
        } else {
            table.print(&page.runs.iter().map(row).collect::<Vec<_>>())?;
        }
        Ok::<Shown, _>((page.runs.len(), page.next_cursor))
    });
    let walked = walked.await?;
    if !center.json {
        walked.tell("runs");
    }
    Ok(())
}

fn row(run: &RunResource) -> Vec<String> {
    vec![
        run.run_id.clone(),
        table::short(&run.tag),
        run.state.clone(),
        when::both(run.scheduled_at, when::now()),
        table::or_dash(late(run)),
        run.attempt.to_string(),
        table::short(run.reason.as_deref().unwrap_or_default()),
    ]
}

/// How long after its moment it was handed over. A later attempt is late on purpose.
pub fn late(run: &RunResource) -> Option<String> {
    let first = run.fired_at.filter(|_| run.attempt == 1)?;
    Some(when::length((first.as_millisecond() - run.scheduled_at.as_millisecond()).max(0)))
}

async fn get(center: &Center, id: &str) -> Result<(), Failure> {
    let found = center.ask(center.calls.get_run(id)).await?;
    let run = found.ok_or_else(|| {
        Failure::NotFound(format!("there is no run {id}: `taskcenter run list` shows those there are"))
    })?;
    if center.json { out::json(&run) } else { show(&run) }
}

fn show(run: &RunResource) -> Result<(), Failure> {
    let now = when::now();
    let time = |at: Option<_>| table::or_dash(at.map(|at| when::both(at, now)));
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::clean));
    table::facts(&[
        ("run", run.run_id.clone()),
        ("task", run.task_id.clone()),
        ("tag", table::clean(&run.tag)),
        ("state", run.state.clone()),
        ("reason", text(&run.reason)),
        ("due", time(Some(run.scheduled_at))),
        ("fired by hand", if run.triggered { "yes" } else { "no" }.to_owned()),
        ("handed over", time(run.fired_at)),
        ("late", table::or_dash(late(run))),
        ("ended", time(run.ended_at)),
        ("attempt", run.attempt.to_string()),
        ("claim", run.claim.to_string()),
        ("queue", text(&run.queue)),
        ("worker", text(&run.worker)),
        ("waits until", time(run.attention_at)),
        ("skipped", table::or_dash(skipped(run))),
        ("result", table::or_dash(run.result.as_ref().map(|result| table::clean(&result.to_string())))),
    ])
}

fn skipped(run: &RunResource) -> Option<String> {
    Some(format!("{} moments up to {}", run.skipped_count?, when::local(run.skipped_to?)))
}
