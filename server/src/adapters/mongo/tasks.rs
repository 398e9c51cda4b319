//! Tasks: submit, read, step over a moment, delete.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::Hint;
use serde::Deserialize;

use super::errors::{DUPLICATE_KEY, bounded, corrupt, persistent, port_error, refused, unavailable};
use super::rows::{TaskRow, date, shard_numbers};
use super::updates::{self, by_id_hint, find_by_id, within_bytes};
use super::{CHUNK, Ledger, schema};
use crate::core::advance::CLOCK_TOLERANCE_MS;
use crate::core::{Moment, Task, TaskId};
use crate::ports::{Advance, InsertedTask, PortError, Result};

/// How often a task is tried whose key was held by one that was gone when it was looked up.
const HOLDER_TRIES: usize = 5;

/// What one try made of a batch: the positions that collided, and those that the server refused.
#[derive(Debug, Default, Clone)]
struct Collisions {
    duplicates: Vec<usize>,
    refused: Vec<(usize, String)>,
}

/// Stores a batch; an answer for each, in order.
pub async fn insert(ledger: &Ledger, tasks: Vec<Task>) -> Vec<Result<InsertedTask>> {
    let mut answers: Vec<Option<Result<InsertedTask>>> = tasks.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..tasks.len()).collect();
    for _ in 0..HOLDER_TRIES {
        let batch: Vec<&Task> = open.iter().map(|at| &tasks[*at]).collect();
        let found = match insert_and_look(ledger, &batch).await {
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
    fill(answers, &unavailable("the dedup key changes hands faster than it can be looked up"))
}

/// Gives every task without an answer the error.
fn fill(answers: Vec<Option<Result<InsertedTask>>>, error: &PortError) -> Vec<Result<InsertedTask>> {
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(copy(error)))).collect()
}

/// The same error for one more task of the batch.
fn copy(error: &PortError) -> PortError {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error {
        PortError::Unavailable(name, _) => PortError::Unavailable(name, text.into()),
        PortError::Refused(name, _) => PortError::Refused(name, text.into()),
        PortError::Full(name, _) => PortError::Full(name, text.into()),
        PortError::Corrupt(name, _) => PortError::Corrupt(name, text.into()),
    }
}

/// One try. `None` for a task whose key was held when it was inserted and free when the holder was looked up.
async fn insert_and_look(ledger: &Ledger, tasks: &[&Task]) -> Result<Vec<Option<Result<InsertedTask>>>> {
    let rows: Vec<TaskRow> = tasks.iter().map(|task| TaskRow::from(*task)).collect();
    crate::failpoint!("mongo::before_insert_tasks");
    let collisions = persistent(|| insert_rows(ledger, &rows)).await?;
    crate::failpoint!("mongo::tasks_inserted");
    let mut answers: Vec<_> = tasks.iter().map(|_| Some(Ok(InsertedTask::New))).collect();
    let duplicates: Vec<&Task> = collisions.duplicates.iter().map(|at| tasks[*at]).collect();
    let standing = look_up(ledger, &duplicates).await?;
    for at in collisions.duplicates {
        answers[at] = standing.answer(tasks[at]).map(Ok);
    }
    for (at, why) in collisions.refused {
        answers[at] = Some(Err(refused(why)));
    }
    Ok(answers)
}

async fn insert_rows(ledger: &Ledger, rows: &[TaskRow]) -> Result<Collisions> {
    let insert = ledger.tasks.insert_many(rows).ordered(false);
    // Not `bounded`: the driver's own error says which rows collided.
    let collided = bounded(async {
        match insert.await {
            Ok(_) => Ok(Ok(Collisions::default())),
            Err(error) => Ok(collisions(error)),
        }
    });
    collided.await?
}

