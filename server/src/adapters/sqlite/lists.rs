//! Pages of tasks and runs.

use std::fmt::Write as _;

use rusqlite::{ToSql, params, params_from_iter};

use super::errors::corrupt;
use super::rows::{self, Db};
use crate::core::run::{LeasedRun, RunMark};
use crate::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use crate::ports::{Head, Page, Result, RunFilter, RunPage, TaskFilter};

/// States in a listing without a state filter.
const LISTED: [TaskState; 3] = [TaskState::Active, TaskState::Paused, TaskState::Finished];

/// A statement, and the values of its parameters.
type Query<'a> = (String, Vec<&'a dyn ToSql>);

/// Returns the matching tasks, newest first.
pub fn tasks(db: &Db, filter: &TaskFilter, page: &Page) -> Result<Vec<Task>> {
    let before = page.before.as_ref().map(|before| before.as_str().to_owned());
    let (sql, values) = task_query(filter, before.as_ref());
    let mut find = db.prepare_cached(&sql)?;
    rows::page(db, find.query(params_from_iter(values))?, page.limit)
}

/// Counts matching tasks up to the limit of the page.
pub fn count_tasks(db: &Db, filter: &TaskFilter, page: &Page) -> Result<u64> {
    let before = page.before.as_ref().map(|before| before.as_str().to_owned());
    count(db, task_query(filter, before.as_ref()), page.limit)
}

/// Counts matching runs up to the limit of the page.
pub fn count_runs(db: &Db, filter: &RunFilter, page: &RunPage) -> Result<u64> {
    let task_id = filter.task_id.as_ref().map(|id| id.as_str().to_owned());
    let before = page.before.as_ref().map(|(at, id)| (at.ms(), id.as_str().to_owned()));
    count(db, run_query(&WantedRuns::of(filter, task_id.as_ref()), before.as_ref()), page.limit)
}

fn count(db: &Db, (sql, values): Query<'_>, limit: u32) -> Result<u64> {
    let rows: i64 = db
        .prepare_cached(&count_statement(&sql, limit))?
        .query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

/// Returns the statement that counts the rows of a listing. Without the documents and the sort, SQLite reads
/// only the index.
pub fn count_statement(sql: &str, limit: u32) -> String {
    let sql = sql.replace("SELECT doc, ", "SELECT ");
    let unsorted = sql.split(" ORDER BY ").next().unwrap_or(&sql);
    format!("SELECT count(*) FROM ({unsorted} LIMIT {limit})")
}

/// Merges one query per state. A single query over several states would need a sort, and a query
/// over all tasks would read the tombstones.
pub fn task_query<'a>(filter: &'a TaskFilter, before: Option<&'a String>) -> Query<'a> {
    let states = filter.state.map_or(LISTED.to_vec(), |state| vec![state]);
    let source = task_source(filter);
    let id = if filter.label.is_some() { "l.id" } else { "id" };
    let mut arms = Vec::new();
    let mut values: Vec<&dyn ToSql> = Vec::new();
    for state in states {
        let mut arm = format!("{source} '{}'", state.as_str());
        for (term, value) in [(" AND label = ?", &filter.label), (" AND name = ?", &filter.name)] {
            if let Some(value) = value {
                arm.push_str(term);
                values.push(value);
            }
        }
        if let Some(before) = before {
            let _ = write!(arm, " AND {id} < ?");
            values.push(before);
        }
        arms.push(arm);
    }
    (format!("{} ORDER BY id DESC", arms.join(" UNION ALL ")), values)
}

/// Returns the beginning of a query, up to the state. The table of labels has no hidden tasks.
fn task_source(filter: &TaskFilter) -> String {
    if filter.label.is_some() {
        return "SELECT doc, l.id AS id FROM task_labels l CROSS JOIN tasks t ON t.id = l.id WHERE l.state ="
            .to_owned();
    }
    let index = if filter.name.is_some() { "tasks_by_name" } else { "tasks_by_state" };
    format!("SELECT doc, id FROM tasks INDEXED BY {index} WHERE hidden = 0 AND state =")
}

/// Returns the matching runs, latest first.
pub fn runs(db: &Db, filter: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
    let task_id = filter.task_id.as_ref().map(|id| id.as_str().to_owned());
    let before = page.before.as_ref().map(|(at, id)| (at.ms(), id.as_str().to_owned()));
    let wanted = WantedRuns::of(filter, task_id.as_ref());
    let (sql, values) = run_query(&wanted, before.as_ref());
    let mut find = db.prepare_cached(&sql)?;
    rows::page(db, find.query(params_from_iter(values))?, page.limit)
}

/// Filters of a listing of runs.
#[derive(Default)]
pub struct WantedRuns<'a> {
    pub task_id: Option<&'a String>,
    pub tag: Option<&'a String>,
    pub label: Option<&'a String>,
    pub state: Option<RunState>,
}

impl<'a> WantedRuns<'a> {
    /// Returns the filters. `task_id` is that of `filter`.
    pub fn of(filter: &'a RunFilter, task_id: Option<&'a String>) -> Self {
        let RunFilter { task_id: _, tag, state, label } = filter;
        Self { task_id, tag: tag.as_ref(), label: label.as_ref(), state: *state }
    }
}

