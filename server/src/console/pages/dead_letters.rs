//! Dead runs, latest first.

use axum::response::Response;

use super::super::filter::Filter;
use super::super::frame::{Frame, Section};
use super::super::problem::Result;
use super::super::search::{self, RunSearch};
use super::super::visit::{Fields, Visit};
use super::dead_groups::{self, Group};
use super::{run_filter, runs};
use crate::core::operation::Action;

pub const PATH: &str = "/console/dead-letters";
/// Latest dead runs among which the groups are found.
const SAMPLE: usize = 200;

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let (filter, search) = read_filter(visit, &visit.query());
    let groups = groups(visit, &search).await?;
    let empty = if filter.is_empty() { &t.no_dead } else { &t.no_match_runs };
    let f = Frame::new(visit, Section::DeadLetters, &t.dead_letters).events("run", &[]);
    runs::list(visit, f, filter, search, empty.clone(), &[Action::Redrive], groups).await
}

/// Returns the groups of the latest runs, on the first page only.
async fn groups(visit: &Visit, search: &RunSearch) -> Result<Vec<Group>> {
    if visit.query().get("before").is_some() {
        return Ok(Vec::new());
    }
    let latest = search::runs(&visit.service, search, None, SAMPLE).await?.rows;
    Ok(dead_groups::groups(&latest, PATH))
}

/// Reads the filter line of the list.
pub fn read_filter(visit: &Visit, query: &Fields) -> (Filter, RunSearch) {
    run_filter::read_dead(visit, PATH, query)
}