/// A duplicate key is an answer; everything else that concerns the batch as a whole is an error.
fn collisions(error: mongodb::error::Error) -> Result<Collisions> {
    let ErrorKind::InsertMany(insert) = error.kind.as_ref() else { return Err(port_error(error)) };
    if insert.write_concern_error.is_some() {
        return Err(port_error(error));
    }
    let mut collisions = Collisions::default();
    for write in insert.write_errors.iter().flatten() {
        match write.code {
            DUPLICATE_KEY => collisions.duplicates.push(write.index),
            code if super::errors::is_unavailable(code) => return Err(unavailable(write.message.clone())),
            _ => collisions.refused.push((write.index, write.message.clone())),
        }
    }
    Ok(collisions)
}

/// Who stands in the way.
#[derive(Default)]
struct Standing {
    ids: HashSet<TaskId>,
    holders: HashMap<String, TaskId>,
}

impl Standing {
    /// A task that stands under its own id was stored by an earlier try of this submit.
    fn answer(&self, task: &Task) -> Option<InsertedTask> {
        if self.ids.contains(&task.id) {
            return Some(InsertedTask::New);
        }
        let holder = self.holders.get(task.dedup_key.as_ref()?)?;
        Some(InsertedTask::Existing(holder.clone()))
    }
}

#[derive(Deserialize)]
struct Holder {
    #[serde(rename = "_id")]
    id: TaskId,
    dedup_key: Option<String>,
}

async fn look_up(ledger: &Ledger, tasks: &[&Task]) -> Result<Standing> {
    if tasks.is_empty() {
        return Ok(Standing::default());
    }
    let projection = doc! { "dedup_key": 1 };
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let own: Vec<Holder> = find_by_id(&ledger.tasks, &ids, Document::new(), Some(projection.clone())).await?;
    let keys: Vec<&str> = tasks.iter().filter_map(|task| task.dedup_key.as_deref()).collect();
    let find = ledger.tasks.clone_with_type::<Holder>();
    let find = find
        .find(doc! { "dedup_key": { "$in": keys, "$exists": true } })
        .hint(Hint::Keys(doc! { "dedup_key": 1 }))
        .projection(projection);
    let holders: Vec<Holder> = bounded(async { find.await?.try_collect().await }).await?;
    Ok(Standing {
        ids: own.into_iter().map(|row| row.id).collect(),
        holders: holders.into_iter().filter_map(|row| Some((row.dedup_key?, row.id))).collect(),
    })
}

pub fn read(rows: Vec<TaskRow>) -> Result<Vec<Task>> {
    rows.into_iter().map(|row| Task::try_from(row).map_err(corrupt)).collect()
}

fn texts(ids: &[TaskId]) -> Vec<&str> {
    ids.iter().map(TaskId::as_str).collect()
}

pub async fn by_id(ledger: &Ledger, ids: &[TaskId]) -> Result<Vec<Task>> {
    read(find_by_id(&ledger.tasks, &texts(ids), Document::new(), None).await?)
}

pub async fn due(ledger: &Ledger, shards: &[u16], until: Moment, limit: u32) -> Result<Vec<Task>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let find = ledger
        .tasks
        .find(due_filter(&shard_numbers(shards), until))
        .sort(doc! { "next_due_at": 1 })
        .hint(Hint::Keys(schema::due_index()))
        .limit(i64::from(limit))
        .batch_size(limit);
    bounded(async { within_bytes(find.await?).await }).await
}

/// Active tasks of the shards that are due at or before `until`.
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
    // After a lost answer the same steps again: one that was made is not made twice.
    let moved = persistent(|| updates::apply(ledger, "tasks", &statements)).await?;
    if moved == advances.len() {
        return Ok(vec![true; advances.len()]);
    }
    read_passed(ledger, advances).await
}

/// A statement for each distinct step, because tasks come due in crowds: at the full second, or on one grid. A thousand
/// statements of one task each take the server several times as long.
pub fn advance_statements(advances: &[Advance]) -> Vec<Document> {
    let mut crowds = BTreeMap::<_, Vec<&Advance>>::new();
    for advance in advances {
        let Advance { task_id: _, rev, due, last_due_at, next_due_at, fires } = advance;
        crowds.entry((rev, due, last_due_at, next_due_at, fires)).or_default().push(advance);
    }
    crowds.values().map(|crowd| advance_statement(crowd)).collect()
}

