//! Pages of tasks and runs. Rows may have payloads of megabytes, so a page reads few rows at a time and keeps
//! no payload.

use super::problem::Result;
use crate::core::headers::Headers;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::engine::service::{Page, RunFilter, RunPage, Service, TaskFilter};

/// Rows of a page.
pub const ROWS: usize = 50;
/// Rows of the first read. Each further read has twice as many.
const FIRST_READ: usize = 8;

/// Rows, and where the next page begins.
pub struct Rows<T, P> {
    pub rows: Vec<T>,
    /// Place of the last row. `None`: no more rows follow.
    pub next: Option<P>,
}

/// Returns a page of tasks without their payloads, newest first.
pub async fn tasks(
    service: &Service,
    filter: &TaskFilter,
    mut before: Option<TaskId>,
) -> Result<Rows<Task, TaskId>> {
    let mut rows: Vec<Task> = Vec::new();
    let mut read = FIRST_READ;
    // One more row than shown tells whether a next page exists.
    while rows.len() <= ROWS {
        let limit = read.min(ROWS + 1 - rows.len()) as u32;
        let chunk = service.list_tasks(filter, &Page { limit, before: before.clone() }).await?;
        if chunk.is_empty() {
            return Ok(Rows { rows, next: None });
        }
        rows.extend(chunk.into_iter().map(without_task_payload));
        before = rows.last().map(|task| task.id.clone());
        read *= 2;
    }
    rows.truncate(ROWS);
    let next = rows.last().map(|task| task.id.clone());
    Ok(Rows { rows, next })
}

/// Place of a run in a list.
pub type RunPlace = (Moment, RunId);

/// Returns at most `most` runs without their payloads, latest first.
pub async fn runs(
    service: &Service,
    filter: &RunFilter,
    mut before: Option<RunPlace>,
    most: usize,
) -> Result<Rows<Run, RunPlace>> {
    let place = |run: &Run| (run.scheduled_at, run.id.clone());
    let mut rows: Vec<Run> = Vec::new();
    let mut read = FIRST_READ;
    while rows.len() <= most {
        let limit = read.min(most + 1 - rows.len()) as u32;
        let chunk = service.list_runs(filter, &RunPage { limit, before: before.clone() }).await?;
        if chunk.is_empty() {
            return Ok(Rows { rows, next: None });
        }
        rows.extend(chunk.into_iter().map(without_run_payload));
        before = rows.last().map(place);
        read *= 2;
    }
    rows.truncate(most);
    let next = rows.last().map(place);
    Ok(Rows { rows, next })
}

/// Returns the latest run of a task.
pub async fn last_run(service: &Service, task: &TaskId) -> Result<Option<Run>> {
    let filter = RunFilter { task_id: Some(task.clone()), ..RunFilter::default() };
    let runs = service.list_runs(&filter, &RunPage { limit: 1, before: None }).await?;
    Ok(runs.into_iter().next().map(without_run_payload))
}

fn without_task_payload(task: Task) -> Task {
    Task { data: String::new(), headers: Headers::new(), ..task }
}

fn without_run_payload(run: Run) -> Run {
    Run { data: String::new(), headers: Headers::new(), result: run.result.map(shorten), ..run }
}

/// Longest part of a result that a row shows, in bytes.
const RESULT_BYTES: usize = 120;

fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(RESULT_BYTES));
    text
}

/// Writes a place into a URL.
pub fn write_place((at, id): &RunPlace) -> String {
    format!("{}.{id}", at.ms())
}

/// Reads a place from a URL.
pub fn read_place(text: &str) -> Option<RunPlace> {
    let (at, id) = text.split_once('.')?;
    Some((Moment::from_ms(at.parse().ok()?), RunId::from_text(id)))
}
