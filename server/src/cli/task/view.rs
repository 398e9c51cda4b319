//! Tasks as tables and as lists of fields.

use taskcenter_client::RunQuery;
use taskcenter_client::resources::{Retry, ScheduleSpec, TaskResource};

use super::super::client::Client;
use super::super::exit::Failure;
use super::super::screen::Screen;
use super::super::table::{self, Column};
use super::super::{concurrency, ids, misfire, output, overlap, rate, task_calendars, time};

/// Returns the columns of a list.
pub fn columns() -> Vec<Column> {
    vec![
        Column::fixed("ID"),
        Column::text("NAME"),
        Column::state(),
        Column::text("SCHEDULE"),
        Column::fixed("NEXT FIRE"),
        Column::fixed("FIRES"),
        Column::text("DATA").optional(),
    ]
}

/// Returns the rows of a list.
pub fn rows(screen: Screen, tasks: &[TaskResource]) -> impl Iterator<Item = Vec<String>> {
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let ids = ids::shorten_all(screen, &ids);
    ids.into_iter().zip(tasks).map(move |(id, task)| row(screen, id, task))
}

fn row(screen: Screen, id: String, task: &TaskResource) -> Vec<String> {
    let next = task.next_due_at.map(|at| screen.format_instant(at, time::now()));
    vec![
        id,
        table::truncate(&task.name),
        task.state.clone(),
        table::truncate(&format_schedule(&task.schedule)),
        table::or_dash(next),
        task.fired_count.to_string(),
        table::truncate(&task.data),
    ]
}

/// Formats a schedule in the notation of the options.
pub fn format_schedule(schedule: &ScheduleSpec) -> String {
    match schedule {
        ScheduleSpec::Once {} => "once".to_owned(),
        ScheduleSpec::Every { period_ms } => format!("every {}", time::format_exact_duration(*period_ms)),
        ScheduleSpec::Cron { cron, zone, also, dialect, .. } => {
            let all: Vec<&str> = std::iter::once(cron).chain(also).map(String::as_str).collect();
            let dialect = if dialect.is_unix() { None } else { Some("quartz") };
            let words = [Some(all.join(" | ")), zone.clone(), dialect.map(str::to_owned)];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}

/// Prints all fields of a task.
pub fn print(client: &Client, task: &TaskResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(task);
    }
    let now = time::now();
    let instant = |at: Option<_>| table::or_dash(at.map(|at| time::format_with_distance(at, now)));
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::escape));
    table::print_fields(&[
        ("id", task.id.clone()),
        ("name", table::escape(&task.name)),
        ("state", client.screen.paint_state(&task.state)),
        ("schedule", table::escape(&format_schedule(&task.schedule))),
        ("next fire", instant(task.next_due_at)),
        ("nominal", instant(task.nominal_at)),
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
        ("start limit", table::or_dash(task.start_within_ms.map(|ms| time::format_duration(ms as i64)))),
        ("retry", table::or_dash(task.retry.as_ref().map(format_retry))),
        ("jitter", table::or_dash(task.jitter_ms.map(|ms| time::format_duration(ms as i64)))),
        (
            "calendars",
            table::or_dash(task.calendars.as_ref().map(|all| table::escape(&task_calendars::format(all)))),
        ),
        ("overlap", table::or_dash(task.overlap.map(overlap::format))),
        (
            "limits",
            table::or_dash(
                (!task.concurrency.is_empty())
                    .then(|| table::escape(&concurrency::format(&task.concurrency))),
            ),
        ),
        ("rate", table::or_dash(task.rate.as_ref().map(|limit| table::escape(&rate::format(limit))))),
        ("misfire", table::or_dash(task.misfire.map(misfire::format))),
        ("headers", table::or_dash((!task.headers.is_empty()).then(|| format_headers(task)))),
        ("labels", table::format_labels(&task.labels)),
        ("dedup key", text(&task.dedup_key)),
        ("created", instant(Some(task.created_at))),
        ("revision", task.rev.to_string()),
        ("data", table::escape(&task.data)),
    ])
}

/// Prints the latest run of a task, and what it waits for.
pub async fn print_last_run(client: &Client, id: &str) -> Result<(), Failure> {
    let query = RunQuery { task_id: Some(id.to_owned()), limit: Some(1), ..RunQuery::default() };
    let Some(last) = client.call(client.api.list_runs(&query)).await?.runs.pop() else { return Ok(()) };
    let run = client.call(client.api.get_run(&last.run_id)).await?.unwrap_or(last);
    let waits_for = run.waits_for.as_deref().map(|text| format!("; waits for {}", table::escape(text)));
    table::print_fields(&[(
        "last run   ",
        format!("{} {}{}", run.run_id, run.state, waits_for.unwrap_or_default()),
    )])
}

fn format_headers(task: &TaskResource) -> String {
    let headers = task.headers.iter().map(|(name, value)| format!("{name}={value}"));
    table::escape(&headers.collect::<Vec<_>>().join("; "))
}

fn format_retry(retry: &Retry) -> String {
    let duration = |ms: Option<u64>| time::format_duration(ms.unwrap_or_default() as i64);
    let jitter = retry.jitter_percent.map(|percent| format!(", jitter {percent} %")).unwrap_or_default();
    if let Some(pauses) = &retry.intervals_ms {
        let pauses: Vec<_> = pauses.iter().map(|ms| duration(Some(*ms))).collect();
        return format!("{} attempts, pauses of {}{jitter}", pauses.len() + 1, pauses.join(", "));
    }
    let (first, longest) = (duration(retry.backoff_ms), duration(retry.max_backoff_ms));
    let factor = retry.factor_percent.map(|percent| format!(", each {percent} % of the one before"));
    let attempts = retry.max_attempts.unwrap_or_default();
    format!("{attempts} attempts, pauses of {first} to {longest}{}{jitter}", factor.unwrap_or_default())
}
