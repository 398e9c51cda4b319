//! Pages of tasks and runs, limited in rows and in bytes as sent.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::view;
use crate::core::{Moment, RunId, Task, TaskId};
use crate::engine::service::{Page, RunFilter, RunPage, Service, TaskFilter, Wanted};

/// Maximum number of rows in a page.
pub const MAX_LIMIT: u32 = 1_000;
/// Maximum size of a page of several rows as sent, in bytes.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Number of rows of the first read of the store. Rows may be large, so each further read is at
/// most twice as large.
const FIRST_CHUNK: u32 = 4;
/// Maximum number of rows of a read.
const MAX_CHUNK: u32 = 100;
/// Maximum number of rows that a page with checks row by row examines, for each row of its limit and in total.
const EXAMINED_PER_ROW: usize = 50;
const MAX_EXAMINED: usize = 5_000;

/// JSON of a page that is being filled.
struct Filling {
    json: Vec<u8>,
    rows: u32,
    limit: u32,
    chunk: u32,
    /// Number of rows that were read, and the bytes of their payloads.
    examined: (usize, usize),
    /// Whether some of the rows that are read do not match.
    is_sparse: bool,
}

impl Filling {
    fn new(limit: u32, is_sparse: bool) -> Self {
        Self { json: Vec::new(), rows: 0, limit, chunk: FIRST_CHUNK, examined: (0, 0), is_sparse }
    }

    /// Returns the number of rows for the next read.
    fn next_chunk(&mut self) -> u32 {
        let left = if self.is_sparse { MAX_CHUNK } else { self.limit - self.rows };
        let average =
            (self.json.len() / (self.rows as usize).max(1)).max(self.examined.1 / self.examined.0.max(1));
        let fitting = (MAX_BYTES.saturating_sub(self.json.len()) / average.max(1)).max(1);
        let chunk = self.chunk.min(u32::try_from(fitting).unwrap_or(u32::MAX)).min(left);
        self.chunk = (2 * self.chunk).min(MAX_CHUNK);
        chunk
    }

    /// Adds a row. Returns whether the row fits; a first row always does.
    fn push(&mut self, row: &impl Serialize) -> Result<bool, ApiError> {
        let end = self.json.len();
        if self.rows > 0 {
            self.json.push(b',');
        }
        let written = serde_json::to_writer(&mut self.json, row);
        written.map_err(|error| ApiError::Internal(format!("a row cannot be encoded: {error}")))?;
        let fits = self.rows == 0 || self.json.len() <= MAX_BYTES;
        if fits {
            self.rows += 1;
        } else {
            self.json.truncate(end);
        }
        Ok(fits)
    }

    fn is_full(&self) -> bool {
        self.rows >= self.limit || self.json.len() >= MAX_BYTES
    }

    /// Counts the rows of a read. Returns whether the page may read more.
    fn examine(&mut self, rows: usize, bytes: usize) -> bool {
        self.examined = (self.examined.0 + rows, self.examined.1 + bytes);
        let most = MAX_EXAMINED.min(EXAMINED_PER_ROW * self.limit as usize);
        !self.is_sparse || self.examined.0 < most
    }
}

/// Rows of a page, encoded as JSON and separated by commas, and the start of the next page.
pub struct Rows<P> {
    json: Vec<u8>,
    /// Start of the next page. `None`: this is the last page.
    pub next: Option<P>,
}

impl<P> Rows<P> {
    /// Returns the answer `{"<name>":[...],"next_cursor":...}`.
    pub fn into_object(self, name: &str, cursor: impl Fn(&P) -> String) -> Response {
        let next = serde_json::json!(self.next.as_ref().map(cursor));
        let after = format!(",\"next_cursor\":{next}}}");
        json_response(self.into_json(&format!("{{\"{name}\":"), &after))
    }

    /// Returns the answer `[...]`.
    pub fn into_array(self) -> Response {
        json_response(self.into_json("", ""))
    }

    /// Returns the rows as a JSON array with this text before and after.
    fn into_json(self, before: &str, after: &str) -> Vec<u8> {
        let mut json = self.json;
        let ends = [before, "[", "]", after].map(str::len).iter().sum();
        json.reserve_exact(ends);
        json.splice(0..0, [before.as_bytes(), b"["].concat());
        json.extend([b"]", after.as_bytes()].concat());
        json
    }
}

