//! List of tasks.

use askama::Template;
use axum::response::Response;

use super::super::filter::Filter;
use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::listing;
use super::super::problem::Result;
use super::super::schedule_words;
use super::super::visit::{Fields, Visit};
use super::super::words::Words;
use super::bulk::BulkBar;
use super::rows::{run_href, task_href};
use crate::core::{Moment, Run, Task, TaskId, TaskState};
use crate::engine::service::TaskFilter;

pub const PATH: &str = "/console/tasks";
/// Digits of an id in a list.
const SHORT_ID: usize = 12;

struct LastRun {
    href: String,
    pill: Markup,
    at: Moment,
}

struct Row {
    id: String,
    short_id: String,
    href: String,
    name: String,
    schedule: String,
    expression: String,
    next: Option<Moment>,
    last: Option<LastRun>,
    fires: u64,
    queue: String,
    pill: Markup,
}

#[derive(Template)]
#[template(path = "tasks.html")]
struct Page {
    f: Frame,
    filter: Filter,
    bulk: Option<BulkBar>,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let (t, query) = (visit.lang.words(), visit.query());
    let (mut filter, wanted) = read_filter(&query, t);
    filter.add_tabs(
        &t.state_all,
        TaskState::ALL.into_iter().map(|state| (state.as_str(), h::task_word(state, t))),
    );
    let before = query.get("before").and_then(TaskId::parse);
    let first = before.is_some().then(|| filter.page(None));
    let page = listing::tasks(&visit.service, &wanted, before).await?;
    let mut rows = Vec::new();
    for task in page.rows {
        let last = listing::last_run(&visit.service, &task.id).await?;
        rows.push(row(task, last.as_ref(), t));
    }
    let next = page.next.map(|last| filter.page(Some(last.as_str())));
    let f = Frame::new(visit, Section::Tasks, &t.tasks).live();
    let f = f.api("/v1/tasks", &[("name", filter.get("name")), ("state", filter.get("state"))]);
    let bulk = BulkBar::new(&f, &filter, &BulkBar::task_actions(wanted.state)).filter(|_| !rows.is_empty());
    Ok(Page { f, filter, bulk, rows, first, next }.render())
}

/// Reads the filter line of the list.
pub fn read_filter(query: &Fields, t: &Words) -> (Filter, TaskFilter) {
    let mut filter = Filter::read(PATH, query, &["name", "state"], "name: state:", t);
    let state =
        filter.get("state").map(|word| TaskState::ALL.into_iter().find(|state| state.as_str() == word));
    if state == Some(None) {
        filter.refuse("state", &TaskState::ALL.map(TaskState::as_str).join(", "), t);
    }
    let name = filter.get("name").map(str::to_owned);
    (filter, TaskFilter { name, state: state.flatten(), label: None })
}

fn row(task: Task, last: Option<&Run>, t: &Words) -> Row {
    let last = last.map(|run| LastRun {
        href: run_href(run),
        pill: h::run_pill(run.state, t),
        at: run.scheduled_at,
    });
    Row {
        href: task_href(&task.id),
        short_id: task.id.as_str()[..SHORT_ID].to_owned(),
        id: task.id.to_string(),
        schedule: schedule_words::describe(&task.schedule, t),
        expression: schedule_words::expression(&task.schedule),
        next: task.next_due_at.filter(|_| !task.state.has_ended()),
        last,
        fires: task.fired_count,
        queue: task.queue.unwrap_or_else(|| t.queue_bus.clone()),
        pill: h::task_pill(task.state, t),
        name: task.name,
    }
}
