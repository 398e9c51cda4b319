//! Dead runs, latest first.

use axum::response::Response;

use super::super::filter::Filter;
use super::super::frame::{Frame, Section};
use super::super::problem::Result;
use super::super::visit::{Fields, Visit};
use super::super::words::Words;
use super::runs;
use crate::core::RunState;
use crate::core::operation::Action;
use crate::engine::service::RunFilter;

pub const PATH: &str = "/console/dead-letters";

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let (filter, wanted) = read_filter(&visit.query(), t);
    let empty = if filter.is_empty() { &t.no_dead } else { &t.no_match_runs };
    let f = Frame::new(visit, Section::DeadLetters, &t.dead_letters).live();
    runs::list(visit, f, filter, wanted, empty.clone(), &[Action::Redrive]).await
}

/// Reads the filter line of the list.
pub fn read_filter(query: &Fields, t: &Words) -> (Filter, RunFilter) {
    let filter = Filter::read(PATH, query, &["tag"], "tag:", t);
    let tag = filter.get("tag").map(str::to_owned);
    (filter, RunFilter { state: Some(RunState::Dead), tag, ..RunFilter::default() })
}
