//! `run`: runs of tasks.

mod filter;

use clap::Subcommand;
use jiff::Timestamp;
use taskcenter_client::RunQuery;
use taskcenter_client::resources::{RunAttempt, RunProgress, RunResource};

use self::filter::Filter;
use super::client::{Client, for_each_id};
use super::definition::parse_label;
use super::exit::{Failure, Thing};
use super::paging::{self, Paging, PrintedPage};
use super::payload::PayloadOptions;
use super::run_log::{self, RunLog};
use super::screen::Screen;
use super::table::{self, Column, Row, Table};
use super::{ids, output, time};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter run list --state dead
  taskcenter run retry 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000";

const LIST: &str = "\
Examples:
  taskcenter run list
  taskcenter run list --name order.close --state dead
  taskcenter run list --queue mail --since 2h
  taskcenter run list --task 019aa4c81b7a7c3e8a51f3d6c2b90417 --all --json";

const GET: &str = "\
The beginning of an id is enough if it is unique, also before the first `-`.

Examples:
  taskcenter run get 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000
  taskcenter run get 019aa4c81b7a-1-1763705000000";

const RETRY: &str = "\
A dead run gets one more attempt. A retrying run starts its next attempt without
the rest of its pause. With another payload, the attempts from the next one
deliver it. The run keeps the original payload.

Examples:
  taskcenter run retry 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000
  taskcenter run retry 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000 \\
    --data-file fixed.json";
const CANCEL: &str = "\
The worker that holds a run learns of it with its next renewal, and gets time
to stop. Then the run ends as cancelled.

Example:
  taskcenter run cancel 019aa4c81b7a7c3e8a51f3d6c2b90417-1-1763705000000";

/// State names of the API, for `--state`.
const STATES: [&str; 10] =
    ["firing", "held", "fired", "ready", "leased", "retrying", "succeeded", "dead", "skipped", "cancelled"];

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// List runs, latest scheduled time first.
    #[command(after_help = LIST)]
    List {
        /// Only runs of the task with this id, or beginning of an id.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// Only runs of tasks with this name.
        #[arg(long, alias = "tag", value_name = "NAME")]
        name: Option<String>,
        /// Only runs in this state.
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// Only runs with this label; can be repeated, and then all must match.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show all fields of a run.
    #[command(after_help = GET)]
    Get {
        /// Id of the run, or its beginning.
        id: String,
    },
    /// Print the log of a run.
    #[command(after_help = run_log::EXAMPLES)]
    Log(RunLog),
    /// Start the next attempt of dead or retrying runs now.
    #[command(after_help = RETRY)]
    Retry {
        /// Ids of the runs, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        payload: PayloadOptions,
    },
    /// Cancel runs that have not ended.
    #[command(after_help = CANCEL)]
    Cancel {
        /// Ids of the runs, or their beginnings.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

impl RunCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let api = &client.api;
        match self {
            Self::List { task, name, state, labels, filter, paging } => {
                let task_id = ids::find_optional_task(client, task).await?;
                let labels = labels.into_iter().collect();
                let query = RunQuery { task_id, tag: name, state, labels, ..RunQuery::default() };
                list(client, &query, &filter, &paging).await
            }
            Self::Get { id } => get(client, &id).await,
            Self::Log(log) => log.run(client).await,
            Self::Retry { ids, payload } => {
                let payload = payload.read()?;
                for_each_run(client, &ids, "retried", RETRYABLE, async |id| {
                    client.call(api.retry_run_with(id, &payload)).await
                })
                .await
            }
            Self::Cancel { ids } => {
                for_each_run(client, &ids, "cancelled", CANCELLABLE, async |id| {
                    client.call(api.cancel_run(id)).await
                })
                .await
            }
        }
    }
}

const RETRYABLE: &str = "only a dead or retrying run of a live task can be retried";
const CANCELLABLE: &str = "only a run that has not ended can be cancelled";

/// Changes each run and prints the change.
async fn for_each_run(
    client: &Client,
    texts: &[String],
    verb: &str,
    allowed: &str,
    change: impl AsyncFn(&str) -> Result<RunResource, Failure>,
) -> Result<(), Failure> {
    for_each_id(Thing::Run, texts, async |text| {
        let id = ids::find_run(client, text).await?;
        let run = change(&id).await.map_err(|failure| failure.with_allowed(allowed))?;
        let verb = if awaits_worker(&run) { "requested to cancel" } else { verb };
        print_change(client, verb, &run)
    })
    .await
}