/// The linearization point of a fire. The store's own clock has a word in it, so that a node whose clock is ahead cannot
/// fire early; one millisecond is forgiven for rounding.
fn advance_statement(crowd: &[&Advance]) -> Document {
    let ids: Vec<&str> = crowd.iter().map(|advance| advance.task_id.as_str()).collect();
    let advance = crowd[0];
    let reached = doc! { "$lte": [date(advance.due), { "$add": ["$$NOW", CLOCK_TOLERANCE_MS] }] };
    let filter = doc! {
        "_id": { "$in": ids },
        "rev": i64::from(advance.rev),
        "next_due_at": date(advance.due),
        "state": "active",
        "$expr": reached,
    };
    let mut statement = updates::statement(filter, step(advance));
    statement.insert("multi", true);
    statement
}

fn step(advance: &Advance) -> Document {
    let fired_count = doc! { "fired_count": i64::from(advance.fires) };
    let last = date(advance.last_due_at);
    if let Some(next) = advance.next_due_at {
        return doc! { "$set": { "last_due_at": last, "next_due_at": date(next) }, "$inc": fired_count };
    }
    doc! {
        "$set": { "last_due_at": last, "state": "finished" },
        "$currentDate": { "ended_at": true },
        "$unset": { "next_due_at": "", "dedup_key": "" },
        "$inc": fired_count,
    }
}

/// Some steps were not made by this call: the tasks themselves say which moments have passed.
async fn read_passed(ledger: &Ledger, advances: &[Advance]) -> Result<Vec<bool>> {
    let ids: Vec<TaskId> = advances.iter().map(|advance| advance.task_id.clone()).collect();
    let tasks = by_id(ledger, &ids).await?;
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
) -> Result<Vec<TaskId>> {
    let mut cancelled = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        cancelled.extend(cancel_chunk(ledger, chunk, rev, hide, now).await?);
    }
    Ok(cancelled)
}

async fn cancel_chunk(
    ledger: &Ledger,
    ids: &[TaskId],
    rev: Option<u32>,
    hide: bool,
    now: Moment,
) -> Result<Vec<TaskId>> {
    let ids = texts(ids);
    crate::failpoint!("mongo::before_bury");
    persistent(|| bury(ledger, &ids, rev, now)).await?;
    crate::failpoint!("mongo::buried");
    if hide {
        persistent(|| self::hide(ledger, &ids, rev)).await?;
        crate::failpoint!("mongo::hidden");
    }
    let tombstones = at_rev(doc! { "state": "cancelled" }, rev);
    let buried: Vec<Holder> = find_by_id(&ledger.tasks, &ids, tombstones, Some(doc! { "_id": 1 })).await?;
    Ok(buried.into_iter().map(|row| row.id).collect())
}

async fn bury(ledger: &Ledger, ids: &[&str], rev: Option<u32>, now: Moment) -> Result<()> {
    let (live, tombstone) = burial(ids, now);
    let update = ledger.tasks.update_many(at_rev(live, rev), tombstone).hint(by_id_hint());
    bounded(update.into_future()).await.map(drop)
}

/// A tombstone's revision moves no more.
fn at_rev(mut filter: Document, rev: Option<u32>) -> Document {
    if let Some(rev) = rev {
        filter.insert("rev", i64::from(rev));
    }
    filter
}

async fn hide(ledger: &Ledger, ids: &[&str], rev: Option<u32>) -> Result<()> {
    let tombstones = at_rev(doc! { "_id": { "$in": ids }, "state": "cancelled" }, rev);
    let hide = ledger.tasks.update_many(tombstones, doc! { "$set": { "hidden": true } }).hint(by_id_hint());
    bounded(hide.into_future()).await.map(drop)
}

/// Which tasks a delete turns, and into what.
pub fn burial(ids: &[&str], now: Moment) -> (Document, Document) {
    let live = doc! { "_id": { "$in": ids }, "state": { "$ne": "cancelled" } };
    let tombstone = doc! {
        "$set": { "state": "cancelled", "ended_at": date(now) },
        "$unset": { "next_due_at": "", "dedup_key": "" },
    };
    (live, tombstone)
}
