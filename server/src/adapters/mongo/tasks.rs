//! Tasks: insert, read, step past a moment, cancel.

use std::collections::{BTreeMap, HashMap, HashSet};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::options::{Hint, ReadConcern};
use serde::Deserialize;

use super::errors::{bounded, corrupt, refused, with_retries};
use super::options::MAJORITY_TIMEOUT;
use super::rows::{TaskRow, date, shard_numbers};
use super::updates::{self, by_id_hint, find_by_id};
use super::{CHUNK, Ledger, batches, keys, schema};
use crate::core::advance::CLOCK_TOLERANCE_MS;
use crate::core::{Moment, Task, TaskId};
use crate::ports::{Advance, Found, Head, InsertedTask, Order, PortError, Result, Tombstone};

/// Stores a batch. Returns one result per task, in order.
pub async fn insert(ledger: &Ledger, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
    let mut answers: Vec<Option<Result<InsertedTask>>> = tasks.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..tasks.len()).collect();
    for _ in 0..keys::ATTEMPTS {
        let batch: Vec<&Task> = open.iter().map(|at| &tasks[*at]).collect();
        let found = match try_insert(ledger, &batch).await {
            Ok(found) => found,
            Err(error) => return fill(answers, &error),
        };
        for (at, answer) in open.iter().zip(found) {
            answers[*at] = answer;
        }
        open.retain(|at| answers[*at].is_none());
        if open.is_empty() {
            break;
        }
    }
    fill(answers, &keys::contended())
}

/// Returns the error for every task without a result.
fn fill(answers: Vec<Option<Result<InsertedTask>>>, error: &PortError) -> Vec<Result<InsertedTask>> {
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(error.duplicate()))).collect()
}

/// Attempts an insert. `None`: the task that had the deduplication key vanished before it was read.
async fn try_insert(ledger: &Ledger, tasks: &[&Task]) -> Result<Vec<Option<Result<InsertedTask>>>> {
    let rows: Vec<TaskRow> = tasks.iter().map(|task| TaskRow::from(*task)).collect();
    crate::failpoint!("mongo::before_insert_tasks");
    let collisions = with_retries(|| batches::insert(&rows, &ledger.tasks)).await?;
    crate::failpoint!("mongo::tasks_inserted");
    let mut answers: Vec<_> = tasks.iter().map(|_| Some(Ok(InsertedTask::New))).collect();
    let duplicates: Vec<&Task> = collisions.duplicates.iter().map(|at| tasks[*at]).collect();
    let conflicts = find_conflicts(ledger, &duplicates).await?;
    for at in collisions.duplicates {
        answers[at] = conflicts.result(tasks[at]).map(Ok);
    }
    for (at, why) in collisions.refused {
        answers[at] = Some(Err(refused(why)));
    }
    Ok(answers)
}

/// Stored tasks that conflict with an insert.
#[derive(Default)]
struct Conflicts {
    ids: HashSet<TaskId>,
    owners: HashMap<String, TaskId>,
}

impl Conflicts {
    /// A stored task with the same id is the result of an earlier attempt of this insert.
    fn result(&self, task: &Task) -> Option<InsertedTask> {
        if self.ids.contains(&task.id) {
            return Some(InsertedTask::New);
        }
        let owner = self.owners.get(task.dedup_key.as_ref()?)?;
        Some(InsertedTask::Existing(owner.clone()))
    }
}

#[derive(Deserialize)]
struct Id {
    #[serde(rename = "_id")]
    id: TaskId,
}

async fn find_conflicts(ledger: &Ledger, tasks: &[&Task]) -> Result<Conflicts> {
    if tasks.is_empty() {
        return Ok(Conflicts::default());
    }
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let stored: Vec<Id> = find_by_id(&ledger.tasks, &ids, Document::new(), Some(doc! { "_id": 1 })).await?;
    let keys: Vec<&str> = tasks.iter().filter_map(|task| task.dedup_key.as_deref()).collect();
    Ok(Conflicts {
        ids: stored.into_iter().map(|row| row.id).collect(),
        owners: keys::owners(ledger, &keys).await?,
    })
}

pub fn read(rows: Vec<TaskRow>) -> Result<Vec<Task>> {
    rows.into_iter().map(|row| Task::try_from(row).map_err(corrupt)).collect()
}

pub async fn one(ledger: &Ledger, id: &TaskId) -> Result<Option<Task>> {
    Ok(read(find_by_id(&ledger.tasks, &[id.as_str()], Document::new(), None).await?)?.pop())
}

fn texts(ids: &[TaskId]) -> Vec<&str> {
    ids.iter().map(TaskId::as_str).collect()
}

