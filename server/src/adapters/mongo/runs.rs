//! Runs: insert, read, replace by compare-and-set.

use std::collections::HashMap;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{
    DUPLICATE_KEY, bounded, is_unavailable, port_error, timed, unavailable, with_counted_retries,
    with_retries,
};
use super::rows::{RunRow, date, moment, shard_numbers};
use super::updates::{self, find_by_id};
use super::{CHUNK, Ledger, run_statements, schema};
use crate::core::overlap::Overlap;
use crate::core::run::{HoldMark, LeaseSlots, OpenRun, Permit};
use crate::core::{Moment, Run, RunId, RunState, TaskId};
use crate::ports::{Found, Head, InsertedRun, Result};

/// Batch size of a query by slots, above the limit of any lease request.
const MAX_SLOTS: u32 = 10_000;

pub async fn insert(ledger: &Ledger, runs: &[Run]) -> Result<Vec<InsertedRun>> {
    let mut answers = Vec::with_capacity(runs.len());
    for chunk in runs.chunks(CHUNK) {
        answers.extend(insert_chunk(ledger, chunk).await?);
    }
    Ok(answers)
}

async fn insert_chunk(ledger: &Ledger, runs: &[Run]) -> Result<Vec<InsertedRun>> {
    let rows: Vec<RunRow> = runs.iter().map(RunRow::from).collect();
    crate::failpoint!("mongo::before_insert_runs");
    let duplicates = with_retries(|| insert_rows(ledger, &rows)).await?;
    crate::failpoint!("mongo::runs_inserted");
    let ids: Vec<RunId> = duplicates.iter().map(|at| runs[*at].id.clone()).collect();
    let Found { rows, unreadable } = by_id(ledger, &ids).await?;
    let mut stored: HashMap<RunId, InsertedRun> =
        unreadable.into_iter().map(|id| (id, InsertedRun::Unreadable)).collect();
    stored.extend(rows.into_iter().map(|run| (run.id.clone(), InsertedRun::Existing(Box::new(run)))));
    let mut answers: Vec<_> = runs.iter().map(|_| InsertedRun::New).collect();
    for at in duplicates {
        let row = stored.remove(&runs[at].id);
        let row = row.ok_or_else(|| unavailable(format!("run {} was just removed", runs[at].id)))?;
        answers[at] = match row {
            InsertedRun::Existing(stored) => InsertedRun::from_stored(*stored, &runs[at]),
            other => other,
        };
    }
    Ok(answers)
}

/// Inserts rows. Returns the positions of rows whose ids already exist.
async fn insert_rows(ledger: &Ledger, rows: &[RunRow]) -> Result<Vec<usize>> {
    let insert = ledger.runs.insert_many(rows).ordered(false);
    match timed(insert.into_future()).await? {
        Ok(_) => Ok(Vec::new()),
        Err(error) => duplicates(error),
    }
}

fn duplicates(error: mongodb::error::Error) -> Result<Vec<usize>> {
    let ErrorKind::InsertMany(insert) = error.kind.as_ref() else { return Err(port_error(error)) };
    let mut writes = insert.write_errors.iter().flatten();
    if insert.write_concern_error.is_some() {
        return Err(port_error(error));
    }
    if let Some(other) = writes.clone().find(|write| write.code != DUPLICATE_KEY) {
        let lost = is_unavailable(other.code);
        return Err(if lost { unavailable(other.message.clone()) } else { port_error(error) });
    }
    Ok(writes.by_ref().map(|write| write.index).collect())
}

pub async fn one(ledger: &Ledger, id: &RunId) -> Result<Option<Run>> {
    let mut rows: Vec<RunRow> = find_by_id(&ledger.runs, &[id.as_str()], Document::new(), None).await?;
    Ok(rows.pop().map(Run::from))
}

pub async fn by_id(ledger: &Ledger, ids: &[RunId]) -> Result<Found<Run, RunId>> {
    let texts: Vec<&str> = ids.iter().map(RunId::as_str).collect();
    let (rows, unreadable) = updates::read_by_id(ledger, &ledger.runs, &texts).await?;
    let is_unreadable = |id: &&RunId| unreadable.iter().any(|text| text == id.as_str());
    Ok(Found { rows, unreadable: ids.iter().filter(is_unreadable).cloned().collect() })
}

pub async fn open(
    ledger: &Ledger,
    task_id: &TaskId,
    after: Option<&RunId>,
    limit: u32,
) -> Result<Vec<OpenRun>> {
    let runs = ledger.runs.clone_with_type::<OpenRow>();
    let find =
        || runs.find(open_filter(task_id, after)).sort(doc! { "_id": 1 }).projection(OpenRow::fields());
    let find = || find().hint(Hint::Keys(schema::open_index()));
    Ok(bounded(updates::head(ledger, find, limit)).await?.rows)
}

/// Projection of an open run.
#[derive(Deserialize)]
pub struct OpenRow {
    #[serde(rename = "_id")]
    id: RunId,
    rev: i64,
    scheduled_at: DateTime,
    #[serde(default)]
    triggered: bool,
    state: RunState,
    attempt: i64,
    fired_at: Option<DateTime>,
    #[serde(default)]
    overlap: Option<Overlap>,
    #[serde(default)]
    slots: Vec<String>,
    #[serde(default)]
    hold: Option<HoldMark>,
    #[serde(default)]
    permit: Option<Permit>,
}

