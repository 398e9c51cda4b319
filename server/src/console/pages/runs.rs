//! List of runs.

use askama::Template;
use axum::response::Response;

use super::super::filter::Filter;
use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::listing::{self, read_place, write_place};
use super::super::problem::Result;
use super::super::visit::Visit;
use super::bulk::BulkBar;
use super::rows::RunRow;
use crate::core::operation::Action;
use crate::core::{RunState, TaskId};
use crate::engine::service::RunFilter;

pub const PATH: &str = "/console/runs";

/// The page of a list of runs.
#[derive(Template)]
#[template(path = "runs.html")]
pub struct Page {
    pub f: Frame,
    pub filter: Filter,
    pub rows: Vec<RunRow>,
    pub bulk: Option<BulkBar>,
    pub with_tag: bool,
    /// What an empty list says.
    pub empty: String,
    pub first: Option<String>,
    pub next: Option<String>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let (t, query) = (visit.lang.words(), visit.query());
    let mut filter = Filter::read(PATH, &query, &["tag", "state", "task"], "tag: state: task:", t);
    let state = filter.get("state").map(RunState::parse);
    if state == Some(None) {
        filter.refuse("state", &RunState::ALL.map(RunState::as_str).join(", "), t);
    }
    let task = filter.get("task").map(TaskId::parse);
    if task == Some(None) {
        filter.refuse("task", "task:<id>", t);
    }
    filter.add_tabs(
        &t.state_all,
        RunState::ALL.into_iter().map(|state| (state.as_str(), h::run_word(state, t))),
    );
    let wanted = RunFilter {
        task_id: task.flatten(),
        tag: filter.get("tag").map(str::to_owned),
        state: state.flatten(),
        label: None,
    };
    let f = Frame::new(visit, Section::Runs, &t.runs).live();
    list(visit, f, filter, wanted, t.no_match_runs.clone(), &[]).await
}

/// Returns a page of the wanted runs, with these bulk actions.
pub async fn list(
    visit: &Visit,
    f: Frame,
    filter: Filter,
    wanted: RunFilter,
    empty: String,
    actions: &[Action],
) -> Result<askama::Result<String>> {
    let state = wanted.state.map(RunState::as_str);
    let task = wanted.task_id.as_ref().map(TaskId::as_str);
    let f = f.api("/v1/runs", &[("task_id", task), ("tag", wanted.tag.as_deref()), ("state", state)]);
    let before = visit.query().get("before").and_then(read_place);
    let first = before.is_some().then(|| filter.page(None));
    let page = listing::runs(&visit.service, &wanted, before, listing::ROWS).await?;
    let rows: Vec<RunRow> = page.rows.iter().map(|run| RunRow::new(run, f.t)).collect();
    let bulk = BulkBar::new(&f, &filter, actions).filter(|_| !rows.is_empty());
    let next = page.next.map(|last| filter.page(Some(&write_place(&last))));
    Ok(Page { f, filter, bulk, rows, with_tag: true, empty, first, next }.render())
}
