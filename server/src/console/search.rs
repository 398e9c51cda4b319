//! Pages of rows that match a filter line, also where no index serves the whole filter: then each row is
//! checked, and a page examines a bounded number of rows.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::listing::{ROWS, RunPlace, without_run_payload, without_task_payload};
use super::problem::Result;
use crate::core::{Moment, Run, RunId, Task, TaskId};
use crate::engine::service::{Page, RunFilter, RunPage, Service, TaskFilter, Wanted};

/// Maximum number of rows that a page examines.
pub const MAX_EXAMINED: usize = 50 * ROWS;
/// Maximum size of the payloads of these rows, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Rows of the first read, and of each read at most. Rows may have payloads of megabytes.
const FIRST_READ: usize = 8;
const MAX_READ: usize = 200;

/// A search for tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskSearch {
    pub wanted: Wanted<TaskFilter>,
    /// Beginning of the name.
    pub prefix: Option<String>,
}

/// A search for runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSearch {
    pub wanted: Wanted<RunFilter>,
    /// Beginning of the tag.
    pub prefix: Option<String>,
    /// Part of the error, in lower case.
    pub error: Option<String>,
    /// Earliest moment.
    pub since: Option<Moment>,
    /// Moment that later runs have, or this one.
    pub until: Option<Moment>,
    /// Whether the filter must not run, because nearly no row would match.
    pub is_refused: bool,
}

impl TaskSearch {
    /// Returns whether every row that the store returns matches.
    pub fn is_by_index(&self, service: &Service) -> bool {
        self.prefix.is_none() && service.has_index_of_tasks(&self.wanted)
    }

    /// Returns whether an operation can select what the search finds.
    pub fn is_selection(&self) -> bool {
        self.prefix.is_none()
    }

    fn matches(&self, task: &Task) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| task.name.starts_with(prefix))
    }
}

impl RunSearch {
    /// Returns whether every row that the store returns matches. A range of time is a part of each index.
    pub fn is_by_index(&self, service: &Service) -> bool {
        self.prefix.is_none() && self.error.is_none() && service.has_index_of_runs(&self.wanted)
    }

    /// Returns whether an operation can select what the search finds.
    pub fn is_selection(&self) -> bool {
        let Self { prefix, error, since, until, .. } = self;
        prefix.is_none() && error.is_none() && since.is_none() && until.is_none()
    }

    fn matches(&self, run: &Run) -> bool {
        let has_error = |part: &String| {
            run.reason.as_ref().is_some_and(|reason| reason.to_lowercase().contains(part.as_str()))
        };
        self.prefix.as_ref().is_none_or(|prefix| run.tag.starts_with(prefix))
            && self.error.as_ref().is_none_or(has_error)
            && !self.is_before(run.scheduled_at)
    }

    fn is_before(&self, at: Moment) -> bool {
        self.since.is_some_and(|since| at < since)
    }
}

/// Rows of a page.
#[derive(Debug)]
pub struct Found<T, P> {
    pub rows: Vec<T>,
    /// Where the next page begins. `None`: this is the last page.
    pub next: Option<P>,
    /// Number of examined rows, if the page has ended before it was full.
    pub stopped_after: Option<usize>,
}

/// The reads of a page.
struct Reads {
    size: usize,
    is_by_index: bool,
    rows: usize,
    bytes: usize,
}

impl Reads {
    fn new(is_by_index: bool) -> Self {
        Self { size: FIRST_READ, is_by_index, rows: 0, bytes: 0 }
    }

    /// Returns the number of rows for the next read. `missing` rows are missing on the page.
    fn next(&mut self, missing: usize) -> u32 {
        let size = self.size;
        self.size = (2 * size).min(MAX_READ);
        let wanted = if self.is_by_index { size.min(missing) } else { size };
        wanted as u32
    }

    /// Counts what a read has examined. Returns whether the page must end.
    fn add(&mut self, rows: usize, bytes: usize) -> bool {
        self.rows += rows;
        self.bytes += bytes;
        !self.is_by_index && (self.rows >= MAX_EXAMINED || self.bytes >= MAX_BYTES)
    }
}

