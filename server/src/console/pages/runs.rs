//! List of runs.

use askama::Template;
use axum::response::Response;

use super::super::facets;
use super::super::filter::Filter;
use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::listing::{ROWS, read_place, write_place};
use super::super::problem::Result;
use super::super::search::{self, RunSearch};
use super::super::visit::Visit;
use super::super::words::fill;
use super::bulk::BulkBar;
use super::dead_groups::Group;
use super::labels::RUNS;
use super::rows::RunRow;
use super::run_filter;
use crate::core::operation::Action;
use crate::core::{RunState, TaskId};

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
    /// How far the search has come, if the page ended before it was full.
    pub searched: Option<String>,
    pub groups: Vec<Group>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let (mut filter, search) = run_filter::read(visit, RUNS, &visit.query());
    filter.add_tabs(
        &t.state_all,
        RunState::ALL.into_iter().map(|state| (state.as_str(), h::run_word(state, t))),
    );
    if let Some(counts) = visit.console.facets.of(&visit.service, &search).await? {
        // The first tab has all states.
        for (tab, (_, count)) in filter.tabs.iter_mut().skip(1).zip(counts.iter()) {
            tab.count = facets::text(*count);
        }
    }
    let f = Frame::new(visit, Section::Runs, &t.runs).events("run", &[]);
    list(visit, f, filter, search, t.no_match_runs.clone(), &[], Vec::new()).await
}

/// Returns a page of the wanted runs, with these bulk actions, and groups of runs above them.
pub async fn list(
    visit: &Visit,
    f: Frame,
    mut filter: Filter,
    search: RunSearch,
    empty: String,
    actions: &[Action],
    groups: Vec<Group>,
) -> Result<askama::Result<String>> {
    let f = with_api(f, &search);
    let before = visit.param("before", &f.t.allowed_place, read_place);
    let first = before.is_some().then(|| filter.page(None));
    if !search.is_by_index(&visit.service) {
        let of = &search.wanted.filter;
        let checks_tag = search.prefix.is_some() || (of.task_id.is_some() && of.tag.is_some());
        filter.note_checks(&[("tag", checks_tag), ("error", search.error.is_some())], f.t);
    }
    let page = search::runs(&visit.service, &search, before, ROWS).await?;
    let searched = page
        .stopped_after
        .zip(page.next.as_ref())
        .map(|(rows, (at, _))| fill(&f.t.searched_runs, &[&h::count(rows as u64), &f.text(*at)]));
    let rows: Vec<RunRow> = page.rows.iter().map(|run| RunRow::new(run, f.t)).collect();
    let bulk = BulkBar::new(&f, &filter, actions).filter(|_| !rows.is_empty());
    let bulk = bulk.map(|bulk| BulkBar { has_all: search.is_selection(), ..bulk });
    let next = page.next.map(|last| filter.page(Some(&write_place(&last))));
    Ok(Page { f, filter, bulk, rows, with_tag: true, empty, first, next, searched, groups }.render())
}

/// Sets the path of the API with the same rows, if there is one.
fn with_api(f: Frame, search: &RunSearch) -> Frame {
    if !search.is_selection() {
        return f;
    }
    let wanted = &search.wanted;
    let labels: Vec<(String, &str)> =
        wanted.labels.iter().map(|(key, value)| (format!("label.{key}"), value.as_str())).collect();
    let mut query = vec![
        ("task_id", wanted.filter.task_id.as_ref().map(TaskId::as_str)),
        ("tag", wanted.filter.tag.as_deref()),
        ("state", wanted.filter.state.map(RunState::as_str)),
    ];
    query.extend(labels.iter().map(|(name, value)| (name.as_str(), Some(*value))));
    f.api("/v1/runs", &query)
}