/// Returns whether a cancelled run waits until its worker has stopped.
fn awaits_worker(run: &RunResource) -> bool {
    run.state == "leased" && run.cancel_requested_at.is_some()
}

/// Prints what a command did to a run, and the new state of the run.
pub fn print_change(client: &Client, verb: &str, run: &RunResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(run);
    }
    let state = client.screen.paint_state(&run.state);
    output::print_line(format_args!("{verb} {} {}, state {state}", run.run_id, table::escape(&run.tag)))
}

async fn list(client: &Client, query: &RunQuery, filter: &Filter, paging: &Paging) -> Result<(), Failure> {
    let mut table = Table::new(client.screen, columns(client.screen));
    let listed = paging.print_pages(async |limit, cursor| {
        // A filtered page may have few matches, so a whole page is read.
        let read = if filter.is_empty() { limit } else { paging::PAGE };
        let query = RunQuery { limit: Some(read), cursor, ..query.clone() };
        let mut page = client.call(client.api.list_runs(&query)).await?;
        filter.apply(&mut page, limit);
        if client.json {
            output::print_json(&page)?;
        } else {
            table.print(rows(client.screen, &page.runs))?;
        }
        Ok::<PrintedPage, _>((page.runs.len(), page.next_cursor))
    });
    let listed = listed.await?;
    if !client.json {
        listed.print_note("runs");
    }
    Ok(())
}

fn columns(screen: Screen) -> Vec<Column> {
    let mut columns = vec![
        Column::fixed("ID"),
        Column::text("TAG"),
        Column::state(),
        Column::fixed("DUE"),
        Column::fixed("LATE"),
        Column::fixed("ATTEMPT").optional(),
    ];
    columns.extend(screen.width.is_none().then(|| Column::text("REASON")));
    columns
}

/// On a terminal, the reason is below the row, where it has more space.
fn rows(screen: Screen, runs: &[RunResource]) -> Vec<Row> {
    let ids: Vec<&str> = runs.iter().map(|run| run.run_id.as_str()).collect();
    let ids = ids::shorten_all(screen, &ids);
    let row = |(id, run): (String, &RunResource)| {
        let reason = run.reason.as_deref().unwrap_or_default();
        let mut cells = vec![
            id,
            table::truncate(&run.tag),
            run.state.clone(),
            screen.format_instant(run.scheduled_at, time::now()),
            table::or_dash(format_lateness(run)),
            run.attempt.to_string(),
        ];
        let Some(width) = screen.width else {
            cells.push(table::truncate(reason));
            return Row::from(cells);
        };
        let note = table::truncate_to(reason, width.saturating_sub(2));
        Row::with_note(cells, Some(note).filter(|note| !note.is_empty()))
    };
    ids.into_iter().zip(runs).map(row).collect()
}

/// Formats the delay between the scheduled time and the start of the first attempt, or the fire if
/// no worker has leased the run. Returns `None` for a later attempt, which is late on purpose.
fn format_lateness(run: &RunResource) -> Option<String> {
    let first = run.started_at.or(run.leased_at).or(run.fired_at).filter(|_| run.attempt == 1)?;
    Some(format_delay(run, first))
}

fn format_delay(run: &RunResource, at: Timestamp) -> String {
    time::format_duration(
        (at.as_millisecond() - run.due_at.unwrap_or(run.scheduled_at).as_millisecond()).max(0),
    )
}

/// Returns the stages that the run has reached, each with its delay after the scheduled time: the
/// fire, the start (of the handler if the worker reported it, otherwise the lease), and the end.
pub fn stages(run: &RunResource) -> Vec<(&'static str, String)> {
    // The fire of a later attempt has no instant of its own.
    let stages = [
        ("fired", run.fired_at.filter(|_| run.attempt == 1)),
        ("started", run.started_at.or(run.leased_at)),
        ("ended", run.ended_at),
    ];
    let reached = stages.into_iter().filter_map(|(name, at)| Some((name, at?)));
    reached.map(|(name, at)| (name, format_delay(run, at))).collect()
}

async fn get(client: &Client, text: &str) -> Result<(), Failure> {
    let id = ids::find_run(client, text).await?;
    let found = client.call(client.api.get_run(&id)).await?;
    let run = found.ok_or_else(|| Thing::Run.missing(text))?;
    if client.json { output::print_json(&run) } else { show(client.screen, &run) }
}