pub async fn by_id(ledger: &Ledger, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
    let (rows, unreadable) = updates::read_by_id(ledger, &ledger.tasks, &texts(ids)).await?;
    Ok(Found { rows, unreadable: unreadable.iter().filter_map(|id| TaskId::parse(id)).collect() })
}

/// Returns a task by a linearizable read: a server that was replaced as the primary cannot answer.
pub async fn latest(ledger: &Ledger, id: &TaskId) -> Result<Option<Task>> {
    let find = ledger.tasks.find_one(doc! { "_id": id.as_str() }).hint(by_id_hint());
    let find = find.read_concern(ReadConcern::linearizable()).max_time(MAJORITY_TIMEOUT);
    let row = bounded(find.into_future()).await?;
    row.map(|row| Task::try_from(row).map_err(corrupt)).transpose()
}

/// Returns the live task with a deduplication key, by a linearizable read as [`latest`].
pub async fn latest_by_key(ledger: &Ledger, key: &str) -> Result<Option<Task>> {
    let find = ledger.tasks.find_one(doc! { "dedup_key": { "$eq": key, "$exists": true } });
    let find = find.hint(Hint::Keys(doc! { "dedup_key": 1 }));
    let find = find.read_concern(ReadConcern::linearizable()).max_time(MAJORITY_TIMEOUT);
    let row = bounded(find.into_future()).await?;
    row.map(|row| Task::try_from(row).map_err(corrupt)).transpose()
}

pub async fn due(
    ledger: &Ledger,
    shards: &[u16],
    until: Moment,
    limit: u32,
    order: Order,
) -> Result<Head<Task>> {
    let direction = if order == Order::Earliest { 1 } else { -1 };
    let shards = shard_numbers(shards);
    let find = || {
        ledger
            .tasks
            .find(due_filter(&shards, until))
            .sort(doc! { "next_due_at": direction })
            .hint(Hint::Keys(schema::due_index()))
    };
    bounded(updates::head(ledger, find, limit)).await
}

/// Returns the filter for active tasks of the shards that are due at or before `until`.
pub fn due_filter(shards: &[i32], until: Moment) -> Document {
    doc! { "shard": { "$in": shards }, "state": "active", "next_due_at": { "$lte": date(until) } }
}

pub async fn advance(ledger: &Ledger, advances: &[Advance]) -> Result<Vec<bool>> {
    let mut passed = Vec::with_capacity(advances.len());
    for chunk in advances.chunks(CHUNK) {
        passed.extend(advance_chunk(ledger, chunk).await?);
    }
    Ok(passed)
}

async fn advance_chunk(ledger: &Ledger, advances: &[Advance]) -> Result<Vec<bool>> {
    let statements = advance_statements(advances);
    // A step that has happened does not happen again: its filter no longer matches.
    let moved = with_retries(|| updates::apply(ledger, "tasks", &statements)).await?;
    if moved == advances.len() {
        return Ok(vec![true; advances.len()]);
    }
    read_passed(ledger, advances).await
}

/// Returns one statement per distinct step. Many tasks are due at the same moment, and a thousand
/// statements of one task each take several times as long as one statement of a thousand tasks.
pub fn advance_statements(advances: &[Advance]) -> Vec<Document> {
    let mut groups = BTreeMap::<_, Vec<&Advance>>::new();
    for advance in advances {
        let Advance { task_id: _, rev, due, last_due_at, next_due_at, nominal_at, fires, waits } = advance;
        groups
            .entry((rev, due, last_due_at, next_due_at, nominal_at, fires, waits))
            .or_default()
            .push(advance);
    }
    groups.values().map(|group| advance_statement(group)).collect()
}

/// Returns the statement for tasks with the same step. The filter is [`Advance::is_allowed`]: it
/// compares the moment with MongoDB's own clock, so that a node with a fast clock cannot fire
/// early.
fn advance_statement(group: &[&Advance]) -> Document {
    let ids: Vec<&str> = group.iter().map(|advance| advance.task_id.as_str()).collect();
    let advance = group[0];
    let reached = doc! { "$lte": [date(advance.due), { "$add": ["$$NOW", CLOCK_TOLERANCE_MS] }] };
    let filter = doc! {
        "_id": { "$in": ids },
        "rev": i64::from(advance.rev),
        "next_due_at": date(advance.due),
        "state": "active",
        "$expr": reached,
    };
    let mut statement = updates::statement(filter, step_update(advance));
    statement.insert("multi", true);
    statement
}