/// Returns a page of tasks without their payloads, newest first.
pub async fn tasks(
    service: &Service,
    search: &TaskSearch,
    mut before: Option<TaskId>,
) -> Result<Found<Task, TaskId>> {
    let mut rows: Vec<Task> = Vec::new();
    let mut reads = Reads::new(search.is_by_index(service));
    // One more row than shown tells whether a next page exists.
    while rows.len() <= ROWS {
        let page = Page { limit: reads.next(ROWS + 1 - rows.len()), before: before.clone() };
        let read = service.examine_tasks(&search.wanted, &page).await?;
        if read.count == 0 {
            return Ok(Found { rows, next: None, stopped_after: None });
        }
        let found = read.rows.into_iter().filter(|task| search.matches(task));
        rows.extend(found.map(without_task_payload));
        before = read.last;
        if reads.add(read.count, read.bytes) && rows.len() <= ROWS {
            return Ok(Found { rows, next: before, stopped_after: Some(reads.rows) });
        }
    }
    rows.truncate(ROWS);
    let next = rows.last().map(|task| task.id.clone());
    Ok(Found { rows, next, stopped_after: None })
}

/// Returns at most `most` runs without their payloads, latest moment first.
pub async fn runs(
    service: &Service,
    search: &RunSearch,
    before: Option<RunPlace>,
    most: usize,
) -> Result<Found<Run, RunPlace>> {
    let mut rows: Vec<Run> = Vec::new();
    let end = Found { rows: Vec::new(), next: None, stopped_after: None };
    if search.is_refused {
        return Ok(end);
    }
    let until = search.until.map(|until| (until, RunId::from_text("")));
    let mut before = match (before, until) {
        (Some(before), Some(until)) => Some(before.min(until)),
        (before, until) => before.or(until),
    };
    let mut reads = Reads::new(search.is_by_index(service));
    while rows.len() <= most {
        let page = RunPage { limit: reads.next(most + 1 - rows.len()), before: before.clone() };
        let read = service.examine_runs(&search.wanted, &page).await?;
        let found = read.rows.into_iter().filter(|run| search.matches(run));
        rows.extend(found.map(without_run_payload));
        before = read.last;
        let is_over = before.as_ref().is_none_or(|(at, _)| search.is_before(*at));
        if is_over && rows.len() <= most {
            return Ok(Found { rows, ..end });
        }
        if reads.add(read.count, read.bytes) && rows.len() <= most {
            return Ok(Found { rows, next: before, stopped_after: Some(reads.rows) });
        }
    }
    rows.truncate(most);
    let next = rows.last().map(|run| (run.scheduled_at, run.id.clone()));
    Ok(Found { rows, next, stopped_after: None })
}

/// Reads a moment: a duration before now such as `2h`, an instant, or a date and time in the zone of the
/// server.
pub fn read_moment(text: &str, now: Moment, zone: &TimeZone) -> Option<Moment> {
    if let Ok(span) = text.parse::<Span>() {
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        let ms = i64::try_from(duration.as_millis()).ok().filter(|ms| *ms >= 0)?;
        return Some(now.plus_ms(-ms));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Moment::from_ms(at.as_millisecond()));
    }
    let wall: DateTime = text.parse().ok()?;
    let at = zone.to_ambiguous_timestamp(wall).compatible().ok()?;
    Some(Moment::from_ms(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_before_now_an_instant_or_a_wall_time() {
        let zone = crate::core::zone::find("Europe/Berlin").unwrap();
        let now: Moment = Moment::from_sec(1_795_957_200);
        let read = |text| read_moment(text, now, &zone).map(|at| at.to_string());
        assert_eq!(read("2h"), Some(now.plus_ms(-7_200_000).to_string()));
        assert_eq!(read("1d12h"), Some(now.plus_ms(-129_600_000).to_string()));
        assert_eq!(read("2026-07-01T10:00:00Z").as_deref(), Some("2026-07-01T10:00:00.000Z"));
        assert_eq!(read("2026-07-01T12:00").as_deref(), Some("2026-07-01T10:00:00.000Z"));
        assert_eq!(read("2026-07-01").as_deref(), Some("2026-06-30T22:00:00.000Z"));
        for wrong in ["yesterday", "-2h", "1mo", "2026-13-01", "9999999999d", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_without_an_index_ends_after_a_number_of_rows_or_bytes() {
        let mut reads = Reads::new(false);
        let mut sizes = Vec::new();
        loop {
            let size = reads.next(1) as usize;
            sizes.push(size);
            if reads.add(size, 0) {
                break;
            }
        }
        assert_eq!(&sizes[..6], [8, 16, 32, 64, 128, 200]);
        assert!((MAX_EXAMINED..MAX_EXAMINED + MAX_READ).contains(&sizes.iter().sum()));
        assert!(Reads::new(false).add(1, MAX_BYTES));
        let mut indexed = Reads::new(true);
        assert_eq!((indexed.next(3), indexed.add(100 * MAX_EXAMINED, 100 * MAX_BYTES)), (3, false));
    }
}