/// States of open runs.
const OPEN: [RunState; 6] = [
    RunState::Firing,
    RunState::Held,
    RunState::Fired,
    RunState::Ready,
    RunState::Leased,
    RunState::Retrying,
];
/// States of ended runs. A run without outcome reports ends in `fired`.
const ENDED: [RunState; 5] =
    [RunState::Fired, RunState::Succeeded, RunState::Dead, RunState::Skipped, RunState::Cancelled];

/// An index, the condition of its rows, and the states to read from it.
type Source = (&'static str, &'static str, Vec<Option<RunState>>);

/// The table of labels selects the ids.
const LABELLED: &str = "SELECT doc, l.id AS id, l.scheduled_at AS scheduled_at
    FROM run_labels l CROSS JOIN runs r ON r.id = l.id WHERE l.label = ?";

/// Merges one query per state for a task or a tag, whose indexes contain the state.
pub fn run_query<'a>(wanted: &WantedRuns<'a>, before: Option<&'a (i64, String)>) -> Query<'a> {
    let (mut arms, mut values) = (Vec::new(), Vec::new());
    for (index, condition, states) in sources(wanted) {
        for state in states {
            let (terms, of_arm) = run_terms(wanted, state, before);
            values.extend(of_arm);
            arms.push(match wanted.label {
                Some(_) => format!("{LABELLED}{terms}"),
                None => format!(
                    "SELECT doc, id, scheduled_at FROM runs INDEXED BY {index} WHERE {condition}{terms}"
                ),
            });
        }
    }
    (format!("{} ORDER BY scheduled_at DESC, id DESC", arms.join(" UNION ALL ")), values)
}

/// Returns the indexes of a listing. Open and ended runs of a tag have different indexes.
fn sources(wanted: &WantedRuns<'_>) -> Vec<Source> {
    let wanted_of = |states: &[RunState]| {
        let states = states.iter().filter(|state| wanted.state.is_none_or(|only| only == **state));
        states.copied().map(Some).collect()
    };
    match wanted {
        WantedRuns { label: Some(_), .. } => vec![("", "", wanted_of(&RunState::ALL))],
        WantedRuns { task_id: Some(_), .. } => vec![("runs_by_task", "TRUE", wanted_of(&RunState::ALL))],
        WantedRuns { tag: Some(_), .. } => vec![
            ("runs_open", "ended_at IS NULL", wanted_of(&OPEN)),
            ("runs_ended_by_tag", "ended_at IS NOT NULL", wanted_of(&ENDED)),
        ],
        WantedRuns { state: Some(_), .. } => vec![("runs_by_state", "TRUE", vec![wanted.state])],
        _ => vec![("runs_latest", "TRUE", vec![None])],
    }
}

/// Returns the terms of the filters, each after an `AND`.
fn run_terms<'a>(
    wanted: &WantedRuns<'a>,
    state: Option<RunState>,
    before: Option<&'a (i64, String)>,
) -> Query<'a> {
    let mut terms = String::new();
    let mut values: Vec<&dyn ToSql> = wanted.label.map(|label| label as &dyn ToSql).into_iter().collect();
    let of = if wanted.label.is_some() { "l." } else { "" };
    for (term, value) in [(" AND task_id = ?", wanted.task_id), (" AND tag = ?", wanted.tag)] {
        if let Some(value) = value {
            terms.push_str(term);
            values.push(value);
        }
    }
    if let Some(state) = state {
        let _ = write!(terms, " AND {of}state = '{}'", state.as_str());
    }
    if let Some((at, id)) = before {
        let _ = write!(terms, " AND ({of}scheduled_at, {of}id) < (?, ?)");
        values.extend([at as &dyn ToSql, id]);
    }
    (terms, values)
}

/// Returns the leased runs, latest first. Large payloads are skipped, and not converted.
pub fn leased_runs(db: &Db, limit: u32) -> Result<Head<LeasedRun>> {
    let leased = WantedRuns { state: Some(RunState::Leased), ..WantedRuns::default() };
    let (sql, values) = run_query(&leased, None);
    let mut find = db.prepare_cached(&sql)?;
    rows::head(db, find.query(params_from_iter(values))?, limit)
}

/// Returns the latest runs of each task, from the index of the list of a task.
pub fn recent_runs(db: &Db, tasks: &[TaskId], limit: u32) -> Result<Vec<Vec<RunMark>>> {
    let mut find = db.prepare_cached(&recent_query())?;
    tasks.iter().map(|task| marks(find.query(params![task.as_str(), limit])?)).collect()
}

/// Reads the marks that [`recent_query`] finds.
pub fn marks(mut rows: rusqlite::Rows<'_>) -> Result<Vec<RunMark>> {
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        let state = row.get_ref(2)?.as_str().ok().and_then(RunState::parse);
        marks.push(RunMark {
            id: RunId::from_text(row.get::<_, String>(0)?),
            scheduled_at: Moment::from_ms(row.get(1)?),
            state: state.ok_or_else(|| corrupt("a run has an unknown state"))?,
        });
    }
    Ok(marks)
}

/// Returns the statement of [`recent_runs`]. The documents are not part of it, so SQLite reads the index only.
pub fn recent_query() -> String {
    let arm = |state: RunState| {
        let state = state.as_str();
        format!(
            "SELECT id, scheduled_at, state FROM runs INDEXED BY runs_by_task WHERE task_id = ?1 AND state = '{state}'"
        )
    };
    let arms = RunState::ALL.map(arm).join(" UNION ALL ");
    format!("{arms} ORDER BY scheduled_at DESC, id DESC LIMIT ?2")
}