/// Returns the update that equals [`Task::stepped`].
fn step_update(advance: &Advance) -> Document {
    let fired_count = doc! { "fired_count": i64::from(advance.fires) };
    let last = date(advance.last_due_at);
    if let Some(next) = advance.next_due_at {
        let mut moments = doc! { "last_due_at": last, "next_due_at": date(next) };
        moments.extend(advance.nominal_at.map(|nominal| ("nominal_at".to_owned(), date(nominal).into())));
        return doc! { "$set": moments, "$inc": fired_count };
    }
    if !advance.finishes() {
        let next = doc! { "next_due_at": "", "nominal_at": "" };
        return doc! { "$set": { "last_due_at": last }, "$unset": next, "$inc": fired_count };
    }
    doc! {
        "$set": { "last_due_at": last, "state": "finished" },
        "$currentDate": { "ended_at": true },
        "$unset": { "next_due_at": "", "nominal_at": "", "dedup_key": "" },
        "$inc": fired_count,
    }
}

/// Reads which tasks have passed their moments, after this call did not make all steps.
async fn read_passed(ledger: &Ledger, advances: &[Advance]) -> Result<Vec<bool>> {
    let ids: Vec<TaskId> = advances.iter().map(|advance| advance.task_id.clone()).collect();
    let tasks = by_id(ledger, &ids).await?.rows;
    let by_id: HashMap<&TaskId, &Task> = tasks.iter().map(|task| (&task.id, task)).collect();
    let passed = |advance: &Advance| by_id.get(&advance.task_id).is_some_and(|task| advance.has_passed(task));
    Ok(advances.iter().map(passed).collect())
}

pub async fn cancel(
    ledger: &Ledger,
    ids: &[TaskId],
    rev: Option<u32>,
    hide: bool,
    now: Moment,
) -> Result<Vec<Tombstone>> {
    let mut tombstones = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        tombstones.extend(cancel_chunk(ledger, chunk, rev, hide, now).await?);
    }
    Ok(tombstones)
}

async fn cancel_chunk(
    ledger: &Ledger,
    ids: &[TaskId],
    rev: Option<u32>,
    hide: bool,
    now: Moment,
) -> Result<Vec<Tombstone>> {
    let (ids, write_id) = (texts(ids), ObjectId::new());
    crate::failpoint!("mongo::before_cancel");
    with_retries(|| cancel_live(ledger, &ids, rev, now, write_id)).await?;
    crate::failpoint!("mongo::cancelled");
    if hide {
        with_retries(|| self::hide(ledger, &ids, rev, write_id)).await?;
        crate::failpoint!("mongo::hidden");
    }
    let (tombstones, fields) = (at_rev(doc! { "state": "cancelled" }, rev), doc! { "ended_by": 1 });
    let found: Vec<Ended> = find_by_id(&ledger.tasks, &ids, tombstones, Some(fields)).await?;
    let tombstone = |row: Ended| Tombstone { id: row.id, is_new: row.ended_by == Some(write_id) };
    Ok(found.into_iter().map(tombstone).collect())
}

/// A tombstone, and the call that cancelled or hid it last.
#[derive(Deserialize)]
struct Ended {
    #[serde(rename = "_id")]
    id: TaskId,
    ended_by: Option<ObjectId>,
}

async fn cancel_live(
    ledger: &Ledger,
    ids: &[&str],
    rev: Option<u32>,
    now: Moment,
    write_id: ObjectId,
) -> Result<()> {
    let (live, tombstone) = tombstone_update(ids, now, write_id);
    let update = ledger.tasks.update_many(at_rev(live, rev), tombstone).hint(by_id_hint());
    bounded(update.into_future()).await.map(drop)
}

/// Adds the expected revision to a filter. The revision of a tombstone never changes.
fn at_rev(mut filter: Document, rev: Option<u32>) -> Document {
    if let Some(rev) = rev {
        filter.insert("rev", i64::from(rev));
    }
    filter
}

async fn hide(ledger: &Ledger, ids: &[&str], rev: Option<u32>, write_id: ObjectId) -> Result<()> {
    let shown = doc! { "_id": { "$in": ids }, "state": "cancelled", "hidden": { "$ne": true } };
    let update = doc! { "$set": { "hidden": true, "ended_by": write_id } };
    let hide = ledger.tasks.update_many(at_rev(shown, rev), update).hint(by_id_hint());
    bounded(hide.into_future()).await.map(drop)
}

/// Returns the filter for tasks to cancel, and the update that equals [`Task::tombstone`]. `hidden`
/// needs another update, because a tombstone can be hidden later. `write_id` identifies the call.
pub fn tombstone_update(ids: &[&str], now: Moment, write_id: ObjectId) -> (Document, Document) {
    let live = doc! { "_id": { "$in": ids }, "state": { "$ne": "cancelled" } };
    let tombstone = doc! {
        "$set": { "state": "cancelled", "ended_at": date(now), "ended_by": write_id },
        "$unset": { "next_due_at": "", "nominal_at": "", "dedup_key": "" },
    };
    (live, tombstone)
}
