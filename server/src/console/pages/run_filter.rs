//! The filter line of the lists of runs.

use super::super::filter::{Filter, LABEL};
use super::super::search::{RunSearch, read_moment};
use super::super::visit::{Fields, Visit};
use crate::core::{Moment, RunState, TaskId};
use crate::engine::service::{RunFilter, Wanted};

/// Keys of the list of runs.
pub const RUN_KEYS: [&str; 7] = ["tag", "state", "task", LABEL, "error", "since", "until"];
/// Keys of the list of dead runs.
pub const DEAD_KEYS: [&str; 5] = ["tag", LABEL, "error", "since", "until"];
/// States whose runs have an error.
const WITH_ERROR: [RunState; 2] = [RunState::Dead, RunState::Retrying];

/// Reads the filter line of the list of runs.
pub fn read(visit: &Visit, path: &'static str, query: &Fields) -> (Filter, RunSearch) {
    let t = visit.lang.words();
    let mut filter = Filter::read(path, query, &RUN_KEYS, t);
    let state = filter.get("state").map(RunState::parse);
    if state == Some(None) {
        filter.refuse("state", &RunState::ALL.map(RunState::as_str).join(", "), t);
    }
    let task_id = filter.get("task").map(TaskId::parse);
    if task_id == Some(None) {
        filter.refuse("task", "task:<id>", t);
    }
    let of = RunFilter { task_id: task_id.flatten(), state: state.flatten(), ..RunFilter::default() };
    let mut search = read_common(visit, &mut filter, of);
    let RunFilter { task_id, state, .. } = &search.wanted.filter;
    if search.error.is_some() && task_id.is_none() && state.is_none() {
        filter.problem = Some(t.filter_error_scans.clone());
        WITH_ERROR.iter().for_each(|state| filter.offer("state", Some(state.as_str())));
        search.is_refused = true;
    }
    (filter, search)
}

/// Reads the filter line of the list of dead runs.
pub fn read_dead(visit: &Visit, path: &'static str, query: &Fields) -> (Filter, RunSearch) {
    let mut filter = Filter::read(path, query, &DEAD_KEYS, visit.lang.words());
    let of = RunFilter { state: Some(RunState::Dead), ..RunFilter::default() };
    let search = read_common(visit, &mut filter, of);
    (filter, search)
}

/// Reads the keys of both lists.
fn read_common(visit: &Visit, filter: &mut Filter, of: RunFilter) -> RunSearch {
    let (tag, prefix) = filter.name_or_prefix("tag", visit.lang.words());
    let labels = filter.labels();
    RunSearch {
        wanted: Wanted { filter: RunFilter { tag, ..of }, labels },
        prefix,
        error: filter.get("error").map(str::to_lowercase),
        since: moment(visit, filter, "since"),
        until: moment(visit, filter, "until"),
        is_refused: false,
    }
}

fn moment(visit: &Visit, filter: &mut Filter, key: &str) -> Option<Moment> {
    let text = filter.get(key)?;
    let at = read_moment(text, visit.service.now(), &visit.zone());
    if at.is_none() {
        filter.refuse(key, "2h, 2026-11-29, 2026-11-29T08:00, 2026-11-29T08:00:00Z", visit.lang.words());
    }
    at
}
