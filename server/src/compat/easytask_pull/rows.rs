//! Rows: the number and other data of a task, and tasks as listed.

use std::sync::PoisonError;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::payload::Payload;
use super::requests::Put;
use super::{Api, LEASE_MS, Result};
use crate::compat::settings::Dialect;
use crate::core::{Moment, Run, RunState, TaskId};
use crate::engine::service::{RecordKind, RunFilter, RunPage, ServiceError};

const ROW: RecordKind = RecordKind::internal("easytask_pull.task");
/// Number of rows read at a time.
const BATCH: u32 = 1_000;
/// Number of tasks looked up concurrently.
const AT_ONCE: usize = 16;
/// Interval, in numbers, at which some rows are checked for removed tasks.
const TIDY_EVERY: i64 = 64;
/// Number of rows checked at a time: twice the interval, so that checks are faster than puts.
const TIDIED: u32 = 2 * TIDY_EVERY as u32;

/// Data of a task that neither the task nor its run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub task: TaskId,
    pub tid: String,
    pub rid: String,
    pub kind: String,
    pub callback: Option<String>,
    pub added_at: Moment,
    /// Last remark of a worker before the end. The run holds the final one.
    pub remark: String,
}

impl Row {
    /// Returns the row of a task that a client has put.
    pub fn of(put: &Put, task: TaskId, now: Moment) -> Self {
        let Put { kind, tid, rid, info: _, callback } = put.clone();
        Self { task, tid, rid, kind, callback, added_at: now, remark: String::new() }
    }
}

/// A task as returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    id: i64,
    tid: String,
    rid: String,
    task_type: String,
    task_info: Value,
    stat: i8,
    add_time: String,
    update_time: Option<String>,
    rapper: String,
    client: String,
    /// Worker, under the name that the code of the old server uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    remark: String,
}

/// Key of a row. Numbers sort as strings.
fn key(number: i64) -> String {
    format!("{number:019}")
}

impl Dialect {
    /// Returns the number of a state of the document: 1 new, 2 processing, 3 success, -1 error.
    const fn write(self, stat: i8) -> i8 {
        match (self, stat) {
            (Self::Document, _) => stat,
            (Self::Code, -1) => 3,
            (Self::Code, _) => stat - 1,
        }
    }

    /// Returns the state of the document for a number. `None`: there is no such state.
    pub(super) const fn read(self, stat: i64) -> Option<i64> {
        match (self, stat) {
            (Self::Document, -1 | 1 | 2 | 3) => Some(stat),
            (Self::Code, 0..=2) => Some(stat + 1),
            (Self::Code, 3) => Some(-1),
            _ => None,
        }
    }
}

/// Returns the state of the document.
const fn stat(state: RunState) -> i8 {
    match state {
        RunState::Firing | RunState::Held | RunState::Fired | RunState::Ready | RunState::Retrying => 1,
        RunState::Leased => 2,
        RunState::Succeeded => 3,
        RunState::Dead | RunState::Skipped | RunState::Cancelled => -1,
    }
}

/// Formats a time in seconds, like the old database.
fn time(at: Moment) -> String {
    let second = jiff::Timestamp::from_second(at.sec());
    second.map_or_else(|_| at.to_string(), |second| second.to_string())
}

impl View {
    /// Returns a claimed task: as it was before the claim where the document is the contract, and in progress
    /// where the code is.
    pub fn claimed(number: i64, row: Row, info: Value, run: &Run, dialect: Dialect) -> Self {
        Self::of(number, row, info, Some(run).filter(|_| dialect == Dialect::Code), dialect)
    }

    fn of(number: i64, row: Row, info: Value, run: Option<&Run>, dialect: Dialect) -> Self {
        let started = run.filter(|run| run.state == RunState::Leased || run.ended_at.is_some());
        let renewed = |run: &Run| run.attention_at.map(|until| until.plus_ms(-LEASE_MS));
        let updated = started.and_then(|run| run.ended_at.or_else(|| renewed(run)));
        let holder = started.map(|run| run.holder.clone()).unwrap_or_default();
        let final_remark = started.filter(|run| run.ended_at.is_some()).and_then(|run| run.reason.clone());
        Self {
            id: number,
            tid: row.tid,
            rid: row.rid,
            task_type: row.kind,
            task_info: info,
            stat: dialect.write(run.map_or(1, |run| stat(run.state))),
            add_time: time(row.added_at),
            // Workers written against the code read null or an object here, but no text.
            update_time: (dialect == Dialect::Document).then(|| time(updated.unwrap_or(row.added_at))),
            rapper: holder.clone(),
            name: (dialect == Dialect::Code).then(|| holder.clone()),
            client: holder,
            remark: final_remark.unwrap_or(row.remark),
        }
    }
}