impl OpenRow {
    pub fn fields() -> Document {
        let names = [
            "rev",
            "scheduled_at",
            "triggered",
            "state",
            "attempt",
            "fired_at",
            "overlap",
            "slots",
            "hold",
            "permit",
        ];
        names.into_iter().map(|name| (name.to_owned(), 1.into())).collect()
    }
}

impl From<OpenRow> for OpenRun {
    fn from(row: OpenRow) -> Self {
        Self {
            id: row.id,
            rev: row.rev as u32,
            scheduled_at: moment(row.scheduled_at),
            triggered: row.triggered,
            state: row.state,
            attempt: row.attempt as u32,
            fired_at: row.fired_at.map(moment),
            overlap: row.overlap,
            slots: row.slots,
            hold: row.hold,
            permit: row.permit,
        }
    }
}

/// Returns the filter for the runs of a task that have not ended, after the id `after`.
pub fn open_filter(task_id: &TaskId, after: Option<&RunId>) -> Document {
    let after = after.map_or("", RunId::as_str);
    doc! { "task_id": task_id.as_str(), "attention_at": { "$exists": true }, "_id": { "$gt": after } }
}

/// Returns the leased runs of one lease request, by slot.
pub async fn in_slots(ledger: &Ledger, slots: &LeaseSlots) -> Result<Vec<Run>> {
    let find = || {
        let find = ledger.runs.find(slot_filter(slots)).sort(schema::slot_index());
        find.hint(Hint::Keys(schema::slot_index()))
    };
    Ok(bounded(updates::head(ledger, find, MAX_SLOTS)).await?.rows)
}

/// Returns the filter for the leased runs of one lease request.
pub fn slot_filter(slots: &LeaseSlots) -> Document {
    let (from, to) = slots.range();
    doc! { "lease_slot": { "$gte": from, "$lt": to } }
}

pub async fn update(ledger: &Ledger, runs: &[Run]) -> Result<Vec<bool>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let write_id = ObjectId::new();
    let statements = run_statements::for_runs(ledger, runs, write_id).await?;
    apply(ledger, runs, &statements, write_id).await
}

/// Runs the statements that replace `runs`. Returns the runs that the call `write_id` replaced.
pub async fn apply(
    ledger: &Ledger,
    runs: &[Run],
    statements: &[Document],
    write_id: ObjectId,
) -> Result<Vec<bool>> {
    // A duplicate key is a slot that another run has: the run was not replaced.
    let apply = || updates::apply_unique(ledger, "runs", statements);
    let (replaced, retries) = with_counted_retries(apply).await?;
    if replaced == runs.len() {
        return Ok(vec![true; runs.len()]);
    }
    let stored = read_written(ledger, runs).await?;
    if retries > 0 && runs.iter().any(|run| may_be_overwritten(run, stored.get(&run.id), write_id)) {
        return Err(unavailable("the answer to the update was lost, and a later update replaced a run"));
    }
    let is_own = |run: &Run| stored.get(&run.id).is_some_and(|row| row.is(run, write_id));
    Ok(runs.iter().map(is_own).collect())
}

/// Version of a stored run, and the call that wrote it.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "_id")]
    id: RunId,
    version: i64,
    write_id: Option<ObjectId>,
}

impl Written {
    /// Returns whether the call `write_id` stored this version of `run`.
    fn is(&self, run: &Run, write_id: ObjectId) -> bool {
        self.version == run.version as i64 + 1 && self.write_id == Some(write_id)
    }
}

/// Returns whether an earlier attempt of the call may have stored `run` before the stored version was
/// written.
fn may_be_overwritten(run: &Run, stored: Option<&Written>, write_id: ObjectId) -> bool {
    stored.is_some_and(|row| row.version > run.version as i64 + 1 && row.write_id != Some(write_id))
}

/// Returns the stored versions of runs. The answer to an update only has their number, and a repeated
/// write meets its own first attempt.
async fn read_written(ledger: &Ledger, runs: &[Run]) -> Result<HashMap<RunId, Written>> {
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    let fields = doc! { "version": 1, "write_id": 1 };
    let rows: Vec<Written> = find_by_id(&ledger.runs, &ids, Document::new(), Some(fields)).await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
}

pub async fn needing_attention(
    ledger: &Ledger,
    shards: &[u16],
    now: Moment,
    limit: u32,
    queued_only: bool,
) -> Result<Head<Run>> {
    let (filter, index) = attention(&shard_numbers(shards), now, queued_only);
    let find = || {
        let find = ledger.runs.find(filter.clone()).sort(doc! { "attention_at": 1 });
        find.hint(Hint::Keys(index.clone()))
    };
    bounded(updates::head(ledger, find, limit)).await
}

/// Returns the filter for runs of the shards whose `attention_at` has come, and its index.
pub fn attention(shards: &[i32], now: Moment, queued_only: bool) -> (Document, Document) {
    let mut filter = doc! { "shard": { "$in": shards }, "attention_at": { "$lte": date(now) } };
    if !queued_only {
        return (filter, schema::attention_index());
    }
    filter.insert("queue", doc! { "$exists": true });
    (filter, schema::queued_attention_index())
}
