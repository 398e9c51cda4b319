//! List of tasks.

use askama::Template;
use axum::response::Response;

use super::super::filter::{Filter, LABEL};
use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::Result;
use super::super::schedule_words;
use super::super::search::{self, TaskSearch};
use super::super::strip::{self, Strip};
use super::super::visit::{Fields, Visit};
use super::super::words::{Words, fill};
use super::bulk::BulkBar;
use super::confirm::{Action, TaskAction};
use super::labels::RowLabels;
use super::rows::{run_href_of, task_href};
use crate::core::run::RunMark;
use crate::core::{Moment, Task, TaskId, TaskState};
use crate::engine::service::{TaskFilter, Wanted};

pub const PATH: &str = "/console/tasks";
/// Keys of the filter line.
pub const KEYS: [&str; 3] = ["name", "state", LABEL];
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
    strip: Strip,
    fires: u64,
    queue: String,
    pill: Markup,
    /// Pauses or resumes the task. `None`: the task has ended, or the reader may not.
    switch: Option<Action>,
    labels: RowLabels,
}

#[derive(Template)]
#[template(path = "tasks.html")]
struct Page {
    f: Frame,
    filter: Filter,
    bulk: Option<BulkBar>,
    rows: Vec<Row>,
    /// Whether a row has labels.
    has_labels: bool,
    first: Option<String>,
    next: Option<String>,
    /// How far the search has come, if the page ended before it was full.
    searched: Option<String>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let (t, query) = (visit.lang.words(), visit.query());
    let (mut filter, search) = read_filter(&query, t);
    filter.add_tabs(
        &t.state_all,
        TaskState::ALL.into_iter().map(|state| (state.as_str(), h::task_word(state, t))),
    );
    let before = visit.param("before", &t.allowed_id, TaskId::parse);
    let first = before.is_some().then(|| filter.page(None));
    if !search.is_by_index(&visit.service) {
        let has_name = search.prefix.is_some() || search.wanted.filter.name.is_some();
        filter.note_checks(&[("name", has_name)], t);
    }
    let page = search::tasks(&visit.service, &search, before).await?;
    let searched = page.stopped_after.map(|rows| fill(&t.searched_tasks, &[&h::count(rows as u64)]));
    let next = page.next.map(|last| filter.page(Some(last.as_str())));
    let recent = visit.service.recent_runs(&page.rows, strip::IN_LIST).await?;
    let f = Frame::new(visit, Section::Tasks, &t.tasks).events("task,run", &[]);
    let rows: Vec<Row> =
        page.rows.into_iter().zip(recent).map(|(task, recent)| row(task, &recent, &f)).collect();
    let f = with_api(f, &search);
    let actions = BulkBar::task_actions(search.wanted.filter.state);
    let bulk = BulkBar::new(&f, &filter, &actions).filter(|_| !rows.is_empty());
    let bulk = bulk.map(|bulk| BulkBar { has_all: search.is_selection(), ..bulk });
    let has_labels = rows.iter().any(|row| !row.labels.links.is_empty());
    Ok(Page { f, filter, bulk, rows, has_labels, first, next, searched }.render())
}

/// Sets the path of the API with the same rows, if there is one.
fn with_api(f: Frame, search: &TaskSearch) -> Frame {
    if !search.is_selection() {
        return f;
    }
    let TaskFilter { name, state, .. } = &search.wanted.filter;
    let labels = search.wanted.labels.iter();
    let labels: Vec<(String, &str)> =
        labels.map(|(key, value)| (format!("label.{key}"), value.as_str())).collect();
    let mut query = vec![("name", name.as_deref()), ("state", state.map(TaskState::as_str))];
    query.extend(labels.iter().map(|(name, value)| (name.as_str(), Some(*value))));
    f.api("/v1/tasks", &query)
}

/// Reads the filter line of the list.
pub fn read_filter(query: &Fields, t: &Words) -> (Filter, TaskSearch) {
    let mut filter = Filter::read(PATH, query, &KEYS, t);
    let state =
        filter.get("state").map(|word| TaskState::ALL.into_iter().find(|state| state.as_str() == word));
    if state == Some(None) {
        filter.refuse("state", &TaskState::ALL.map(TaskState::as_str).join(", "), t);
    }
    let (name, prefix) = filter.name_or_prefix("name", t);
    let labels = filter.labels();
    let of = TaskFilter { name, state: state.flatten(), label: None };
    (filter, TaskSearch { wanted: Wanted { filter: of, labels }, prefix })
}

fn row(task: Task, recent: &[RunMark], f: &Frame) -> Row {
    let t = f.t;
    let last = recent.first().map(|run| LastRun {
        href: run_href_of(&run.id),
        pill: h::run_pill(run.state, t),
        at: run.scheduled_at,
    });
    let switch = match task.state {
        TaskState::Active => Some(TaskAction::Pause),
        TaskState::Paused => Some(TaskAction::Resume),
        TaskState::Finished | TaskState::Cancelled => None,
    };
    let href = task_href(&task.id);
    Row {
        switch: switch.filter(|_| f.rights.write).map(|action| action.words(t).link(&href, action.as_str())),
        href,
        short_id: task.id.as_str()[..SHORT_ID].to_owned(),
        id: task.id.to_string(),
        schedule: schedule_words::describe(&task.schedule, t),
        expression: schedule_words::expression(&task.schedule),
        next: task.next_due_at.filter(|_| !task.state.has_ended()),
        last,
        strip: Strip::new(recent, f),
        fires: task.fired_count,
        queue: task.queue.unwrap_or_else(|| t.queue_bus.clone()),
        pill: h::task_pill(task.state, t),
        labels: RowLabels::new(&task.labels, PATH),
        name: task.name,
    }
}