impl Api {
    /// Stores the row of a task unless it exists.
    pub(super) async fn insert_row(&self, number: i64, row: &Row) -> Result<()> {
        let put = |stored: Option<Row>| {
            Ok::<_, ServiceError>((stored.is_none().then(|| (row.clone(), Some(row.kind.clone()))), ()))
        };
        self.service.change_record(ROW, &key(number), put).await?;
        if number % TIDY_EVERY == 0 {
            self.tidy().await?;
        }
        Ok(())
    }

    /// Returns the row of a task.
    pub(super) async fn row(&self, number: i64) -> Result<Option<Row>> {
        Ok(self.service.read_record(ROW, &key(number)).await?)
    }

    /// Stores a remark of a worker.
    pub(super) async fn set_remark(&self, number: i64, remark: &str) -> Result<()> {
        let put = |stored: Option<Row>| {
            let row = stored.map(|row| Row { remark: remark.to_owned(), ..row });
            Ok::<_, ServiceError>((row.map(|row| (row.clone(), Some(row.kind))), ()))
        };
        Ok(self.service.change_record(ROW, &key(number), put).await?)
    }

    /// Returns the run of a task, if the task is due.
    pub(super) async fn run_of(&self, row: &Row) -> Result<Option<Run>> {
        let filter = RunFilter { task_id: Some(row.task.clone()), ..RunFilter::default() };
        Ok(self.service.list_runs(&filter, &RunPage { limit: 1, before: None }).await?.pop())
    }

    /// Returns `size` tasks of one or all types after the first `skip` rows, by number.
    pub(super) async fn page(&self, kind: Option<&str>, skip: u64, size: usize) -> Result<Vec<View>> {
        let (mut skip, mut after) = (skip, None);
        let mut rows: Vec<(i64, Row)> = Vec::new();
        while rows.len() < size {
            let batch = self.service.list_records::<Row>(ROW, kind, after.as_deref(), BATCH).await?;
            let Some((last, _)) = batch.last() else { break };
            after = Some(last.clone());
            let passed = skip.min(batch.len() as u64);
            skip -= passed;
            let numbered = |(key, row): (String, Row)| Some((key.parse().ok()?, row));
            let wanted = size - rows.len();
            rows.extend(batch.into_iter().skip(passed as usize).filter_map(numbered).take(wanted));
        }
        let shown = stream::iter(rows).map(|(number, row)| self.show(number, row)).buffered(AT_ONCE);
        Ok(shown.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Returns `None` for a deleted or pruned task.
    async fn show(&self, number: i64, row: Row) -> Result<Option<View>> {
        let task = match self.service.shown_task(&row.task).await {
            Ok(task) => task,
            Err(ServiceError::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let run = self.run_of(&row).await?;
        let info = Payload::read(&task.data).map(|data| data.task_info).unwrap_or_default();
        Ok(Some(View::of(number, row, info, run.as_ref(), self.settings.dialect)))
    }

    /// Removes some rows of removed tasks. Each call continues where the last one ended, in a cycle.
    async fn tidy(&self) -> Result<()> {
        let after = self.tidied.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = self.service.list_records::<Row>(ROW, None, after.as_deref(), TIDIED).await?;
        let end = rows.last().filter(|_| rows.len() == TIDIED as usize).map(|(key, _)| key.clone());
        *self.tidied.lock().unwrap_or_else(PoisonError::into_inner) = end;
        let checked = stream::iter(rows).map(|(key, row)| self.remove_if_gone(key, row));
        checked.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn remove_if_gone(&self, key: String, row: Row) -> Result<()> {
        if let Err(ServiceError::NotFound) = self.service.shown_task(&row.task).await {
            self.service.remove_record(ROW, &key).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_text() {
        assert!(key(9) < key(10) && key(99) < key(100) && key(1) < key(i64::MAX));
    }

    #[test]
    fn times_have_no_fraction() {
        assert_eq!(time(Moment::from_ms(1_571_020_590_999)), "2019-10-14T02:36:30Z");
    }
}
