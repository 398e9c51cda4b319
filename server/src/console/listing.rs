//! Pages of tasks and runs. Rows may have payloads of megabytes, so a page reads few rows at a time and keeps
//! no payload.

use super::problem::Result;
use crate::core::headers::Headers;
use crate::core::{Moment, Run, RunId, Task};
use crate::engine::service::{RunFilter, RunPage, Service};

/// Rows of a page.
pub const ROWS: usize = 50;
/// Rows of the first read. Each further read has twice as many.
const FIRST_READ: usize = 8;

/// Place of a run in a list.
pub type RunPlace = (Moment, RunId);

/// Returns the latest `most` runs without their payloads.
pub async fn latest_runs(service: &Service, filter: &RunFilter, most: usize) -> Result<Vec<Run>> {
    let mut rows: Vec<Run> = Vec::new();
    let mut before = None;
    let mut read = FIRST_READ;
    while rows.len() < most {
        let limit = read.min(most - rows.len()) as u32;
        let chunk = service.list_runs(filter, &RunPage { limit, before }).await?;
        if chunk.is_empty() {
            break;
        }
        rows.extend(chunk.into_iter().map(without_run_payload));
        before = rows.last().map(|run| (run.scheduled_at, run.id.clone()));
        read *= 2;
    }
    Ok(rows)
}

pub fn without_task_payload(task: Task) -> Task {
    Task { data: String::new(), headers: Headers::new(), ..task }
}

pub fn without_run_payload(run: Run) -> Run {
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