fn json_response(json: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// Returns a page of matching tasks, newest first and converted by `view`. A page with labels may end
/// early, even without a row, because it examines a limited number of rows.
pub async fn tasks<T: Serialize>(
    service: &Service,
    wanted: &Wanted<TaskFilter>,
    limit: u32,
    mut before: Option<TaskId>,
    view: impl Fn(Task) -> T,
) -> Result<Rows<TaskId>, ApiError> {
    let mut page = Filling::new(limit, !wanted.is_selected());
    let mut may_read = true;
    while may_read {
        let ask = Page { limit: page.next_chunk(), before: before.clone() };
        let chunk = service.examine_tasks(wanted, &ask).await?;
        // The store ends a read of large tasks early, so only an empty read means that no tasks
        // follow.
        if chunk.count == 0 {
            return Ok(Rows { json: page.json, next: None });
        }
        may_read = page.examine(chunk.count, chunk.bytes);
        for task in chunk.rows {
            let id = task.id.clone();
            if page.is_full() || !page.push(&view(task))? {
                return Ok(Rows { json: page.json, next: before });
            }
            before = Some(id);
        }
        before = chunk.last;
        may_read &= !page.is_full();
    }
    let next = service.examine_tasks(wanted, &Page { limit: 1, before: before.clone() }).await?;
    Ok(Rows { json: page.json, next: before.filter(|_| next.count > 0) })
}

/// Returns a page of the definitions of a task, latest first and converted by `view`.
pub async fn definitions<T: Serialize>(
    service: &Service,
    id: &TaskId,
    limit: u32,
    mut before: Option<u32>,
    view: impl Fn(Task) -> T,
) -> Result<Rows<u32>, ApiError> {
    let mut page = Filling::new(limit, false);
    while !page.is_full() {
        let chunk = service.definitions(id, before, page.next_chunk()).await?;
        if chunk.is_empty() {
            return Ok(Rows { json: page.json, next: None });
        }
        for task in chunk {
            let rev = task.rev;
            if !page.push(&view(task))? {
                return Ok(Rows { json: page.json, next: before });
            }
            before = Some(rev);
        }
    }
    let next = service.definitions(id, before, 1).await?;
    Ok(Rows { json: page.json, next: before.filter(|_| !next.is_empty()) })
}

/// Start of a page of runs: the last run of the previous page.
pub type RunPlace = (Moment, RunId);

/// Returns a page of matching runs, latest first. A page with labels, or with a task and a tag, may end
/// early, as one of [`tasks`].
pub async fn runs(
    service: &Service,
    wanted: &Wanted<RunFilter>,
    limit: u32,
    mut before: Option<RunPlace>,
) -> Result<Rows<RunPlace>, ApiError> {
    let mut page = Filling::new(limit, !service.selects_runs(wanted));
    let mut may_read = true;
    while may_read {
        let ask = RunPage { limit: page.next_chunk(), before: before.clone() };
        let chunk = service.examine_runs(wanted, &ask).await?;
        if chunk.count == 0 {
            return Ok(Rows { json: page.json, next: None });
        }
        may_read = page.examine(chunk.count, chunk.bytes);
        for run in chunk.rows {
            let place = (run.scheduled_at, run.id.clone());
            if page.is_full() || !page.push(&view::run(run))? {
                return Ok(Rows { json: page.json, next: before });
            }
            before = Some(place);
        }
        before = chunk.last;
        may_read &= !page.is_full();
    }
    let next = service.examine_runs(wanted, &RunPage { limit: 1, before: before.clone() }).await?;
    Ok(Rows { json: page.json, next: before.filter(|_| next.count > 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_the_row_that_does_not_fit() {
        let mut page = Filling::new(1_000, false);
        // As sent, a control character takes six bytes.
        let row = "\u{1}".repeat(MAX_BYTES / 6 / 3 + 10);
        let pushed: Vec<bool> = (0..4).map(|_| page.push(&row).unwrap()).collect();
        assert_eq!(pushed, [true, true, false, false]);
        assert!(page.json.len() <= MAX_BYTES);
        let json = Rows { json: page.json, next: None::<()> }.into_json("{\"rows\":", "}");
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["rows"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_first_row_always_fits() {
        let mut page = Filling::new(1_000, false);
        assert!(page.push(&"x".repeat(2 * MAX_BYTES)).unwrap() && page.is_full());
    }

    #[test]
    fn reads_grow_with_small_rows_and_stay_small_with_large_ones() {
        let chunks = |bytes: usize| {
            let mut page = Filling::new(1_000, false);
            let row = "x".repeat(bytes);
            let mut chunks = Vec::new();
            let mut fits = true;
            while fits && !page.is_full() {
                chunks.push(page.next_chunk());
                fits = (0..chunks[chunks.len() - 1]).all(|_| page.push(&row).unwrap());
            }
            chunks
        };
        let small = chunks(10);
        assert_eq!((&small[..6], small.iter().sum::<u32>()), (&[4, 8, 16, 32, 64, 100][..], 1_000));
        assert!(chunks(MAX_BYTES / 4).iter().sum::<u32>() <= 6);
    }
}