fn show(screen: Screen, run: &RunResource) -> Result<(), Failure> {
    let now = time::now();
    let time = |at: Option<_>| table::or_dash(at.map(|at| time::format_with_distance(at, now)));
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::escape));
    let mut fields = vec![
        ("run", run.run_id.clone()),
        ("task", run.task_id.clone()),
        ("tag", table::escape(&run.tag)),
        ("labels", table::format_labels(&run.labels)),
        ("state", screen.paint_state(&run.state)),
        ("waits for", text(&run.waits_for)),
        ("reason", text(&run.reason)),
        ("due", time(Some(run.due_at.unwrap_or(run.scheduled_at)))),
        ("nominal", time(run.due_at.map(|_| run.scheduled_at))),
        ("triggered", if run.triggered { "yes" } else { "no" }.to_owned()),
        ("fired", time(run.fired_at)),
        ("started", time(run.started_at.or(run.leased_at))),
        ("ended", time(run.ended_at)),
        ("late", table::or_dash(format_stages(run))),
        ("took", table::or_dash(format_time_taken(run))),
        ("attempt", run.attempt.to_string()),
        ("claim", run.claim.to_string()),
        ("queue", text(&run.queue)),
        ("worker", text(&run.worker)),
        ("progress", table::or_dash(run.progress.as_ref().map(progress))),
        ("cancelling", time(run.cancel_requested_at)),
        ("waits until", time(run.attention_at)),
        ("skipped", table::or_dash(skipped(run))),
        ("result", table::or_dash(run.result.as_ref().map(|result| table::escape(&result.to_string())))),
        ("data", table::or_dash(run.data.as_deref().map(shorten))),
    ];
    fields.extend(run.backfill.as_ref().map(|operation| ("backfill", table::escape(operation))));
    fields.extend(run.original.as_ref().map(|original| ("data before", shorten(&original.data))));
    table::print_fields(&fields)?;
    print_attempts(screen, &run.attempts)
}

fn progress(progress: &RunProgress) -> String {
    let text = table::escape(&progress.text);
    format!("{} % {text}", progress.percent).trim_end().to_owned()
}

/// Formats the delay of each stage after the scheduled time.
fn format_stages(run: &RunResource) -> Option<String> {
    let stages = stages(run).into_iter().map(|(name, delay)| format!("{name} +{delay}"));
    Some(stages.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

/// Formats the time from the start of the last attempt to its end.
fn format_time_taken(run: &RunResource) -> Option<String> {
    run.attempts.last().and_then(format_attempt_time)
}

fn format_attempt_time(attempt: &RunAttempt) -> Option<String> {
    let taken = attempt.ended_at?.as_millisecond() - attempt.started_at?.as_millisecond();
    Some(time::format_duration(taken.max(0)))
}

/// Escapes a payload and cuts it, because it may have megabytes.
fn shorten(data: &str) -> String {
    const MAX_SHOWN_BYTES: usize = 2_000;
    let shown = &data[..data.floor_char_boundary(MAX_SHOWN_BYTES)];
    let rest = data.len() - shown.len();
    let note = if rest == 0 { String::new() } else { format!("… ({rest} more bytes: use --json)") };
    table::escape(shown) + &note
}

fn print_attempts(screen: Screen, attempts: &[RunAttempt]) -> Result<(), Failure> {
    if attempts.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let row = |attempt: &RunAttempt| {
        let error = attempt.error.as_deref().map(table::escape).unwrap_or_default();
        let mut cells = vec![
            attempt.attempt.to_string(),
            table::or_dash(attempt.outcome.clone()),
            table::or_dash(attempt.started_at.map(time::format_local)),
            table::or_dash(format_attempt_time(attempt)),
            table::or_dash(attempt.worker.as_deref().map(table::truncate)),
        ];
        if screen.width.is_some() {
            return Row::with_note(cells, Some(error).filter(|error| !error.is_empty()));
        }
        cells.push(error);
        Row::from(cells)
    };
    let mut columns =
        ["ATTEMPT", "OUTCOME", "STARTED", "TOOK"].map(Column::fixed).into_iter().collect::<Vec<_>>();
    columns.push(Column::text("WORKER"));
    columns.extend(screen.width.is_none().then(|| Column::text("ERROR")));
    Table::new(screen, columns).print(attempts.iter().map(row))
}

fn skipped(run: &RunResource) -> Option<String> {
    Some(format!("{} moments until {}", run.skipped_count?, time::format_local(run.skipped_to?)))
}
